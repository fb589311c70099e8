/* Is what isn't synced gone when the power fails, and nothing else? */
#include "child.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/stat.h>

static char dir[64] = "/tmp/chorad-power-XXXXXX";

static char *at(const char *name)
{
    static char paths[4][128];
    static unsigned turn;
    char *path = paths[turn++ % 4];

    (void)snprintf(path, 128, "%s/data%s%s", dir, *name ? "/" : "", name);
    return path;
}

static int open_new(const char *name)
{
    int fd = open(at(name), O_RDWR | O_CREAT, 0600);

    REQUIRE(fd >= 0);
    return fd;
}

static void sync_dir(void)
{
    int fd = open(at(""), O_RDONLY | O_DIRECTORY);

    REQUIRE(fd >= 0 && fsync(fd) == 0);
    (void)close(fd);
}

/* The power fails at the write to the file "end". */
static int child(void)
{
    int kept = open_new("kept");
    int shrunk = open_new("shrunk");
    int old = open_new("old");
    int target = open_new("target");
    int source = open_new("source");
    int direct = open(at("direct"), O_RDWR | O_CREAT | O_DSYNC, 0600);

    REQUIRE(write(kept, "durable ", 8) == 8);
    REQUIRE(write(shrunk, "durable", 7) == 7);
    REQUIRE(write(direct, "durable", 7) == 7);
    REQUIRE(write(target, "before", 6) == 6 && fsync(target) == 0);
    REQUIRE(write(source, "behind", 6) == 6 && fsync(source) == 0);
    REQUIRE(fsync(kept) == 0 && fdatasync(shrunk) == 0);
    sync_dir();
    REQUIRE(write(kept, "lost", 4) == 4);
    REQUIRE(pwrite(kept, "LOST", 4, 0) == 4);
    REQUIRE(ftruncate(shrunk, 2) == 0);
    REQUIRE(open_new("new") >= 0);
    REQUIRE(rename(at("source"), at("target")) == 0);
    REQUIRE(rename(at("old"), at("renamed")) == 0);
    REQUIRE(unlink(at("direct")) == 0);
    (void)old;
    (void)!write(open_new("end"), "x", 1);
    return 0;
}

static void read_text(const char *name, char got[64])
{
    int fd = open(at(name), O_RDONLY);

    REQUIRE(fd >= 0);
    memset(got, 0, 64);
    REQUIRE(read(fd, got, 63) >= 0);
    (void)close(fd);
}

static void has(const char *name, const char *want)
{
    char got[64];

    read_text(name, got);
    REQUIRE(strcmp(got, want) == 0);
}

static void lacks(const char *name)
{
    struct stat st;

    REQUIRE(stat(at(name), &st) != 0 && errno == ENOENT);
}

static void fail_power(const char *library, unsigned seed)
{
    static struct child_result result;
    char power[128];
    char match[128];
    char seeded[64];
    char remove[128];

    (void)snprintf(remove, sizeof(remove), "rm -rf %s/*", dir);
    REQUIRE(system(remove) == 0);
    REQUIRE(mkdir(at(""), 0700) == 0);
    (void)snprintf(power, sizeof(power), "FAULTIO_POWER=%s/data", dir);
    (void)snprintf(match, sizeof(match), "FAULTIO_MATCH=%s/data/end", dir);
    (void)snprintf(seeded, sizeof(seeded), "FAULTIO_SEED=%u", seed);
    child_run(&result, library,
              (const char *[]){power, match, seeded, "FAULTIO_OP=write",
                               "FAULTIO_NTH=1", NULL},
              (const char *[]){"child", "child", dir, NULL});
    REQUIRE(WIFSIGNALED(result.status) && WTERMSIG(result.status) == SIGKILL);
}

/* Whatever part is lost, a file that another was renamed over is the one or the
 * other. */
static void a_rename_over_a_file_is_one_change(const char *library)
{
    bool before = false;
    bool behind = false;

    for (unsigned seed = 1; seed <= 24; seed++) {
        char got[64];

        fail_power(library, seed);
        read_text("target", got);
        REQUIRE(strcmp(got, "before") == 0 || strcmp(got, "behind") == 0);
        before = before || strcmp(got, "before") == 0;
        behind = behind || strcmp(got, "behind") == 0;
    }
    REQUIRE(before && behind);
}

static void clean_up(void)
{
    char remove[128];

    (void)snprintf(remove, sizeof(remove), "rm -rf %s", dir);
    REQUIRE(system(remove) == 0);
}

int main(int argc, char *argv[])
{
    if (argc > 2) {
        (void)snprintf(dir, sizeof(dir), "%s", argv[2]);
        return child();
    }
    REQUIRE(argc == 2 && mkdtemp(dir));
    fail_power(argv[1], 0);
    has("kept", "durable ");
    has("shrunk", "durable");
    has("direct", "durable");
    has("old", "");
    has("target", "before");
    has("source", "behind");
    lacks("renamed");
    lacks("new");
    lacks("end");
    a_rename_over_a_file_is_one_change(argv[1]);
    clean_up();
    return 0;
}
