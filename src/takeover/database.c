/* Which database is to be taken: etcd's own, or one that a leader sent. */
#include "internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define RECEIVED ".snap.db"

char *takeover_db_path(const struct takeover_config *config)
{
    return mem_printf("%s/member/snap/db", config->data_dir);
}

static char *received_path(const struct takeover_config *config, uint64_t index)
{
    return mem_printf("%s/member/snap/%016" PRIx64 RECEIVED, config->data_dir,
                      index);
}

bool takeover_db_received(const struct takeover_config *config)
{
    char *dir = mem_printf("%s/member/snap", config->data_dir);
    DIR *d = opendir(dir);
    const struct dirent *entry;
    bool found = false;

    while (d && !found && (entry = readdir(d)) != NULL) {
        size_t len = strlen(entry->d_name);

        found = len == 16 + strlen(RECEIVED) &&
                strcmp(entry->d_name + 16, RECEIVED) == 0;
    }
    if (d)
        (void)closedir(d);
    free(dir);
    return found;
}

/* etcd holds the same lock on what it has open; ours keeps it away, and
 * another chorad, until the store is built. */
static int lock_database(struct database *db, struct errmsg *msg)
{
    db->fd = open(db->path, O_RDONLY | O_CLOEXEC);
    if (db->fd < 0)
        return err_errno(msg, errno, "%s", db->path);
    if (flock(db->fd, LOCK_EX | LOCK_NB) != 0)
        return errno == EWOULDBLOCK
                   ? err_set(msg, ERR_BUSY,
                             "%s: another process holds it; stop etcd first",
                             db->path)
                   : err_errno(msg, errno, "%s", db->path);
    return 0;
}

static int open_locked(struct database *db, struct errmsg *msg)
{
    struct snapshot_file file = {-1, db->path};
    int err = lock_database(db, msg);

    file.fd = db->fd;
    return err == 0 ? snapshot_info_read(&file, &db->info, msg) : err;
}

int takeover_db_unused(const struct takeover_config *config, bool *unused,
                       struct errmsg *msg)
{
    struct database db = {.path = takeover_db_path(config), .fd = -1};
    struct snapshot_file file = {-1, db.path};
    int err = lock_database(&db, msg);
    struct stat st;

    *unused = false;
    file.fd = db.fd;
    if (err == 0 && fstat(db.fd, &st) == 0 && st.st_size == 0)
        *unused = true;
    else if (err == 0)
        err = snapshot_is_empty(&file, unused, msg);
    takeover_db_close(&db);
    return err;
}

/* An own database that is too old, or none. */
static int open_received(struct database *db,
                         const struct takeover_config *config,
                         const struct wal_contents *log, struct errmsg *msg)
{
    uint64_t index = log->snapshot.index;

    takeover_db_close(db);
    *db = (struct database){
        .path = received_path(config, index), .fd = -1, .received = true};
    if (access(db->path, F_OK) != 0)
        return err_set(msg, ERR_CORRUPT,
                       "the log in %s begins behind entry %" PRIu64
                       ", where neither the data in %s nor a snapshot there "
                       "reaches to (there is no %s): restore the member from "
                       "a backup or remove it and add it again",
                       config->wal_dir, index, config->data_dir, db->path);
    return open_locked(db, msg);
}

/* The database's newest entry has to be in the log, or where it begins. */
static int check_end(const struct database *db,
                     const struct takeover_config *config,
                     const struct wal_contents *log, struct errmsg *msg)
{
    uint64_t last = log->snapshot.index + log->entry_count;

    if (db->info.index >= log->snapshot.index && db->info.index <= last)
        return 0;
    return err_set(msg, ERR_CORRUPT,
                   "%s has applied entry %" PRIu64 ", but the log in %s has "
                   "entries %" PRIu64 " to %" PRIu64
                   ": restore the member from a backup or remove it and add "
                   "it again",
                   db->path, db->info.index, config->wal_dir,
                   log->snapshot.index + 1, last);
}

int takeover_db_open(struct database *db, const struct takeover_config *config,
                     uint64_t store_index, const struct wal_contents *log,
                     struct errmsg *msg)
{
    int rc = 0;

    *db = (struct database){.fd = -1};
    if (store_index != NO_STORE) {
        if (store_index >= log->snapshot.index)
            return 0;
        rc = open_received(db, config, log, msg);
    } else {
        db->path = takeover_db_path(config);
        if (access(db->path, F_OK) == 0)
            rc = open_locked(db, msg);
        if (rc == 0 && (db->fd < 0 || db->info.index < log->snapshot.index))
            rc = open_received(db, config, log, msg);
    }
    return rc == 0 ? check_end(db, config, log, msg) : rc;
}

void takeover_db_close(struct database *db)
{
    if (db->fd >= 0)
        (void)close(db->fd);
    free(db->path);
    *db = (struct database){.fd = -1};
}
