/* Lines against a model: keys come and go, guests as well, and the changes
 * reach the shard late, together, or not at all. CHORAD_SEED replays. */
#include "test_mvcc.h"

#include "chorad/base/check.h"
#include "connection/internal.h"
#include "grpc/internal.h"
#include "node/node.h"
#include "services/line.h"
#include "services/service.h"

#define KEYS 12
#define GUESTS 24
/* So many that a worker reads them. */
#define CROWD 5000

struct world;

struct visitor {
    struct world *world;
    struct call call;
    struct line_guest guest;
    bool here;
    bool brief; /* an onlooker that leaves with the first news */
    bool told;
    bool empty;
    int64_t create_rev;
    int64_t mod_rev;
    uint32_t key_hash;
};

struct world {
    struct kv *kv;
    struct prng prng;
    uv_loop_t loop;
    struct node node;
    struct services services;
    struct service_local local;
    atomic_bool auth_on; /* it isn't */
    struct rpc_server server;
    struct shard thread; /* without one: who posts finds it awake */
    struct rpc_shard shard;
    struct visitor visitors[GUESTS];
    struct visitor neighbour; /* at another line, so that changes come always */
    int64_t created[KEYS];    /* 0: isn't there */
    int64_t modified[KEYS];
    int64_t crowd; /* the revision that made it; 0: isn't there */
    bool missing;  /* changes don't reach the shard */
    size_t firsts;
    size_t losses;
    size_t gaps;
    size_t works;
};

static const struct rpc_method method = {.name = "Wait", .kind = RPC_UNARY};

static void make_visitor(struct world *w, struct visitor *v)
{
    v->world = w;
    v->call.pub.shard = &w->shard;
    v->call.pub.method = &method;
    v->call.holds = 1;
}

static void make_world(struct world *w, struct kv *kv, uint64_t seed)
{
    memset(w, 0, sizeof(*w));
    w->kv = kv;
    w->prng.state = seed;
    CHECK(uv_loop_init(&w->loop) == 0);
    w->node.loop = &w->loop;
    w->node.mvcc = kv->mvcc;
    w->node.feed = watch_feed_new();
    queue_init(&w->node.tasks);
    w->services.node = &w->node;
    w->services.mvcc = kv->mvcc;
    w->services.auth_on = &w->auth_on;
    w->local.services = &w->services;
    w->local.door = access_door_open(&w->services);
    w->server.config.ctx = &w->services;
    w->shard.server = &w->server;
    w->shard.local = &w->local;
    w->shard.shard = &w->thread;
    queue_init(&w->thread.posted);
    queue_init(&w->shard.posted);
    for (size_t i = 0; i < GUESTS; i++)
        make_visitor(w, &w->visitors[i]);
    make_visitor(w, &w->neighbour);
}

/* ---- the threads, one after the other ---- */

static void run_posted(struct world *w)
{
    struct queue_node *at = queue_take_all(&w->shard.posted);

    (void)queue_take_all(&w->thread.posted);
    while (at) {
        struct rpc_task *task = container_of(at, struct rpc_task, node);
        at = at->next;
        task->run(task);
    }
}

/* The worker begins, and mostly comes to its end. */
static void run_tasks(struct world *w)
{
    struct queue_node *at = queue_take_all(&w->node.tasks);

    while (at) {
        struct node_task *task = container_of(at, struct node_task, node);
        at = at->next;
        w->works++;
        task->run(task);
        if (prng_below(&w->prng, 3) > 0)
            usleep(2000);
    }
}

/* The loop hears of it. */
static void run_loop(struct world *w)
{
    CHECK(uv_run(&w->loop, UV_RUN_DEFAULT) == 0);
}

/* A shard that has too much waiting is left out; it finds that out when it has
 * dealt with what waits. */
static void deliver(struct world *w)
{
    atomic_size_t *pending = NULL;

    if (w->missing && w->local.changes)
        pending = &w->local.changes->subscriber.pending_bytes;
    if (pending && atomic_load(pending) > 0) {
        size_t real = atomic_exchange(pending, WATCH_PENDING_MAX + 1);
        watch_feed_flush(w->node.feed);
        atomic_store(pending, real);
        w->gaps++;
    } else {
        watch_feed_flush(w->node.feed);
    }
}

