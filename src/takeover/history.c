/* The membership at the database's end. Up to its version 3.5 etcd kept it in
 * the v2 store, which later ones still write into .snap files. The database's
 * members may be others: 3.4's restore leaves there those of the cluster that
 * the backup is from. */
#include "internal.h"

#include "chorad/base/file.h"
#include "chorad/base/log.h"
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The v2 store of a cluster is a few KB; one with user's keys, as large as
 * etcd could take. */
#define SNAP_FILE_MAX ((size_t)1 << 30)

struct snap_name {
    uint64_t term;
    uint64_t index;
};

/* "<term %016x>-<index %016x>.snap" */
static bool parse_name(const char *text, struct snap_name *name)
{
    char again[64];

    if (sscanf(text, "%16" SCNx64 "-%16" SCNx64 ".snap", &name->term,
               &name->index) != 2)
        return false;
    (void)snprintf(again, sizeof(again), "%016" PRIx64 "-%016" PRIx64 ".snap",
                   name->term, name->index);
    return strcmp(text, again) == 0;
}

/* The newest one before `before`; false if there is none. */
static bool find_name(const char *dir, uint64_t before, struct snap_name *best)
{
    DIR *d = opendir(dir);
    const struct dirent *entry;
    bool found = false;

    while (d && (entry = readdir(d)) != NULL) {
        struct snap_name name;

        if (!parse_name(entry->d_name, &name) || name.index >= before ||
            (found && name.index <= best->index))
            continue;
        *best = name;
        found = true;
    }
    if (d)
        (void)closedir(d);
    return found;
}

static int read_file(const char *dir, const struct snap_name *name,
                     struct roster *m, struct errmsg *msg)
{
    char *path = mem_printf("%s/%016" PRIx64 "-%016" PRIx64 ".snap", dir,
                            name->term, name->index);
    struct buf file = {0};
    struct snap_name inside;
    struct bytes v2;
    int rc = file_read(path, SNAP_FILE_MAX, &file, msg);

    if (rc == 0) {
        rc = snap_file_read(bytes_of(file.data, file.len), &inside.index,
                            &inside.term, &v2);
        if (rc == 0 &&
            (inside.index != name->index || inside.term != name->term))
            rc = ERR_CORRUPT;
        if (rc < 0)
            (void)err_set(msg, rc, "not a snapshot, or a damaged one");
    }
    if (rc == 0)
        rc = v2_store_read(v2, m, msg);
    if (rc < 0)
        (void)err_wrap(msg, rc, "%s", path);
    buf_close(&file);
    free(path);
    return rc;
}

static int apply_range(const struct wal_contents *log, uint64_t index,
                       struct roster *m, struct errmsg *msg)
{
    for (size_t i = 0; i < log->entry_count; i++) {
        if (log->entries[i].index > index)
            break;
        if (roster_apply(m, &log->entries[i]) < 0)
            return err_set(msg, ERR_CORRUPT,
                           "entry %" PRIu64 " of the log can't be read",
                           log->entries[i].index);
    }
    return 0;
}

/* The log from that file on; the file counts only if the log has a record of
 * it (source: etcd, which may have written it and then crashed). */
static int apply_from(const struct takeover_config *config,
                      const struct snap_name *name,
                      const struct wal_contents *log, uint64_t index,
                      struct roster *m, struct errmsg *msg)
{
    struct wal_options options = {.snapshot_limit = name->index};
    struct wal_contents longer;
    int rc;

    if (log->snapshot.index == name->index)
        return apply_range(log, index, m, msg);
    rc = wal_read(config->wal_dir, &options, &longer, msg);
    if (rc < 0)
        return rc;
    rc = longer.snapshot.index == name->index
             ? apply_range(&longer, index, m, msg)
             : err_set(msg, ERR_NOTFOUND, "the log has no record of it");
    wal_contents_close(&longer);
    return rc;
}

int takeover_history(const struct takeover_config *config,
                     const struct wal_contents *log, uint64_t index, bool older,
                     struct roster *m, struct errmsg *msg)
{
    char *dir = mem_printf("%s/member/snap", config->data_dir);
    uint64_t before = log->snapshot.index + 1;
    struct snap_name name = {0};
    int rc = ERR_NOTFOUND;

    /* The log goes back to the very first entry. */
    if (log->snapshot.index == 0)
        rc = apply_range(log, index, m, msg);
    while (rc < 0 && rc != ERR_UNSUPPORTED && find_name(dir, before, &name) &&
           (older || name.index == log->snapshot.index)) {
        roster_close(m);
        rc = read_file(dir, &name, m, msg);
        if (rc == 0)
            rc = apply_from(config, &name, log, index, m, msg);
        if (rc < 0)
            log_warn("a snapshot file was passed over",
                     LOG_U64("snapshot-index", name.index),
                     LOG_STR("error", msg->text));
        before = name.index;
    }
    free(dir);
    return rc;
}
