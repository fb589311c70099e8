/* The two streams' framing: any cut, any order of whole and half frames. */
#include "message_random.h"
#include "peer/frame.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
/* After the standard ones it needs. */
#include <cmocka.h>

#define MESSAGES 200

struct sink {
    struct raft_message got[MESSAGES];
    size_t count;
    size_t stop_at; /* 0: never */
};

static int on_message(void *arg, const struct raft_message *m)
{
    struct sink *sink = arg;

    assert_true(sink->count < MESSAGES);
    sink->got[sink->count++] = raft_message_copy(m);
    for (size_t i = 0; i < m->entry_count; i++)
        assert_int_equal(m->entries[i].owner != NULL, m->entries[i].len > 0);
    return sink->count == sink->stop_at ? 1 : 0;
}

static void forget(struct sink *sink)
{
    for (size_t i = 0; i < sink->count; i++)
        raft_message_close(&sink->got[i]);
    sink->count = 0;
}

static struct buf flatten(const struct out *out)
{
    static uv_buf_t pieces[OUT_BUFS_MAX];
    size_t n = out_pieces(out, pieces);
    struct buf flat = {0};

    assert_true(n <= OUT_BUFS_MAX);
    for (size_t i = 0; i < n; i++)
        buf_append(&flat, pieces[i].base, pieces[i].len);
    assert_int_equal(flat.len, out->len);
    return flat;
}

/* Reads all of it in pieces of random size and compares. */
static void read_in_pieces(struct prng *prng, enum frame_kind kind,
                           struct bytes all, size_t piece_max,
                           const struct raft_message *want, size_t count)
{
    struct frame_reader r;
    struct sink sink = {0};
    size_t done = 0;

    frame_reader_init(&r, kind, 2, 1);
    while (done < all.len) {
        size_t n = 1 + (size_t)prng_below(prng, piece_max);
        size_t used;
        if (n > all.len - done)
            n = all.len - done;
        /* A copy of exactly that size: nothing may be read behind it. */
        uint8_t *piece = malloc(n);
        assert_non_null(piece);
        memcpy(piece, all.data + done, n);
        assert_int_equal(
            frame_read(&r, bytes_of(piece, n), &used, on_message, &sink), 0);
        assert_int_equal(used, n);
        free(piece);
        done += n;
    }
    assert_int_equal(sink.count, count);
    for (size_t i = 0; i < count; i++)
        assert_message_equal(&sink.got[i], &want[i]);
    assert_int_equal(r.held_len, 0);
    frame_reader_close(&r);
    /* The messages outlive the reader. */
    forget(&sink);
}

static size_t write_appends(struct prng *prng, struct out *out,
                            struct raft_message *want, size_t len_max)
{
    struct frame_writer w;
    uint64_t term = 1;
    uint64_t index = 0;

    frame_writer_init(&w, FRAME_MSGAPP);
    for (size_t i = 0; i < MESSAGES; i++) {
        if (prng_below(prng, 10) == 0)
            term++;
        if (prng_below(prng, 10) == 0)
            index = prng_below(prng, 1000);
        if (prng_below(prng, 5) == 0)
            frame_write_alive(&w, out);
        want[i] = random_append(prng, term, index, len_max);
        /* The probe of a new leader: the entry before is of an older term. */
        if (prng_below(prng, 8) == 0)
            want[i].log_term = term - 1;
        index += want[i].entry_count;
        frame_write(&w, out, &want[i]);
    }
    return MESSAGES;
}

static size_t write_others(struct prng *prng, struct out *out,
                           struct raft_message *want, size_t len_max)
{
    struct frame_writer w;

    frame_writer_init(&w, FRAME_MESSAGE);
    for (size_t i = 0; i < MESSAGES; i++) {
        if (prng_below(prng, 5) == 0)
            frame_write_alive(&w, out);
        want[i] = random_message(prng, len_max);
        want[i].from |= 1;
        frame_write(&w, out, &want[i]);
    }
    return MESSAGES;
}

static void roundtrip(enum frame_kind kind, uint64_t seed, size_t len_max)
{
    static struct raft_message want[MESSAGES];
    static const size_t piece_max[] = {1, 3, 20, 1000, 70000, 100000000};
    struct prng prng = {seed};
    struct out out = {0};
    size_t n = kind == FRAME_MSGAPP ? write_appends(&prng, &out, want, len_max)
                                    : write_others(&prng, &out, want, len_max);
    struct buf flat = flatten(&out);

    /* Large streams aren't read byte by byte: it takes long. */
    for (size_t i = flat.len > 200000 ? 3 : 0;
         i < sizeof(piece_max) / sizeof(piece_max[0]); i++)
        read_in_pieces(&prng, kind, bytes_of(flat.data, flat.len), piece_max[i],
                       want, n);
    for (size_t i = 0; i < n; i++)
        raft_message_close(&want[i]);
    buf_close(&flat);
    out_close(&out);
}