/* ---- the store ---- */

static struct bytes name(char space[16], unsigned k)
{
    return bytes_of(space, (size_t)snprintf(space, 16, "l/%u", k));
}

static void finish(struct world *w)
{
    size_t n;
    const struct mvcc_change *changes = mvcc_txn_changes(w->kv->mvcc, &n);
    int64_t rev = mvcc_txn_end(w->kv->mvcc);

    kv_mark(w->kv);
    if (n > 0)
        watch_feed_add(w->node.feed, rev, changes, n);
}

/* A KeyValue's revisions are found out by the store. */
static void change_some(struct world *w)
{
    int64_t rev = mvcc_revision(w->kv->mvcc) + 1;
    unsigned n = 1 + (unsigned)prng_below(&w->prng, 3);
    unsigned k = (unsigned)prng_below(&w->prng, KEYS);
    char space[16];

    mvcc_txn_begin(w->kv->mvcc);
    for (; n > 0; n--, k = (k + 1) % KEYS) {
        if (w->created[k] && prng_below(&w->prng, 2) == 0) {
            (void)mvcc_txn_delete(w->kv->mvcc, name(space, k),
                                  bytes_of(NULL, 0));
            w->created[k] = 0;
            continue;
        }
        mvcc_txn_put(w->kv->mvcc, name(space, k), text("v"), 0);
        w->created[k] = w->created[k] ? w->created[k] : rev;
        w->modified[k] = rev;
    }
    finish(w);
}

static void change_crowd(struct world *w)
{
    char space[24];

    mvcc_txn_begin(w->kv->mvcc);
    if (w->crowd) {
        (void)mvcc_txn_delete(w->kv->mvcc, text("l/x"), text("l/y"));
        w->crowd = 0;
    } else {
        for (unsigned i = 0; i < CROWD; i++) {
            (void)snprintf(space, sizeof(space), "l/x%u", i);
            mvcc_txn_put(w->kv->mvcc, text(space), text("v"), 0);
        }
        w->crowd = mvcc_revision(w->kv->mvcc) + 1;
    }
    finish(w);
}

/* The model's first key: 0 for none, -1 for one of the crowd. */
static int64_t first_created(const struct world *w, int64_t *mod_rev)
{
    int64_t first = w->crowd;
    unsigned least = KEYS;
    char a[16];
    char b[16];

    *mod_rev = w->crowd;
    for (unsigned k = 0; k < KEYS; k++) {
        if (!w->created[k] || (first && w->created[k] > first))
            continue;
        if (first == w->created[k] && least < KEYS &&
            bytes_cmp(name(a, k), name(b, least)) > 0)
            continue;
        least = k;
        first = w->created[k];
        *mod_rev = w->modified[k];
    }
    return first;
}

/* ---- guests ---- */

static struct visitor *visitor_of(struct line_guest *guest)
{
    return container_of(guest, struct visitor, guest);
}

static unsigned key_of(const struct visitor *v)
{
    return (unsigned)strtoul((const char *)v->guest.key.data + 2, NULL, 10);
}

static void gone(struct visitor *v)
{
    assert_true(v->here);
    assert_null(v->guest.line);
    v->here = false;
    free((void *)(uintptr_t)v->guest.key.data);
}

/* What the shard knows is older than the model, but no older key comes back. */
static void on_first(struct line_guest *guest)
{
    struct visitor *v = visitor_of(guest);
    struct world *w = v->world;

    assert_true(w->crowd == 0 || w->crowd >= guest->rev);
    for (unsigned k = 0; k < KEYS; k++)
        assert_true(w->created[k] == 0 || w->created[k] >= guest->rev);
    w->firsts++;
    gone(v);
}

static void on_lost(struct line_guest *guest)
{
    struct visitor *v = visitor_of(guest);

    assert_int_not_equal(v->world->created[key_of(v)], guest->rev);
    v->world->losses++;
    gone(v);
}

