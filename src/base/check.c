/* What happens when an assertion fails. */
#include "chorad/base/check.h"

#include "chorad/base/log.h"

#include <stdlib.h>

_Noreturn void check_failed(const char *cond, const char *file, int line)
{
    const struct log_field fields[] = {LOG_STR("condition", cond)};

    log_write(LOG_PANIC, file, line, "an invariant is broken", fields, 1);
    abort();
}
