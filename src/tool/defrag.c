/* chorad defrag */
#include "tool.h"

#include "chorad/base/log.h"
#include "chorad/base/size.h"
#include <stdlib.h>

int defrag_run(const struct options *options)
{
    struct errmsg msg = {""};
    struct place place;
    int err = place_open(&place, options, &msg);

    if (err == 0) {
        char *before = size_text(store_size(place.store).file);
        char *after;

        /* Its end is told by the log. */
        if (options->progress)
            log_set_level(LOG_INFO);
        err = store_defrag(place.store, &msg);
        after = size_text(store_size(place.store).file);
        if (err == 0)
            (void)printf("%s: %s before, %s now\n", place.kv_dir, before,
                         after);
        free(before);
        free(after);
    }
    place_close(&place);
    return err == 0 ? EXIT_OK : tool_fail(&msg);
}
