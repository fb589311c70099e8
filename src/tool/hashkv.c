/* chorad hashkv: of a member's directory, or of a snapshot's file, which
 * becomes a store in a temporary place for that. */
#include "tool.h"

#include "chorad/base/file.h"
#include "chorad/mvcc.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int hash_store(struct store *store, int64_t rev, struct mvcc_hash *out,
                      struct errmsg *msg)
{
    struct mvcc_config config = {.only_reads = true};
    struct mvcc *mvcc;
    int err = mvcc_open(store, &config, NULL, NULL, &mvcc, msg);

    if (err != 0)
        return err;
    err = mvcc_hash_kv(mvcc, rev, out);
    if (err != 0)
        (void)err_set(msg, err, "%s", err_text(err));
    store_stop(store);
    mvcc_close(mvcc);
    return err;
}

static int hash_dir(const struct options *options, struct mvcc_hash *out,
                    struct errmsg *msg)
{
    struct options at = *options;
    struct place place;
    int err;

    at.data_dir = options->args[0];
    err = place_open(&place, &at, msg);
    if (err == 0)
        err = hash_store(place.store, (int64_t)options->rev, out, msg);
    place_close(&place);
    return err;
}

static int hash_built(const char *dir, const struct options *options,
                      struct mvcc_hash *out, struct errmsg *msg)
{
    struct store_config config = {.dir = dir, .no_sync = true};
    struct store *store;
    int err = store_open(&config, &store, msg);

    if (err != 0)
        return err;
    err = hash_store(store, (int64_t)options->rev, out, msg);
    store_close(store);
    return err;
}

static int hash_file(const struct options *options, struct mvcc_hash *out,
                     struct errmsg *msg)
{
    const char *tmp = getenv("TMPDIR");
    char *dir = mem_printf("%s/chorad-hashkv-XXXXXX",
                           tmp != NULL && tmp[0] != '\0' ? tmp : "/tmp");
    struct headway headway;
    struct snapshot_info info;
    struct image_file image;
    int err = image_file_open(&image, options->args[0], msg);

    if (err == 0 && mkdtemp(dir) == NULL)
        err = err_errno(msg, errno, "%s", dir);
    if (err == 0) {
        struct snapshot_build build = {image.file, dir, tool_tell, &headway};

        tool_headway(&headway, options, "reading");
        err = snapshot_build(&build, &info, msg);
        headway_end(&headway);
        if (err == 0)
            err = hash_built(dir, options, out, msg);
        (void)file_remove_tree(dir, NULL);
    }
    image_file_close(&image);
    free(dir);
    return err;
}

static int print(const struct mvcc_hash *hash, const char *format)
{
    char number[16];
    char rev[24];
    char compacted[24];

    (void)snprintf(number, sizeof(number), "%u", hash->hash);
    (void)snprintf(rev, sizeof(rev), "%" PRId64, hash->hash_rev);
    (void)snprintf(compacted, sizeof(compacted), "%" PRId64, hash->compact_rev);
    const struct print_field fields[] = {
        {"hash", "hash", "Hash", number, number},
        {"hash revision", "hashRevision", "Hash revision", rev, rev},
        {"compact revision", "compactRevision", "Compact revision", compacted,
         compacted},
    };
    return print_fields(format, fields, sizeof(fields) / sizeof(fields[0]));
}

int hashkv_run(const struct options *options)
{
    struct errmsg msg = {""};
    struct mvcc_hash hash = {0};
    struct stat st;
    int err;

    if (!print_knows(options->write_out))
        return EXIT_BAD_USAGE;
    if (options->rev > INT64_MAX)
        err = err_set(&msg, ERR_INVALID, "--rev is too large");
    else if (stat(options->args[0], &st) != 0)
        err = err_errno(&msg, errno, "%s", options->args[0]);
    else
        err = S_ISDIR(st.st_mode) ? hash_dir(options, &hash, &msg)
                                  : hash_file(options, &hash, &msg);
    return err == 0 ? print(&hash, options->write_out) : tool_fail(&msg);
}
