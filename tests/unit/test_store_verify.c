/* A sound file passes; each flipped bit is found, or what can be read is the
 * same as before. STORE_FLIPS tries more of them. */
#include "test_image.h"
#include "test_store.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define FLIPS 400

static char *data_path(const struct fixture *f)
{
    return mem_printf("%s/data.mdb", f->dir);
}

/* Branches, overflow pages, deleted records and so free pages. */
static void fill(struct fixture *f, unsigned n)
{
    uint8_t value[9000];
    char key[40];

    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < n; i++) {
            size_t len = i % 37 == 0 ? sizeof(value) - round * 4000 : i % 200;

            memset(value, (int)(i + round), sizeof(value));
            snprintf(key, sizeof(key), "%08u-with-some-length", i);
            store_put(f->store, STORE_KEY, text(key), bytes_of(value, len));
            if (i % 5 == round)
                store_delete(f->store, STORE_KEY, text(key));
        }
        put_text(f, STORE_META, "version", "3.7.0");
        put_text(f, STORE_LEASE, "lease", "a lease");
        mark_flush(f);
    }
}

struct problems {
    unsigned n;
    char first[512];
};

static int note_problem(void *arg, const char *what)
{
    struct problems *p = arg;

    if (p->n++ == 0)
        snprintf(p->first, sizeof(p->first), "%s", what);
    return 0;
}

static int verify(const struct fixture *f, struct problems *p,
                  struct errmsg *msg)
{
    struct store_verify config = {
        .records = true, .damaged = note_problem, .arg = p};

    *p = (struct problems){0};
    return store_verify(f->dir, &config, msg);
}

static void sound_files_pass(void **state)
{
    struct fixture *f = *state;
    struct problems p;
    struct errmsg msg = {""};

    close_store(f);
    if (verify(f, &p, &msg) != 0 || p.n > 0)
        fail_msg("empty: %s%s", msg.text, p.first);
    open_store(f);
    for (unsigned i = 0; i < 6; i++) {
        fill(f, 50 + i * 300);
        if (i == 3)
            assert_int_equal(store_defrag(f->store, NULL), 0);
        close_store(f);
        if (verify(f, &p, &msg) != 0 || p.n > 0)
            fail_msg("round %u: %s%s", i, msg.text, p.first);
        open_store(f);
    }
}

static void all_damaged_records_are_named(void **state)
{
    struct fixture *f = *state;
    struct problems p;
    struct errmsg msg = {""};
    uint8_t rev[17] = {0, 0, 0, 0, 0, 0, 0, 9, '_'};

    store_put(f->store, STORE_KEY, bytes_of(rev, 17), text("to be damaged"));
    put_text(f, STORE_AUTH_USERS, "root", "to be damaged");
    put_text(f, STORE_AUTH_USERS, "user", "sound");
    mark_flush(f);
    close_store(f);
    patch_file(f, "to be damaged", "to be dam`ged");
    assert_int_equal(verify(f, &p, &msg), 0);
    assert_int_equal(p.n, 2);
    assert_non_null(strstr(p.first, "authUsers, root"));
    assert_non_null(strstr(p.first, "page "));
    open_store(f);
}

static void a_short_file_is_refused(void **state)
{
    struct fixture *f = *state;
    char *path = data_path(f);
    struct problems p;
    struct errmsg msg = {""};
    struct stat st;

    fill(f, 500);
    close_store(f);
    assert_int_equal(stat(path, &st), 0);
    for (off_t len = 1; len < st.st_size; len += 4096 + 100) {
        assert_int_equal(truncate(path, len), 0);
        assert_int_equal(truncate(path, len), 0);
        if (verify(f, &p, &msg) == 0)
            assert_true(len > st.st_size - 3 * 4096);
    }
    assert_int_equal(truncate(path, 0), 0);
    open_store(f);
    free(path);
}

static void what_isnt_there_is_said(void **state)
{
    struct fixture *f = *state;
    struct problems p;
    struct errmsg msg = {""};
    char *path = data_path(f);

    close_store(f);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(verify(f, &p, &msg), ERR_NOTFOUND);
    open_store(f);
    free(path);
}

static void the_lock_is_kept(void **state)
{
    struct fixture *f = *state;
    int fd;

    assert_int_equal(store_lock(f->dir, &fd, NULL), ERR_BUSY);
    close_store(f);
    assert_int_equal(store_lock(f->dir, &fd, NULL), 0);
    assert_int_equal(store_open(&f->config, &f->store, NULL), ERR_BUSY);
    close(fd);
    open_store(f);
}

/* ---- flipped bits ----------------------------------------------------------
 */

static int list_all(struct store *store, struct listing *l)
{
    int err = 0;

    for (int b = 0; b < STORE_BUCKETS && err == 0; b++) {
        list(l, true, text(store_bucket_name(b)), text(""));
        err = store_load(store, b, list_record, l);
    }
    return err;
}

/* Half of them where pages and nodes have their heads. */
static size_t pick_bit(struct prng *prng, size_t len)
{
    size_t at = (size_t)prng_below(prng, len);

    if (prng_below(prng, 2) == 0)
        at = at / 4096 * 4096 + (size_t)prng_below(prng, 160);
    if (at >= len)
        at = len - 1;
    return at * 8 + (size_t)prng_below(prng, 8);
}

static void write_file(const char *path, const struct buf *file)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(file_write_all(fd, file->data, file->len, NULL), 0);
    close(fd);
}

/* Opened all the same, it is refused or gives what was there. */
static void assert_never_served(struct fixture *f, const struct listing *sound,
                                bool found, const char *where)
{
    struct listing now = {{0}};
    struct store *store;

    if (store_open(&f->config, &store, NULL) != 0)
        return;
    if (list_all(store, &now) == 0) {
        if (now.buf.len != sound->buf.len ||
            memcmp(now.buf.data, sound->buf.data, now.buf.len) != 0)
            fail_msg("%s: other records are served", where);
    } else if (!found) {
        fail_msg("%s: found by reading, not by looking", where);
    }
    store_close(store);
    buf_close(&now.buf);
}

static void flipped_bits_are_found(void **state)
{
    struct fixture *f = *state;
    unsigned flips = getenv("STORE_FLIPS") != NULL
                         ? (unsigned)atoi(getenv("STORE_FLIPS"))
                         : FLIPS;
    uint64_t seed = random_u64() >> 32;
    struct prng prng = {seed};
    char *path = data_path(f);
    struct listing sound = {{0}};
    struct buf file = {0};
    struct problems p;
    unsigned found = 0;

    fill(f, 700);
    assert_int_equal(list_all(f->store, &sound), 0);
    close_store(f);
    f->config.no_sync = true;
    assert_int_equal(file_read(path, SIZE_MAX, &file, NULL), 0);
    for (unsigned i = 0; i < flips; i++) {
        size_t bit = pick_bit(&prng, file.len);
        char where[96];
        bool bad;

        snprintf(where, sizeof(where), "seed %llu, byte %zu, bit %zu",
                 (unsigned long long)seed, bit / 8, bit % 8);
        file.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        write_file(path, &file);
        bad = verify(f, &p, NULL) != 0 || p.n > 0;
        found += bad;
        assert_never_served(f, &sound, bad, where);
        file.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_true(found > flips / 50);
    write_file(path, &file);
    buf_close(&file);
    buf_close(&sound.buf);
    free(path);
    f->config.no_sync = false;
    open_store(f);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(sound_files_pass),        TEST(all_damaged_records_are_named),
        TEST(a_short_file_is_refused), TEST(what_isnt_there_is_said),
        TEST(the_lock_is_kept),        TEST(flipped_bits_are_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
