/* Every write, sync, truncation, allocation and rename of the log fails in
 * turn, or is the moment the process dies: the writer must stop with an error
 * that names the file, and what it reported as durable must be there
 * afterwards. */
#include "child.h"
#include "chorad/base/log.h"
#include "chorad/wal.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#define SEGMENT_BYTES 8192
#define ENTRIES 30
#define ENTRY_BYTES 700

static char root[64] = "/tmp/chorad-walfault-XXXXXX";
static char dir[80];

/* ---- the process that meets the fault ---------------------------------- */

static int stop(int err, const struct errmsg *msg)
{
    (void)dprintf(1, "error %s %s\n", err_name(err), msg->text);
    return 3;
}

static int append_one(struct wal *wal, uint64_t index, struct errmsg *msg)
{
    uint8_t data[ENTRY_BYTES];
    struct raft_hard_state hs = {1, 1, index};

    memset(data, (int)index, sizeof(data));
    struct raft_entry entry = {
        .term = 1, .index = index, .data = data, .len = sizeof(data)};
    struct wal_batch batch = {
        .entries = &entry, .entry_count = 1, .hard_state = &hs};
    int err = wal_append(wal, &batch, msg);
    return err < 0 ? err : wal_sync(wal, msg);
}

/* Says "ack <index>" for what is durable. After an error it goes on trying:
 * nothing may be acknowledged any more. */
static int child(const char *path)
{
    struct wal_options options = {.segment_bytes = SEGMENT_BYTES};
    struct wal_metadata metadata = {1, 2};
    struct wal_contents contents = {0};
    struct errmsg msg = {0};
    struct wal *wal;
    uint64_t last = 0;
    int err;

    log_set_level(LOG_FATAL);
    if (wal_exists(path)) {
        err = wal_open(&wal, path, &options, &contents, &msg);
        last = contents.snapshot.index + contents.entry_count;
        wal_contents_close(&contents);
    } else {
        err = wal_create(&wal, path, &options, &metadata, &msg);
    }
    if (err < 0)
        return stop(err, &msg);
    int first = 0;
    for (uint64_t i = last + 1; i <= last + ENTRIES; i++) {
        err = append_one(wal, i, &msg);
        if (err < 0 && first == 0)
            first = stop(err, &msg);
        if (err == 0)
            (void)dprintf(1, "ack %d\n", (int)i);
        if (err == 0 && first != 0)
            (void)dprintf(1, "acked after an error\n");
    }
    err = wal_close(wal, &msg);
    if (err < 0 && first == 0)
        return stop(err, &msg);
    (void)dprintf(1, "done\n");
    return first;
}

/* ---- the one that looks ------------------------------------------------ */

static void clear(void)
{
    char path[512];
    DIR *d = opendir(dir);
    const struct dirent *entry;

    while (d && (entry = readdir(d)) != NULL) {
        (void)snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
        if (entry->d_name[0] != '.')
            (void)unlink(path);
    }
    if (d)
        (void)closedir(d);
    (void)rmdir(dir);
}

static unsigned long last_ack(const char *out)
{
    unsigned long ack = 0;
    for (const char *at = out; (at = strstr(at, "ack ")) != NULL; at += 4)
        ack = strtoul(at + 4, NULL, 10);
    return ack;
}

static void check_log(unsigned long acked)
{
    struct wal_options options = {.segment_bytes = SEGMENT_BYTES};
    struct wal_contents contents;
    struct errmsg msg = {0};
    struct wal *wal;

    if (!wal_exists(dir)) {
        REQUIRE(acked == 0);
        return;
    }
    int err = wal_open(&wal, dir, &options, &contents, &msg);
    if (err < 0)
        (void)fprintf(stderr, "%s\n", msg.text);
    REQUIRE(err == 0);
    REQUIRE(contents.entry_count >= acked);
    REQUIRE(contents.hard_state.commit >= acked);
    for (size_t i = 0; i < contents.entry_count; i++)
        REQUIRE(contents.entries[i].index == i + 1 &&
                contents.entries[i].data[ENTRY_BYTES - 1] == (uint8_t)(i + 1));
    size_t count = contents.entry_count;
    wal_contents_close(&contents);
    REQUIRE(append_one(wal, count + 1, &msg) == 0);
    REQUIRE(wal_close(wal, &msg) == 0);
}

