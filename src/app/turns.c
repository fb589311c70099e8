#include "turns.h"

#include "chorad/base/check.h"
#include "chorad/base/turn.h"

static void on_before_poll(uv_prepare_t *prepare)
{
    (void)prepare;
    turn_end();
}

/* libuv has kept when the poll came back, in whole milliseconds. */
static void on_after_poll(uv_check_t *check)
{
    turn_polled((uv_now(check->loop) + 1) * UINT64_C(1000000));
}

void app_turns_start(struct app_turns *turns, uv_loop_t *loop)
{
    turn_open();
    CHECK(uv_prepare_init(loop, &turns->before_poll) == 0);
    CHECK(uv_prepare_start(&turns->before_poll, on_before_poll) == 0);
    CHECK(uv_check_init(loop, &turns->after_poll) == 0);
    CHECK(uv_check_start(&turns->after_poll, on_after_poll) == 0);
}

void app_turns_close(struct app_turns *turns)
{
    uv_close((uv_handle_t *)&turns->before_poll, NULL);
    uv_close((uv_handle_t *)&turns->after_poll, NULL);
}
