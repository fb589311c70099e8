/* The names of a log's full files, and which of them there are. */
#include "log_file.h"

#include "chorad/base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GZ ".gz"

/* "dir/", "name-" and ".log" of "dir/name.log", borrowed from it but for the
 * dash. */
struct parts {
    const char *base;
    size_t dir_len;
    size_t stem_len; /* without the dash */
    const char *ext; /* with its dot; may be empty */
};

static struct parts split(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *base = slash == NULL ? path : slash + 1;
    const char *dot = strrchr(base, '.');
    const char *ext = dot == NULL ? base + strlen(base) : dot;

    return (struct parts){base, (size_t)(base - path), (size_t)(ext - base),
                          ext};
}

char *log_backup_path(const char *path, int64_t time_ms, bool local_time)
{
    struct parts p = split(path);
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm tm = {0};
    char stamp[LOG_BACKUP_STAMP] = "";

    if (local_time)
        (void)localtime_r(&seconds, &tm);
    else
        (void)gmtime_r(&seconds, &tm);
    (void)strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H-%M-%S", &tm);
    return mem_printf("%.*s-%s.%03d%s", (int)(p.dir_len + p.stem_len), path,
                      stamp, (int)(time_ms % 1000), p.ext);
}

/* A stamp of digits alone: "2006-01-02T15-04-05.000". */
static bool parse_stamp(const char *stamp, bool local_time, int64_t *time_ms)
{
    static const char form[] = "dddd-dd-ddTdd-dd-dd.ddd";
    struct tm tm = {.tm_isdst = -1};
    char *end;

    for (size_t i = 0; i < sizeof(form) - 1; i++) {
        bool digit = stamp[i] >= '0' && stamp[i] <= '9';

        if (form[i] == 'd' ? !digit : stamp[i] != form[i])
            return false;
    }
    end = strptime(stamp, "%Y-%m-%dT%H-%M-%S", &tm);
    if (end == NULL || *end != '.')
        return false;
    tm.tm_isdst = -1;
    *time_ms = (int64_t)(local_time ? mktime(&tm) : timegm(&tm)) * 1000 +
               strtol(end + 1, NULL, 10);
    return true;
}

static bool parse_name(const char *name, const struct parts *p, bool local_time,
                       struct log_backup *out)
{
    size_t stamp_len = LOG_BACKUP_STAMP - 1;
    size_t ext_len = strlen(p->ext);
    size_t len = strlen(name);
    size_t want = p->stem_len + 1 + stamp_len + ext_len;

    if (len < want || strncmp(name, p->base, p->stem_len) != 0 ||
        name[p->stem_len] != '-' ||
        strncmp(name + want - ext_len, p->ext, ext_len) != 0)
        return false;
    out->compressed = len != want;
    if (out->compressed && strcmp(name + want, GZ) != 0)
        return false;
    return parse_stamp(name + p->stem_len + 1, local_time, &out->time_ms);
}

/* The newest first; a file before its compressed copy. */
static int compare(const void *a, const void *b)
{
    const struct log_backup *x = a;
    const struct log_backup *y = b;

    if (x->time_ms != y->time_ms)
        return x->time_ms > y->time_ms ? -1 : 1;
    return (int)x->compressed - (int)y->compressed;
}

int log_backups_list(const char *path, bool local_time, struct log_backup **out,
                     size_t *n)
{
    struct parts p = split(path);
    char *dir = p.dir_len == 0 ? mem_strdup("./")
                               : mem_printf("%.*s", (int)p.dir_len, path);
    DIR *d = opendir(dir);
    int err = d == NULL ? err_errno(NULL, errno, "%s", dir) : 0;
    const struct dirent *entry;

    *out = NULL;
    *n = 0;
    while (d != NULL && (entry = readdir(d)) != NULL) {
        struct log_backup backup;

        if (!parse_name(entry->d_name, &p, local_time, &backup))
            continue;
        backup.path = mem_printf("%s%s", dir, entry->d_name);
        *out = mem_realloc(*out, (*n + 1) * sizeof(**out));
        (*out)[(*n)++] = backup;
    }
    if (d != NULL)
        (void)closedir(d);
    free(dir);
    if (*n > 1)
        qsort(*out, *n, sizeof(**out), compare);
    return err;
}

void log_backups_free(struct log_backup *backups, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(backups[i].path);
    free(backups);
}
