/* A store from what etcd left: which files are taken, what the store has then,
 * and that nothing is changed where it can't be done. */
#include "chorad/cluster.h"
#include "chorad/takeover.h"
#include "chorad/wal.h"

#include "chorad/base/be.h"
#include "chorad/base/crc32c.h"
#include "chorad/base/pb.h"
#include "test_image.h"
#include "test_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#define NODE_ID 0x77

struct dirs {
    char root[64];
    char *wal;
    char *kv;
    struct takeover_config config;
    struct errmsg msg;
};

static char *in(const struct dirs *d, const char *name)
{
    return mem_printf("%s/%s", d->root, name);
}

static int dirs_setup(void **state)
{
    struct dirs *d = mem_zalloc(sizeof(*d));
    char *snap;

    log_set_level(LOG_FATAL);
    strcpy(d->root, "/tmp/test_takeover.XXXXXX");
    if (mkdtemp(d->root) == NULL)
        return -1;
    d->wal = in(d, "member/wal");
    d->kv = in(d, "member/kv");
    d->config = (struct takeover_config){d->root, d->wal, d->kv, "1.2.3"};
    snap = in(d, "member/snap");
    assert_int_equal(file_make_dirs(snap, NULL), 0);
    free(snap);
    *state = d;
    return 0;
}

static int dirs_teardown(void **state)
{
    struct dirs *d = *state;

    file_remove_tree(d->root, NULL);
    free(d->wal);
    free(d->kv);
    free(d);
    return 0;
}

/* ---- what etcd leaves ------------------------------------------------------
 */

static struct raft_entry conf_entry(uint64_t index, uint64_t id,
                                    const char *json)
{
    struct raft_conf_change cc = {.v1 = true,
                                  .change_count = 1,
                                  .changes = {{RAFT_CONF_ADD_NODE, id}},
                                  .context = text(json)};
    struct raft_entry entry = raft_conf_change_entry(&cc);

    entry.index = index;
    entry.term = 2;
    return entry;
}

static void append_entry(struct wal *wal, struct raft_entry entry)
{
    struct raft_hard_state hs = {3, NODE_ID, entry.index};
    struct wal_batch batch = {
        .entries = &entry, .entry_count = 1, .hard_state = &hs};

    assert_int_equal(wal_append(wal, &batch, NULL), 0);
    raft_entry_unref(&entry);
}

/* Entry 1 adds the member, then empty ones up to `last`, with a snapshot
 * record at `snapshot` if that isn't 0. */
static void make_log(struct dirs *d, uint64_t snapshot, uint64_t last)
{
    struct wal_metadata metadata = {NODE_ID, 0xc};
    struct wal *wal;

    assert_int_equal(wal_create(&wal, d->wal, NULL, &metadata, &d->msg), 0);
    append_entry(wal, conf_entry(1, NODE_ID,
                                 "{\"id\":119,\"peerURLs\":[\"http://p1\"],"
                                 "\"name\":\"from the log\"}"));
    for (uint64_t i = 2; i <= last; i++) {
        append_entry(wal, (struct raft_entry){.term = 2, .index = i});
        if (i == snapshot) {
            struct raft_snapshot *s = raft_snapshot_new(i, 2, NULL, NULL);
            struct wal_batch batch = {.snapshot = s};

            assert_int_equal(wal_append(wal, &batch, NULL), 0);
            raft_snapshot_unref(s);
        }
    }
    assert_int_equal(wal_close(wal, NULL), 0);
}

/* A database with a key, a member of another cluster, and its consistent
 * index; as of 3.6 or later if it has a version. */
static void make_database(struct dirs *d, const char *name, uint64_t index,
                          const char *version)
{
    char *path = in(d, name);
    struct listing l = {{0}};
    struct buf image;
    uint8_t n[8];

    be_put_u64(n, index);
    list(&l, true, text("cluster"), text(""));
    list(&l, false, text("clusterVersion"), text("3.9.0"));
    list(&l, true, text("key"), text(""));
    list(&l, false, text("k"), text(name));
    list(&l, true, text("members"), text(""));
    list(&l, false, text("9"),
         text("{\"id\":9,\"peerURLs\":[\"http://old\"],\"isLearner\":false}"));
    list(&l, true, text("members_removed"), text(""));
    list(&l, false, text("5"), text("removed"));
    list(&l, true, text("meta"), text(""));
    list(&l, false, text("consistent_index"), bytes_of(n, 8));
    if (version != NULL)
        list(&l, false, text("storageVersion"), text(version));
    image = make_image(&l, 2);
    assert_int_equal(file_write_atomic(path, image.data, image.len, 0600, NULL),
                     0);
    buf_close(&image);
    buf_close(&l.buf);
    free(path);
}

