/* The note for whoever looks at the directory later. */
#include "internal.h"

#include "chorad/base/file.h"
#include "chorad/base/log.h"
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOTE "README.chorad"

static const char note[] =
    "chorad keeps this directory's data.\n"
    "\n"
    "It was etcd's before: chorad %s has taken it over.\n"
    "\n"
    "  member/kv       the data, from now on\n"
    "  member/wal      the log; etcd began it, chorad goes on with it\n"
    "  member/snap/db  etcd's database, of storage version %s, as it was "
    "left:\n"
    "                  up to entry %" PRIu64 " of the log\n"
    "\n"
    "Going back to etcd, with nothing lost: stop chorad, then\n"
    "\n"
    "  chorad export --data-dir %s --to DIR\n"
    "\n"
    "and start etcd 3.7 on DIR.\n"
    "\n"
    "Don't start etcd on this directory itself: its database stays where it\n"
    "was. While the log still reaches back to entry %" PRIu64
    ", etcd 3.7 would\n"
    "take what came later from there; chorad gives up that part of the log\n"
    "after some --snapshot-count entries, and then etcd refuses with \"failed\n"
    "to find database snapshot file\". Older versions of etcd refuse as soon\n"
    "as the cluster's version is 3.7.\n"
    "\n"
    "Nothing in member/snap is needed by chorad any more.\n";

static int read_info(const char *path, struct snapshot_info *info, bool *empty)
{
    struct snapshot_file file = {open(path, O_RDONLY | O_CLOEXEC), path};
    int rc;

    *empty = false;
    if (file.fd < 0)
        return ERR_IO;
    rc = snapshot_info_read(&file, info, NULL);
    if (rc == 0)
        (void)snapshot_is_empty(&file, empty, NULL);
    (void)close(file.fd);
    return rc;
}

static void write_file(const struct takeover_config *config, const char *path,
                       const struct snapshot_info *info)
{
    struct errmsg msg = {""};
    char *text = mem_printf(note, config->version,
                            info->version[0] ? info->version : "3.5 or older",
                            info->index, config->data_dir, info->index);

    if (file_write_atomic(path, text, strlen(text), 0600, &msg) < 0)
        log_warn("failed to leave a note beside the data",
                 LOG_STR("error", msg.text));
    free(text);
}

void takeover_note(const struct takeover_config *config, const char *path)
{
    char *file = mem_printf("%s/" NOTE, config->data_dir);
    struct snapshot_info info;
    bool empty;
    int err = read_info(path, &info, &empty);

    /* A server that could not begin has left it. */
    if (empty) {
        free(file);
        return;
    }
    log_info("the directory was etcd's: its database is left as it was and "
             "not kept up to date; to go back, use chorad export",
             LOG_STR("database", path), LOG_STR("note", file));
    if (!file_exists(file) && err == 0)
        write_file(config, file, &info);
    free(file);
}
