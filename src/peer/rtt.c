/* Round trips to a member and what its clock says: a GET every few seconds. */
#include "chorad/base/clock.h"
#include "chorad/base/log.h"
#include "chorad/base/queue.h"
#include "peers.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ANSWER_MAX ((size_t)1024)
/* Clocks further apart than that are worth a line. */
#define DRIFT_MAX_NS INT64_C(1000000000)
#define TELL_AGAIN_MS 30000
#define NS_PER_S INT64_C(1000000000)

/* ---- the text: {"OK":true,"Now":"2026-11-25T08:10:21.123456789Z"} -------- */

void rtt_put_health(struct buf *out, uint64_t wall_ns)
{
    time_t s = (time_t)(wall_ns / 1000000000);
    struct tm tm;
    char text[32];

    (void)gmtime_r(&s, &tm);
    (void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    buf_printf(out, "{\"OK\":true,\"Now\":\"%s.%09uZ\"}\n", text,
               (unsigned)(wall_ns % 1000000000));
}

/* ".123456" to nanoseconds; moves on behind it. */
static int64_t fraction_ns(const char **p)
{
    int64_t ns = 0;
    int64_t unit = NS_PER_S;

    if (**p != '.')
        return 0;
    for (++*p; **p >= '0' && **p <= '9'; ++*p) {
        unit /= 10;
        ns += (**p - '0') * unit;
    }
    return ns;
}

/* "Z" or "+02:00". */
static bool zone_s(const char *p, int64_t *offset)
{
    unsigned hours;
    unsigned minutes;

    *offset = 0;
    if (*p == 'Z')
        return true;
    if ((*p != '+' && *p != '-') ||
        sscanf(p + 1, "%2u:%2u", &hours, &minutes) != 2)
        return false;
    *offset = (int64_t)(hours * 60 + minutes) * 60;
    if (*p == '-')
        *offset = -*offset;
    return true;
}

bool rtt_parse_health(struct bytes json, uint64_t *wall_ns)
{
    static const char key[] = "\"Now\":\"";
    char text[256];
    const char *p;
    struct tm tm = {0};
    int64_t ns;
    int64_t offset;

    if (json.len >= sizeof(text) ||
        !memmem(json.data, json.len, "\"OK\":true", 9))
        return false;
    memcpy(text, json.data, json.len);
    text[json.len] = '\0';
    p = strstr(text, key);
    if (!p)
        return false;
    p = strptime(p + sizeof(key) - 1, "%Y-%m-%dT%H:%M:%S", &tm);
    if (!p)
        return false;
    ns = fraction_ns(&p);
    if (!zone_s(p, &offset))
        return false;
    ns += ((int64_t)timegm(&tm) - offset) * NS_PER_S;
    if (ns < 0)
        return false;
    *wall_ns = (uint64_t)ns;
    return true;
}

/* ---- the probes ---------------------------------------------------------- */

static void tell_unhealthy(struct rtt *rtt, const char *why)
{
    struct peer *peer = rtt->peer;
    uint64_t now = net_now_ms(&peer->peers->net);

    if (rtt->probed && !rtt->healthy && now - rtt->told_ms < TELL_AGAIN_MS)
        return;
    rtt->told_ms = now;
    log_warn("prober detected unhealthy status",
             LOG_HEX("remote-peer-id", peer->id),
             LOG_NS("rtt", rtt->smoothed_ns), LOG_STR("error", why));
}

static void check_clock(struct rtt *rtt, uint64_t its_ns)
{
    struct peer *peer = rtt->peer;
    uint64_t now = net_now_ms(&peer->peers->net);
    int64_t drift =
        (int64_t)(clock_wall_ns() - its_ns) - (int64_t)(rtt->smoothed_ns / 2);

    if (llabs(drift) <= DRIFT_MAX_NS ||
        (rtt->drift_told_ms != 0 && now - rtt->drift_told_ms < TELL_AGAIN_MS))
        return;
    rtt->drift_told_ms = now;
    log_warn("prober found high clock drift",
             LOG_HEX("remote-peer-id", peer->id), LOG_NS("clock-drift", drift),
             LOG_NS("rtt", rtt->smoothed_ns));
}

static void on_done(struct exchange *x, int err)
{
    struct rtt *rtt = container_of(x, struct rtt, x);
    struct peers *peers = rtt->peer->peers;
    uint64_t took = clock_mono_ns() - x->sent_ns;
    uint64_t its_ns;

    rtt->busy = false;
    if (rtt->peer->gone)
        return;
    if (err == 0 && x->status == 200 && rtt_parse_health(x->answer, &its_ns)) {
        /* As TCP does it, RFC 6298. */
        rtt->smoothed_ns =
            rtt->smoothed_ns == 0 ? took : (rtt->smoothed_ns * 7 + took) / 8;
        metric_observe(rtt->peer->metrics.round_trip, (double)took / 1e9);
        rtt->healthy = true;
        check_clock(rtt, its_ns);
    } else {
        tell_unhealthy(rtt, err < 0 ? x->why : "unexpected answer");
        rtt->healthy = false;
    }
    rtt->probed = true;
    net_timer_set(&peers->net, &rtt->timer, peers->limits.probe_ms);
}

static void on_timer(struct net_timer *timer)
{
    struct rtt *rtt = container_of(timer, struct rtt, timer);

    rtt->busy = true;
    rtt->x = (struct exchange){.method = "GET",
                               .path = "/raft/probing",
                               .answer_max = ANSWER_MAX,
                               .timeout_ms = rtt->peer->peers->limits.read_ms,
                               .done = on_done};
    exchange_start(&rtt->peer->pool, &rtt->x);
}

void rtt_open(struct rtt *rtt, struct peer *peer)
{
    rtt->peer = peer;
    rtt->timer.due = on_timer;
    net_timer_set(&peer->peers->net, &rtt->timer,
                  peer->peers->limits.probe_first_ms);
}

/* A probe under way ends with the pool. */
void rtt_close(struct rtt *rtt)
{
    net_timer_stop(&rtt->peer->peers->net, &rtt->timer);
}