static void make_snap_file(struct dirs *d, uint64_t index, const char *name)
{
    char *file =
        mem_printf("%s/member/snap/%016x-%016x.snap", d->root, 2, (int)index);
    char *json = mem_printf(
        "{\"Root\":{\"Children\":{\"0\":{\"Children\":{\"members\":"
        "{\"Children\":{\"77\":{\"Children\":{\"raftAttributes\":{\"Value\":"
        "\"{\\\"peerURLs\\\":[\\\"http://p1\\\"]}\"},\"attributes\":"
        "{\"Value\":\"{\\\"name\\\":\\\"%s\\\"}\"}}}}}}}}}}",
        name);
    uint8_t metadata[32];
    uint8_t inner[1024];
    uint8_t out[1100];
    uint8_t *end = pb_put_u64(metadata, 2, index);
    uint8_t *at = pb_put_bytes(inner, 1, text(json));

    end = pb_put_u64(end, 3, 2);
    at = pb_put_bytes(at, 2, bytes_of(metadata, (size_t)(end - metadata)));
    end = pb_put_u64(out, 1, crc32c(0, inner, (size_t)(at - inner)));
    end = pb_put_bytes(end, 2, bytes_of(inner, (size_t)(at - inner)));
    assert_int_equal(
        file_write_atomic(file, out, (size_t)(end - out), 0600, NULL), 0);
    free(file);
    free(json);
}

/* ---- what comes of it ------------------------------------------------------
 */

struct found {
    uint64_t index;
    uint64_t term;
    char key[64];     /* the value of "k" */
    char members[64]; /* names, or URLs without one */
    char version[16];
    uint64_t voter;
};

static int note_key(void *arg, struct bytes key, struct bytes value)
{
    struct found *f = arg;

    (void)key;
    snprintf(f->key, sizeof(f->key), "%.*s", (int)value.len,
             (const char *)value.data);
    return 0;
}

static void note_members(struct found *f, struct store *store)
{
    struct cluster *cluster;
    uint64_t *v;
    uint64_t *l;
    size_t n;
    size_t nv;
    size_t nl;
    const struct cluster_member *members;

    assert_int_equal(cluster_open(store, &cluster, NULL), 0);
    members = cluster_members(cluster, &n);
    for (size_t i = 0; i < n; i++) {
        strcat(f->members,
               members[i].name[0] ? members[i].name : members[i].peer_urls[0]);
        strcat(f->members, ";");
    }
    if (cluster_version(cluster) != NULL)
        strcpy(f->version, cluster_version(cluster));
    assert_int_equal(cluster_load_conf_state(cluster, &v, &nv, &l, &nl), 0);
    f->voter = nv == 1 ? v[0] : 0;
    assert_int_equal(nl, 0);
    free(v);
    free(l);
    cluster_close(cluster);
}

static struct found look(const struct dirs *d)
{
    struct store_config config = {.dir = d->kv};
    struct found f = {0};
    struct store *store;

    assert_int_equal(store_open(&config, &store, NULL), 0);
    store_consistent_index(store, &f.index, &f.term);
    assert_int_equal(store_load(store, STORE_KEY, note_key, &f), 0);
    note_members(&f, store);
    store_close(store);
    return f;
}

static void take(struct dirs *d)
{
    if (takeover_run(&d->config, &d->msg) != 0)
        fail_msg("%s", d->msg.text);
}

/* Nothing comes of it, and nothing is left. */
static void assert_refused(struct dirs *d, int err, const char *why)
{
    char *tmp = in(d, "member/kv.tmp");
    char *note = in(d, "README.chorad");

    assert_int_equal(takeover_run(&d->config, &d->msg), err);
    if (strstr(d->msg.text, why) == NULL)
        fail_msg("\"%s\" doesn't say \"%s\"", d->msg.text, why);
    assert_false(file_exists(d->kv));
    assert_false(file_exists(tmp));
    assert_false(file_exists(note));
    free(tmp);
    free(note);
}

