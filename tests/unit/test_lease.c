/* The lessor: grants, keys, expiry, and what survives a reopen. */
#include "chorad/lease.h"
#include "test_store.h"

#include <stdio.h>

#define S UINT64_C(1000000000)
#define MIN_TTL 2
#define NOW (1000 * S)

static struct lessor *open_lessor(struct fixture *f)
{
    struct lessor *lessor = NULL;
    struct errmsg msg;

    assert_int_equal(lessor_open(f->store, MIN_TTL, &lessor, &msg), 0);
    return lessor;
}

static struct lessor *reopen_lessor(struct fixture *f, struct lessor *lessor)
{
    lessor_close(lessor);
    mark(f);
    reopen_store(f);
    return open_lessor(f);
}

static void grant(struct lessor *lessor, int64_t id, int64_t ttl_s)
{
    int64_t granted;

    assert_int_equal(lessor_grant(lessor, id, ttl_s, NOW, &granted), 0);
    assert_int_equal(granted, ttl_s < MIN_TTL ? MIN_TTL : ttl_s);
}

static int64_t remaining_s(struct lessor *lessor, int64_t id, uint64_t now_ns)
{
    struct lease_info info;

    assert_int_equal(lessor_info(lessor, id, now_ns, &info), 0);
    assert_int_equal(info.id, id);
    return info.remaining_ns == INT64_MAX ? INT64_MAX
                                          : info.remaining_ns / (int64_t)S;
}

/* The lease's keys, with commas. */
static void assert_keys(struct lessor *lessor, int64_t id, const char *want)
{
    struct arena arena = {0};
    char got[256] = "";
    struct bytes *keys;
    size_t n;

    assert_int_equal(lessor_keys(lessor, id, &arena, &keys, &n), 0);
    for (size_t i = 0; i < n; i++) {
        strcat(got, i > 0 ? "," : "");
        strncat(got, (const char *)keys[i].data, keys[i].len);
    }
    assert_string_equal(got, want);
    arena_close(&arena);
}

struct renewal {
    int calls;
    int err;
    int64_t ttl_s;
};

static void renewed(void *arg, int err, int64_t ttl_s)
{
    struct renewal *r = arg;

    r->calls++;
    r->err = err;
    r->ttl_s = ttl_s;
}

static struct renewal renew(struct lessor *lessor, int64_t id, uint64_t now_ns)
{
    struct renewal r = {0};

    lessor_renew(lessor, id, now_ns, renewed, &r);
    assert_int_equal(r.calls, 1);
    return r;
}

/* ---- grants -------------------------------------------------------------- */

static void test_grant(void **state)
{
    struct lessor *lessor = open_lessor(*state);
    int64_t granted = -1;

    assert_int_equal(lessor_grant(lessor, 0, 10, NOW, &granted),
                     ERR_LEASE_NOT_FOUND);
    assert_int_equal(lessor_grant(lessor, 1, LEASE_TTL_MAX + 1, NOW, &granted),
                     ERR_LEASE_TTL);
    assert_int_equal(lessor_grant(lessor, 1, INT64_MAX, NOW, &granted),
                     ERR_LEASE_TTL);
    assert_false(lessor_has(lessor, 1));
    assert_int_equal(granted, -1);
    grant(lessor, 1, LEASE_TTL_MAX);
    grant(lessor, 2, 1);
    grant(lessor, 3, -100);
    grant(lessor, -4, 60);
    assert_int_equal(lessor_grant(lessor, 1, 10, NOW, &granted),
                     ERR_LEASE_EXISTS);
    assert_true(lessor_has(lessor, -4));
    assert_int_equal(lessor_revoke(lessor, 5), ERR_LEASE_NOT_FOUND);
    assert_int_equal(lessor_revoke(lessor, -4), 0);
    assert_false(lessor_has(lessor, -4));
    grant(lessor, -4, 70);
    lessor_close(lessor);
}

static void test_many_leases(void **state)
{
    struct lessor *lessor = open_lessor(*state);

    for (int64_t id = 1; id <= 5000; id++)
        grant(lessor, id * 64, 10 + id);
    for (int64_t id = 1; id <= 5000; id += 2)
        assert_int_equal(lessor_revoke(lessor, id * 64), 0);
    for (int64_t id = 1; id <= 5000; id++)
        assert_int_equal(lessor_has(lessor, id * 64), id % 2 == 0);
    lessor_close(lessor);
}

