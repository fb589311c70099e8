/* The transport's interface, of chorad/peer.h, on a network of our own.
 * Messages travel as the bytes that chorad sends. */
#include "net.h"
#include "chorad/base/check.h"
#include "chorad/peer.h"
#include "chorad/raftpb.h"
#include "disk.h"
#include "nemesis.h"
#include "rules.h"
#include "wraps.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PEERS_MAX 16

struct known {
    uint64_t id;
    uint64_t active_since;
    bool remote; /* only from what it sent */
};

struct peers {
    struct peers_config config;
    struct life *life;
    struct known known[PEERS_MAX];
    size_t known_count;
    bool closed;
    bool told_removed;
};

struct net_faults net_faults;

static bool cuts[SIM_SLOTS][SIM_SLOTS];
static uint64_t last_arrival[SIM_SLOTS][SIM_SLOTS];
static struct peers *up[SIM_SLOTS];

/* ---- links -------------------------------------------------------------- */

void net_cut(unsigned from, unsigned to, bool cut)
{
    cuts[from][to] = cut;
}

void net_heal(void)
{
    memset(cuts, 0, sizeof(cuts));
}

bool net_is_cut(unsigned from, unsigned to)
{
    return cuts[from][to];
}

void net_life_ended(const struct life *life)
{
    if (up[life->slot] && up[life->slot]->life == life)
        up[life->slot] = NULL;
}

static struct peers *find_peers(uint64_t id)
{
    for (unsigned i = 0; i < SIM_SLOTS; i++)
        if (up[i] && up[i]->config.member_id == id && !up[i]->closed)
            return up[i];
    return NULL;
}

struct life *net_life(uint64_t member_id)
{
    struct peers *peers = find_peers(member_id);

    return peers ? peers->life : NULL;
}

static struct known *find_known(struct peers *peers, uint64_t id)
{
    for (size_t i = 0; i < peers->known_count; i++)
        if (peers->known[i].id == id)
            return &peers->known[i];
    return NULL;
}

static bool reachable(const struct peers *from, const struct peers *to)
{
    return to && to->life->up && !cuts[from->life->slot][to->life->slot];
}

static uint64_t delay_of(const struct peers *from, const struct peers *to)
{
    uint64_t delay =
        sim_between(net_faults.delay_ns / 2 + 1, net_faults.delay_ns * 2 + 1);
    uint64_t *last = &last_arrival[from->life->slot][to->life->slot];

    if (sim_chance(2))
        delay *= 20;
    if (net_faults.reorder)
        return delay;
    if (sim.now_ns + delay < *last)
        delay = *last - sim.now_ns;
    *last = sim.now_ns + delay;
    return delay;
}

/* Who sends is known to the transport from then on, member or not. */
static void learn(struct peers *peers, uint64_t id)
{
    if (find_known(peers, id))
        return;
    CHECK(peers->known_count < PEERS_MAX);
    peers->known[peers->known_count++] =
        (struct known){.id = id, .remote = true};
}

/* ---- messages ----------------------------------------------------------- */

struct arriving;

struct parcel {
    struct peers *to;
    unsigned from_slot;
    struct shared *bytes;
    char *image; /* of a snapshot, which lies there */
    struct arriving *arriving;
};

static struct peers_request *snapshot_request(struct peers *to,
                                              struct arriving *arriving);

/* All members keep to the rules. */
static void must_be_taken(const struct raft_message *m, const char *why)
{
    if (why)
        sim_fail("a %s was refused: %s", raft_message_type_name(m->type), why);
}

void peers_note_refusal(struct peers *peers, const struct raft_message *m,
                        const char *why, const char *detail)
{
    (void)peers;
    (void)detail;
    must_be_taken(m, why);
}

static int unpack(struct raft_message *m, const struct parcel *parcel)
{
    int rc = raftpb_message_get(
        m, bytes_of(parcel->bytes->data, parcel->bytes->len));

    for (size_t i = 0; rc == 0 && i < m->entry_count; i++)
        if (m->entries[i].len > 0)
            m->entries[i].owner = shared_ref(parcel->bytes);
    return rc;
}

