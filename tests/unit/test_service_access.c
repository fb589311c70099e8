/* The way to the store: who is let in, to what, and for how long. */
#include "test_mvcc.h"

#include "grpc/internal.h"
#include "node/node.h"
#include "services/access.h"
#include "services/line.h"

static const struct bytes none = {(const uint8_t *)"", 0};

/* A shard with a caller, who is root, may read [k/, k0), or is nobody. */
struct world {
    struct kv *kv;
    struct auth *auth;
    struct node node;
    struct services services;
    struct service_local local;
    struct rpc_server server;
    struct rpc_shard shard;
    struct call call;
    struct buf token;
};

static const struct rpc_method method = {.name = "Read", .kind = RPC_UNARY};

static void open_world(struct world *w, struct kv *kv)
{
    struct auth_tokens *tokens;
    struct errmsg msg;

    memset(w, 0, sizeof(*w));
    w->kv = kv;
    assert_int_equal(auth_tokens_open("simple", 0, &tokens, &msg), 0);
    assert_int_equal(auth_open(kv->store, tokens, 4, &w->auth, &msg), 0);
    w->node.mvcc = kv->mvcc;
    w->services.node = &w->node;
    w->services.mvcc = kv->mvcc;
    w->services.auth = w->auth;
    w->services.auth_on = auth_switch(w->auth);
    w->local.services = &w->services;
    w->local.door = access_door_open(&w->services);
    w->server.config.ctx = &w->services;
    w->shard.server = &w->server;
    w->shard.local = &w->local;
    w->call.pub.shard = &w->shard;
    w->call.pub.method = &method;
    mvcc_txn_begin(kv->mvcc);
    mvcc_txn_put(kv->mvcc, text("k/1"), text("v"), 0);
    mvcc_txn_end(kv->mvcc);
    kv_mark(kv);
}

static void close_world(struct world *w)
{
    access_door_close(w->local.door);
    auth_close(w->auth);
    buf_close(&w->token);
}

static void add_user(struct world *w, const char *name, const char *role)
{
    static const struct auth_password hashed = {
        {NULL, 0}, {(const uint8_t *)"aGFzaA==", 8}};

    assert_int_equal(auth_user_add(w->auth, text(name), false, hashed), 0);
    assert_int_equal(auth_user_grant(w->auth, text(name), text(role)), 0);
}

static void switch_on(struct world *w)
{
    add_user(w, "root", "root");
    assert_int_equal(auth_role_add(w->auth, text("r")), 0);
    assert_int_equal(
        auth_role_grant(w->auth, text("r"),
                        (struct auth_permission){0, text("k/"), text("k0")}),
        0);
    add_user(w, "u", "r");
    assert_int_equal(auth_enable(w->auth), 0);
}

/* The calls to come are this user's. */
static void call_as(struct world *w, const char *name)
{
    w->token.len = 0;
    assert_int_equal(auth_assign(w->auth, text(name), text("prefix"), 1,
                                 clock_mono_ns(), &w->token),
                     0);
    w->call.pub.token = bytes_of(w->token.data, w->token.len);
}

static int ask(struct world *w, const char *key, const char *end)
{
    struct access access;
    int err = access_range(&w->call.pub, text(key), text(end), &access);

    if (err == 0)
        assert_non_null(access_reader(&access));
    else
        assert_null(access.door);
    return err;
}

static void everybody_is_let_in_while_it_is_off(void **state)
{
    struct world w;
    struct access access;

    open_world(&w, *state);
    assert_int_equal(ask(&w, "x", ""), 0);
    assert_int_equal(access_range(&w.call.pub, text("x"), none, &access), 0);
    switch_on(&w);
    /* Nothing was asked, so nothing is over. */
    assert_int_equal(access_ended(&access), 0);
    close_world(&w);
}

static void only_who_may_is_let_in(void **state)
{
    struct world w;

    open_world(&w, *state);
    switch_on(&w);
    assert_int_equal(ask(&w, "k/1", ""), ERR_USER_EMPTY);
    w.call.pub.token = text("made.up");
    assert_int_equal(ask(&w, "k/1", ""), ERR_AUTH_TOKEN);
    call_as(&w, "u");
    assert_int_equal(ask(&w, "k/1", ""), 0);
    assert_int_equal(ask(&w, "k/", "k0"), 0);
    assert_int_equal(ask(&w, "k/", "k1"), ERR_PERMISSION_DENIED);
    assert_int_equal(ask(&w, "j", ""), ERR_PERMISSION_DENIED);
    call_as(&w, "root");
    assert_int_equal(ask(&w, "j", ""), 0);
    close_world(&w);
}

static void it_is_over_with_the_next_change(void **state)
{
    struct world w;
    struct access access;

    open_world(&w, *state);
    switch_on(&w);
    call_as(&w, "u");
    assert_int_equal(access_range(&w.call.pub, text("k/"), text("k0"), &access),
                     0);
    assert_int_equal(access_ended(&access), 0);
    assert_int_equal(
        auth_role_revoke(w.auth, text("r"), text("k/"), text("k0")), 0);
    assert_int_equal(access_ended(&access), ERR_AUTH_OLD_REVISION);
    assert_int_equal(ask(&w, "k/1", ""), ERR_PERMISSION_DENIED);
    close_world(&w);
}

static int64_t weigh(struct world *w, int64_t rev)
{
    return access_weigh(&w->call.pub, text("k/"), text("k0"), rev);
}

static void weighing_asks_nobody(void **state)
{
    struct world w;

    open_world(&w, *state);
    switch_on(&w);
    assert_int_equal(weigh(&w, 0), 1);
    assert_int_equal(weigh(&w, 99), -1);
    close_world(&w);
}

/* ---- one line for several: each guest is asked ---- */

static unsigned told;

static void on_news(struct line_guest *guest, const struct line_news *news)
{
    (void)guest;
    assert_non_null(news);
    assert_memory_equal(news->key.data, "k/1", news->key.len);
    told++;
}

static void on_failed(struct line_guest *guest, int err)
{
    (void)guest;
    fail_msg("failed: %s", err_text(err));
}

static int join(struct world *w, struct line_guest *guest)
{
    *guest = (struct line_guest){
        .call = &w->call.pub, .news = on_news, .failed = on_failed};
    return line_join(guest, text("k/"), text("k0"));
}

static void a_guest_comes_in_by_its_own_right(void **state)
{
    struct world w;
    struct line_guest first;
    struct line_guest second;

    told = 0;
    open_world(&w, *state);
    w.node.feed = watch_feed_new();
    switch_on(&w);
    assert_int_equal(join(&w, &first), ERR_USER_EMPTY);
    assert_null(first.line);
    assert_null(w.local.lines);
    call_as(&w, "u");
    assert_int_equal(join(&w, &first), 0);
    assert_int_equal(told, 1);
    /* The line is there, and known: that is nobody's right to it. */
    w.call.pub.token = text("made.up");
    assert_int_equal(join(&w, &second), ERR_AUTH_TOKEN);
    assert_null(second.line);
    assert_int_equal(told, 1);
    line_leave(&first);
    lines_close(w.local.lines);
    watch_feed_stop(w.node.feed);
    changes_close(w.local.changes);
    watch_feed_free(w.node.feed);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        KV_TEST(everybody_is_let_in_while_it_is_off),
        KV_TEST(only_who_may_is_let_in),
        KV_TEST(it_is_over_with_the_next_change),
        KV_TEST(weighing_asks_nobody),
        KV_TEST(a_guest_comes_in_by_its_own_right),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
