/* What the door in front of the Raft core lets through and what it doesn't, in
 * each role, with every field at its limits and beyond. */
#include "chorad/base/clock.h"
#include "raft_rig.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* ---- messages that are refused, and why ---- */

#define HUGE_NUMBER UINT64_MAX

struct refused {
    const char *why;
    enum rig_role role;
    struct raft_message m; /* from 2 to the member where it says nothing */
};

#define M(t, ...)                                                              \
    {                                                                          \
        .type = RAFT_MSG_##t, __VA_ARGS__                                      \
    }

static struct raft_entry gap[] = {{.term = 3, .index = 14}};
static struct raft_entry behind[] = {{.term = 2, .index = 13}};
static struct raft_entry ahead[] = {{.term = 4, .index = 13}};
static struct raft_entry of_no_type[] = {{.type = (enum raft_entry_type)3}};
static struct raft_entry committed_other[] = {{.term = 3, .index = 8}};
static struct raft_entry wraps[] = {{.term = 3, .index = 0}};
static uint8_t long_context[4096];
static struct raft_entry of_long_context[] = {
    {.data = long_context, .len = sizeof(long_context)}};
static struct raft_entry of_8_bytes[] = {{.data = long_context, .len = 8}};
static struct raft_snapshot at_zero = {.term = 3};
static struct raft_snapshot of_no_term = {.index = 20};
static struct raft_snapshot of_term_4 = {.index = 20, .term = 4};
static struct raft_snapshot of_nobody = {.index = 20, .term = 3};
static struct raft_snapshot too_old = {.index = 20, .term = 1};
static struct raft_snapshot contradicting = {.index = 7, .term = 3};
static struct raft_snapshot endless = {.index = HUGE_NUMBER, .term = 3};