/* Leaves nothing, or a log with some segments and a torn end. */
static void prepare(int torn)
{
    static struct child_result result;
    struct dirent **names;
    struct stat st;
    char path[512];

    clear();
    if (!torn)
        return;
    child_run(&result, "", (const char *[]){NULL},
              (const char *[]){"child", dir, NULL});
    REQUIRE(last_ack(result.out) == ENTRIES);
    int n = scandir(dir, &names, NULL, alphasort);
    REQUIRE(n > 2);
    (void)snprintf(path, sizeof(path), "%s/%s", dir, names[n - 1]->d_name);
    /* The last record, a hard state, is 40 bytes at most. */
    REQUIRE(stat(path, &st) == 0);
    int fd = open(path, O_RDWR);
    uint8_t byte = 0;
    off_t end = st.st_size;
    while (end > 0 && byte == 0)
        REQUIRE(pread(fd, &byte, 1, --end) == 1);
    REQUIRE(ftruncate(fd, end - 60) == 0);
    (void)close(fd);
    for (int i = 0; i < n; i++)
        free(names[i]);
    free(names);
}

/* How many calls of the kind a run without faults makes. */
static unsigned long count_calls(const char *library, const char *match,
                                 int torn)
{
    static struct child_result result;
    char log[100];
    char env[120];
    unsigned long count = 0;

    prepare(torn);
    (void)snprintf(log, sizeof(log), "%s/log", root);
    (void)snprintf(env, sizeof(env), "FAULTIO_LOG=%s", log);
    child_run(&result, library, (const char *[]){match, env, NULL},
              (const char *[]){"child", dir, NULL});
    REQUIRE(strstr(result.out, "done"));
    FILE *f = fopen(log, "r");
    REQUIRE(f);
    for (int c; (c = fgetc(f)) != EOF;)
        count += c == '\n';
    (void)fclose(f);
    (void)unlink(log);
    return count;
}

/* Meets the fault at each call in turn. */
static void each_call(const char *library, const char *how, const char *sticky,
                      int torn)
{
    static struct child_result result;
    char match[100];
    char nth[40];
    unsigned long met = 0;

    (void)snprintf(match, sizeof(match), "FAULTIO_MATCH=%s", dir);
    unsigned long calls = count_calls(library, match, torn);
    for (unsigned long n = 1; n <= calls; n++) {
        prepare(torn);
        (void)snprintf(nth, sizeof(nth), "FAULTIO_NTH=%lu", n);
        child_run(&result, library,
                  (const char *[]){match, nth, how, sticky, NULL},
                  (const char *[]){"child", dir, NULL});
        REQUIRE(!strstr(result.out, "acked after"));
        const char *error = strstr(result.out, "error ");
        if (error) {
            REQUIRE(WIFEXITED(result.status) &&
                    WEXITSTATUS(result.status) == 3);
            REQUIRE(strstr(error, dir));
        } else if (WIFEXITED(result.status)) {
            /* What failed was the preparation of a segment, which is tried
             * once more when it is needed. */
            REQUIRE(strstr(result.out, "done"));
        }
        if (error || WIFSIGNALED(result.status))
            met++;
        unsigned long acked = last_ack(result.out);
        check_log(torn && acked == 0 ? ENTRIES - 1 : acked);
    }
    (void)printf("%s %s%s: met at %lu of %lu calls\n", how, sticky,
                 torn ? " on a torn log" : "", met, calls);
    REQUIRE(met * 10 >= calls * 8);
}

/* Where the device's blocks are larger than the log's it goes on through the
 * page cache. */
static void refuse_direct_writes(const char *library)
{
    static struct child_result result;
    char match[100];
    char nth[40];

    (void)snprintf(match, sizeof(match), "FAULTIO_MATCH=%s", dir);
    for (int n = 1; n <= 12; n++) {
        prepare(0);
        (void)snprintf(nth, sizeof(nth), "FAULTIO_NTH=%d", n);
        child_run(&result, library,
                  (const char *[]){match, nth, "FAULTIO_OP=write",
                                   "FAULTIO_ERRNO=22", NULL},
                  (const char *[]){"child", dir, NULL});
        REQUIRE(strstr(result.out, "done"));
        check_log(last_ack(result.out));
    }
}

int main(int argc, char **argv)
{
    if (strcmp(argv[0], "child") == 0)
        return child(argv[1]);
    REQUIRE(argc == 2);
    log_set_level(LOG_FATAL);
    REQUIRE(mkdtemp(root));
    (void)snprintf(dir, sizeof(dir), "%s/wal", root);
    for (int torn = 0; torn < 2; torn++) {
        each_call(argv[1], "FAULTIO_ERRNO=EIO", "FAULTIO_STICKY=0", torn);
        each_call(argv[1], "FAULTIO_ERRNO=ENOSPC", "FAULTIO_STICKY=1", torn);
        each_call(argv[1], "FAULTIO_KILL=1", "FAULTIO_STICKY=0", torn);
    }
    refuse_direct_writes(argv[1]);
    clear();
    (void)rmdir(root);
    return 0;
}