/* ---- keys ---------------------------------------------------------------- */

static void test_attach(void **state)
{
    struct lessor *lessor = open_lessor(*state);
    struct arena arena = {0};
    struct bytes *keys;
    size_t n;

    grant(lessor, 1, 10);
    grant(lessor, 2, 10);
    lessor_attach(lessor, 1, text("b"));
    lessor_attach(lessor, 1, text("c"));
    lessor_attach(lessor, 1, text("a"));
    lessor_attach(lessor, 1, text("a"));
    assert_keys(lessor, 1, "a,b,c");
    lessor_attach(lessor, 2, text("a"));
    assert_keys(lessor, 1, "b,c");
    assert_keys(lessor, 2, "a");
    lessor_attach(lessor, 0, text("b"));
    lessor_attach(lessor, 0, text("never there"));
    assert_keys(lessor, 1, "c");
    /* The put that is applied has the lease's id all the same. */
    lessor_attach(lessor, 99, text("c"));
    assert_keys(lessor, 1, "");
    assert_int_equal(lessor_keys(lessor, 99, &arena, &keys, &n),
                     ERR_LEASE_NOT_FOUND);
    assert_int_equal(lessor_revoke(lessor, 2), 0);
    lessor_attach(lessor, 1, text("a"));
    assert_keys(lessor, 1, "a");
    arena_close(&arena);
    lessor_close(lessor);
}

static void test_many_keys(void **state)
{
    struct lessor *lessor = open_lessor(*state);
    struct arena arena = {0};
    struct bytes *keys;
    char key[16];
    size_t n;

    grant(lessor, 1, 10);
    grant(lessor, 2, 10);
    for (int i = 0; i < 3000; i++) {
        snprintf(key, sizeof(key), "k%d", i * 7919 % 3000);
        lessor_attach(lessor, 1 + i % 2, text(key));
    }
    for (int64_t id = 1; id <= 2; id++) {
        assert_int_equal(lessor_keys(lessor, id, &arena, &keys, &n), 0);
        assert_int_equal(n, 1500);
        for (size_t i = 1; i < n; i++)
            assert_true(bytes_cmp(keys[i - 1], keys[i]) < 0);
    }
    assert_int_equal(lessor_revoke(lessor, 1), 0);
    assert_int_equal(lessor_keys(lessor, 2, &arena, &keys, &n), 0);
    assert_int_equal(n, 1500);
    arena_close(&arena);
    lessor_close(lessor);
}

/* ---- expiry -------------------------------------------------------------- */

static void test_lives_for_ever_until_promoted(void **state)
{
    struct lessor *lessor = open_lessor(*state);
    int64_t ids[4];

    grant(lessor, 1, 10);
    assert_false(lessor_is_primary(lessor));
    assert_int_equal(remaining_s(lessor, 1, NOW + 100 * S), INT64_MAX);
    assert_int_equal(lessor_next_expiry(lessor), UINT64_MAX);
    assert_int_equal(lessor_expired(lessor, UINT64_MAX, ids, 4), 0);
    assert_int_equal(renew(lessor, 1, NOW).err, ERR_NOT_LEADER);
    lessor_promote(lessor, NOW, 3 * S);
    assert_true(lessor_is_primary(lessor));
    assert_int_equal(remaining_s(lessor, 1, NOW), 13);
    assert_int_equal(lessor_next_expiry(lessor), NOW + 13 * S);
    lessor_demote(lessor);
    assert_int_equal(remaining_s(lessor, 1, NOW), INT64_MAX);
    assert_int_equal(lessor_expired(lessor, UINT64_MAX, ids, 4), 0);
    lessor_close(lessor);
}