static void deliver(void *arg)
{
    struct parcel *parcel = arg;
    struct peers *to = parcel->to;
    struct raft_message m;

    if (to->life->up && !to->closed &&
        !cuts[parcel->from_slot][to->life->slot]) {
        CHECK(unpack(&m, parcel) == 0);
        learn(to, m.from);
        sim_note((uint64_t)m.type << 32 ^ m.from ^ m.index ^ m.term << 8);
        if (parcel->image) {
            nemesis_moment(to->life);
            must_be_taken(&m,
                          to->config.snapshot_announced(to->config.arg, &m));
            to->config.snapshot_received(to->config.arg,
                                         snapshot_request(to, parcel->arriving),
                                         &m, parcel->image);
        } else {
            must_be_taken(&m, to->config.received(to->config.arg, &m));
            to->config.received_all(to->config.arg);
        }
        raft_message_close(&m);
    }
    shared_unref(parcel->bytes);
    free(parcel->image);
    free(parcel);
}

static struct shared *pack(const struct raft_message *m)
{
    struct shared *bytes = shared_new(raftpb_message_size(m));

    (void)raftpb_message_put(bytes->data, m);
    return bytes;
}

static void post(struct peers *from, struct peers *to, struct shared *bytes)
{
    struct parcel *parcel = mem_zalloc(sizeof(*parcel));

    parcel->to = to;
    parcel->from_slot = from->life->slot;
    parcel->bytes = shared_ref(bytes);
    sim_at(delay_of(from, to), to->life, deliver, parcel);
}

struct report {
    struct peers *peers;
    uint64_t id;
};

static struct report *new_report(struct peers *peers, uint64_t id)
{
    struct report *report = mem_alloc(sizeof(*report));

    *report = (struct report){peers, id};
    return report;
}

static void tell_unreachable(void *arg)
{
    struct report *report = arg;
    struct peers *peers = report->peers;

    if (!peers->closed)
        peers->config.unreachable(peers->config.arg, report->id);
    free(report);
}

static void tell_removed(void *arg)
{
    struct peers *peers = arg;

    if (!peers->closed)
        peers->config.removed(peers->config.arg);
}

/* Who was removed for good hears of it from those who know. */
static void check_removed(struct peers *from, const struct peers *to)
{
    if (from->told_removed ||
        !to->config.is_removed(to->config.arg, from->config.member_id))
        return;
    from->told_removed = true;
    sim_at(2 * net_faults.delay_ns + SIM_MS, from->life, tell_removed, from);
}

static void send_one(struct peers *peers, const struct raft_message *m)
{
    struct peers *to = find_peers(m->to);

    rules_sent(peers->life, m);
    if (!find_known(peers, m->to))
        return;
    if (!reachable(peers, to)) {
        if (sim_chance(100))
            sim_at(SIM_MS, peers->life, tell_unreachable,
                   new_report(peers, m->to));
        return;
    }
    check_removed(peers, to);
    if (sim_chance(net_faults.lose))
        return;
    struct shared *bytes = pack(m);
    post(peers, to, bytes);
    /* A proposal that came twice would be two. */
    if (m->type != RAFT_MSG_PROP && sim_chance(net_faults.duplicate))
        post(peers, to, bytes);
    shared_unref(bytes);
}

void peers_send(struct peers *peers, struct raft_message *messages,
                size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!peers->closed)
            send_one(peers, &messages[i]);
        raft_message_close(&messages[i]);
    }
}

/* ---- snapshots ---------------------------------------------------------- */

struct sending {
    struct peers *from;
    struct raft_message message;
    int fd;
    const atomic_bool *complete;
    struct buf image;
};

/* An image on its way. The receiver may crash at any time: the sender notices
 * that its connection is gone. */
struct arriving {
    struct peers *to;
    struct peers *from;
    struct life *from_life;
    struct shared *bytes;
    struct buf image;
    uint64_t index;
    uint64_t to_id;
    bool told;
};

#define SNAPSHOT_TIMEOUT_NS (5 * SIM_S)

static void tell_sent(struct arriving *a, bool ok)
{
    if (a->told)
        return;
    a->told = true;
    if (!a->from->closed)
        a->from->config.snapshot_sent(a->from->config.arg, a->to_id, ok);
}

static void tell_arrived(void *arg)
{
    tell_sent(arg, true);
}

static void tell_failed(void *arg)
{
    tell_sent(arg, false);
}

static int save_image(const char *path, const struct buf *image)
{
    int fd = __wrap_open(path, O_CREAT | O_TRUNC | O_WRONLY);
    size_t done = 0;
    bool ok = fd >= 0;

    while (ok && done < image->len) {
        ssize_t n = __wrap_write(fd, image->data + done, image->len - done);
        ok = n > 0;
        done += ok ? (size_t)n : 0;
    }
    ok = ok && __wrap_fsync(fd) == 0;
    if (fd >= 0)
        (void)__wrap_close(fd);
    return ok ? 0 : -1;
}

