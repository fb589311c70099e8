/* What is said of the directories before they are used: who else may look into
 * them, and what in them isn't the server's. Source of texts and order: etcd's
 * fileutil.CheckDirPermission, etcdmain's identifyDataDirOrDie. */
#include "dirs.h"

#include "chorad/base/file.h"
#include "chorad/base/log.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool is_own_name(const char *name)
{
    static const char *const own[] = {".", "..", "member", "README.chorad",
                                      "README.chorad.tmp"};

    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        if (strcmp(name, own[i]) == 0)
            return true;
    }
    return false;
}

/* The log may lie there, too. */
static bool is_wal_dir(const struct config *config, const char *name)
{
    char *path = mem_printf("%s/%s", config->data_dir, name);
    struct stat here;
    struct stat wal;
    bool same = config->wal_dir[0] != '\0' && stat(path, &here) == 0 &&
                stat(config->wal_dir, &wal) == 0 && here.st_dev == wal.st_dev &&
                here.st_ino == wal.st_ino;

    free(path);
    return same;
}

static void name_strange_files(const struct config *config)
{
    struct dirent **entries;
    int n = scandir(config->data_dir, &entries, NULL, alphasort);

    for (int i = 0; i < n; i++) {
        const char *name = entries[i]->d_name;

        if (!is_own_name(name) && !is_wal_dir(config, name))
            log_warn("found invalid file under data directory",
                     LOG_STR("filename", name),
                     LOG_STR("data-dir", config->data_dir));
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
}

void app_check_dirs(const struct config *config)
{
    static const char *const below[] = {"", "/member", "/member/snap",
                                        "/member/kv", "/member/wal"};
    size_t n = sizeof(below) / sizeof(below[0]);

    name_strange_files(config);
    for (size_t i = 0; i < n; i++) {
        char *path = mem_printf("%s%s", config->data_dir, below[i]);

        file_check_dir_mode(path);
        free(path);
    }
    if (config->wal_dir[0] != '\0')
        file_check_dir_mode(config->wal_dir);
}