static void test_expired_are_named_again(void **state)
{
    struct lessor *lessor = open_lessor(*state);
    int64_t ids[4];

    lessor_promote(lessor, NOW, 0);
    grant(lessor, 1, 10);
    grant(lessor, 2, 20);
    assert_int_equal(lessor_expired(lessor, NOW + 10 * S - 1, ids, 4), 0);
    assert_int_equal(lessor_expired(lessor, NOW + 10 * S, ids, 4), 1);
    assert_int_equal(ids[0], 1);
    assert_int_equal(lessor_expired(lessor, NOW + 10 * S, ids, 4), 0);
    assert_int_equal(lessor_next_expiry(lessor), NOW + 13 * S);
    assert_int_equal(lessor_expired(lessor, NOW + 13 * S - 1, ids, 4), 0);
    assert_int_equal(lessor_expired(lessor, NOW + 13 * S, ids, 4), 1);
    assert_int_equal(lessor_revoke(lessor, 1), 0);
    assert_int_equal(lessor_next_expiry(lessor), NOW + 20 * S);
    assert_int_equal(lessor_expired(lessor, NOW + 100 * S, ids, 4), 1);
    assert_int_equal(ids[0], 2);
    assert_int_equal(lessor_revoke(lessor, 2), 0);
    assert_int_equal(lessor_next_expiry(lessor), UINT64_MAX);
    lessor_close(lessor);
}

static void test_expired_up_to_max(void **state)
{
    struct lessor *lessor = open_lessor(*state);
    int64_t ids[2];

    lessor_promote(lessor, NOW, 0);
    for (int64_t id = 1; id <= 3; id++)
        grant(lessor, id, 10 * id);
    assert_int_equal(lessor_expired(lessor, NOW + 50 * S, ids, 2), 2);
    assert_int_equal(ids[0], 1);
    assert_int_equal(ids[1], 2);
    assert_int_equal(lessor_expired(lessor, NOW + 50 * S, ids, 2), 1);
    assert_int_equal(ids[0], 3);
    lessor_close(lessor);
}

static void test_renew(void **state)
{
    struct lessor *lessor = open_lessor(*state);
    struct renewal r;

    lessor_promote(lessor, NOW, 0);
    grant(lessor, 1, 10);
    assert_int_equal(renew(lessor, 2, NOW).err, ERR_LEASE_NOT_FOUND);
    r = renew(lessor, 1, NOW + 9 * S);
    assert_int_equal(r.err, 0);
    assert_int_equal(r.ttl_s, 10);
    assert_int_equal(lessor_next_expiry(lessor), NOW + 19 * S);
    lessor_close(lessor);
}

static void test_renew_of_expired_waits_for_the_revoke(void **state)
{
    struct lessor *lessor = open_lessor(*state);
    struct renewal a = {0};
    struct renewal b = {0};
    struct renewal gone = {0};

    lessor_promote(lessor, NOW, 0);
    grant(lessor, 1, 10);
    lessor_renew(lessor, 1, NOW + 10 * S, renewed, &a);
    lessor_renew(lessor, 1, NOW + 11 * S, renewed, &gone);
    lessor_renew(lessor, 1, NOW + 11 * S, renewed, &b);
    lessor_renew_cancel(lessor, &gone);
    assert_int_equal(a.calls + b.calls, 0);
    assert_int_equal(lessor_revoke(lessor, 1), 0);
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.err, ERR_LEASE_NOT_FOUND);
    assert_int_equal(b.calls, 1);
    assert_int_equal(gone.calls, 0);
    lessor_close(lessor);
}

static void test_demotion_answers_who_waits(void **state)
{
    struct lessor *lessor = open_lessor(*state);
    struct renewal r = {0};

    lessor_promote(lessor, NOW, 0);
    grant(lessor, 1, 10);
    lessor_renew(lessor, 1, NOW + 10 * S, renewed, &r);
    lessor_demote(lessor);
    assert_int_equal(r.calls, 1);
    assert_int_equal(r.err, ERR_NOT_LEADER);
    assert_true(lessor_has(lessor, 1));
    /* A close with somebody waiting leaks nothing and calls nobody. */
    lessor_promote(lessor, NOW, 0);
    lessor_renew(lessor, 1, NOW + 10 * S, renewed, &r);
    lessor_close(lessor);
    assert_int_equal(r.calls, 1);
}

