/* The steps, in order. */
#include "internal.h"

#include "chorad/base/clock.h"
#include "chorad/base/file.h"
#include "chorad/base/log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct takeover {
    const struct takeover_config *config;
    char *tmp; /* where the store is built */
    char *old; /* where one that is replaced goes */
    struct wal_contents log;
    struct database db;
};

/* ---- is there anything to do? ---------------------------------------------
 */

static int store_index(const char *dir, uint64_t *index, struct errmsg *msg)
{
    struct store_config config = {.dir = dir};
    struct store *store;
    uint64_t term;
    int rc = store_open(&config, &store, msg);

    if (rc < 0)
        return rc;
    store_consistent_index(store, index, &term);
    store_close(store);
    return 0;
}

static int read_log(struct takeover *t, struct errmsg *msg)
{
    if (!wal_exists(t->config->wal_dir))
        return err_set(msg, ERR_CORRUPT,
                       "there is a database in %s/member/snap, but no log in "
                       "%s: make a member of it by chorad snapshot restore, or "
                       "find the log",
                       t->config->data_dir, t->config->wal_dir);
    return wal_read(t->config->wal_dir, NULL, &t->log, msg);
}

/* ---- doing it -------------------------------------------------------------
 */

/* NULL in *found where the database's own members are the best that is known.
 * From 3.6 on they are right, but in what an older version has restored. */
static int find_history(struct takeover *t, struct roster *m,
                        const struct roster **found, struct errmsg *msg)
{
    bool old = t->db.info.version[0] == '\0';
    int rc =
        takeover_history(t->config, &t->log, t->db.info.index, old, m, msg);

    *found = rc == 0 ? m : NULL;
    if (rc == ERR_UNSUPPORTED)
        return rc;
    if (rc != 0 && old)
        log_warn("no snapshot file tells the members: those in the database "
                 "are taken",
                 LOG_STR("error", err_text(rc)));
    return 0;
}

/* Renamed, the new store is the store. Without one in its place the next start
 * builds it again, so it doesn't matter that an old one has to go first. */
static int move_in(struct takeover *t, struct errmsg *msg)
{
    const char *kv = t->config->kv_dir;
    char *member = mem_printf("%s/member", t->config->data_dir);
    int rc = 0;

    if (rename(kv, t->old) != 0 && errno != ENOENT)
        rc = err_errno(msg, errno, "rename %s", kv);
    else if (rename(t->tmp, kv) != 0)
        rc = err_errno(msg, errno, "rename %s", t->tmp);
    if (rc == 0)
        rc = file_sync_dir(member, msg);
    free(member);
    return rc;
}

static int take(struct takeover *t, struct errmsg *msg)
{
    const struct snapshot_info *info = &t->db.info;
    struct roster members = {0};
    const struct roster *history;
    uint64_t began = clock_mono_ns();
    int rc = find_history(t, &members, &history, msg);

    log_info(t->db.received ? "taking over a snapshot of the leader"
                            : "taking over etcd's data",
             LOG_STR("path", t->db.path), LOG_U64("bytes", info->bytes),
             LOG_U64("index", info->index),
             LOG_STR("storage-version", info->version));
    if (rc == 0)
        rc = takeover_convert(&t->db, t->tmp, &t->log, history, msg);
    if (rc == 0)
        rc = move_in(t, msg);
    roster_close(&members);
    if (rc == 0)
        log_info("took over the database", LOG_STR("path", t->db.path),
                 LOG_NS("took", clock_mono_ns() - began));
    return rc;
}

static int take_if_newer(struct takeover *t, bool have_store,
                         struct errmsg *msg)
{
    uint64_t index = NO_STORE;
    int rc = 0;

    if (have_store)
        rc = store_index(t->config->kv_dir, &index, msg);
    if (rc == 0)
        rc = read_log(t, msg);
    if (rc == 0)
        rc = takeover_db_open(&t->db, t->config, index, &t->log, msg);
    if (rc == 0 && t->db.path)
        rc = take(t, msg);
    return rc;
}

/* A server that stopped before it had a log, as with a wrong initial cluster,
 * leaves a database in which nothing is: the next start is the first one. */
static int begins_anew(const struct takeover_config *config, bool *anew,
                       struct errmsg *msg)
{
    *anew = false;
    if (wal_exists(config->wal_dir) || takeover_db_received(config))
        return 0;
    return takeover_db_unused(config, anew, msg);
}

static int run(struct takeover *t, struct errmsg *msg)
{
    const struct takeover_config *config = t->config;
    bool have_store = file_exists(config->kv_dir);
    char *own = takeover_db_path(config);
    bool have_own = file_exists(own);
    bool anew = false;
    int rc = 0;

    if (have_own && !have_store)
        rc = begins_anew(config, &anew, msg);
    if (rc == 0 && !anew &&
        (takeover_db_received(config) || (have_own && !have_store)))
        rc = take_if_newer(t, have_store, msg);
    if (rc == 0 && have_own)
        takeover_note(config, own);
    free(own);
    return rc;
}

int takeover_run(const struct takeover_config *config, struct errmsg *msg)
{
    struct takeover t = {
        .config = config,
        .tmp = mem_printf("%s.tmp", config->kv_dir),
        .old = mem_printf("%s.old", config->kv_dir),
        .db = {.fd = -1},
    };
    int rc = file_remove_tree(t.tmp, msg);

    if (rc == 0)
        rc = run(&t, msg);
    if (rc == 0)
        rc = file_remove_tree(t.old, msg);
    if (rc < 0)
        (void)file_remove_tree(t.tmp, NULL);
    takeover_db_close(&t.db);
    wal_contents_close(&t.log);
    free(t.tmp);
    free(t.old);
    return rc;
}