static void assert_note(const struct dirs *d, bool there)
{
    char *path = in(d, "README.chorad");
    struct buf note = {0};

    assert_int_equal(file_exists(path), there);
    if (there) {
        assert_int_equal(file_read(path, 10000, &note, NULL), 0);
        buf_append(&note, "", 1);
        assert_non_null(strstr((char *)note.data, "chorad 1.2.3"));
        assert_non_null(strstr((char *)note.data, "up to entry 6 "));
        assert_non_null(strstr((char *)note.data, d->root));
        assert_non_null(strstr((char *)note.data, "chorad export"));
    }
    buf_close(&note);
    free(path);
}

/* ---- tests ----------------------------------------------------------------
 */

static void nothing_to_do(void **state)
{
    struct dirs *d = *state;

    take(d);
    assert_false(file_exists(d->kv));
    make_log(d, 0, 3);
    take(d);
    assert_false(file_exists(d->kv));
}

/* From 3.6 on the database's own members count where nothing else is said of
 * where the log begins. */
static void a_database_of_3_7(void **state)
{
    struct dirs *d = *state;
    struct found f;

    make_log(d, 4, 8);
    make_snap_file(d, 3, "not asked");
    make_database(d, "member/snap/db", 6, "3.7.0");
    take(d);
    f = look(d);
    assert_int_equal(f.index, 6);
    assert_int_equal(f.term, 2);
    assert_string_equal(f.key, "member/snap/db");
    assert_string_equal(f.members, "http://old;");
    assert_string_equal(f.version, "3.9.0");
    assert_int_equal(f.voter, 9);
}

static void members_of_a_snap_file(void **state)
{
    struct dirs *d = *state;
    struct found f;

    make_log(d, 4, 8);
    make_snap_file(d, 4, "from the file");
    make_database(d, "member/snap/db", 6, NULL);
    take(d);
    f = look(d);
    assert_string_equal(f.members, "from the file;");
    assert_string_equal(f.version, "3.9.0");
    assert_int_equal(f.voter, NODE_ID);
}

/* As 3.4 restores a backup of a later version. */
static void members_of_a_snap_file_of_3_7(void **state)
{
    struct dirs *d = *state;

    make_log(d, 4, 8);
    make_snap_file(d, 4, "from the file");
    make_database(d, "member/snap/db", 6, "3.7.0");
    take(d);
    assert_string_equal(look(d).members, "from the file;");
    assert_string_equal(look(d).version, "3.9.0");
}

static void members_of_the_log(void **state)
{
    struct dirs *d = *state;

    make_log(d, 0, 8);
    make_database(d, "member/snap/db", 6, NULL);
    take(d);
    assert_string_equal(look(d).members, "from the log;");
    assert_int_equal(look(d).voter, NODE_ID);
}

/* At index 0 none of them has been applied. */
static void members_of_an_unapplied_log(void **state)
{
    struct dirs *d = *state;

    make_log(d, 0, 8);
    make_database(d, "member/snap/db", 0, NULL);
    take(d);
    assert_string_equal(look(d).members, "");
    assert_int_equal(look(d).index, 0);
    assert_int_equal(look(d).voter, 0);
}

/* Without a file that the log knows, what the database says is the best. */
static void members_of_the_database_at_last(void **state)
{
    struct dirs *d = *state;

    make_log(d, 4, 8);
    make_snap_file(d, 5, "unknown to the log");
    make_snap_file(d, 3, "unknown, too");
    make_database(d, "member/snap/db", 6, NULL);
    take(d);
    assert_string_equal(look(d).members, "http://old;");
}

static void a_damaged_snap_file_is_passed_over(void **state)
{
    struct dirs *d = *state;
    char *path = in(d, "member/snap/0000000000000002-0000000000000004.snap");

    make_log(d, 4, 8);
    make_database(d, "member/snap/db", 6, NULL);
    assert_int_equal(file_write_atomic(path, "damaged", 7, 0600, NULL), 0);
    take(d);
    assert_string_equal(look(d).members, "http://old;");
    free(path);
}

static void a_snapshot_that_a_leader_sent(void **state)
{
    struct dirs *d = *state;

    make_log(d, 7, 8);
    make_database(d, "member/snap/db", 6, "3.7.0");
    make_database(d, "member/snap/0000000000000007.snap.db", 7, "3.7.0");
    take(d);
    assert_int_equal(look(d).index, 7);
    assert_string_equal(look(d).key, "member/snap/0000000000000007.snap.db");
}

