/* The log's codec, against bytes that etcd 3.7.3 has written. */
#include "chorad/base/clock.h"
#include "chorad/raftpb.h"
#include "wal/record.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* After the standard ones it needs. */
#include <cmocka.h>

static size_t unhex(uint8_t *out, const char *hex)
{
    size_t n = 0;
    for (; hex[0] && hex[1]; hex += 2) {
        unsigned byte;
        assert_int_equal(sscanf(hex, "%2x", &byte), 1);
        out[n++] = (uint8_t)byte;
    }
    return n;
}

static void assert_hex(const uint8_t *data, const uint8_t *end, const char *hex)
{
    uint8_t want[256];
    size_t n = unhex(want, hex);
    assert_int_equal((size_t)(end - data), n);
    assert_memory_equal(data, want, n);
}

static const uint8_t put_payload[] = {
    0x22, 0x08, 0x0a, 0x02, 0x6b, 0x31, 0x12, 0x02, 0x76, 0x31, 0xa2, 0x06,
    0x0b, 0x08, 0x83, 0xf0, 0xbf, 0xb1, 0xe5, 0xc0, 0xe8, 0x89, 0xb5, 0x01};

/* The first three records of a new member's log. */
static void writes_what_etcd_writes(void **state)
{
    struct wal_metadata metadata;
    uint8_t raw[64];
    uint8_t data[64];
    uint8_t out[256];
    uint32_t crc = 0;

    (void)state;
    assert_hex(out, wal_record_put_crc(out, 0),
               "0400000000000084"
               "0804100000000000");

    size_t n = unhex(raw, "0893eada9dfdbfa9de990110db81d09ca6948887a101");
    assert_int_equal(wal_metadata_get(&metadata, bytes_of(raw, n)), 0);
    assert_int_equal(metadata.cluster_id, UINT64_C(0xa10e20a2639400db));
    uint8_t *end = wal_metadata_put(data, &metadata);
    end = wal_record_put(out, &crc, WAL_METADATA,
                         bytes_of(data, (size_t)(end - data)));
    assert_hex(out, end,
               "2000000000000000"
               "0801109eb7d7c60e1a160893eada9dfdbfa9de990110db81d09ca6948887a1"
               "01");

    end = wal_snapshot_put(data, 0, 0, NULL);
    end = wal_record_put(out, &crc, WAL_SNAPSHOT,
                         bytes_of(data, (size_t)(end - data)));
    assert_hex(out, end,
               "0e00000000000082"
               "08051092c1b1cb0e1a04080010000000");
}

static void writes_entries_as_etcd(void **state)
{
    uint8_t out[256];
    struct raft_entry entry =
        raft_entry_new(RAFT_ENTRY_NORMAL, put_payload, sizeof(put_payload));

    (void)state;
    entry.term = 2;
    entry.index = 5;
    uint8_t *end = raftpb_entry_put(out, &entry);
    assert_hex(out, end,
               "10021805221822080a026b3112027631a2060b0883f0bfb1e5c0e889b501");
    assert_int_equal(raftpb_entry_size(&entry), (size_t)(end - out));

    /* The checksums of two neighbours in the file. */
    struct wal_record record;
    size_t n = unhex(out, "08031093"
                          "86bf761a0f08021093eada9dfdbfa9de99011804");
    assert_int_equal(wal_record_get(&record, bytes_of(out, n)), 0);
    uint32_t crc = record.crc;
    end = wal_record_put_entry(out, &crc, &entry);
    assert_hex(out, end,
               "2800000000000000"
               "080210c580e0c0051a1e10021805221822080a026b3112027631a2060b0883"
               "f0bfb1e5c0e889b501");
    raft_entry_unref(&entry);
}

static void writes_the_other_messages_as_etcd(void **state)
{
    uint8_t out[256];
    struct raft_hard_state hs = {2, UINT64_C(0x99bd4a7fd3b6b513), 4};
    struct raft_entry noop = {.term = 2, .index = 2};
    struct raft_conf_state cs = {0};

    (void)state;
    size_t n = unhex(out, "08021093eada9dfdbfa9de99011804");
    assert_int_equal(raftpb_hard_state_get(&hs, bytes_of(out, n)), 0);
    assert_int_equal(hs.term, 2);
    assert_int_equal(hs.commit, 4);
    assert_hex(out, raftpb_hard_state_put(out, &hs),
               "08021093eada9dfdbfa9de99011804");
    hs.commit = 0;
    hs.vote = 0;
    assert_hex(out, raftpb_hard_state_put(out, &hs), "080210001800");
    assert_hex(out, raftpb_entry_put(out, &noop), "10021802");

    /* A member and a learner, as in the record of a snapshot. */
    const char *snapshot =
        "081510021a180893eada9dfdbfa9de990110e3fbf79c93fdf1eaf7012800";
    struct wal_snapshot record;
    n = unhex(out, snapshot);
    assert_int_equal(wal_snapshot_get(&record, bytes_of(out, n)), 0);
    assert_int_equal(record.index, 21);
    assert_int_equal(record.term, 2);
    assert_true(record.has_conf_state);
    assert_int_equal(record.conf_state.voters.count, 1);
    assert_int_equal(record.conf_state.learners.count, 1);
    cs = record.conf_state;
    assert_hex(out, wal_snapshot_put(out, 21, 2, &cs), snapshot);
    assert_int_equal(wal_snapshot_size(21, 2, &cs), n);
    raft_conf_state_close(&cs);
}