/* A thread of the receiver. */
static void *receive_image(void *arg)
{
    struct arriving *a = arg;
    struct peers *to = a->to;
    struct parcel *parcel = mem_zalloc(sizeof(*parcel));
    bool ok;

    parcel->to = to;
    parcel->from_slot = a->from_life->slot;
    parcel->bytes = a->bytes;
    parcel->arriving = a;
    parcel->image = mem_printf("%s/tmp%" PRIx64 "-%" PRIx64,
                               to->config.snap_dir, a->index, sim.now_ns);
    ok = save_image(parcel->image, &a->image) == 0;
    if (ok)
        sim_at(SIM_US, to->life, deliver, parcel);
    else
        sim_at(SIM_MS, a->from_life, tell_failed, a);
    buf_close(&a->image);
    return NULL;
}

static void image_arrives(void *arg)
{
    struct arriving *a = arg;

    if (a->to->life->up && !a->to->closed)
        task_start(a->to->life, receive_image, a);
}

static void hand_over(struct sending *s, bool ok)
{
    struct peers *to = find_peers(s->message.to);
    struct arriving *a = mem_zalloc(sizeof(*a));

    a->to = to;
    a->to_id = s->message.to;
    a->from = s->from;
    a->from_life = s->from->life;
    if (!ok || !reachable(s->from, to) || sim_chance(net_faults.lose)) {
        sim_at(SIM_MS, a->from_life, tell_failed, a);
        buf_close(&s->image);
        return;
    }
    a->index = s->message.snapshot->index;
    a->bytes = pack(&s->message);
    a->image = s->image;
    sim_at(delay_of(s->from, to) + 5 * SIM_MS, to->life, image_arrives, a);
    sim_at(SNAPSHOT_TIMEOUT_NS, a->from_life, tell_failed, a);
}

static void read_image(void *arg)
{
    struct sending *s = arg;
    ssize_t n;

    do
        n = __wrap_read(s->fd, buf_reserve(&s->image, 65536), 65536);
    while (n > 0 && (s->image.len += (size_t)n, true));
    if (n < 0) {
        sim_at(SIM_MS, s->from->life, read_image, s);
        return;
    }
    (void)__wrap_close(s->fd);
    hand_over(s, !s->complete || atomic_load(s->complete));
    raft_message_close(&s->message);
    free(s);
}

void peers_send_snapshot(struct peers *peers, struct raft_message *message,
                         int fd, const atomic_bool *complete)
{
    struct sending *s = mem_zalloc(sizeof(*s));

    s->from = peers;
    s->message = *message;
    s->fd = fd;
    s->complete = complete;
    *message = (struct raft_message){0};
    sim_at(SIM_US, peers->life, read_image, s);
}

/* ---- members ------------------------------------------------------------ */

static void look(void *arg);

struct peers *peers_open(const struct peers_config *config)
{
    struct peers *peers = mem_zalloc(sizeof(*peers));

    peers->config = *config;
    peers->life = sim.life;
    peers->life->peers = peers;
    up[peers->life->slot] = peers;
    sim_at(10 * SIM_MS, peers->life, look, peers);
    return peers;
}

struct closing {
    void (*closed)(void *arg);
    void *arg;
};

static void tell_closed(void *arg)
{
    struct closing *closing = arg;

    closing->closed(closing->arg);
    free(closing);
}

void peers_close(struct peers *peers, void (*closed)(void *arg), void *arg)
{
    struct closing *closing = mem_alloc(sizeof(*closing));

    *closing = (struct closing){closed, arg};
    peers->closed = true;
    sim_at(SIM_MS, peers->life, tell_closed, closing);
}

void peers_add_connection(struct peers *peers, int fd)
{
    (void)peers;
    (void)fd;
}

void peers_add(struct peers *peers, uint64_t id, const char *const *urls)
{
    (void)urls;
    learn(peers, id);
    find_known(peers, id)->remote = false;
}

void peers_remove(struct peers *peers, uint64_t id)
{
    struct known *known = find_known(peers, id);

    if (known)
        *known = peers->known[--peers->known_count];
}