static const struct refused refusals[] = {
    {"unknown-type", RIG_FOLLOWER, {.type = (enum raft_message_type)99}},
    {"local-type", RIG_FOLLOWER, M(HUP, .term = 3)},
    {"local-type", RIG_FOLLOWER, M(BEAT, .term = 3)},
    {"local-type", RIG_LEADER, M(UNREACHABLE, .term = 4)},
    {"local-type", RIG_LEADER, M(SNAP_STATUS, .term = 4)},
    {"local-type", RIG_LEADER, M(CHECK_QUORUM, .term = 4)},
    {"local-type", RIG_FOLLOWER, M(STORAGE_APPEND, .term = 3)},
    {"local-type", RIG_FOLLOWER,
     M(STORAGE_APPEND_RESP, .term = 3, .from = RAFT_APPEND_THREAD)},
    {"local-type", RIG_FOLLOWER, M(STORAGE_APPLY_RESP, .term = 3)},
    {"local-type", RIG_FOLLOWER, M(FORGET_LEADER, .term = 3)},
    {"wrong-receiver", RIG_FOLLOWER, M(HEARTBEAT, .term = 3, .to = 3)},
    {"no-sender", RIG_FOLLOWER,
     M(HEARTBEAT, .term = 3, .from = RAFT_APPLY_THREAD)},
    {"own-message", RIG_FOLLOWER, M(HEARTBEAT, .term = 3, .from = 1)},
    {"own-message", RIG_CANDIDATE, M(VOTE_RESP, .term = 4, .from = 1)},
    {"own-message", RIG_LEADER, M(APP_RESP, .term = 4, .from = 1)},
    {"number-too-large", RIG_FOLLOWER, M(VOTE, .term = HUGE_NUMBER)},
    {"number-too-large", RIG_FOLLOWER,
     M(APP, .term = 3, .index = HUGE_NUMBER, .log_term = 3, .entries = wraps,
       .entry_count = 1)},
    {"number-too-large", RIG_LEADER,
     M(APP_RESP, .term = 4, .reject = true, .reject_hint = HUGE_NUMBER)},
    {"number-too-large", RIG_FOLLOWER,
     M(SNAP, .term = 3, .snapshot = &endless)},
    {"term-too-far", RIG_FOLLOWER, M(VOTE, .term = UINT64_C(1) << 50)},
    {"term-of-a-request", RIG_LEADER,
     M(PROP, .term = 9, .entries = of_8_bytes, .entry_count = 1)},
    {"term-of-a-request", RIG_LEADER,
     M(READ_INDEX, .term = 4, .entries = of_8_bytes, .entry_count = 1)},
    {"no-term", RIG_CANDIDATE, M(VOTE_RESP)},
    {"no-term", RIG_FOLLOWER, M(HEARTBEAT)},
    {"no-term", RIG_FOLLOWER, M(TIMEOUT_NOW)},
    {"no-entries", RIG_LEADER, M(PROP)},
    {"unknown-entry-type", RIG_LEADER,
     M(PROP, .entries = of_no_type, .entry_count = 1)},
    {"entries-out-of-order", RIG_FOLLOWER,
     M(APP, .term = 3, .index = 12, .log_term = 3, .entries = gap,
       .entry_count = 1)},
    {"entries-out-of-order", RIG_FOLLOWER,
     M(APP, .term = 3, .index = 12, .log_term = 3, .entries = behind,
       .entry_count = 1)},
    {"log-ahead-of-term", RIG_FOLLOWER,
     M(APP, .term = 3, .index = 12, .log_term = 3, .entries = ahead,
       .entry_count = 1)},
    {"log-ahead-of-term", RIG_FOLLOWER,
     M(APP, .term = 3, .index = 12, .log_term = 5)},
    {"log-ahead-of-term", RIG_LONELY, M(VOTE, .term = 4, .log_term = 5)},
    {"log-ahead-of-term", RIG_FOLLOWER,
     M(SNAP, .term = 3, .snapshot = &of_term_4)},
    {"contradicts-committed", RIG_FOLLOWER,
     M(APP, .term = 3, .index = 8, .log_term = 1)},
    {"contradicts-committed", RIG_FOLLOWER,
     M(APP, .term = 3, .index = 7, .log_term = 1, .entries = committed_other,
       .entry_count = 1)},
    {"contradicts-committed", RIG_FOLLOWER,
     M(SNAP, .term = 3, .snapshot = &contradicting)},
    {"contradicts-committed", RIG_FOLLOWER,
     M(SNAP, .term = 3, .snapshot = &too_old)},
    {"commit-beyond-log", RIG_FOLLOWER, M(HEARTBEAT, .term = 3, .commit = 13)},
    {"commit-beyond-log", RIG_LEARNER,
     M(HEARTBEAT, .term = 3, .commit = UINT64_C(1) << 60)},
    {"commit-beyond-log", RIG_CANDIDATE,
     M(HEARTBEAT, .term = 9, .commit = 1000)},
    {"second-leader", RIG_FOLLOWER, M(HEARTBEAT, .term = 3, .from = 3)},
    {"second-leader", RIG_LEADER, M(APP, .term = 4)},
    {"second-leader", RIG_FOLLOWER, M(TIMEOUT_NOW, .term = 3, .from = 3)},
    {"second-leader", RIG_FOLLOWER,
     M(READ_INDEX_RESP, .term = 3, .from = 3, .entries = of_8_bytes,
       .entry_count = 1)},
    {"stranger", RIG_LONELY, M(TIMEOUT_NOW, .term = 3, .from = 77)},
    {"acknowledges-beyond-log", RIG_LEADER,
     M(APP_RESP, .term = 4, .index = 14)},
    {"acknowledges-beyond-log", RIG_LEADER,
     M(APP_RESP, .term = 4, .index = 14, .reject = true)},
    {"no-snapshot", RIG_FOLLOWER, M(SNAP, .term = 3)},
    {"no-snapshot", RIG_FOLLOWER, M(SNAP, .term = 3, .snapshot = &at_zero)},
    {"no-snapshot", RIG_FOLLOWER, M(SNAP, .term = 3, .snapshot = &of_no_term)},
    {"no-configuration", RIG_FOLLOWER,
     M(SNAP, .term = 3, .snapshot = &of_nobody)},
    {"no-context", RIG_LEADER, M(READ_INDEX)},
    {"no-context", RIG_FOLLOWER, M(READ_INDEX_RESP, .term = 3)},
    {"context-too-long", RIG_LEADER,
     M(READ_INDEX, .entries = of_long_context, .entry_count = 1)},
};

static void the_impossible_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        struct rig rig;
        struct raft_message m = refusals[i].m;
        const char *why;

        rig_open(&rig, refusals[i].role);
        if (m.from == RAFT_NONE)
            m.from = 2;
        if (m.to == RAFT_NONE)
            m.to = rig.id;
        why = raft_refusal(rig.raft, &m);
        if (!why || strcmp(why, refusals[i].why) != 0)
            fail_msg("%zu: %s: %s instead of %s", i,
                     raft_message_type_name(m.type), why ? why : "taken",
                     refusals[i].why);
        rig_close(&rig);
    }
}

/* ---- messages that are taken: old, late, of who is behind ---- */

static struct raft_entry next[] = {{.term = 3, .index = 13}};
static struct raft_entry replaces[] = {{.term = 3, .index = 9},
                                       {.term = 3, .index = 10}};
static struct raft_entry again[] = {{.term = 2, .index = 8},
                                    {.term = 2, .index = 9}};

