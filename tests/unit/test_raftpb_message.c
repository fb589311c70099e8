/* Messages as bytes, against protobuf-c and against what etcd has written. */
#include "chorad/raftpb.h"
#include "message_random.h"
#include "raft.pb-c.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* After the standard ones it needs. */
#include <cmocka.h>

#define ROUNDS 5000

static uint8_t *encode(const struct raft_message *m, size_t *len)
{
    uint8_t *out;

    *len = raftpb_message_size(m);
    out = malloc(*len + 1);
    assert_non_null(out);
    assert_ptr_equal(raftpb_message_put(out, m), out + *len);
    return out;
}

/* ---- against protobuf-c -------------------------------------------------- */

static void assert_same(const struct raft_message *m, const Raftpb__Message *pb)
{
    assert_int_equal(m->type, pb->type);
    assert_int_equal(m->to, pb->to);
    assert_int_equal(m->from, pb->from);
    assert_int_equal(m->term, pb->term);
    assert_int_equal(m->log_term, pb->logterm);
    assert_int_equal(m->index, pb->index);
    assert_int_equal(m->commit, pb->commit);
    assert_int_equal(m->reject, pb->reject);
    assert_int_equal(m->reject_hint, pb->rejecthint);
    assert_int_equal(m->entry_count, pb->n_entries);
    for (size_t i = 0; i < m->entry_count; i++) {
        const Raftpb__Entry *e = pb->entries[i];
        assert_int_equal(m->entries[i].type, e->type);
        assert_int_equal(m->entries[i].term, e->term);
        assert_int_equal(m->entries[i].index, e->index);
        assert_int_equal(m->entries[i].data != NULL, e->has_data);
        assert_int_equal(m->entries[i].len, e->data.len);
        if (e->data.len > 0)
            assert_memory_equal(m->entries[i].data, e->data.data, e->data.len);
    }
    assert_int_equal(m->context != NULL, pb->has_context);
    assert_int_equal(m->snapshot != NULL, pb->snapshot != NULL);
    if (m->snapshot) {
        assert_int_equal(m->snapshot->index, pb->snapshot->metadata->index);
        assert_int_equal(m->snapshot->term, pb->snapshot->metadata->term);
        assert_int_equal(m->snapshot->data != NULL, pb->snapshot->has_data);
    }
}

static void protobuf_c_reads_what_we_write(void **state)
{
    struct prng prng = {1};

    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        struct raft_message m = random_message(&prng, 40);
        size_t len;
        uint8_t *bytes = encode(&m, &len);
        Raftpb__Message *pb = raftpb__message__unpack(NULL, len, bytes);
        assert_non_null(pb);
        assert_same(&m, pb);
        raftpb__message__free_unpacked(pb, NULL);
        free(bytes);
        raft_message_close(&m);
    }
}

/* With every number written out, as etcd before 3.7 does it. */
static void we_read_what_protobuf_c_writes(void **state)
{
    struct prng prng = {2};

    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        struct raft_message m = random_message(&prng, 40);
        struct raft_message back;
        size_t len;
        uint8_t *bytes = encode(&m, &len);
        Raftpb__Message *pb = raftpb__message__unpack(NULL, len, bytes);
        assert_non_null(pb);
        pb->has_type = pb->has_to = pb->has_from = pb->has_term = true;
        pb->has_logterm = pb->has_index = pb->has_commit = true;
        pb->has_reject = pb->has_rejecthint = pb->has_vote = true;
        for (size_t e = 0; e < pb->n_entries; e++) {
            pb->entries[e]->has_type = pb->entries[e]->has_term = true;
            pb->entries[e]->has_index = true;
        }
        size_t old_len = raftpb__message__get_packed_size(pb);
        uint8_t *old = malloc(old_len + 1);
        assert_non_null(old);
        assert_int_equal(raftpb__message__pack(pb, old), old_len);
        assert_int_equal(raftpb_message_get(&back, bytes_of(old, old_len)), 0);
        assert_message_equal(&m, &back);
        raft_message_close(&back);
        free(old);
        raftpb__message__free_unpacked(pb, NULL);
        free(bytes);
        raft_message_close(&m);
    }
}

static void what_is_written_is_read(void **state)
{
    struct prng prng = {3};

    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        struct raft_message m = random_message(&prng, 40);
        struct raft_message back;
        size_t len;
        uint8_t *bytes = encode(&m, &len);
        assert_int_equal(raftpb_message_get(&back, bytes_of(bytes, len)), 0);
        assert_message_equal(&m, &back);
        raft_message_close(&back);
        /* No beginning of it does harm. */
        for (size_t cut = 0; cut < len && cut < 200; cut++) {
            if (raftpb_message_get(&back, bytes_of(bytes, cut)) == 0)
                raft_message_close(&back);
        }
        free(bytes);
        raft_message_close(&m);
    }
}

/* ---- what must not be taken ---------------------------------------------- */

static int get(const char *hex)
{
    uint8_t bytes[256];
    size_t n = 0;
    struct raft_message m;
    unsigned byte;

    for (; hex[0] && hex[1]; hex += 2) {
        assert_int_equal(sscanf(hex, "%2x", &byte), 1);
        bytes[n++] = (uint8_t)byte;
    }
    int rc = raftpb_message_get(&m, bytes_of(bytes, n));
    if (rc == 0)
        raft_message_close(&m);
    return rc;
}

static void bad_messages_are_refused(void **state)
{
    (void)state;
    assert_int_equal(get(""), 0);
    /* A type that nobody has yet; a negative one. */
    assert_int_equal(get("0818"), ERR_UNSUPPORTED);
    assert_int_equal(get("08ffffffffffffffffff01"), ERR_UNSUPPORTED);
    /* An entry longer than what is there, of an unknown type, a group. */
    assert_int_equal(get("0803"
                         "3a10"
                         "1001"),
                     ERR_CORRUPT);
    assert_int_equal(get("0803"
                         "3a02"
                         "0803"),
                     ERR_CORRUPT);
    assert_int_equal(get("0803"
                         "3b"),
                     ERR_CORRUPT);
    /* Fields of another kind, or with unknown numbers, are passed over. */
    assert_int_equal(get("0803"
                         "1201"
                         "00"
                         "78"
                         "05"),
                     0);
    /* Of several contexts and snapshots the last counts. */
    assert_int_equal(get("0807"
                         "620161"
                         "620162"
                         "4a0612041001"
                         "1801"
                         "4a0612041002"
                         "1801"),
                     0);
}

static void empty_snapshots_of_old_members_are_none(void **state)
{
    /* MsgHeartbeat from 1 to 2 as 3.5 writes it. */
    static const char hex[] = "08081002180120052800300040074a0a12080a02280010"
                              "001800500058006800";
    uint8_t bytes[64];
    size_t n = 0;
    struct raft_message m;
    unsigned byte;

    (void)state;
    for (const char *p = hex; *p; p += 2) {
        assert_int_equal(sscanf(p, "%2x", &byte), 1);
        bytes[n++] = (uint8_t)byte;
    }
    assert_int_equal(raftpb_message_get(&m, bytes_of(bytes, n)), 0);
    assert_int_equal(m.type, RAFT_MSG_HEARTBEAT);
    assert_int_equal(m.commit, 7);
    assert_null(m.snapshot);
    raft_message_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(protobuf_c_reads_what_we_write),
        cmocka_unit_test(we_read_what_protobuf_c_writes),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(bad_messages_are_refused),
        cmocka_unit_test(empty_snapshots_of_old_members_are_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