static void leave(struct visitor *v)
{
    line_leave(&v->guest);
    gone(v);
}

static void on_news(struct line_guest *guest, const struct line_news *news)
{
    struct visitor *v = visitor_of(guest);

    v->told = true;
    if (v->brief) {
        leave(v);
        return;
    }
    v->empty = news == NULL;
    if (!news || news->create_rev < v->create_rev)
        return;
    if (news->create_rev == v->create_rev && news->key_hash == v->key_hash &&
        news->mod_rev <= v->mod_rev)
        return;
    v->create_rev = news->create_rev;
    v->mod_rev = news->mod_rev;
    v->key_hash = news->key_hash;
    assert_true(news->message->len > 0);
}

static void on_failed(struct line_guest *guest, int err)
{
    (void)guest;
    fail_msg("failed: %s", err_text(err));
}

static void come_next_door(struct world *w)
{
    w->neighbour.here = true;
    w->neighbour.guest = (struct line_guest){
        .call = &w->neighbour.call.pub, .news = on_news, .failed = on_failed};
    assert_int_equal(line_join(&w->neighbour.guest, text("m/"), text("m0")), 0);
}

static void come(struct world *w, struct visitor *v)
{
    unsigned k = (unsigned)prng_below(&w->prng, KEYS);
    struct line_guest *g = &v->guest;
    char space[16];
    struct bytes key;

    *g = (struct line_guest){.call = &v->call.pub,
                             .rev = mvcc_revision(w->kv->mvcc),
                             .first = on_first,
                             .lost = on_lost,
                             .news = on_news,
                             .failed = on_failed};
    v->told = v->empty = false;
    v->brief = prng_below(&w->prng, 3) == 0;
    v->create_rev = v->mod_rev = 0;
    if (w->created[k]) {
        key = name(space, k);
        g->key = bytes_of(mem_printf("%.*s", (int)key.len, space), key.len);
        g->rev = w->created[k];
    }
    v->here = true;
    assert_int_equal(line_join(g, text("l/"), text("l0")), 0);
}

/* ---- the test ---- */

/* Everything has reached the shard: who still waits has reason to. */
static void assert_settled(struct world *w)
{
    int64_t mod_rev;
    int64_t first = first_created(w, &mod_rev);
    size_t here = 0;

    for (size_t i = 0; i < GUESTS; i++) {
        const struct visitor *v = &w->visitors[i];
        if (!v->here)
            continue;
        here++;
        if (v->guest.key.len > 0) {
            assert_int_equal(w->created[key_of(v)], v->guest.rev);
            assert_true(first < v->guest.rev ||
                        (first == v->guest.rev && first != 0));
            continue;
        }
        assert_true(v->told);
        if (first) {
            assert_int_equal(v->create_rev, first);
            assert_int_equal(v->mod_rev, mod_rev);
        } else {
            assert_true(v->empty);
        }
    }
    assert_int_equal(w->neighbour.guest.line != w->local.lines->all ||
                         w->local.lines->all->next != NULL,
                     here > 0);
}

static void settle(struct world *w)
{
    w->missing = false;
    deliver(w);
    for (int i = 0; i < 3; i++) {
        run_posted(w);
        run_tasks(w);
        run_loop(w);
    }
    assert_null(queue_take_all(&w->shard.posted));
    assert_settled(w);
}

static void step(struct world *w)
{
    struct visitor *v = &w->visitors[prng_below(&w->prng, GUESTS)];

    switch (prng_below(&w->prng, 10)) {
    case 0:
    case 1:
        change_some(w);
        break;
    case 2:
    case 3:
        if (!v->here)
            come(w, v);
        break;
    case 4:
        if (v->here && prng_below(&w->prng, 3) == 0)
            leave(v);
        break;
    case 5:
        deliver(w);
        break;
    case 6:
        run_posted(w);
        break;
    case 7:
        run_tasks(w);
        break;
    case 8:
        run_loop(w);
        break;
    default:
        w->missing = prng_below(&w->prng, 8) == 0;
        break;
    }
}

