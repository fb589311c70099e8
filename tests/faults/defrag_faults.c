/* Every write, sync, allocation, truncation, rename and open of a
 * defragmentation fails in turn, or is the moment the process dies: afterwards
 * everything is there, and where the old file is still in use, so does the
 * store go on. */
#include "child.h"
#include "chorad/base/file.h"
#include "chorad/base/log.h"
#include "chorad/store.h"
#include <fcntl.h>

#define RECORDS 3000
#define VALUE_BYTES 200

static char root[64] = "/tmp/chorad-defragfault-XXXXXX";
static char dir[80];

static struct bytes record_key(char text[16], int i)
{
    int len = snprintf(text, 16, "%08d", i);

    return bytes_of(text, (size_t)len);
}

static void put(struct store *store, int i, int round)
{
    uint8_t value[VALUE_BYTES];
    char key[16];

    memset(value, i + round, sizeof(value));
    (void)store_put(store, STORE_KEY, record_key(key, i),
                    bytes_of(value, sizeof(value)));
}

/* ---- the process that meets the fault ---------------------------------- */

static void failed(void *arg, int err, const struct errmsg *msg)
{
    (void)arg;
    (void)dprintf(1, "failed %s %s\n", err_name(err), msg->text);
    _exit(3);
}

static void fill(struct store *store)
{
    for (int i = 0; i < RECORDS; i++)
        put(store, i, 0);
    store_mark(store, 1, 1);
    /* So that there is something to leave out. */
    for (int i = 0; i < RECORDS; i++) {
        char key[16];
        if (i % 3 == 0)
            put(store, i, 1);
        else if (i % 3 == 1)
            store_delete(store, STORE_KEY, record_key(key, i));
    }
    store_mark(store, 2, 1);
}

static int child(const char *path, const char *arm)
{
    struct store_config config = {.dir = path, .failed = failed};
    struct errmsg msg = {0};
    struct store *store;
    char copy[120];
    uint32_t before;
    uint32_t after;
    int err;

    log_set_level(LOG_FATAL);
    REQUIRE(store_open(&config, &store, &msg) == 0);
    fill(store);
    REQUIRE(store_hash(store, &before) == 0);
    REQUIRE(close(open(arm, O_WRONLY | O_CREAT, 0600)) == 0);
    err = store_defrag(store, &msg);
    REQUIRE(unlink(arm) == 0);
    if (err != 0)
        (void)dprintf(1, "error %s %s\n", err_name(err), msg.text);
    (void)snprintf(copy, sizeof(copy), "%s/data.mdb.tmp", path);
    REQUIRE(!file_exists(copy));
    REQUIRE(store_hash(store, &after) == 0);
    REQUIRE(before == after);
    put(store, RECORDS, 0);
    store_mark(store, 3, 1);
    REQUIRE(store_hash(store, &after) == 0);
    REQUIRE(before != after);
    store_close(store);
    (void)dprintf(1, "done\n");
    return 0;
}

/* ---- the one that looks ------------------------------------------------ */

struct found {
    int next;
    bool good;
};

static int check_record(void *arg, struct bytes key, struct bytes value)
{
    struct found *found = arg;
    char text[16];

    while (found->next < RECORDS && found->next % 3 == 1)
        found->next++;
    found->good =
        bytes_cmp(key, record_key(text, found->next)) == 0 &&
        value.len == VALUE_BYTES &&
        value.data[0] == (uint8_t)(found->next + (found->next < RECORDS &&
                                                  found->next % 3 == 0));
    found->next++;
    return !found->good;
}

static void check_store(bool gone_on)
{
    struct store_config config = {.dir = dir, .failed = failed};
    struct found found = {.good = true};
    struct errmsg msg = {0};
    struct store *store;
    char path[120];
    uint64_t index;
    uint64_t term;

    int err = store_open(&config, &store, &msg);
    if (err != 0)
        (void)fprintf(stderr, "%s\n", msg.text);
    REQUIRE(err == 0);
    store_consistent_index(store, &index, &term);
    REQUIRE(index == (gone_on ? 3 : 2));
    REQUIRE(store_load(store, STORE_KEY, check_record, &found) == 0);
    REQUIRE(found.good && found.next == (gone_on ? RECORDS + 1 : RECORDS));
    (void)snprintf(path, sizeof(path), "%s/data.mdb.tmp", dir);
    REQUIRE(!file_exists(path));
    store_close(store);
}

static void run_child(struct child_result *result, const char *library,
                      const char *const env[])
{
    char arm[100];
    char arm_env[120];
    const char *all[12] = {NULL};
    size_t n = 0;

    (void)snprintf(arm, sizeof(arm), "%s/arm", root);
    (void)snprintf(arm_env, sizeof(arm_env), "FAULTIO_ARM=%s", arm);
    REQUIRE(file_remove_tree(dir, NULL) == 0);
    (void)unlink(arm);
    for (; env[n]; n++)
        all[n] = env[n];
    all[n++] = "FAULTIO_OP=write fsync open truncate fallocate rename";
    all[n] = arm_env;
    child_run(result, library, all, (const char *[]){"child", dir, arm, NULL});
}

static unsigned long count_calls(const char *library, const char *match)
{
    static struct child_result result;
    char log[100];
    char env[120];
    unsigned long count = 0;

    (void)snprintf(log, sizeof(log), "%s/log", root);
    (void)snprintf(env, sizeof(env), "FAULTIO_LOG=%s", log);
    run_child(&result, library, (const char *[]){match, env, NULL});
    REQUIRE(strstr(result.out, "done"));
    FILE *f = fopen(log, "r");
    REQUIRE(f);
    for (int c; (c = fgetc(f)) != EOF;)
        count += c == '\n';
    (void)fclose(f);
    (void)unlink(log);
    return count;
}

static void each_call(const char *library, const char *how, bool dies)
{
    static struct child_result result;
    char match[100];
    char nth[40];
    unsigned long met = 0;

    (void)snprintf(match, sizeof(match), "FAULTIO_MATCH=%s", dir);
    unsigned long calls = count_calls(library, match);
    for (unsigned long n = 1; n <= calls; n++) {
        (void)snprintf(nth, sizeof(nth), "FAULTIO_NTH=%lu", n);
        run_child(&result, library, (const char *[]){match, nth, how, NULL});
        bool died = WIFSIGNALED(result.status);
        bool done = strstr(result.out, "done") != NULL;
        const char *error = strstr(result.out, "error ");
        const char *fail = strstr(result.out, "failed ");
        REQUIRE(dies ? died || done : done || fail);
        REQUIRE(!error || strstr(error, dir));
        REQUIRE(!fail || strstr(fail, dir));
        met += died || error || fail;
        check_store(done);
    }
    (void)printf("%s: met at %lu of %lu calls\n", how, met, calls);
    /* The new file's lock is renamed for the sake of tools alone. */
    REQUIRE(calls > 10 && met + 1 >= calls);
}

int main(int argc, char **argv)
{
    if (strcmp(argv[0], "child") == 0)
        return child(argv[1], argv[2]);
    REQUIRE(argc == 2);
    log_set_level(LOG_FATAL);
    REQUIRE(mkdtemp(root));
    (void)snprintf(dir, sizeof(dir), "%s/kv", root);
    each_call(argv[1], "FAULTIO_ERRNO=EIO", false);
    each_call(argv[1], "FAULTIO_ERRNO=ENOSPC", false);
    each_call(argv[1], "FAULTIO_KILL=1", true);
    REQUIRE(file_remove_tree(root, NULL) == 0);
    return 0;
}
