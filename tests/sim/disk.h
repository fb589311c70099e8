/* The simulated disks: what the system calls in calls.c work on. Each member
 * has one, under "/sim/<slot>/".
 *
 * Data: a page that was written since the last sync has two contents, and after
 * a crash each of its sectors has one of them. Names: what was done in the
 * directories since one of them was synced is undone from its end, as far as
 * chance will have it, as a file system with a journal does. */
#ifndef SIM_DISK_H
#define SIM_DISK_H

#include "sim.h"

#define DISK_PAGE ((size_t)4096)
#define DISK_SECTOR ((size_t)512)

struct db;

struct file {
    unsigned slot;
    bool is_dir;
    unsigned refs; /* names and descriptors */
    uint64_t size;
    uint64_t stable_size;
    /* Pages as they are read, and as the disk has them; the same where nothing
     * is unsynced; NULL: zeros. */
    uint8_t **pages;
    uint8_t **stable;
    size_t page_count;
    struct db *db; /* a database instead of bytes, which is always durable */
};

/* Where the path begins with "/sim/". */
bool disk_is_path(const char *path);

struct file *disk_find(const char *path);
/* A new file or directory of that name. */
struct file *disk_make(const char *path, bool is_dir);
/* 0, or ENOENT. What is there by the name goes; a directory moves with all in
 * it. */
int disk_rename(const char *from, const char *to);
int disk_unlink(const char *path);
/* The name of the nth thing in the directory, or NULL. */
const char *disk_list(const char *dir, size_t n);

void file_read_at(const struct file *file, void *out, size_t len,
                  uint64_t offset);
void file_write_at(struct file *file, const void *data, size_t len,
                   uint64_t offset);
void file_set_size(struct file *file, uint64_t size);
/* All of it, or the names of the directory's slot. */
void file_sync(struct file *file);
/* A sync that failed: what was unsynced is as after a crash. */
void file_lose(struct file *file);
void file_unref(struct file *file);

#endif