/* The same for a store of our own, which is replaced only if it has to be. */
static void a_snapshot_replaces_a_store(void **state)
{
    struct dirs *d = *state;
    char *old = in(d, "member/kv.old");
    char *sent = in(d, "member/snap/0000000000000007.snap.db");

    make_log(d, 4, 8);
    make_database(d, "member/snap/db", 6, "3.7.0");
    take(d);
    make_database(d, "member/snap/0000000000000007.snap.db", 7, "3.7.0");
    take(d);
    assert_int_equal(look(d).index, 6);
    assert_int_equal(file_remove_tree(d->wal, NULL), 0);
    make_log(d, 7, 8);
    take(d);
    assert_int_equal(look(d).index, 7);
    assert_false(file_exists(old));
    assert_true(file_exists(sent));
    free(old);
    free(sent);
}

static void no_snapshot_where_the_log_begins(void **state)
{
    struct dirs *d = *state;

    make_log(d, 7, 8);
    make_database(d, "member/snap/db", 6, "3.7.0");
    assert_refused(d, ERR_CORRUPT, "0000000000000007.snap.db");
}

static void a_log_that_has_lost_its_end(void **state)
{
    struct dirs *d = *state;

    make_log(d, 4, 8);
    make_database(d, "member/snap/db", 9, "3.7.0");
    assert_refused(d, ERR_CORRUPT, "has applied entry 9");
}

static void a_database_without_a_log(void **state)
{
    struct dirs *d = *state;

    make_database(d, "member/snap/db", 6, "3.7.0");
    assert_refused(d, ERR_CORRUPT, "snapshot restore");
}

/* What the versions of etcd leave that stop before they have a log: no bucket
 * (3.4), an empty one of metadata, or one that says nothing of entries. */
static void make_unused_database(struct dirs *d, unsigned stage)
{
    char *path = in(d, "member/snap/db");
    struct listing l = {{0}};
    struct buf image;

    if (stage >= 2)
        list(&l, true, text("key"), text(""));
    if (stage >= 1)
        list(&l, true, text("meta"), text(""));
    if (stage >= 2) {
        list(&l, false, text("consistent_index"),
             bytes_of("\0\0\0\0\0\0\0", 8));
        list(&l, false, text("storageVersion"), text("3.7.0"));
    }
    image = make_image(&l, 2);
    assert_int_equal(file_write_atomic(path, image.data, image.len, 0600, NULL),
                     0);
    buf_close(&image);
    buf_close(&l.buf);
    free(path);
}

static void a_database_of_a_failed_start(void **state)
{
    struct dirs *d = *state;

    char *path = in(d, "member/snap/db");

    for (unsigned stage = 0; stage <= 2; stage++) {
        make_unused_database(d, stage);
        take(d);
        assert_false(file_exists(d->kv));
        assert_note(d, false);
    }
    /* Killed between making the file and writing its first page. */
    assert_int_equal(file_write_atomic(path, "", 0, 0600, NULL), 0);
    take(d);
    assert_false(file_exists(d->kv));
    assert_note(d, false);
    free(path);
}

/* Data of entry 0 is data, too: a member, say, or a key. */
static void a_database_of_no_entry_with_data(void **state)
{
    struct dirs *d = *state;

    make_database(d, "member/snap/db", 0, NULL);
    assert_refused(d, ERR_CORRUPT, "snapshot restore");
}

/* The index alone says that there was something. */
static void a_database_of_entries_without_data(void **state)
{
    struct dirs *d = *state;
    char *path = in(d, "member/snap/db");
    struct listing l = {{0}};
    struct buf image;

    list(&l, true, text("meta"), text(""));
    list(&l, false, text("consistent_index"), bytes_of("\0\0\0\0\0\0\0\4", 8));
    image = make_image(&l, 2);
    assert_int_equal(file_write_atomic(path, image.data, image.len, 0600, NULL),
                     0);
    assert_refused(d, ERR_CORRUPT, "snapshot restore");
    buf_close(&image);
    buf_close(&l.buf);
    free(path);
}

/* A leader sent a snapshot: there was a log. */
static void a_failed_start_beside_a_snapshot(void **state)
{
    struct dirs *d = *state;

    make_unused_database(d, 1);
    make_database(d, "member/snap/0000000000000007.snap.db", 7, "3.7.0");
    assert_refused(d, ERR_CORRUPT, "but no log");
}

static void a_failed_start_that_still_runs(void **state)
{
    struct dirs *d = *state;
    char *path = in(d, "member/snap/db");
    int fd;

    make_unused_database(d, 1);
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_refused(d, ERR_BUSY, "stop etcd");
    close(fd);
    free(path);
}

