/* chorad snapshot restore: a snapshot's file becomes the directory of a member
 * of a new cluster.
 *
 *   <data-dir>/member.tmp/kv    the store, with the new members
 *              member.tmp/wal   their additions to the cluster, committed
 *
 * When all of it is on disk member.tmp becomes member. A log elsewhere
 * (--wal-dir) is finished before; should the command be cut off in between,
 * member.tmp/wal-dir says whose it is. */
#include "tool.h"

#include "chorad/base/be.h"
#include "chorad/base/file.h"
#include "chorad/base/log.h"
#include "chorad/cluster.h"
#include "chorad/config.h"
#include "chorad/mvcc.h"
#include "chorad/raft.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TERM 1
#define WAL_DIR_FILE "wal-dir"

struct restore {
    const struct options *options;
    struct config config;
    struct cluster_member *members; /* sorted by id */
    uint64_t *ids;
    size_t n;
    uint64_t own_id;
    uint64_t cluster_id;
    char *data_dir;
    char *tmp;
    struct image_file image;
    struct headway headway;
    struct errmsg *msg;
};

/* ---- who belongs to the cluster -------------------------------------------
 */

/* The settings are read and checked as those of a member are. */
static int read_settings(struct restore *r)
{
    const struct options *o = r->options;
    char *argv[] = {
        (char[]){"chorad"},
        (char[]){"--name"},
        (char *)(uintptr_t)o->name,
        (char[]){"--initial-cluster"},
        (char *)(uintptr_t)o->initial_cluster,
        (char[]){"--initial-cluster-token"},
        (char *)(uintptr_t)o->initial_cluster_token,
        (char[]){"--initial-advertise-peer-urls"},
        (char *)(uintptr_t)o->initial_advertise_peer_urls,
        NULL,
    };
    char *env[] = {NULL};

    if (config_load(9, argv, env, &r->config, r->msg) != CONFIG_RUN)
        return ERR_INVALID;
    config_settle(&r->config, NULL);
    return config_check_bootstrap(&r->config, NULL, r->msg);
}

static int compare_members(const void *a, const void *b)
{
    const struct cluster_member *x = a;
    const struct cluster_member *y = b;

    return x->id < y->id ? -1 : x->id > y->id;
}

static void name_members(struct restore *r)
{
    const struct config *c = &r->config;

    r->n = c->n_members;
    r->members = mem_zalloc(r->n * sizeof(r->members[0]));
    r->ids = mem_zalloc(r->n * sizeof(r->ids[0]));
    for (size_t i = 0; i < r->n; i++) {
        const struct config_member *from = &c->members[i];
        struct cluster_member *member = &r->members[i];

        member->name = mem_strdup(from->name);
        member->peer_urls =
            mem_zalloc((from->peer_urls.n + 1) * sizeof(char *));
        for (size_t u = 0; u < from->peer_urls.n; u++)
            member->peer_urls[u] = mem_strdup(from->peer_urls.items[u].text);
        member->id = cluster_member_id((const char *const *)member->peer_urls,
                                       c->initial_cluster_token);
        if (strcmp(from->name, c->name) == 0)
            r->own_id = member->id;
    }
    qsort(r->members, r->n, sizeof(r->members[0]), compare_members);
    for (size_t i = 0; i < r->n; i++)
        r->ids[i] = r->members[i].id;
    r->cluster_id = cluster_id(r->ids, r->n);
}

/* ---- the store ------------------------------------------------------------
 */

static struct bytes text(const char *s)
{
    return bytes_of(s, strlen(s));
}

struct deletion {
    struct store *store;
    enum store_bucket bucket;
};

static int delete_record(void *arg, struct bytes key, struct bytes value)
{
    struct deletion *d = arg;

    (void)value;
    store_delete(d->store, d->bucket, key);
    return 0;
}

static int replace_members(const struct restore *r, struct store *store)
{
    struct deletion members = {store, STORE_MEMBERS};
    struct deletion removed = {store, STORE_MEMBERS_REMOVED};
    char key[17];
    int err = store_load(store, STORE_MEMBERS, delete_record, &members);

    if (err == 0)
        err = store_load(store, STORE_MEMBERS_REMOVED, delete_record, &removed);
    if (err != 0)
        return err_set(r->msg, err, "the members: %s", err_text(err));
    for (size_t i = 0; i < r->n; i++) {
        char *json = cluster_member_json(&r->members[i]);

        (void)snprintf(key, sizeof(key), "%" PRIx64, r->members[i].id);
        (void)store_put(store, STORE_MEMBERS, text(key), text(json));
        free(json);
    }
    return 0;
}

