/* Where a call comes from. gRPC knows a handed-over connection by its number
 * only, so the kernel is asked. */
#include "chorad/base/address.h"
#include "transport.h"

#include <grpc/support/alloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

const char *rpc_peer(struct rpc_call *pub)
{
    struct call *call = call_of(pub);
    struct sockaddr_storage addr = {0};
    socklen_t len = sizeof(addr);
    char remote[ADDRESS_TEXT_MAX];
    char *text;
    char *end;
    long fd = -1;

    if (call->peer != NULL)
        return call->peer;
    text = grpc_call_get_peer(call->core);
    if (text != NULL && strncmp(text, "fd:", 3) == 0)
        fd = strtol(text + 3, &end, 10);
    gpr_free(text);
    if (fd >= 0 && getpeername((int)fd, (struct sockaddr *)&addr, &len) == 0)
        call->peer = mem_strdup(address_text(&addr, remote, sizeof(remote)));
    else
        call->peer = mem_strdup("unknown");
    return call->peer;
}
