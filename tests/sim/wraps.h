/* The functions that --wrap puts in the place of the C library's. */
#ifndef SIM_WRAPS_H
#define SIM_WRAPS_H

#include <dirent.h>
#include <ftw.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
                          void *(*run)(void *arg), void *arg);
int __wrap_pthread_join(pthread_t thread, void **out);
int __wrap_pthread_setname_np(pthread_t thread, const char *name);
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex);
int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                                  const struct timespec *until);
int __wrap_pthread_cond_signal(pthread_cond_t *cond);
int __wrap_nanosleep(const struct timespec *time, struct timespec *left);
long __wrap_syscall(long number, ...);

int __wrap_open(const char *path, int flags, ...);
int __wrap_openat(int dir, const char *path, int flags, ...);
int __wrap_close(int fd);
ssize_t __wrap_read(int fd, void *out, size_t len);
ssize_t __wrap_write(int fd, const void *data, size_t len);
ssize_t __wrap_pread(int fd, void *out, size_t len, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *data, size_t len, off_t offset);
int __wrap_fsync(int fd);
int __wrap_fdatasync(int fd);
int __wrap_ftruncate(int fd, off_t size);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t len);
int __wrap_posix_fadvise(int fd, off_t offset, off_t len, int advice);
off_t __wrap_lseek(int fd, off_t offset, int whence);
int __wrap_flock(int fd, int operation);
int __wrap_fcntl(int fd, int command, ...);
int __wrap_fstat(int fd, struct stat *st);
int __wrap_stat(const char *path, struct stat *st);
int __wrap_lstat(const char *path, struct stat *st);
int __wrap_access(const char *path, int mode);
int __wrap_mkdir(const char *path, mode_t mode);
int __wrap_rename(const char *from, const char *to);
int __wrap_renameat(int from_dir, const char *from, int to_dir, const char *to);
int __wrap_unlink(const char *path);
int __wrap_unlinkat(int dir, const char *path, int flags);
int __wrap_rmdir(const char *path);
DIR *__wrap_opendir(const char *path);
struct dirent *__wrap_readdir(DIR *dir);
int __wrap_closedir(DIR *dir);
int __wrap_dirfd(DIR *dir);
int __wrap_nftw(const char *path,
                int (*visit)(const char *path, const struct stat *st, int type,
                             struct FTW *ftw),
                int depth, int flags);
int __real_close(int fd);
ssize_t __real_read(int fd, void *out, size_t len);
ssize_t __real_write(int fd, const void *data, size_t len);

int __wrap_eventfd(unsigned count, int flags);
int __wrap_pipe2(int fds[2], int flags);

#endif