static int note_revision(void *arg, struct bytes key, struct bytes value)
{
    struct mvcc_rev rev;
    bool tombstone;

    (void)value;
    if (mvcc_decode_rev(key, &rev, &tombstone) != 0)
        return ERR_CORRUPT;
    if (rev.main > *(int64_t *)arg)
        *(int64_t *)arg = rev.main;
    return 0;
}

/* An empty record at the new revision, and a compaction asked for up to there,
 * which the member carries out (source: etcdutl). */
static int bump_revision(const struct restore *r, struct store *store)
{
    uint64_t by = r->options->bump_revision;
    uint8_t key[17] = {0};
    int64_t newest = 0;
    int err = store_load(store, STORE_KEY, note_revision, &newest);

    if (err != 0)
        return err_set(r->msg, err, "bucket key: %s", err_text(err));
    if (by > (uint64_t)(INT64_MAX - newest))
        return err_set(r->msg, ERR_INVALID,
                       "--bump-revision: revision %" PRId64
                       " can't go up by that much",
                       newest);
    be_put_u64(key, (uint64_t)newest + by);
    key[8] = '_';
    (void)store_put(store, STORE_KEY, bytes_of(key, sizeof(key)), text(""));
    (void)store_put(store, STORE_META, text("scheduledCompactRev"),
                    bytes_of(key, sizeof(key)));
    return 0;
}

static int save_conf_state(const struct restore *r, struct store *store)
{
    struct cluster *cluster;
    int err = cluster_open(store, &cluster, r->msg);

    if (err != 0)
        return err;
    cluster_save_conf_state(cluster, r->ids, r->n, NULL, 0);
    cluster_close(cluster);
    return 0;
}

static int edit(const struct restore *r, struct store *store)
{
    int err = save_conf_state(r, store);

    if (err == 0)
        err = replace_members(r, store);
    if (err == 0 && r->options->bump_revision > 0)
        err = bump_revision(r, store);
    if (err != 0)
        return err;
    store_mark(store, r->n, TERM);
    err = store_flush_wait(store);
    return err != 0 ? err_set(r->msg, err, "write the store: %s", err_text(err))
                    : 0;
}

static int build_store(struct restore *r)
{
    char *dir = mem_printf("%s/kv", r->tmp);
    struct snapshot_build build = {r->image.file, dir, tool_tell, &r->headway};
    struct store_config config = {.dir = dir};
    struct snapshot_info info;
    struct store *store;
    int err;

    tool_headway(&r->headway, r->options, "restoring");
    err = snapshot_build(&build, &info, r->msg);
    headway_end(&r->headway);
    if (err == 0)
        err = store_open(&config, &store, r->msg);
    if (err == 0) {
        err = edit(r, store);
        store_close(store);
    }
    free(dir);
    return err;
}

/* ---- the log --------------------------------------------------------------
 */

static int write_log(const struct restore *r, const char *dir)
{
    struct raft_entry *entries = mem_zalloc(r->n * sizeof(entries[0]));
    struct raft_conf_state conf = {0};
    struct new_log log = {
        .dir = dir,
        .metadata = {r->own_id, r->cluster_id},
        .entries = entries,
        .entry_count = r->n,
        .hard_state = {TERM, r->ids[0], r->n},
    };
    int err;

    for (size_t i = 0; i < r->n; i++) {
        char *json = cluster_member_json(&r->members[i]);
        struct raft_conf_change cc = {
            .v1 = true,
            .change_count = 1,
            .changes = {{RAFT_CONF_ADD_NODE, r->ids[i]}},
            .context = text(json),
        };

        entries[i] = raft_conf_change_entry(&cc);
        entries[i].term = TERM;
        entries[i].index = i + 1;
        raft_ids_add(&conf.voters, r->ids[i]);
        free(json);
    }
    log.after = raft_snapshot_new(r->n, TERM, &conf, NULL);
    err = new_log_write(&log, r->msg);
    raft_snapshot_unref(log.after);
    raft_conf_state_close(&conf);
    for (size_t i = 0; i < r->n; i++)
        raft_entry_unref(&entries[i]);
    free(entries);
    return err;
}