static void test_promotion_spreads(void **state)
{
    enum { LEASES = 3000, RATE = 750 };
    struct lessor *lessor = open_lessor(*state);
    int64_t ids[LEASES];
    size_t total = 0;

    for (int64_t id = 1; id <= LEASES; id++)
        grant(lessor, id, 10);
    lessor_promote(lessor, NOW, 5 * S);
    assert_int_equal(lessor_expired(lessor, NOW + 15 * S - 1, ids, LEASES), 0);
    for (uint64_t s = 15; total < LEASES; s++) {
        uint64_t end = NOW + (s + 1) * S - 1;
        size_t n = lessor_expired(lessor, end, ids, LEASES);
        assert_in_range(n, 1, RATE);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(lessor_revoke(lessor, ids[i]), 0);
        total += n;
        assert_true(s < 15 + LEASES / RATE + 1);
    }
    assert_int_equal(lessor_next_expiry(lessor), UINT64_MAX);
    lessor_close(lessor);
}

/* At most the rate: there is nothing to spread. */
static void test_promotion_of_few_spreads_nothing(void **state)
{
    struct lessor *lessor = open_lessor(*state);
    int64_t ids[750];

    for (int64_t id = 1; id <= 750; id++)
        grant(lessor, id, 10);
    lessor_promote(lessor, NOW, 0);
    assert_int_equal(lessor_expired(lessor, NOW + 10 * S, ids, 750), 750);
    lessor_close(lessor);
}

/* The leader before may renew until it hears of this one: what the promotion
 * has added for that outlives a renewal. */
static void test_renewal_shortens_nothing(void **state)
{
    struct lessor *lessor = open_lessor(*state);
    int64_t id;

    grant(lessor, 1, 10);
    lessor_promote(lessor, NOW, 3 * S);
    assert_int_equal(renew(lessor, 1, NOW + S).ttl_s, 10);
    assert_int_equal(remaining_s(lessor, 1, NOW + S), 12);
    assert_int_equal(lessor_expired(lessor, NOW + 12 * S, &id, 1), 0);
    assert_int_equal(renew(lessor, 1, NOW + 5 * S).ttl_s, 10);
    assert_int_equal(remaining_s(lessor, 1, NOW + 5 * S), 10);
    assert_int_equal(lessor_expired(lessor, NOW + 15 * S, &id, 1), 1);
    lessor_close(lessor);
}

/* ---- checkpoints, reopening, listing --------------------------------------
 */

/* One that is on its way through the log would outlive a renewal that didn't
 * clear it. */
static void test_checkpoint_under_way(void **state)
{
    struct lessor *lessor = open_lessor(*state);
    struct lease_checkpoint due[2];

    lessor_enable_checkpoints(lessor);
    grant(lessor, 1, 1000);
    lessor_promote(lessor, NOW, 0);
    assert_false(lessor_is_checkpointed(lessor, 1));
    assert_int_equal(lessor_checkpoints(lessor, NOW + 300 * S, due, 2), 1);
    assert_int_equal(due[0].remaining_s, 700);
    assert_true(lessor_is_checkpointed(lessor, 1));
    lessor_checkpoint(lessor, 1, 700, true, NOW + 300 * S);
    assert_true(lessor_is_checkpointed(lessor, 1));
    lessor_checkpoint(lessor, 1, 0, true, NOW + 300 * S);
    assert_false(lessor_is_checkpointed(lessor, 1));

    assert_int_equal(lessor_checkpoints(lessor, NOW + 600 * S, due, 2), 1);
    assert_true(lessor_is_checkpointed(lessor, 1));
    lessor_demote(lessor);
    assert_false(lessor_is_checkpointed(lessor, 1));
    lessor_close(lessor);
}

static void test_checkpoint(void **state)
{
    struct fixture *f = *state;
    struct lessor *lessor = open_lessor(f);

    grant(lessor, 1, 100);
    lessor_checkpoint(lessor, 1, 40, true, NOW);
    lessor_checkpoint(lessor, 2, 40, true, NOW);
    assert_false(lessor_has(lessor, 2));
    lessor_promote(lessor, NOW, 2 * S);
    assert_int_equal(remaining_s(lessor, 1, NOW), 42);
    lessor = reopen_lessor(f, lessor);
    lessor_promote(lessor, NOW, 0);
    assert_int_equal(remaining_s(lessor, 1, NOW), 40);
    /* A renewal gives all of it back. */
    assert_int_equal(renew(lessor, 1, NOW).ttl_s, 100);
    assert_int_equal(remaining_s(lessor, 1, NOW), 100);
    lessor_checkpoint(lessor, 1, 0, true, NOW);
    lessor = reopen_lessor(f, lessor);
    lessor_promote(lessor, NOW, 0);
    assert_int_equal(remaining_s(lessor, 1, NOW), 100);
    lessor_close(lessor);
}