static const struct refused taken[] = {
    {NULL, RIG_FOLLOWER, M(HEARTBEAT, .term = 3, .commit = 12)},
    {NULL, RIG_FOLLOWER, M(HEARTBEAT, .term = 2, .commit = 99)},
    {NULL, RIG_FOLLOWER, M(HEARTBEAT, .term = 2, .from = 3)},
    {NULL, RIG_FOLLOWER, M(HEARTBEAT, .term = 9, .from = 77)},
    {NULL, RIG_LONELY, M(HEARTBEAT, .term = 3, .from = 3)},
    {NULL, RIG_CANDIDATE, M(HEARTBEAT, .term = 4, .from = 3)},
    {NULL, RIG_FOLLOWER,
     M(APP, .term = 3, .index = 12, .log_term = 3, .entries = next,
       .entry_count = 1, .commit = 1000)},
    {NULL, RIG_FOLLOWER,
     M(APP, .term = 3, .index = 8, .log_term = 2, .entries = replaces,
       .entry_count = 2)},
    {NULL, RIG_FOLLOWER,
     M(APP, .term = 3, .index = 7, .log_term = 1, .entries = again,
       .entry_count = 2)},
    {NULL, RIG_FOLLOWER, M(APP, .term = 3, .index = 900, .log_term = 3)},
    {NULL, RIG_FOLLOWER, M(APP, .term = 3, .index = 3, .log_term = 1)},
    {NULL, RIG_FOLLOWER, M(APP, .term = 2, .index = 8, .log_term = 1)},
    {NULL, RIG_LEADER, M(APP_RESP, .term = 4, .index = 13)},
    {NULL, RIG_LEADER, M(APP_RESP, .term = 3, .index = 99)},
    {NULL, RIG_LEADER, M(APP_RESP, .term = 5)},
    {NULL, RIG_LEADER,
     M(APP_RESP, .term = 4, .reject = true, .index = 12, .reject_hint = 99)},
    {NULL, RIG_FOLLOWER, M(APP_RESP, .term = 3, .index = 99)},
    {NULL, RIG_LEADER, M(APP_RESP, .term = 4, .index = 13, .from = 77)},
    {NULL, RIG_LONELY, M(VOTE, .term = 1000, .log_term = 999, .from = 77)},
    {NULL, RIG_LONELY, M(PRE_VOTE, .term = 4, .log_term = 3)},
    {NULL, RIG_FOLLOWER, M(TIMEOUT_NOW, .term = 3)},
    {NULL, RIG_FOLLOWER, M(TRANSFER_LEADER, .term = 3, .from = 1)},
    {NULL, RIG_LEADER, M(PROP, .entries = of_8_bytes, .entry_count = 1)},
    {NULL, RIG_LEADER,
     M(PROP, .from = 1, .entries = of_8_bytes, .entry_count = 1)},
    {NULL, RIG_LEADER, M(READ_INDEX, .entries = of_8_bytes, .entry_count = 1)},
    {NULL, RIG_FOLLOWER, M(SNAP, .term = 2, .snapshot = &too_old)},
};

static void the_ordinary_is_taken(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
        struct rig rig;
        struct raft_message m = taken[i].m;
        const char *why;

        rig_open(&rig, taken[i].role);
        if (m.from == RAFT_NONE)
            m.from = 2;
        m.to = rig.id;
        why = rig_hear(&rig, &m);
        if (why)
            fail_msg("%zu: %s: %s", i, raft_message_type_name(m.type), why);
        rig_settle(&rig);
        rig_close(&rig);
    }
}

/* ---- anything at all ---- */

static uint64_t pick(struct prng *random, const uint64_t *of, size_t n)
{
    return of[prng_below(random, n)];
}

