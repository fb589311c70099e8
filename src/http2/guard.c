/* What a client may do only so often, and what it costs to do it more.
 *
 * The bounds are far above what clients do who mean well, and low enough that
 * a connection at its bound takes a few per cent of a processor. */
#include "internal.h"

#include "chorad/base/log.h"

#include <stdatomic.h>

#define NS_PER_S UINT64_C(1000000000)
#define TELL_NS (10 * NS_PER_S)

static const struct {
    const char *name;
    uint32_t burst;
    uint32_t per_s;
} bounds[GUARD_KINDS] = {
    [GUARD_RESET] = {"reset", 5000, 500},
    [GUARD_PING] = {"ping", 1000, 100},
    [GUARD_SETTINGS] = {"settings", 200, 20},
    [GUARD_EMPTY_DATA] = {"empty_data", 1000, 100},
    [GUARD_PRIORITY] = {"priority", 10000, 1000},
    [GUARD_WINDOW_UPDATE] = {"window_update", 20000, 1000},
    [GUARD_UNKNOWN] = {"unknown_frame", 1000, 100},
    [GUARD_HEADERS] = {"headers", 1000, 100},
    [GUARD_INVALID] = {"invalid", 100, 10},
};

static struct metric *ended[GUARD_KINDS];
static _Atomic uint64_t told_ns;
static _Atomic uint64_t untold;

void http2_metrics_open(void)
{
    for (int i = 0; i < GUARD_KINDS; i++) {
        struct metric_label label = {"reason", bounds[i].name};

        ended[i] = metric_counter("chorad_http2_abusive_connections_total",
                                  "Connections that were ended because the "
                                  "client did too much of something.",
                                  &label, 1);
    }
}

void guard_open(struct guard *guard, uint64_t now_ns)
{
    for (int i = 0; i < GUARD_KINDS; i++)
        guard->since_ns[i] = now_ns;
}

bool guard_event(struct guard *guard, enum guard_kind kind, uint64_t now_ns)
{
    uint32_t burst = bounds[kind].burst;
    uint64_t drained;

    if (++guard->level[kind] <= burst)
        return true;
    drained =
        (now_ns - guard->since_ns[kind]) / 1000000 * bounds[kind].per_s / 1000;
    guard->since_ns[kind] = now_ns;
    guard->level[kind] -=
        drained < guard->level[kind] ? (uint32_t)drained : guard->level[kind];
    return guard->level[kind] <= burst;
}

static void drain(struct guard *guard, enum guard_kind kind, uint32_t n)
{
    guard->level[kind] -= guard->level[kind] < n ? guard->level[kind] : n;
}

void guard_sent(struct guard *guard)
{
    drain(guard, GUARD_WINDOW_UPDATE, 2);
    drain(guard, GUARD_PING, 1);
}

void guard_ended(struct connection *connection, enum guard_kind kind)
{
    uint64_t now_ns = shard_now_ns(connection_shard(connection));
    uint64_t last_ns = atomic_load(&told_ns);

    if (ended[kind] != NULL)
        metric_inc(ended[kind]);
    if (last_ns != 0 && now_ns - last_ns < TELL_NS) {
        atomic_fetch_add(&untold, 1);
        return;
    }
    if (!atomic_compare_exchange_strong(&told_ns, &last_ns, now_ns))
        return;
    log_warn("ended a client's connection: too much of something",
             LOG_STR("what", bounds[kind].name),
             LOG_STR("remote-addr", connection_peer(connection)),
             LOG_U64("others-since-last-line", atomic_exchange(&untold, 0)));
}