static void test_reopen(void **state)
{
    struct fixture *f = *state;
    struct lessor *lessor = open_lessor(f);
    struct lease_info info;

    grant(lessor, 1, 100);
    grant(lessor, INT64_MIN, 200);
    grant(lessor, 3, 300);
    assert_int_equal(lessor_revoke(lessor, 3), 0);
    lessor = reopen_lessor(f, lessor);
    assert_false(lessor_is_primary(lessor));
    assert_int_equal(lessor_info(lessor, INT64_MIN, NOW, &info), 0);
    assert_int_equal(info.granted_s, 200);
    assert_int_equal(lessor_info(lessor, 1, NOW, &info), 0);
    assert_int_equal(info.granted_s, 100);
    assert_false(lessor_has(lessor, 3));
    assert_int_equal(lessor_info(lessor, 3, NOW, &info), ERR_LEASE_NOT_FOUND);
    lessor_close(lessor);
}

static void test_list_by_remaining_time(void **state)
{
    struct lessor *lessor = open_lessor(*state);
    struct arena arena = {0};
    int64_t *ids;
    size_t n;

    lessor_list(lessor, &arena, &ids, &n);
    assert_int_equal(n, 0);
    lessor_promote(lessor, NOW, 0);
    grant(lessor, 1, 30);
    grant(lessor, 2, 10);
    grant(lessor, 3, 20);
    lessor_list(lessor, &arena, &ids, &n);
    assert_int_equal(n, 3);
    assert_int_equal(ids[0], 2);
    assert_int_equal(ids[1], 3);
    assert_int_equal(ids[2], 1);
    arena_close(&arena);
    lessor_close(lessor);
}

static void put_record(struct fixture *f, const char *key, size_t key_len,
                       const char *value, size_t value_len)
{
    store_put(f->store, STORE_LEASE, bytes_of(key, key_len),
              bytes_of(value, value_len));
    mark(f);
    reopen_store(f);
}

static void test_damaged_records(void **state)
{
    struct fixture *f = *state;
    struct lessor *lessor;
    struct errmsg msg;

    put_record(f, "short", 5, "\x08\x01", 2);
    assert_int_equal(lessor_open(f->store, MIN_TTL, &lessor, &msg),
                     ERR_CORRUPT);
    assert_non_null(strstr(msg.text, "lease"));
    store_delete(f->store, STORE_LEASE, bytes_of("short", 5));
    put_record(f, "\0\0\0\0\0\0\0\x01", 8, "\x08", 1);
    assert_int_equal(lessor_open(f->store, MIN_TTL, &lessor, &msg),
                     ERR_CORRUPT);
}

/* A TTL that was never granted must not run time over. */
static void test_absurd_ttl_in_a_record(void **state)
{
    struct fixture *f = *state;
    struct lessor *lessor;

    put_record(f, "\0\0\0\0\0\0\0\x01", 8,
               "\x08\x01\x10\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 12);
    lessor = open_lessor(f);
    lessor_promote(lessor, NOW, 0);
    assert_true(remaining_s(lessor, 1, NOW) >= LEASE_TTL_MAX);
    lessor_close(lessor);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_grant),
        TEST(test_many_leases),
        TEST(test_attach),
        TEST(test_many_keys),
        TEST(test_lives_for_ever_until_promoted),
        TEST(test_expired_are_named_again),
        TEST(test_expired_up_to_max),
        TEST(test_renew),
        TEST(test_renew_of_expired_waits_for_the_revoke),
        TEST(test_demotion_answers_who_waits),
        TEST(test_promotion_spreads),
        TEST(test_promotion_of_few_spreads_nothing),
        TEST(test_renewal_shortens_nothing),
        TEST(test_checkpoint),
        TEST(test_checkpoint_under_way),
        TEST(test_reopen),
        TEST(test_list_by_remaining_time),
        TEST(test_damaged_records),
        TEST(test_absurd_ttl_in_a_record),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
