/* The loop tells chorad/base/turn.h where its turns begin and end. */
#ifndef CHORAD_APP_TURNS_H
#define CHORAD_APP_TURNS_H

#include <uv.h>

struct app_turns {
    uv_prepare_t before_poll;
    uv_check_t after_poll;
};

/* Before anything else is started on the loop: of the handles that are run
 * before it polls the one that was started first comes last. */
void app_turns_start(struct app_turns *turns, uv_loop_t *loop);
/* The handles go with the loop's next turn. */
void app_turns_close(struct app_turns *turns);

#endif