/* etcd before 3.7 wrote zeros that are left out now. */
static void reads_older_entries(void **state)
{
    uint8_t in[64];
    struct raft_entry entry;

    (void)state;
    size_t n = unhex(in, "08001002180722026869");
    assert_int_equal(raftpb_entry_get(&entry, bytes_of(in, n), NULL), 0);
    assert_int_equal(entry.type, RAFT_ENTRY_NORMAL);
    assert_int_equal(entry.index, 7);
    assert_int_equal(entry.len, 2);
    n = unhex(in, "0803100218072202");
    assert_int_equal(raftpb_entry_get(&entry, bytes_of(in, n), NULL),
                     ERR_CORRUPT);
    n = unhex(in, "100118072200");
    assert_int_equal(raftpb_entry_get(&entry, bytes_of(in, n), NULL), 0);
    assert_non_null(entry.data);
    assert_int_equal(entry.len, 0);
    uint8_t out[64];
    assert_hex(out, raftpb_entry_put(out, &entry), "100118072200");
}

static void conf_state_takes_packed_ids(void **state)
{
    uint8_t in[64];
    struct raft_conf_state cs;

    (void)state;
    size_t n = unhex(in, "0a0305ac021003280118072008");
    assert_int_equal(raftpb_conf_state_get(&cs, bytes_of(in, n)), 0);
    assert_int_equal(cs.voters.count, 2);
    assert_int_equal(cs.voters.ids[1], 300);
    assert_true(raft_ids_has(&cs.learners, 3));
    assert_true(raft_ids_has(&cs.voters_outgoing, 7));
    assert_true(raft_ids_has(&cs.learners_next, 8));
    assert_true(cs.auto_leave);
    raft_conf_state_close(&cs);
    n = unhex(in, "0a0205ff");
    assert_int_equal(raftpb_conf_state_get(&cs, bytes_of(in, n)), ERR_CORRUPT);
}

static void snapshot_roundtrip(void **state)
{
    struct raft_conf_state cs = {0};
    struct shared *data = shared_new(3);
    struct raft_snapshot *back;
    uint8_t out[256];

    (void)state;
    memcpy(data->data, "abc", 3);
    raft_ids_add(&cs.voters, 1);
    raft_ids_add(&cs.learners, UINT64_MAX);
    struct raft_snapshot *snapshot = raft_snapshot_new(9, 3, &cs, data);
    uint8_t *end = raftpb_snapshot_put(out, snapshot);
    size_t n = (size_t)(end - out);
    assert_int_equal(n, raftpb_snapshot_size(snapshot));
    assert_int_equal(raftpb_snapshot_get(&back, bytes_of(out, n)), 0);
    assert_int_equal(back->index, 9);
    assert_int_equal(back->term, 3);
    assert_true(raft_conf_state_equal(&back->conf_state, &cs));
    assert_int_equal(back->data->len, 3);
    raft_snapshot_unref(back);
    for (size_t i = 0; i < n; i++) {
        if (raftpb_snapshot_get(&back, bytes_of(out, i)) == 0)
            raft_snapshot_unref(back);
    }
    raft_snapshot_unref(snapshot);
    raft_conf_state_close(&cs);
}

/* Frame, record and padding for every length around the steps of a varint
 * and of the padding. */
static void record_roundtrip(void **state)
{
    uint8_t *out = malloc(70000);
    uint32_t crc = 1;

    (void)state;
    assert_non_null(out);
    for (size_t len = 0; len < 66000; len += len < 300 ? 1 : 977) {
        uint8_t *data = calloc(1, len + 1);
        assert_non_null(data);
        data[len / 2] = 5;
        struct raft_entry entry = raft_entry_new(RAFT_ENTRY_NORMAL, data, len);
        entry.term = len;
        entry.index = UINT64_MAX;
        uint8_t *end = wal_record_put_entry(out, &crc, &entry);
        uint64_t frame;
        memcpy(&frame, out, 8);
        size_t n = wal_frame_record_bytes(frame);
        assert_int_equal((size_t)(end - out),
                         8 + n + wal_frame_pad_bytes(frame));
        assert_int_equal((end - out) % 8, 0);
        struct wal_record record;
        struct raft_entry back;
        assert_int_equal(wal_record_get(&record, bytes_of(out + 8, n)), 0);
        assert_int_equal(record.type, WAL_ENTRY);
        assert_int_equal(record.crc, crc);
        assert_int_equal(raftpb_entry_get(&back, record.data, NULL), 0);
        assert_int_equal(back.len, len);
        if (len > 0)
            assert_memory_equal(back.data, data, len);
        raft_entry_unref(&entry);
        free(data);
    }
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_what_etcd_writes),
        cmocka_unit_test(writes_entries_as_etcd),
        cmocka_unit_test(writes_the_other_messages_as_etcd),
        cmocka_unit_test(reads_older_entries),
        cmocka_unit_test(conf_state_takes_packed_ids),
        cmocka_unit_test(snapshot_roundtrip),
        cmocka_unit_test(record_roundtrip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