#define PICK(random, ...)                                                      \
    pick(random, (const uint64_t[]){__VA_ARGS__},                              \
         sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

static uint64_t some_term(struct prng *random, uint64_t now)
{
    return PICK(random, 0, 1, now - 1, now, now, now, now + 1, now + 2,
                now + (UINT64_C(1) << 39), UINT64_C(1) << 62, UINT64_MAX - 1,
                UINT64_MAX);
}

static uint64_t some_index(struct prng *random, const struct rig *rig)
{
    uint64_t last = raft_last_index(rig->raft);

    return PICK(random, 0, 1, raft_first_index(rig->raft) - 1, rig->commit - 1,
                rig->commit, rig->commit + 1, last - 1, last, last, last + 1,
                last + 100, UINT64_C(1) << 62, UINT64_MAX - 1, UINT64_MAX);
}

static uint64_t some_member(struct prng *random)
{
    return PICK(random, 0, 1, 2, 2, 2, 3, 3, 4, 77, RAFT_APPLY_THREAD,
                RAFT_APPEND_THREAD);
}

static void some_entries(struct prng *random, const struct rig *rig,
                         struct raft_message *m)
{
    uint64_t term = m->log_term;

    m->entry_count = prng_below(random, 4);
    if (m->entry_count == 0)
        return;
    m->entries = mem_alloc(m->entry_count * sizeof(*m->entries));
    for (size_t i = 0; i < m->entry_count; i++) {
        struct raft_entry *e = &m->entries[i];
        bool odd = prng_below(random, 8) == 0;
        static const char remove_3[] = "\x08\x01\x10\x01\x18\x03";

        *e = raft_entry_new(
            (enum raft_entry_type)PICK(random, 0, 0, 0, 0, 0, 1, 2, 3),
            remove_3, (size_t)PICK(random, 0, 1, 6, 6, 6));
        term += PICK(random, 0, 0, 0, 0, 1);
        e->term = odd ? some_term(random, rig->term) : term;
        e->index = odd ? some_index(random, rig) : m->index + 1 + i;
    }
}

static void some_ids(struct prng *random, struct raft_ids *ids)
{
    for (uint64_t n = prng_below(random, 4); n > 0; n--)
        raft_ids_add(ids, some_member(random));
}

static struct raft_snapshot *some_snapshot(struct prng *random,
                                           const struct rig *rig)
{
    struct raft_conf_state conf = {0};
    struct raft_snapshot *snapshot;

    if (prng_below(random, 2) == 0) {
        conf = rig_conf();
    } else {
        some_ids(random, &conf.voters);
        some_ids(random, &conf.learners);
        if (prng_below(random, 2) == 0)
            some_ids(random, &conf.voters_outgoing);
        if (prng_below(random, 2) == 0)
            some_ids(random, &conf.learners_next);
        conf.auto_leave = prng_below(random, 2) == 0;
    }
    snapshot = raft_snapshot_new(some_index(random, rig),
                                 some_term(random, rig->term), &conf, NULL);
    raft_conf_state_close(&conf);
    return snapshot;
}

static struct shared *some_context(struct prng *random)
{
    static const char force[] = "CampaignTransfer";
    size_t len = (size_t)PICK(random, 0, 8, 16, 16, 5000);
    struct shared *context;

    if (prng_below(random, 2) == 0)
        return NULL;
    context = shared_new(len);
    memset(context->data, 7, len);
    if (len == sizeof(force) - 1)
        memcpy(context->data, force, len);
    return context;
}

static struct raft_message some_message(struct prng *random,
                                        const struct rig *rig)
{
    struct raft_message m = {
        .type = (enum raft_message_type)prng_below(random, RAFT_MSG_TYPES + 1),
        .to = prng_below(random, 16) == 0 ? some_member(random) : rig->id,
        .from = some_member(random),
        .term = some_term(random, rig->term),
        .log_term = some_term(random, rig->term),
        .index = some_index(random, rig),
        .commit = some_index(random, rig),
        .reject = prng_below(random, 3) == 0,
        .reject_hint = some_index(random, rig),
        .context = some_context(random),
    };
    uint64_t term;

    if (prng_below(random, 2) == 0 &&
        raft_term_at(rig->raft, m.index, &term) == 0)
        m.log_term = term;
    some_entries(random, rig, &m);
    if (prng_below(random, 3) == 0)
        m.snapshot = some_snapshot(random, rig);
    if ((m.type == RAFT_MSG_PROP || m.type == RAFT_MSG_READ_INDEX) &&
        prng_below(random, 4) > 0)
        m.term = 0;
    return m;
}

#define LIVES 4000
#define MESSAGES 60

/* Whatever is said, in any order: what is left of the member keeps its
 * promises. */
static void nothing_ends_a_member(void **state)
{
    (void)state;
    for (int role = 0; role < RIG_ROLES; role++) {
        size_t refused = 0;
        size_t heard = 0;

        for (uint64_t life = 0; life < LIVES; life++) {
            struct prng random = {.state = life * RIG_ROLES + (uint64_t)role};
            struct rig rig;

            rig_open(&rig, (enum rig_role)role);
            for (int i = 0; i < MESSAGES; i++) {
                struct raft_message m = some_message(&random, &rig);

                (void)rig_hear(&rig, &m);
                raft_message_close(&m);
                if (prng_below(&random, 3) == 0)
                    rig_persist(&rig, prng_below(&random, 4));
                if (prng_below(&random, 8) == 0)
                    raft_tick(rig.raft);
                rig_pump(&rig);
            }
            rig_settle(&rig);
            refused += rig.refused;
            heard += rig.taken;
            rig_close(&rig);
        }
        assert_true(refused > LIVES && heard > LIVES);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_impossible_is_refused),
        cmocka_unit_test(the_ordinary_is_taken),
        cmocka_unit_test(nothing_ends_a_member),
    };
    return cmocka_run_group_tests_name("raft: the door", tests, NULL, NULL);
}
