/* Election.Leader and Observe: who is the first in the line, once and from now
 * on. Whether the caller may know is asked before each look at the line, as
 * etcd does: Leader's one, and Observe's whenever it needs another leader.
 * While one leads, its values are told to whom they were when it began.
 *
 *   open --barrier--> in line --news--> Leader: answered
 *                        ^  \--news--> Observe: sent, if it is new
 *                        |       \--the stream is full--> behind
 *                        '------------------drained-------'
 */
#include "election.h"
#include "inner.h"
#include "line.h"

#include "chorad/codec.h"
#include "election.pb-c.h"

/* A stream with that much unsent gets nothing; when it has drained it gets
 * what holds then. More than what rpc.h calls drained. */
#define BUDGET_BYTES ((size_t)1 << 20)
#define BUDGET_MESSAGES ((size_t)4096)

/* In the call's arena. */
struct observer {
    struct rpc_call *call;
    struct bytes prefix; /* of the election's keys */
    struct bytes end;
    struct node_barrier barrier;
    struct rpc_task back;
    struct line_guest guest;
    bool stopping; /* the server */
    bool over;     /* the stream */
    bool behind;
    enum { LOOKING, ALONE, FOLLOWING } state; /* Observe's, see below */
    int64_t create_rev; /* of the key that was sent last */
    int64_t mod_rev;
    uint32_t key_hash;
};

static int join(struct observer *o)
{
    o->guest.rev = mvcc_revision(services_of(o->call)->mvcc);
    return line_join(&o->guest, o->prefix, o->end);
}

static void on_failed(struct line_guest *guest, int err)
{
    inner_fail(guest->call, err);
}

static void barrier_done(struct node_barrier *barrier)
{
    struct observer *o = container_of(barrier, struct observer, barrier);

    rpc_post(o->call->shard, &o->back);
}

/* NULL: answered. */
static struct observer *new_observer(struct rpc_call *call)
{
    const V3electionpb__LeaderRequest *req =
        service_unpack(call, &v3electionpb__leader_request__descriptor);
    struct observer *o;

    if (!req)
        return NULL;
    o = arena_zalloc(&call->arena, sizeof(*o));
    o->call = call;
    recipe_range(&call->arena, bytes_of(req->name.data, req->name.len),
                 &o->prefix, &o->end);
    o->barrier.done = barrier_done;
    o->guest.call = call;
    o->guest.failed = on_failed;
    call->state = o;
    return o;
}

/* ---- Leader ---- */

static void leader_news(struct line_guest *guest, const struct line_news *news)
{
    struct rpc_call *call = guest->call;
    int err = access_ended(&guest->access);

    line_leave(guest);
    if (err != 0)
        inner_fail(call, err);
    else if (news)
        rpc_reply_copy(call, bytes_of(news->message->data, news->message->len));
    else
        inner_fail(call, ERR_ELECTION_NO_LEADER);
}

static void leader_run(struct rpc_task *task)
{
    struct observer *o = container_of(task, struct observer, back);
    int err = o->barrier.err;

    if (err == 0)
        err = o->stopping ? ERR_STOPPED : join(o);
    if (err != 0)
        inner_fail(o->call, err);
}

void leader_open(struct rpc_call *call)
{
    struct observer *o = new_observer(call);

    if (!o)
        return;
    o->guest.news = leader_news;
    o->back.run = leader_run;
    if (node_barrier(services_of(call)->node, &o->barrier))
        leader_run(&o->back);
}

/* No more changes will come. */
void leader_drain(struct rpc_call *call)
{
    struct observer *o = call->state;

    o->stopping = true;
    if (!o->guest.line)
        return;
    line_leave(&o->guest);
    inner_fail(call, ERR_STOPPED);
}

/* ---- Observe ----
 *
 *   LOOKING --may, there is one--> sent, FOLLOWING --its values--> sent
 *      ^  \--may, there is none--> ALONE --the first one--> sent, may?
 *      |                                                      |
 *      '---- the leader is gone ---- FOLLOWING <--------------'
 *
 * Where the caller may not, the stream ends without an error. What comes to
 * somebody who waits ALONE he was permitted to wait for: like a watcher's
 * events it is told, and only then asked about (source: etcd, which waits by
 * a watcher of the prefix, then of the key). */

static bool is_full(const struct rpc_call *call)
{
    return rpc_queued_bytes(call) > BUDGET_BYTES ||
           rpc_queued_messages(call) > BUDGET_MESSAGES;
}

/* Whoever leads next has been created later. */
static bool is_new(const struct observer *o, const struct line_news *news)
{
    if (news->create_rev != o->create_rev)
        return news->create_rev > o->create_rev;
    return news->key_hash != o->key_hash || news->mod_rev > o->mod_rev;
}

static bool is_followed(const struct observer *o, const struct line_news *news)
{
    return o->state == FOLLOWING && news->create_rev == o->create_rev &&
           news->key_hash == o->key_hash;
}

/* False: the stream has ended. */
static bool may_see(struct observer *o, struct bytes key, struct bytes end)
{
    struct access access;

    if (access_range(o->call, key, end, &access) == 0)
        return true;
    line_leave(&o->guest);
    rpc_finish(o->call, 0);
    return false;
}

static void send_news(struct observer *o, const struct line_news *news)
{
    struct rpc_piece piece;

    o->create_rev = news->create_rev;
    o->mod_rev = news->mod_rev;
    o->key_hash = news->key_hash;
    piece = (struct rpc_piece){
        bytes_of(news->message->data, news->message->len), news->message};
    rpc_send(o->call, &piece, 1);
}

static void observe_nobody(struct observer *o)
{
    if (o->state != ALONE && may_see(o, o->prefix, o->end))
        o->state = ALONE;
}

static void observe_news(struct line_guest *guest, const struct line_news *news)
{
    struct observer *o = container_of(guest, struct observer, guest);
    bool alone = o->state == ALONE;

    if (!news) {
        observe_nobody(o);
        return;
    }
    if (!is_new(o, news))
        return;
    if (is_full(o->call)) {
        o->behind = true;
        return;
    }
    if (!alone && !is_followed(o, news) && !may_see(o, o->prefix, o->end))
        return;
    o->state = FOLLOWING;
    send_news(o, news);
    if (alone)
        (void)may_see(o, news->key, bytes_of(NULL, 0));
}

/* The call is held meanwhile. */
static void observe_run(struct rpc_task *task)
{
    struct observer *o = container_of(task, struct observer, back);
    struct rpc_call *call = o->call;

    if (!o->over) {
        if (o->barrier.err != 0)
            inner_fail(call, o->barrier.err);
        else if (join(o) != 0)
            rpc_finish(call, 0);
    }
    rpc_release(call);
}

void observe_open(struct rpc_call *call)
{
    struct observer *o = new_observer(call);

    if (!o)
        return;
    o->guest.news = observe_news;
    o->back.run = observe_run;
    rpc_hold(call);
    if (node_barrier(services_of(call)->node, &o->barrier))
        observe_run(&o->back);
}

void observe_drained(struct rpc_call *call)
{
    struct observer *o = call->state;

    if (!o->behind || !o->guest.line)
        return;
    o->behind = false;
    line_ask(&o->guest);
}

void observe_done(struct rpc_call *call)
{
    struct observer *o = call->state;

    if (!o)
        return; /* the request was refused */
    o->over = true;
    if (o->guest.line)
        line_leave(&o->guest);
}