static void leave_all(struct world *w)
{
    for (size_t i = 0; i < GUESTS; i++)
        if (w->visitors[i].here)
            leave(&w->visitors[i]);
}

static void close_world(struct world *w)
{
    leave_all(w);
    settle(w);
    for (size_t i = 0; i < GUESTS; i++)
        assert_int_equal(w->visitors[i].call.holds, 1);
    leave(&w->neighbour);
    assert_null(w->local.lines->all);
    assert_null(w->local.changes->followers);
    lines_close(w->local.lines);
    watch_feed_stop(w->node.feed);
    changes_close(w->local.changes);
    access_door_close(w->local.door);
    watch_feed_free(w->node.feed);
    queue_close(&w->shard.posted);
    queue_close(&w->thread.posted);
    queue_close(&w->node.tasks);
    CHECK(uv_loop_close(&w->loop) == 0);
}

static void play(struct kv *kv, unsigned steps, unsigned crowd_every,
                 struct world *w)
{
    const char *wanted = getenv("CHORAD_SEED");
    uint64_t seed = wanted ? strtoull(wanted, NULL, 10) : random_u64();

    print_message("seed %llu\n", (unsigned long long)seed);
    make_world(w, kv, seed);
    come_next_door(w);
    for (unsigned i = 1; i <= steps; i++) {
        step(w);
        if (crowd_every && prng_below(&w->prng, crowd_every) == 0)
            change_crowd(w);
        /* The next one to come makes a new line. */
        if (prng_below(&w->prng, 40) == 0)
            leave_all(w);
        if (prng_below(&w->prng, 50) == 0)
            settle(w);
    }
    settle(w);
    close_world(w);
    print_message("%zu first, %zu lost, %zu gaps, %zu read by a worker\n",
                  w->firsts, w->losses, w->gaps, w->works);
}

static void few_keys(void **state)
{
    static struct world w;

    play(*state, 60000, 0, &w);
    assert_true(w.firsts > 200 && w.losses > 200 && w.gaps > 50);
    assert_int_equal(w.works, 0);
}

static void many_keys(void **state)
{
    static struct world w;

    play(*state, 15000, 300, &w);
    assert_true(w.firsts > 20 && w.losses > 20 && w.works > 50);
}

static void put_key(struct world *w, const char *key)
{
    mvcc_txn_begin(w->kv->mvcc);
    mvcc_txn_put(w->kv->mvcc, text(key), text("v"), 0);
    finish(w);
}

static void join_onlooker(struct world *w, struct visitor *v, bool brief)
{
    v->here = true;
    v->brief = brief;
    v->guest = (struct line_guest){.call = &v->call.pub,
                                   .rev = mvcc_revision(w->kv->mvcc),
                                   .news = on_news,
                                   .failed = on_failed};
    assert_int_equal(line_join(&v->guest, text("l/"), text("l0")), 0);
}

/* Its first key is gone already when it comes in, so that it hears only of the
 * next one, and then it is the last to leave. */
static void the_last_guest_leaves_with_the_news(void **state)
{
    static struct world w;
    struct visitor *host = &w.visitors[0];
    struct visitor *late = &w.visitors[1];

    make_world(&w, *state, 1);
    come_next_door(&w);
    put_key(&w, "l/1");
    join_onlooker(&w, host, false);
    assert_true(host->told);
    put_key(&w, "l/2");
    join_onlooker(&w, late, true);
    deliver(&w);
    mvcc_txn_begin(w.kv->mvcc);
    (void)mvcc_txn_delete(w.kv->mvcc, text("l/"), text("l0"));
    finish(&w);
    run_posted(&w);
    assert_false(late->guest.pending);
    assert_false(late->told);
    leave(host);
    put_key(&w, "l/3");
    deliver(&w);
    run_posted(&w);
    assert_true(late->told);
    assert_false(late->here);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        KV_TEST(few_keys),
        KV_TEST(many_keys),
        KV_TEST(the_last_guest_leaves_with_the_news),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