static void appends_come_back(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++)
        roundtrip(FRAME_MSGAPP, seed, 100);
    /* Some are referred to, some copied; some fill several reads. */
    roundtrip(FRAME_MSGAPP, 11, 2 * OUT_REF_MIN);
    roundtrip(FRAME_MSGAPP, 12, 30000);
}

static void other_messages_come_back(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++)
        roundtrip(FRAME_MESSAGE, seed, 100);
    roundtrip(FRAME_MESSAGE, 11, 2 * OUT_REF_MIN);
    roundtrip(FRAME_MESSAGE, 12, 30000);
}

/* Bytes that etcd's encoder writes for these. */
static void frames_look_as_etcd_s(void **state)
{
    static const uint8_t want[] = {
        /* Any append: heartbeat of the link, then 2 with the message. */
        0x00,
        /* type 3, to 2, from 1, term 5, logTerm 4, index 7, an entry of term 5
         * and index 8 with one byte, commit 6. */
        0x02, 0, 0, 0, 0, 0, 0, 0, 0x17, 0x08, 0x03, 0x10, 0x02, 0x18, 0x01,
        0x20, 0x05, 0x28, 0x04, 0x30, 0x07, 0x3a, 0x07, 0x10, 0x05, 0x18, 0x08,
        0x22, 0x01, 'x', 0x40, 0x06,
        /* Two entries that go on there. */
        0x01, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 7, 0x10, 0x05, 0x18,
        0x09, 0x22, 0x01, 'x', 0, 0, 0, 0, 0, 0, 0, 7, 0x10, 0x05, 0x18, 0x0a,
        0x22, 0x01, 'x', 0, 0, 0, 0, 0, 0, 0, 9,
        /* No entries behind those, but a commit. */
        0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10};
    struct raft_entry entries[2] = {raft_entry_new(RAFT_ENTRY_NORMAL, "x", 1),
                                    raft_entry_new(RAFT_ENTRY_NORMAL, "x", 1)};
    struct raft_message m = {.type = RAFT_MSG_APP,
                             .to = 2,
                             .from = 1,
                             .term = 5,
                             .log_term = 4,
                             .index = 7,
                             .commit = 6,
                             .entries = entries,
                             .entry_count = 1};
    struct frame_writer w;
    struct out out = {0};

    (void)state;
    frame_writer_init(&w, FRAME_MSGAPP);
    frame_write_alive(&w, &out);
    entries[0].term = entries[1].term = 5;
    entries[0].index = 8;
    frame_write(&w, &out, &m);
    entries[0].index = 9;
    entries[1].index = 10;
    m.log_term = 5;
    m.index = 8;
    m.commit = 9;
    m.entry_count = 2;
    frame_write(&w, &out, &m);
    m.index = 10;
    m.commit = 10;
    m.entry_count = 0;
    frame_write(&w, &out, &m);
    assert_int_equal(out.len, sizeof(want));
    assert_memory_equal(out.copied.data, want, sizeof(want));
    out_reset(&out);
    frame_writer_init(&w, FRAME_MESSAGE);
    frame_write_alive(&w, &out);
    assert_int_equal(out.len, 10);
    assert_memory_equal(out.copied.data, "\0\0\0\0\0\0\0\2\10\10", 10);
    out_close(&out);
    raft_entry_unref(&entries[0]);
    raft_entry_unref(&entries[1]);
}

static int read_bytes(enum frame_kind kind, const void *bytes, size_t len)
{
    struct frame_reader r;
    struct sink sink = {0};
    int rc;

    frame_reader_init(&r, kind, 2, 1);
    rc = frame_read(&r, bytes_of(bytes, len), NULL, on_message, &sink);
    frame_reader_close(&r);
    forget(&sink);
    return rc;
}

#define READ(kind, text) read_bytes(kind, text, sizeof(text) - 1)

