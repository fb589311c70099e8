/* Requests that the member makes itself. */
#include "chorad/base/log.h"
#include "chorad/codec.h"
#include "node.h"
#include <stdlib.h>

static void pack(struct own_request *own, enum apply_kind kind,
                 const ProtobufCMessage *message,
                 void (*done)(struct node_request *request))
{
    codec_pack(&own->payload, message);
    own->request.kind = kind;
    own->request.payload = bytes_of(own->payload.data, own->payload.len);
    own->request.done = done;
}

void node_own_propose(struct node *node, struct own_request *own,
                      enum apply_kind kind, const ProtobufCMessage *message,
                      void (*done)(struct node_request *request))
{
    pack(own, kind, message, done);
    node_propose(node, &own->request);
}

struct own_request *node_own_done(struct node_request *request)
{
    struct own_request *own =
        container_of(request, struct own_request, request);

    buf_close(&request->body);
    buf_close(&own->payload);
    return own;
}

static void nobody_waits(struct node_request *request)
{
    struct own_request *own = node_own_done(request);
    int err = request->err;

    if (err < 0 && err != ERR_STOPPED && err != ERR_NOT_LEADER)
        log_warn("a request of the member itself failed",
                 LOG_I64("kind", (int64_t)request->kind),
                 LOG_STR("error", err_text(err)));
    free(own);
}

void node_propose_own(struct node *node, enum apply_kind kind,
                      const ProtobufCMessage *message, uint64_t only_term)
{
    struct own_request *own = mem_zalloc(sizeof(*own));

    pack(own, kind, message, nobody_waits);
    /* What the member does by itself, such as revoking a lease that has
     * expired, nobody's permissions stand against. */
    if (auth_enabled(node->auth)) {
        own->request.user = bytes_of("root", 4);
        own->request.auth_rev = auth_revision(node->auth);
    }
    node_propose_in_term(node, &own->request, only_term);
}
