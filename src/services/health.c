/* grpc.health.v1.Health: one service is known, the empty name for the whole
 * server. */
#include "service.h"

#include "chorad/codec.h"
#include "health.pb-c.h"

#include <grpc/status.h>
#include <string.h>

/* grpc.health.v1.HealthCheckResponse.ServingStatus (proto/health.proto). */
enum { SERVING = 1, NOT_SERVING = 2, SERVICE_UNKNOWN = 3 };

/* A client that wants to hear of changes; in the call's arena. It is held as
 * long as it is in the list or its task is posted. */
struct health_watch {
    struct rpc_call *call;
    struct rpc_task task;
    bool posted;  /* under the lock */
    bool unknown; /* the shard's: of a name that nobody has */
    int sent;     /* the shard's */
    struct health_watch *next;
    struct health_watch **prev; /* NULL: not in the list */
};

static int status_now(struct services *services)
{
    return atomic_load(&services->serving) ? SERVING : NOT_SERVING;
}

/* False: answered. */
static bool read_name(struct rpc_call *call, struct bytes *name)
{
    const Grpc__Health__V1__HealthCheckRequest *req = service_unpack(
        call, &grpc__health__v1__health_check_request__descriptor);

    if (req == NULL)
        return false;
    *name = bytes_of(req->service, strlen(req->service));
    if (codec_utf8_valid(*name))
        return true;
    service_fail_utf8(call);
    return false;
}

static struct bytes encode_status(uint8_t out[2], int status)
{
    out[0] = 1 << 3;
    out[1] = (uint8_t)status;
    return bytes_of(out, 2);
}

static void open_check(struct rpc_call *call)
{
    struct bytes name;
    uint8_t out[2];

    if (!read_name(call, &name))
        return;
    if (name.len > 0)
        rpc_fail_text(call, GRPC_STATUS_NOT_FOUND, "unknown service");
    else
        rpc_reply_copy(call, encode_status(out, status_now(services_of(call))));
}

static void open_list(struct rpc_call *call)
{
    /* A map with one entry: the empty key, and a HealthCheckResponse. */
    uint8_t out[] = {0x0a, 6, 0x0a, 0,
                     0x12, 2, 0x08, (uint8_t)status_now(services_of(call))};

    if (service_unpack(call,
                       &grpc__health__v1__health_list_request__descriptor))
        rpc_reply_copy(call, bytes_of(out, sizeof(out)));
}

/* ---- Watch ------------------------------------------------------------------
 */

static void send_status(struct health_watch *w)
{
    int status =
        w->unknown ? SERVICE_UNKNOWN : status_now(services_of(w->call));
    uint8_t out[2];

    if (status == w->sent)
        return;
    w->sent = status;
    rpc_send_copy(w->call, encode_status(out, status));
}

static void on_change(struct rpc_task *task)
{
    struct health_watch *w = container_of(task, struct health_watch, task);
    struct services *services = services_of(w->call);
    bool listed;

    pthread_mutex_lock(&services->health_lock);
    w->posted = false;
    listed = w->prev != NULL;
    pthread_mutex_unlock(&services->health_lock);
    if (listed)
        send_status(w);
    else
        rpc_release(w->call);
}

void services_set_serving(struct services *services, bool serving)
{
    pthread_mutex_lock(&services->health_lock);
    atomic_store(&services->serving, serving);
    for (struct health_watch *w = services->health_watches; w; w = w->next) {
        if (w->posted)
            continue;
        w->posted = true;
        rpc_post(w->call->shard, &w->task);
    }
    pthread_mutex_unlock(&services->health_lock);
}

static void open_watch(struct rpc_call *call)
{
    struct services *services = services_of(call);
    struct health_watch *w = arena_zalloc(&call->arena, sizeof(*w));
    struct bytes name;

    w->call = call;
    w->task.run = on_change;
    call->state = w;
    if (!read_name(call, &name))
        return;
    w->unknown = name.len > 0;
    rpc_hold(call);
    pthread_mutex_lock(&services->health_lock);
    w->next = services->health_watches;
    w->prev = &services->health_watches;
    if (w->next != NULL)
        w->next->prev = &w->next;
    services->health_watches = w;
    pthread_mutex_unlock(&services->health_lock);
    send_status(w);
}

static void done_watch(struct rpc_call *call)
{
    struct services *services = services_of(call);
    struct health_watch *w = call->state;
    bool held;

    if (w->prev == NULL)
        return;
    pthread_mutex_lock(&services->health_lock);
    *w->prev = w->next;
    if (w->next != NULL)
        w->next->prev = w->prev;
    w->prev = NULL;
    held = w->posted;
    pthread_mutex_unlock(&services->health_lock);
    /* A task that is under way ends the hold. */
    if (!held)
        rpc_release(call);
}

static const struct rpc_method methods[] = {
    {.name = "Check", .kind = RPC_UNARY, .open = open_check},
    {.name = "List", .kind = RPC_UNARY, .open = open_list},
    {.name = "Watch",
     .kind = RPC_SERVER_STREAM,
     .open = open_watch,
     .on_done = done_watch},
};

const struct rpc_service service_health = {
    .name = "grpc.health.v1.Health",
    .methods = methods,
    .n = sizeof(methods) / sizeof(methods[0]),
    .preset_metrics = true,
};