/* Probing. */
static void look(void *arg)
{
    struct peers *peers = arg;

    for (size_t i = 0; i < peers->known_count; i++) {
        struct known *known = &peers->known[i];
        struct peers *to = find_peers(known->id);
        if (known->remote || !reachable(peers, to) || !reachable(to, peers))
            known->active_since = 0;
        else if (known->active_since == 0)
            known->active_since = sim.now_ns;
    }
    if (!peers->closed)
        sim_at(50 * SIM_MS, peers->life, look, peers);
}

uint64_t peers_active_since(const struct peers *peers, uint64_t id)
{
    const struct known *known =
        find_known((struct peers *)(uintptr_t)peers, id);

    return known ? known->active_since : 0;
}

/* ---- requests ----------------------------------------------------------- */

struct peers_request {
    struct arriving *arriving; /* of a snapshot; the rest is for others */
    struct peers *from;
    struct peers *to;
    struct peers_call *call; /* NULL: nobody waits any more */
    struct life *asker;
    char method[16];
    char path[128];
    struct buf body;
    unsigned status;
    struct buf answer;
    int err;
};

static struct peers_request *snapshot_request(struct peers *to,
                                              struct arriving *arriving)
{
    struct peers_request *request = mem_zalloc(sizeof(*request));

    request->to = to;
    request->arriving = arriving;
    return request;
}

static void answer_snapshot(struct peers_request *request, unsigned status)
{
    struct arriving *a = request->arriving;

    sim_at(SIM_MS, a->from_life, status == 204 ? tell_arrived : tell_failed, a);
    free(request);
}

static void finish_call(struct peers_request *r, int err)
{
    struct peers_call *call = r->call;

    if (!call)
        return;
    r->call = NULL;
    call->inner = NULL;
    call->done(call, err, r->status, bytes_of(r->answer.data, r->answer.len));
}

static void call_ends(void *arg)
{
    struct peers_request *r = arg;

    finish_call(r, r->err);
}

static void call_times_out(void *arg)
{
    struct peers_request *r = arg;

    finish_call(r, ERR_DEADLINE);
}

static void call_arrives(void *arg)
{
    struct peers_request *r = arg;
    struct peers_query query = {.method = r->method,
                                .path = r->path,
                                .authorization = "",
                                .cluster_id = "",
                                .body = bytes_of(r->body.data, r->body.len)};
    const struct peers_route *found = NULL;

    if (!r->to->life->up || r->to->closed)
        return;
    for (const struct peers_route *route = r->to->config.routes; route->path;
         route++) {
        size_t len = strlen(route->path);
        bool prefix = route->path[len - 1] == '/';
        if (prefix ? strncmp(r->path, route->path, len) == 0
                   : strcmp(r->path, route->path) == 0)
            found = !found || strlen(found->path) < len ? route : found;
    }
    CHECK(found != NULL);
    found->handle(r->to->config.arg, r, &query);
}

void peers_answer(struct peers_request *request, unsigned status,
                  const char *content_type, struct bytes body)
{
    (void)content_type;
    if (request->arriving) {
        answer_snapshot(request, status);
        return;
    }
    if (cuts[request->to->life->slot][request->asker->slot])
        return;
    request->status = status;
    if (body.len > 0)
        buf_append(&request->answer, body.data, body.len);
    sim_at(delay_of(request->to, request->from), request->asker, call_ends,
           request);
}

/* Requests are never freed: an answer may be under way. */
void peers_call(struct peers *peers, struct peers_call *call)
{
    struct peers_request *r = mem_zalloc(sizeof(*r));
    struct peers *to = find_peers(call->to);

    r->from = peers;
    r->to = to;
    r->call = call;
    r->asker = peers->life;
    call->inner = r;
    strncpy(r->method, call->method, sizeof(r->method) - 1);
    strncpy(r->path, call->path, sizeof(r->path) - 1);
    if (call->body.len > 0)
        buf_append(&r->body, call->body.data, call->body.len);
    const struct known *known = find_known(peers, call->to);
    if (!known || known->remote || !to || !to->life->up) {
        r->err = known && !known->remote ? ERR_IO : ERR_NOTFOUND;
        sim_at(SIM_MS, peers->life, call_ends, r);
        return;
    }
    sim_at(call->timeout_ms * SIM_MS, peers->life, call_times_out, r);
    if (reachable(peers, to) && !sim_chance(net_faults.lose))
        sim_at(delay_of(peers, to), to->life, call_arrives, r);
}

void peers_call_cancel(struct peers *peers, struct peers_call *call)
{
    (void)peers;
    if (call->inner)
        finish_call(call->inner, ERR_CANCELED);
}
