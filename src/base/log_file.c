/* Writing a log's lines to a file or stream, and beginning a new file where
 * one is full. */
#include "log_file.h"

#include "chorad/base/clock.h"
#include "chorad/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECOND_NS UINT64_C(1000000000)
#define MS_NS UINT64_C(1000000)
/* A full file that can't be renamed is not tried at each line. */
#define RETRY_NS (10 * SECOND_NS)
#define WORD_NS (60 * SECOND_NS)
/* Other backups of the same millisecond, at most. */
#define NAME_TRIES 1000

static int open_append(const char *path, mode_t mode)
{
    int fd;

    do {
        fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, mode);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

/* The directories above the file, open to all as lumberjack makes them. */
static void make_dirs_above(const char *path)
{
    char *copy = mem_strdup(path);

    for (char *p = copy + 1; copy[0] != '\0' && *p != '\0'; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        (void)mkdir(copy, 0755);
        *p = '/';
    }
    free(copy);
}

int log_file_open(struct log_file *file, const char *output,
                  const struct log_rotation *rotation)
{
    struct stat st;

    *file = (struct log_file){.fd = STDERR_FILENO};
    if (strcmp(output, "stderr") == 0 || strcmp(output, "default") == 0)
        return 0;
    if (strcmp(output, "stdout") == 0) {
        file->fd = STDOUT_FILENO;
        return 0;
    }
    if (rotation != NULL)
        make_dirs_above(output);
    file->fd = open_append(output, rotation != NULL ? 0600 : 0644);
    if (file->fd < 0)
        return err_errno(NULL, errno, "%s", output);
    file->path = mem_strdup(output);
    /* A pipe or a device has no size and no older files. */
    if (rotation != NULL && fstat(file->fd, &st) == 0 && S_ISREG(st.st_mode)) {
        file->rotation = *rotation;
        file->size = (uint64_t)st.st_size;
        log_mill_start(output, rotation);
    }
    return 0;
}

void log_file_close(struct log_file *file)
{
    if (file->path != NULL)
        (void)close(file->fd);
    free(file->path);
    *file = (struct log_file){.fd = -1};
}

/* ---- rotation ---- */

static bool is_taken(const char *name)
{
    char *gz = mem_printf("%s.gz", name);
    struct stat st;
    /* In this order: the compressed copy is there before the file goes. */
    bool taken = lstat(name, &st) == 0 || lstat(gz, &st) == 0;

    free(gz);
    return taken;
}

/* A name that no other file has or has had: two may become full in one
 * millisecond, or the clock may be set back. */
static char *free_name(struct log_file *file)
{
    int64_t now = (int64_t)(clock_wall_ns() / MS_NS);
    int64_t first = now > file->last_ms ? now : file->last_ms + 1;

    for (int64_t i = 0; i < NAME_TRIES; i++) {
        char *name =
            log_backup_path(file->path, first + i, file->rotation.local_time);

        file->last_ms = first + i;
        if (!is_taken(name))
            return name;
        free(name);
    }
    return NULL;
}

/* The new file is for whoever the old one was for. */
static int open_alike(const struct log_file *file)
{
    struct stat old = {.st_mode = 0600};
    bool known = fstat(file->fd, &old) == 0;
    int fd = open_append(file->path, old.st_mode & 0777);

    if (fd >= 0 && known) {
        (void)fchmod(fd, old.st_mode & 0777);
        if (fchown(fd, old.st_uid, old.st_gid) != 0)
            errno = 0; /* then it is for the one who runs the server */
    }
    return fd;
}

/* The old file is given up only when there is a new one. */
static int rotate(struct log_file *file)
{
    char *backup = free_name(file);
    bool moved;
    int err = 0;
    int fd = -1;

    if (backup == NULL)
        return ERR_EXISTS;
    moved = rename(file->path, backup) == 0;
    /* Somebody else has taken it away: a new one is needed all the same. */
    if (moved || errno == ENOENT)
        fd = open_alike(file);
    if (fd < 0)
        err = err_errno(NULL, errno, "%s", file->path);
    if (fd < 0 && moved)
        (void)rename(backup, file->path);
    free(backup);
    if (fd < 0)
        return err;
    (void)close(file->fd);
    file->fd = fd;
    file->size = 0;
    file->torn = false;
    log_mill_start(file->path, &file->rotation);
    return 0;
}

static int rotate_if_full(struct log_file *file, size_t len)
{
    uint64_t now;
    int err;

    if (file->rotation.max_bytes == 0 || file->size == 0 ||
        file->size + len <= file->rotation.max_bytes)
        return 0;
    now = clock_mono_ns();
    if (now < file->retry_ns)
        return 0;
    err = rotate(file);
    if (err < 0)
        file->retry_ns = now + RETRY_NS;
    return err;
}

/* ---- lines ---- */

static size_t write_all(int fd, const char *data, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = write(fd, data + done, len - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    return done;
}

/* Behind a part of a line, what follows begins on a line of its own. */
static bool mend(struct log_file *file)
{
    if (file->torn && write_all(file->fd, "\n", 1) == 1) {
        file->torn = false;
        file->size++;
    }
    return !file->torn;
}

static void speak(struct log_file *file, int unrotated,
                  struct log_trouble *trouble)
{
    uint64_t now;

    if (file->path == NULL || (unrotated == 0 && file->lost == 0))
        return;
    now = clock_mono_ns();
    if (now < file->next_word_ns)
        return;
    file->next_word_ns = now + WORD_NS;
    trouble->unrotated = unrotated;
    trouble->lost = file->lost;
    file->lost = 0;
    (void)snprintf(trouble->where, sizeof(trouble->where), "%s", file->path);
}

void log_file_write(struct log_file *file, const char *data, size_t len,
                    struct log_trouble *trouble)
{
    int unrotated = rotate_if_full(file, len);
    size_t done = mend(file) ? write_all(file->fd, data, len) : 0;

    file->size += done;
    if (done < len) {
        file->lost++;
        file->torn = file->torn || done > 0;
        return; /* nor could more be said here */
    }
    speak(file, unrotated, trouble);
}
