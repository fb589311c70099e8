/* Calls of methods that no service has: told so, in the words of grpc-go. */
#include "transport.h"

#include "chorad/base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_MAX_SHOWN 512

static void on_arrived(struct tag *tag, bool ok);

void stray_arm(struct rpc_shard *shard)
{
    struct stray *stray = mem_zalloc(sizeof(*stray));
    grpc_call_error error;

    stray->arrived.run = on_arrived;
    stray->shard = shard;
    grpc_call_details_init(&stray->details);
    grpc_metadata_array_init(&stray->metadata);
    error = grpc_server_request_call(shard->core, &stray->core, &stray->details,
                                     &stray->metadata, shard->cq, shard->cq,
                                     &stray->arrived);
    CHECK(error == GRPC_CALL_OK);
}

static void stray_free(struct stray *stray)
{
    grpc_call_details_destroy(&stray->details);
    grpc_metadata_array_destroy(&stray->metadata);
    free(stray);
}

static void on_sent(struct tag *tag, bool ok)
{
    struct stray *stray = container_of(tag, struct stray, sent);
    struct rpc_shard *shard = stray->shard;

    (void)ok;
    grpc_call_unref(stray->core);
    stray_free(stray);
    shard->strays--;
    if (shard->draining)
        shard_check_quiet(shard);
}

static bool has_service(const struct rpc_shard *shard, const char *name)
{
    const struct rpc_service *const *service = shard->server->config.services;

    for (; *service != NULL; service++)
        if (strcmp((*service)->name, name) == 0)
            return true;
    return false;
}

/* Splits "/service/method" at its last slash. */
static void describe(const struct stray *stray, char *text, size_t size)
{
    char path[PATH_MAX_SHOWN];
    size_t len = GRPC_SLICE_LENGTH(stray->details.method);
    const char *service = path;
    char *slash;

    if (len >= sizeof(path))
        len = sizeof(path) - 1;
    memcpy(path, GRPC_SLICE_START_PTR(stray->details.method), len);
    path[len] = '\0';
    if (path[0] == '/')
        service++;
    slash = strrchr(service, '/');
    if (slash == NULL) {
        (void)snprintf(text, size, "malformed method name: \"%s\"", path);
        return;
    }
    *slash = '\0';
    if (has_service(stray->shard, service))
        (void)snprintf(text, size, "unknown method %s for service %s",
                       slash + 1, service);
    else
        (void)snprintf(text, size, "unknown service %s", service);
}

static void on_arrived(struct tag *tag, bool ok)
{
    struct stray *stray = container_of(tag, struct stray, arrived);
    char text[PATH_MAX_SHOWN + 64];
    grpc_op ops[3];
    grpc_slice details;
    grpc_call_error error;

    if (!ok) {
        stray_free(stray);
        return;
    }
    if (!stray->shard->draining)
        stray_arm(stray->shard);
    stray->shard->strays++;
    describe(stray, text, sizeof(text));
    details = grpc_slice_from_copied_string(text);
    ops[0] = (grpc_op){.op = GRPC_OP_SEND_INITIAL_METADATA};
    ops[1] = (grpc_op){.op = GRPC_OP_SEND_STATUS_FROM_SERVER};
    ops[1].data.send_status_from_server.status = GRPC_STATUS_UNIMPLEMENTED;
    ops[1].data.send_status_from_server.status_details = &details;
    ops[2] = (grpc_op){.op = GRPC_OP_RECV_CLOSE_ON_SERVER};
    ops[2].data.recv_close_on_server.cancelled = &stray->peer_gone;
    stray->sent.run = on_sent;
    error = grpc_call_start_batch(stray->core, ops, 3, &stray->sent, NULL);
    CHECK(error == GRPC_CALL_OK);
    grpc_slice_unref(details);
}