static void a_damaged_database_without_a_log(void **state)
{
    struct dirs *d = *state;
    char *path = in(d, "member/snap/db");

    assert_int_equal(file_write_atomic(path, "damaged", 7, 0600, NULL), 0);
    assert_refused(d, ERR_CORRUPT, "member/snap/db");
    free(path);
}

static void a_database_that_etcd_holds(void **state)
{
    struct dirs *d = *state;
    char *path = in(d, "member/snap/db");
    int fd;

    make_log(d, 4, 8);
    make_database(d, "member/snap/db", 6, "3.7.0");
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_refused(d, ERR_BUSY, "stop etcd");
    close(fd);
    take(d);
    free(path);
}

static void a_damaged_database(void **state)
{
    struct dirs *d = *state;
    char *path = in(d, "member/snap/db");
    int fd;

    make_log(d, 4, 8);
    make_database(d, "member/snap/db", 6, "3.7.0");
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "xxxx", 4, 3 * 4096), 4);
    close(fd);
    assert_refused(d, ERR_CORRUPT, "page 3");
    free(path);
}

/* What a start that was cut off has left goes, and isn't taken for a store. */
static void a_start_that_was_cut_off(void **state)
{
    struct dirs *d = *state;
    char *tmp = in(d, "member/kv.tmp");
    char *part = in(d, "member/kv.tmp/data.mdb");

    make_log(d, 4, 8);
    make_database(d, "member/snap/db", 6, "3.7.0");
    assert_int_equal(file_make_dirs(tmp, NULL), 0);
    assert_int_equal(file_write_atomic(part, "part", 4, 0600, NULL), 0);
    take(d);
    assert_int_equal(look(d).index, 6);
    assert_false(file_exists(tmp));
    free(tmp);
    free(part);
}

/* One who crashed before it was left gets it at the next start. */
static void a_note_is_left(void **state)
{
    struct dirs *d = *state;
    char *path = in(d, "README.chorad");

    make_log(d, 4, 8);
    take(d);
    assert_note(d, false);
    make_database(d, "member/snap/db", 6, "3.7.0");
    take(d);
    assert_note(d, true);
    assert_int_equal(unlink(path), 0);
    take(d);
    assert_note(d, true);
    free(path);
}

static char *digest(const struct dirs *d, const char *name)
{
    char *path = in(d, name);
    struct buf file = {0};
    struct stat st;
    char *out;

    assert_int_equal(file_read(path, (size_t)1 << 30, &file, NULL), 0);
    assert_int_equal(stat(path, &st), 0);
    out =
        mem_printf("%08x %zu %lld.%ld", crc32c(0, file.data, file.len),
                   file.len, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    buf_close(&file);
    free(path);
    return out;
}

static void etcds_files_stay_as_they_are(void **state)
{
    static const char *const names[] = {
        "member/snap/db",
        "member/snap/0000000000000002-0000000000000004.snap",
        "member/wal/0000000000000000-0000000000000000.wal",
    };
    struct dirs *d = *state;
    char *before[3];

    make_log(d, 4, 8);
    make_snap_file(d, 4, "m");
    make_database(d, "member/snap/db", 6, NULL);
    for (size_t i = 0; i < 3; i++)
        before[i] = digest(d, names[i]);
    take(d);
    for (size_t i = 0; i < 3; i++) {
        char *after = digest(d, names[i]);

        assert_string_equal(after, before[i]);
        free(after);
        free(before[i]);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, dirs_setup, dirs_teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(nothing_to_do),
        TEST(a_database_of_3_7),
        TEST(members_of_a_snap_file),
        TEST(members_of_a_snap_file_of_3_7),
        TEST(members_of_the_log),
        TEST(members_of_an_unapplied_log),
        TEST(members_of_the_database_at_last),
        TEST(a_damaged_snap_file_is_passed_over),
        TEST(a_snapshot_that_a_leader_sent),
        TEST(a_snapshot_replaces_a_store),
        TEST(no_snapshot_where_the_log_begins),
        TEST(a_log_that_has_lost_its_end),
        TEST(a_database_without_a_log),
        TEST(a_database_of_a_failed_start),
        TEST(a_database_of_no_entry_with_data),
        TEST(a_database_of_entries_without_data),
        TEST(a_failed_start_beside_a_snapshot),
        TEST(a_failed_start_that_still_runs),
        TEST(a_damaged_database_without_a_log),
        TEST(a_database_that_etcd_holds),
        TEST(a_damaged_database),
        TEST(a_start_that_was_cut_off),
        TEST(a_note_is_left),
        TEST(etcds_files_stay_as_they_are),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
