/* What a loss of power takes: every change of a file or directory that isn't
 * synced. Changes below a directory are noted with what was there before; the
 * loss puts that back and kills the process.
 *
 * A file's synced pages stay, its other pages are each lost or kept as the
 * seed has it; seed 0 loses all. Changes of directories are lost from some
 * point on. */
#ifndef FAULTS_POWER_H
#define FAULTS_POWER_H

#include <stdbool.h>
#include <sys/types.h>

/* Once, before anything is opened. */
void power_init(const char *root, unsigned long seed);

/* Around a call that changes a file: _begin holds up other changes until
 * _end. offset -1: at the file's position. */
void power_write_begin(int fd, off_t offset, size_t len);
void power_resize_begin(int fd, off_t size);
void power_change_end(int fd, bool written);

/* Around a sync of a file or directory. */
unsigned long power_sync_begin(void);
void power_sync_end(int fd, unsigned long begun, bool synced);

/* Around a call that changes a directory; the paths may be relative to the
 * directory's fd, or AT_FDCWD. */
void power_name_begin(void);
void power_created(int dir, const char *path);
void power_renamed(int from_dir, const char *from, int to_dir, const char *to,
                   bool done);
void power_unlink_begin(int dir, const char *path);
void power_name_end(bool done);

/* Doesn't return. */
void power_fail(void);

#endif
