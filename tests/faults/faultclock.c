/* libfaultclock.so: loaded with LD_PRELOAD, moves a process's wall clock away
 * from the true one. FAULTCLOCK_FILE names a file that holds by how much, as an
 * int64_t in nanoseconds, and may be written at any time; it is made if it
 * isn't there. The monotonic clocks stay as they are, as when somebody sets the
 * system's time. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000

static const int64_t zero;
static const volatile int64_t *shift = &zero;

__attribute__((constructor)) static void configure(void)
{
    const char *path = getenv("FAULTCLOCK_FILE");
    int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;

    if (fd < 0 || ftruncate(fd, sizeof(*shift)) != 0)
        return;
    void *map = mmap(NULL, sizeof(*shift), PROT_READ, MAP_SHARED, fd, 0);
    if (map != MAP_FAILED)
        shift = map;
    (void)close(fd);
}

static struct timespec moved(const struct timespec *ts, int64_t by)
{
    int64_t ns = ts->tv_nsec + by % SECOND;
    int64_t s = ts->tv_sec + by / SECOND;

    if (ns < 0) {
        ns += SECOND;
        s--;
    } else if (ns >= SECOND) {
        ns -= SECOND;
        s++;
    }
    return (struct timespec){s, ns};
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
    static int (*real)(clockid_t, struct timespec *);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    int rv = real(id, ts);
    if (rv == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        *ts = moved(ts, *shift);
    return rv;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
    struct timespec ts;

    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &ts) != 0)
        return -1;
    *tv = (struct timeval){ts.tv_sec, ts.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *out)
{
    struct timespec ts;

    if (clock_gettime(CLOCK_REALTIME, &ts) != 0)
        return -1;
    if (out)
        *out = ts.tv_sec;
    return ts.tv_sec;
}
