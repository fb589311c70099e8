/* Does libfaultio.so do what it says? */
#include "child.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>

static char file[64] = "/tmp/chorad-faultio-XXXXXX";

static void say(const char *what, long rv)
{
    (void)dprintf(1, "%s:%s\n", what, rv >= 0 ? "ok" : strerrorname_np(errno));
}

/* Each kind of call once, writing three times. */
static int child(const char *path)
{
    struct timespec began;
    struct timespec ended;
    struct iovec v = {(void *)(uintptr_t) "abc", 3};
    int fd = open(path, O_RDWR | O_CREAT, 0600);

    say("open", fd);
    (void)clock_gettime(CLOCK_MONOTONIC, &began);
    say("write", write(fd, "abc", 3));
    (void)clock_gettime(CLOCK_MONOTONIC, &ended);
    say("pwrite", pwrite(fd, "abc", 3, 3));
    say("pwritev", pwritev(fd, &v, 1, 6));
    say("fdatasync", fdatasync(fd));
    say("fsync", fsync(fd));
    say("ftruncate", ftruncate(fd, 4096));
    say("fallocate", fallocate(fd, 0, 0, 8192));
    void *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    say("msync", msync(map, 4096, MS_SYNC));
    (void)dprintf(1, "took %ld ms\n",
                  (ended.tv_sec - began.tv_sec) * 1000 +
                      (ended.tv_nsec - began.tv_nsec) / 1000000);
    return 0;
}

static struct child_result result;

#define RUN(library, ...)                                                      \
    child_run(&result, (library), (const char *[]){__VA_ARGS__, NULL},         \
              (const char *[]){"child", file, NULL})
#define HAS(text) (strstr(result.out, (text)) != NULL)

static void faults(const char *library, const char *match)
{
    RUN(library, match, "FAULTIO_OP=write", "FAULTIO_NTH=2",
        "FAULTIO_ERRNO=ENOSPC");
    REQUIRE(HAS("\nwrite:ok\npwrite:ENOSPC\npwritev:ok\nfdatasync:ok\n"));

    RUN(library, match, "FAULTIO_OP=write", "FAULTIO_NTH=2",
        "FAULTIO_ERRNO=EIO", "FAULTIO_STICKY=1");
    REQUIRE(HAS("\nwrite:ok\npwrite:EIO\npwritev:EIO\nfdatasync:ok\n"));

    RUN(library, match, "FAULTIO_OP=fsync", "FAULTIO_NTH=1",
        "FAULTIO_ERRNO=EIO", "FAULTIO_STICKY=1");
    REQUIRE(HAS("\npwritev:ok\nfdatasync:EIO\nfsync:EIO\nftruncate:ok\n"));
    REQUIRE(HAS("\nmsync:EIO\n"));

    RUN(library, match, "FAULTIO_OP=fallocate,truncate", "FAULTIO_NTH=2",
        "FAULTIO_ERRNO=28");
    REQUIRE(HAS("\nftruncate:ok\nfallocate:ENOSPC\nmsync:ok\n"));

    RUN(library, match, "FAULTIO_OP=open", "FAULTIO_NTH=1",
        "FAULTIO_ERRNO=EROFS");
    REQUIRE(HAS("open:EROFS\n"));

    RUN(library, "FAULTIO_MATCH=/elsewhere/", "FAULTIO_NTH=1",
        "FAULTIO_ERRNO=EIO", "FAULTIO_STICKY=1");
    REQUIRE(!HAS("EIO"));
}

static void stalls_and_kills(const char *library, const char *match)
{
    RUN(library, match, "FAULTIO_OP=write", "FAULTIO_NTH=1",
        "FAULTIO_DELAY_MS=150");
    REQUIRE(HAS("\nwrite:ok\n"));
    REQUIRE(strtol(strstr(result.out, "took ") + 5, NULL, 10) >= 150);

    RUN(library, match, "FAULTIO_OP=any", "FAULTIO_NTH=3", "FAULTIO_KILL=1");
    REQUIRE(WIFSIGNALED(result.status) && WTERMSIG(result.status) == SIGKILL);
    REQUIRE(HAS("\npwrite:ok\n") && !HAS("pwritev"));
}

static void arming(const char *library, const char *match)
{
    char armed[100];
    char arm[120];

    (void)snprintf(armed, sizeof(armed), "%s.armed", file);
    (void)snprintf(arm, sizeof(arm), "FAULTIO_ARM=%s", armed);
    RUN(library, match, arm, "FAULTIO_NTH=1", "FAULTIO_ERRNO=EIO");
    REQUIRE(!HAS("EIO"));
    int fd = open(armed, O_WRONLY | O_CREAT, 0600);
    REQUIRE(fd >= 0);
    (void)close(fd);
    RUN(library, match, arm, "FAULTIO_NTH=1", "FAULTIO_ERRNO=EIO");
    REQUIRE(HAS("\nwrite:EIO\n"));
    (void)unlink(armed);
}

static void counting(const char *library, const char *match)
{
    char log[100];
    char env[120];
    char text[4096];

    (void)snprintf(log, sizeof(log), "%s.log", file);
    (void)snprintf(env, sizeof(env), "FAULTIO_LOG=%s", log);
    RUN(library, match, env);
    REQUIRE(!HAS(":E"));
    FILE *f = fopen(log, "r");
    REQUIRE(f);
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    (void)fclose(f);
    text[n] = '\0';
    REQUIRE(strstr(text, "1 write /tmp/") && strstr(text, "8 msync /tmp/"));
    (void)unlink(log);
}

int main(int argc, char **argv)
{
    char match[100];

    if (strcmp(argv[0], "child") == 0)
        return child(argv[1]);
    REQUIRE(argc == 2);
    int fd = mkstemp(file);
    REQUIRE(fd >= 0);
    (void)close(fd);
    (void)snprintf(match, sizeof(match), "FAULTIO_MATCH=%s", file);
    faults(argv[1], match);
    stalls_and_kills(argv[1], match);
    arming(argv[1], match);
    counting(argv[1], match);
    (void)unlink(file);
    (void)puts("faultio: good");
    return 0;
}
