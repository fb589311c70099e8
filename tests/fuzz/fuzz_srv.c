/* A name server's answer to the question for SRV records. */
#include "app/srv.h"

#include "chorad/base/check.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct srv_targets targets = {0};

    (void)srv_read(data, size, &targets);
    for (size_t i = 0; i < targets.n; i++)
        CHECK(strlen(targets.items[i].host) < 1025);
    srv_close(&targets);
    return 0;
}