static void damaged_streams_end(void **state)
{
    (void)state;
    assert_int_equal(READ(FRAME_MSGAPP, "\3"), ERR_CORRUPT);
    /* More than 512 MB, in all three ways to say it. */
    assert_int_equal(READ(FRAME_MESSAGE, "\0\0\0\0\x20\0\0\1"), ERR_TOOBIG);
    assert_int_equal(READ(FRAME_MESSAGE, "\xff\xff\xff\xff\xff\xff\xff\xff"),
                     ERR_TOOBIG);
    assert_int_equal(READ(FRAME_MSGAPP, "\2\0\0\0\0\x20\0\0\1"), ERR_TOOBIG);
    assert_int_equal(READ(FRAME_MSGAPP, "\1\0\0\0\0\0\0\0\1"
                                        "\xff\xff\xff\xff\xff\xff\xff\xff"),
                     ERR_TOOBIG);
    assert_int_equal(READ(FRAME_MSGAPP, "\1\0\0\0\0\0\x20\0\0"), ERR_TOOBIG);
    /* Entries that can't follow: nothing was said of term and index. */
    assert_int_equal(READ(FRAME_MSGAPP, "\1\0\0\0\0\0\0\0\1"
                                        "\0\0\0\0\0\0\0\4\x10\5\x18\7"
                                        "\0\0\0\0\0\0\0\0"),
                     ERR_CORRUPT);
    /* Not a message. */
    assert_int_equal(READ(FRAME_MESSAGE, "\0\0\0\0\0\0\0\2\x3a\x05"),
                     ERR_CORRUPT);
    /* A type of a version to come is passed over. */
    assert_int_equal(READ(FRAME_MESSAGE, "\0\0\0\0\0\0\0\2\x08\x30"
                                         "\0\0\0\0\0\0\0\2\x08\x08"),
                     0);
}

/* Announcing much and sending little costs little. */
static void promises_take_no_memory(void **state)
{
    struct frame_reader r;
    uint8_t begin[100] = {2, 0, 0, 0, 0, 0x1f, 0xff, 0xff, 0xff};
    struct sink sink = {0};

    (void)state;
    frame_reader_init(&r, FRAME_MSGAPP, 2, 1);
    assert_int_equal(
        frame_read(&r, bytes_of(begin, sizeof(begin)), NULL, on_message, &sink),
        0);
    assert_int_equal(r.held_len, sizeof(begin));
    assert_true(r.held->len <= 256 << 10);
    frame_reader_close(&r);
}

/* Entries are kept long, and their buffer with them: it isn't larger than they
 * are by much. */
static void kept_buffers_are_no_larger_than_needed(void **state)
{
    struct prng prng = {7};
    struct frame_writer w;
    struct frame_reader r;
    struct sink sink = {0};
    struct out out = {0};
    struct raft_message m = {.type = RAFT_MSG_APP, .entry_count = 70};

    (void)state;
    m.entries = calloc(m.entry_count, sizeof(m.entries[0]));
    for (size_t i = 0; i < m.entry_count; i++) {
        do {
            raft_entry_unref(&m.entries[i]);
            m.entries[i] = random_entry(&prng, 300);
        } while (m.entries[i].len == 0);
        m.entries[i].term = 0;
        m.entries[i].index = i + 1;
    }
    frame_writer_init(&w, FRAME_MSGAPP);
    frame_write(&w, &out, &m);
    assert_int_equal(out.copied.data[0], 1);
    frame_reader_init(&r, FRAME_MSGAPP, 2, 1);
    for (size_t at = 0; at < out.len; at++)
        assert_int_equal(frame_read(&r, bytes_of(out.copied.data + at, 1), NULL,
                                    on_message, &sink),
                         0);
    assert_int_equal(sink.count, 1);
    assert_true(sink.got[0].entries[0].owner->len <= out.len * 5 / 4);
    forget(&sink);
    frame_reader_close(&r);
    raft_message_close(&m);
    out_close(&out);
}

/* The message before a database: what is behind it isn't touched. */
static void reading_can_stop_behind_a_message(void **state)
{
    struct prng prng = {9};
    struct raft_message m = random_message(&prng, 100);
    struct frame_writer w;
    struct out out = {0};

    (void)state;
    m.from = 1;
    frame_writer_init(&w, FRAME_MESSAGE);
    frame_write(&w, &out, &m);
    size_t len = out.len;
    out_append(&out, "\xff\xff\xff\xff\xff\xff\xff\xff\xff", 9);
    for (size_t first = 0; first <= out.len; first++) {
        struct frame_reader r;
        struct sink sink = {.stop_at = 1};
        size_t used = 0;
        size_t more = 0;
        frame_reader_init(&r, FRAME_MESSAGE, 2, 1);
        int rc = frame_read(&r, bytes_of(out.copied.data, first), &used,
                            on_message, &sink);
        if (rc == 0)
            rc =
                frame_read(&r, bytes_of(out.copied.data + used, out.len - used),
                           &more, on_message, &sink);
        assert_int_equal(rc, 1);
        assert_int_equal(used + more, len);
        assert_message_equal(&sink.got[0], &m);
        forget(&sink);
        frame_reader_close(&r);
    }
    raft_message_close(&m);
    out_close(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_come_back),
        cmocka_unit_test(other_messages_come_back),
        cmocka_unit_test(frames_look_as_etcd_s),
        cmocka_unit_test(damaged_streams_end),
        cmocka_unit_test(promises_take_no_memory),
        cmocka_unit_test(kept_buffers_are_no_larger_than_needed),
        cmocka_unit_test(reading_can_stop_behind_a_message),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
