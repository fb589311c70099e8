#include "message_random.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
/* After the standard ones it needs. */
#include <cmocka.h>

uint64_t random_number(struct prng *prng)
{
    if (prng_below(prng, 3) == 0)
        return 0;
    return prng_next(prng) >> prng_below(prng, 64);
}

static void fill(struct prng *prng, uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)prng_next(prng);
}

struct raft_entry random_entry(struct prng *prng, size_t len_max)
{
    size_t len = (size_t)prng_below(prng, len_max + 1);
    uint8_t *data = malloc(len + 1);
    struct raft_entry entry;

    assert_non_null(data);
    fill(prng, data, len);
    entry = prng_below(prng, 8) == 0
                ? (struct raft_entry){0}
                : raft_entry_new(RAFT_ENTRY_NORMAL, data, len);
    free(data);
    entry.type = (enum raft_entry_type)prng_below(prng, 3);
    entry.term = random_number(prng);
    entry.index = random_number(prng);
    return entry;
}

static struct raft_snapshot *random_snapshot(struct prng *prng)
{
    struct raft_conf_state cs = {0};
    struct shared *data = NULL;
    struct raft_snapshot *snapshot;

    for (uint64_t i = prng_below(prng, 6); i > 0; i--)
        raft_ids_add(&cs.voters, 1 + random_number(prng));
    for (uint64_t i = prng_below(prng, 3); i > 0; i--)
        raft_ids_add(&cs.learners, 1 + random_number(prng));
    cs.auto_leave = prng_below(prng, 2) != 0;
    if (prng_below(prng, 2) != 0) {
        data = shared_new((size_t)prng_below(prng, 300));
        fill(prng, data->data, data->len);
    }
    snapshot = raft_snapshot_new(1 + random_number(prng), random_number(prng),
                                 &cs, data);
    raft_conf_state_close(&cs);
    return snapshot;
}

struct raft_message random_message(struct prng *prng, size_t len_max)
{
    struct raft_message m = {
        .type = (enum raft_message_type)prng_below(prng, RAFT_MSG_TYPES),
        .reject = prng_below(prng, 2) != 0,
        .to = random_number(prng),
        .from = random_number(prng),
        .term = random_number(prng),
        .log_term = random_number(prng),
        .index = random_number(prng),
        .commit = random_number(prng),
        .reject_hint = random_number(prng),
    };

    m.entry_count = (size_t)prng_below(prng, 6);
    if (m.entry_count > 0)
        m.entries = calloc(m.entry_count, sizeof(m.entries[0]));
    for (size_t i = 0; i < m.entry_count; i++)
        m.entries[i] = random_entry(prng, len_max);
    if (prng_below(prng, 4) == 0)
        m.snapshot = random_snapshot(prng);
    if (prng_below(prng, 2) == 0) {
        m.context = shared_new((size_t)prng_below(prng, 20));
        fill(prng, m.context->data, m.context->len);
    }
    return m;
}

struct raft_message random_append(struct prng *prng, uint64_t term,
                                  uint64_t index, size_t len_max)
{
    struct raft_message m = {.type = RAFT_MSG_APP,
                             .to = 2,
                             .from = 1,
                             .term = term,
                             .log_term = term,
                             .index = index,
                             .commit = random_number(prng)};

    m.entry_count = (size_t)prng_below(prng, 8);
    if (m.entry_count > 0)
        m.entries = calloc(m.entry_count, sizeof(m.entries[0]));
    for (size_t i = 0; i < m.entry_count; i++) {
        m.entries[i] = random_entry(prng, len_max);
        m.entries[i].term = term;
        m.entries[i].index = index + i + 1;
    }
    return m;
}

static void assert_snapshots_equal(const struct raft_snapshot *a,
                                   const struct raft_snapshot *b)
{
    assert_int_equal(a->index, b->index);
    assert_int_equal(a->term, b->term);
    assert_true(raft_conf_state_equal(&a->conf_state, &b->conf_state));
    assert_int_equal(a->data != NULL, b->data != NULL);
    if (a->data) {
        assert_int_equal(a->data->len, b->data->len);
        assert_memory_equal(a->data->data, b->data->data, a->data->len);
    }
}

void assert_message_equal(const struct raft_message *a,
                          const struct raft_message *b)
{
    assert_int_equal(a->type, b->type);
    assert_int_equal(a->from, b->from);
    assert_int_equal(a->to, b->to);
    assert_int_equal(a->term, b->term);
    assert_int_equal(a->log_term, b->log_term);
    assert_int_equal(a->index, b->index);
    assert_int_equal(a->commit, b->commit);
    assert_int_equal(a->reject, b->reject);
    assert_int_equal(a->reject_hint, b->reject_hint);
    assert_int_equal(a->entry_count, b->entry_count);
    for (size_t i = 0; i < a->entry_count; i++) {
        const struct raft_entry *x = &a->entries[i];
        const struct raft_entry *y = &b->entries[i];
        assert_int_equal(x->type, y->type);
        assert_int_equal(x->term, y->term);
        assert_int_equal(x->index, y->index);
        assert_int_equal(x->data != NULL, y->data != NULL);
        assert_int_equal(x->len, y->len);
        if (x->len > 0)
            assert_memory_equal(x->data, y->data, x->len);
    }
    assert_int_equal(a->snapshot != NULL, b->snapshot != NULL);
    if (a->snapshot)
        assert_snapshots_equal(a->snapshot, b->snapshot);
    assert_int_equal(a->context != NULL, b->context != NULL);
    if (a->context) {
        assert_int_equal(a->context->len, b->context->len);
        assert_memory_equal(a->context->data, b->context->data,
                            a->context->len);
    }
}