/* One that a restore which was cut off has left goes; any other is somebody's.
 * The directory itself may be there, as a mount is. */
static int clear_wal_dir(const struct restore *r, const char *dir)
{
    char *file = mem_printf("%s/" WAL_DIR_FILE, r->tmp);
    struct buf noted = {0};
    int err = 0;

    if (file_read(file, 4096, &noted, NULL) == 0 && noted.len == strlen(dir) &&
        memcmp(noted.data, dir, noted.len) == 0)
        err = wal_remove(dir, r->msg);
    if (err == 0 && wal_exists(dir))
        err = err_set(r->msg, ERR_EXISTS, "wal-dir \"%s\" exists", dir);
    buf_close(&noted);
    free(file);
    return err;
}

static int note_wal_dir(const struct restore *r, const char *dir)
{
    char *file = mem_printf("%s/" WAL_DIR_FILE, r->tmp);
    int err = file_write_atomic(file, dir, strlen(dir), 0600, r->msg);

    free(file);
    return err;
}

/* ---- all of it ------------------------------------------------------------
 */

static int make_within(struct restore *r)
{
    char *dir = mem_printf("%s/wal", r->tmp);
    int err = place_prepare(r->data_dir, r->msg);

    if (err == 0)
        err = build_store(r);
    if (err == 0)
        err = write_log(r, dir);
    if (err == 0)
        err = place_finish(r->data_dir, r->msg);
    free(dir);
    return err;
}

static int make_elsewhere(struct restore *r, const char *wal_dir)
{
    char *note = mem_printf("%s/member/" WAL_DIR_FILE, r->data_dir);
    int err = clear_wal_dir(r, wal_dir);

    if (err == 0)
        err = place_prepare(r->data_dir, r->msg);
    if (err == 0)
        err = build_store(r);
    if (err == 0)
        err = note_wal_dir(r, wal_dir);
    if (err == 0)
        err = write_log(r, wal_dir);
    if (err == 0)
        err = place_finish(r->data_dir, r->msg);
    if (err == 0)
        (void)file_remove_tree(note, NULL);
    free(note);
    return err;
}

static int make(struct restore *r)
{
    const char *wal_dir = r->options->wal_dir;

    return wal_dir != NULL && wal_dir[0] != '\0' ? make_elsewhere(r, wal_dir)
                                                 : make_within(r);
}

static int check_image(struct restore *r)
{
    const struct options *o = r->options;
    int err = image_file_open(&r->image, o->args[0], r->msg);

    if (err != 0 || o->skip_hash_check)
        return err;
    if (!r->image.has_sum)
        return err_set(r->msg, ERR_INVALID,
                       "snapshot missing hash but --skip-hash-check=false");
    return image_file_check_sum(&r->image, r->msg);
}

static void close_restore(struct restore *r)
{
    for (size_t i = 0; i < r->n; i++)
        cluster_member_close(&r->members[i]);
    free(r->members);
    free(r->ids);
    free(r->data_dir);
    free(r->tmp);
    image_file_close(&r->image);
    config_close(&r->config);
}

int restore_run(const struct options *options)
{
    struct errmsg msg = {""};
    struct restore r = {
        .options = options, .image = {.file = {.fd = -1}}, .msg = &msg};
    int err;

    if ((options->bump_revision > 0) != options->mark_compacted) {
        (void)fputs("Error: --bump-revision and --mark-compacted go together\n",
                    stderr);
        return EXIT_BAD_USAGE;
    }
    r.data_dir = options->data_dir != NULL && options->data_dir[0] != '\0'
                     ? mem_strdup(options->data_dir)
                     : mem_printf("%s.etcd", options->name);
    r.tmp = mem_printf("%s/member.tmp", r.data_dir);
    err = read_settings(&r);
    if (err == 0) {
        name_members(&r);
        err = check_image(&r);
    }
    if (err == 0)
        err = make(&r);
    if (err == 0)
        (void)printf("restored %s: start chorad --name %s with --data-dir %s\n",
                     options->args[0], options->name, r.data_dir);
    close_restore(&r);
    return err == 0 ? EXIT_OK : tool_fail(&msg);
}
