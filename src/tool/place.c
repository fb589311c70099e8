/* A member's directory, and one that a member is to have. */
#include "tool.h"

#include "chorad/base/file.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNFINISHED "member.tmp"

int place_name(struct place *place, const struct options *options,
               struct errmsg *msg)
{
    char *db;
    bool is_etcd;

    *place = (struct place){0};
    if (options->data_dir == NULL || options->data_dir[0] == '\0')
        return err_set(msg, ERR_INVALID, "--data-dir is required");
    place->data_dir = mem_strdup(options->data_dir);
    place->kv_dir = mem_printf("%s/member/kv", options->data_dir);
    place->wal_dir = options->wal_dir != NULL && options->wal_dir[0] != '\0'
                         ? mem_strdup(options->wal_dir)
                         : mem_printf("%s/member/wal", options->data_dir);
    if (file_exists(place->kv_dir))
        return 0;
    db = mem_printf("%s/member/snap/db", options->data_dir);
    is_etcd = file_exists(db);
    free(db);
    return err_set(msg, ERR_NOTFOUND,
                   is_etcd ? "%s is etcd's: chorad takes it over when it is "
                             "started on it"
                           : "there is no member's data in %s",
                   options->data_dir);
}

static int busy(const struct place *place, struct errmsg *msg)
{
    return err_set(msg, ERR_BUSY,
                   "a member runs on %s, or another tool: stop it first",
                   place->data_dir);
}

int place_open(struct place *place, const struct options *options,
               struct errmsg *msg)
{
    struct store_config config = {0};
    int err = place_name(place, options, msg);

    if (err != 0)
        return err;
    config.dir = place->kv_dir;
    err = store_open(&config, &place->store, msg);
    return err == ERR_BUSY ? busy(place, msg) : err;
}

int place_lock(const struct place *place, int *fd, struct errmsg *msg)
{
    int err = store_lock(place->kv_dir, fd, msg);

    return err == ERR_BUSY ? busy(place, msg) : err;
}

void place_close(struct place *place)
{
    if (place->store != NULL)
        store_close(place->store);
    free(place->data_dir);
    free(place->kv_dir);
    free(place->wal_dir);
    *place = (struct place){0};
}

/* ---- new ones -------------------------------------------------------------
 */

/* A mounted file system has a lost+found of its own. */
static bool matters(const char *name)
{
    return strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
           strcmp(name, UNFINISHED) != 0 && strcmp(name, "lost+found") != 0;
}

static int check_empty(const char *dir, struct errmsg *msg)
{
    DIR *d = opendir(dir);
    const struct dirent *entry;
    int err = 0;

    if (d == NULL)
        return errno == ENOENT ? 0 : err_errno(msg, errno, "%s", dir);
    while (err == 0 && (entry = readdir(d)) != NULL)
        if (matters(entry->d_name))
            err = err_set(msg, ERR_EXISTS,
                          "data-dir \"%s\" not empty: there is %s", dir,
                          entry->d_name);
    (void)closedir(d);
    return err;
}

int place_prepare(const char *dir, struct errmsg *msg)
{
    char *tmp = mem_printf("%s/" UNFINISHED, dir);
    int err = check_empty(dir, msg);

    if (err == 0)
        err = file_remove_tree(tmp, msg);
    if (err == 0)
        err = file_make_dirs(tmp, msg);
    free(tmp);
    return err;
}

int place_finish(const char *dir, struct errmsg *msg)
{
    char *tmp = mem_printf("%s/" UNFINISHED, dir);
    char *member = mem_printf("%s/member", dir);
    int err = file_sync_dir(tmp, msg);

    if (err == 0 && rename(tmp, member) != 0)
        err = err_errno(msg, errno, "rename %s", tmp);
    if (err == 0)
        err = file_sync_dir(dir, msg);
    free(member);
    free(tmp);
    return err;
}
