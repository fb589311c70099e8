/* What takes too long, and pings: a client that begins and doesn't go on is
 * let go of, one that has fallen silent is asked whether it is still there. */
#include "internal.h"

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)
#define LOOK_NS (10 * NS_PER_S)
/* From the first byte to the client's settings; a header block. */
#define GREETING_NS (30 * NS_PER_S)
#define BLOCK_NS (30 * NS_PER_S)
/* A request whose next part doesn't come. */
#define IDLE_NS (60 * NS_PER_S)

/* As grpc's servers have it: without streams there is little to keep alive. */
#define PING_IDLE_NS (7200 * NS_PER_S)
#define STRIKES_MAX 2

static void look(struct shard_timer *timer);

/* False: the connection has been ended. */
static bool check_silence(struct http2_session *session, uint64_t now_ns)
{
    const struct http2_config *config = session->config;
    uint64_t last_ns = connection_last_input_ns(session->connection);

    if (config->keepalive_interval_ms == 0)
        return true;
    if (session->own_ping_ns != 0) {
        if (last_ns > session->own_ping_ns)
            session->own_ping_ns = 0;
        else if (now_ns - session->own_ping_ns >=
                 config->keepalive_timeout_ms * NS_PER_MS) {
            connection_abort(session->connection);
            return false;
        }
        return true;
    }
    if (now_ns - last_ns < config->keepalive_interval_ms * NS_PER_MS)
        return true;
    session->own_ping_ns = now_ns;
    (void)nghttp2_submit_ping(session->ng, NGHTTP2_FLAG_NONE, NULL);
    connection_want_output(session->connection);
    return true;
}

static void end_idle_streams(struct http2_session *session, uint64_t now_ns)
{
    struct http2_stream *s;

    while ((s = session->oldest) != NULL && now_ns - s->since_ns >= IDLE_NS) {
        if (!s->patient) {
            http2_reset(s, NGHTTP2_CANCEL);
            continue;
        }
        stream_touch(s);
        s->since_ns = now_ns; /* also where it is the only one */
    }
}

/* When to look again, so that our own pings are about as punctual as asked
 * for. */
static uint64_t next_look(const struct http2_session *session, uint64_t now_ns)
{
    const struct http2_config *config = session->config;
    uint64_t wait_ns = LOOK_NS;

    if (config->keepalive_interval_ms > 0) {
        uint64_t ns = session->own_ping_ns != 0
                          ? config->keepalive_timeout_ms * NS_PER_MS
                          : config->keepalive_interval_ms * NS_PER_MS;

        if (ns < wait_ns)
            wait_ns = ns;
    }
    return now_ns + wait_ns;
}

static void look(struct shard_timer *timer)
{
    struct http2_session *session =
        container_of(timer, struct http2_session, timer);
    struct shard *shard = connection_shard(session->connection);
    uint64_t now_ns = shard_now_ns(shard);

    if ((!session->greeted && now_ns - session->opened_ns >= GREETING_NS) ||
        (session->block_ns != 0 && now_ns - session->block_ns >= BLOCK_NS)) {
        connection_abort(session->connection);
        return;
    }
    if (!check_silence(session, now_ns))
        return;
    end_idle_streams(session, now_ns);
    shard_timer_set(shard, timer, next_look(session, now_ns));
}

void session_watch(struct http2_session *session)
{
    struct shard *shard = connection_shard(session->connection);

    shard_timer_init(&session->timer, look);
    shard_timer_set(shard, &session->timer,
                    next_look(session, shard_now_ns(shard)));
}

/* source: grpc's keepalive document, and its server in Go: three pings that
 * come too soon, with nothing sent in between, are too many. */
void session_pinged(struct http2_session *session)
{
    uint64_t now_ns = shard_now_ns(connection_shard(session->connection));
    uint64_t min_ns = session->streams_n > 0
                          ? session->config->keepalive_min_ms * NS_PER_MS
                          : PING_IDLE_NS;
    bool first = session->ping_ns == 0;
    bool soon = !first && now_ns - session->ping_ns < min_ns;

    session->ping_ns = now_ns;
    if (session->sent_since_ping) {
        session->sent_since_ping = false;
        session->strikes = 0;
        return;
    }
    if (soon && ++session->strikes > STRIKES_MAX)
        session_end(session, NGHTTP2_ENHANCE_YOUR_CALM, "too_many_pings");
}
