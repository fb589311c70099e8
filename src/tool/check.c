/* chorad check: pages and checksums first, then what they say. */
#include "check.h"

#include "chorad/base/file.h"
#include <inttypes.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void check_found(struct check *c, const char *fmt, ...)
{
    char text[600];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (c->n < CHECK_TOLD_MAX) {
        c->problems =
            mem_realloc(c->problems, (c->n + 1) * sizeof(c->problems[0]));
        c->problems[c->n] = mem_strdup(text);
        if (!c->quiet)
            (void)printf("damaged: %s\n", text);
    }
    c->n++;
}

/* ---- the store's pages -----------------------------------------------------
 */

static int damaged_record(void *arg, const char *what)
{
    check_found(arg, "%s", what);
    return 0;
}

static int tell_pages(void *arg, uint64_t done, uint64_t total)
{
    struct check *c = arg;

    headway_at(&c->headway, done, total, done);
    return 0;
}

/* False: it can't be opened. */
static bool check_pages(struct check *c)
{
    struct store_verify config = {true, damaged_record, tell_pages, c};
    struct errmsg msg = {""};
    int err;

    tool_headway(&c->headway, c->options, "checking pages");
    err = store_verify(c->place.kv_dir, &config, &msg);
    headway_end(&c->headway);
    if (err != 0)
        check_found(c, "%s", msg.text);
    return err == 0;
}

static void check_store(struct check *c)
{
    struct store_config config = {.dir = c->place.kv_dir};
    struct errmsg msg = {""};

    if (store_open(&config, &c->place.store, &msg) != 0) {
        check_found(c, "%s", msg.text);
        return;
    }
    store_consistent_index(c->place.store, &c->applied, &c->applied_term);
    check_keys(c);
    check_buckets(c);
}

/* ---- the result ------------------------------------------------------------
 */

static void print_json(const struct check *c)
{
    json_object *out = json_object_new_object();
    json_object *problems = json_object_new_array();

    for (uint64_t i = 0; i < c->n && i < CHECK_TOLD_MAX; i++)
        json_object_array_add(problems, json_object_new_string(c->problems[i]));
    json_object_object_add(out, "sound", json_object_new_boolean(c->n == 0));
    json_object_object_add(out, "damages", json_object_new_uint64(c->n));
    json_object_object_add(out, "problems", problems);
    json_object_object_add(out, "records", json_object_new_uint64(c->records));
    json_object_object_add(out, "keys", json_object_new_uint64(c->keys));
    json_object_object_add(out, "revision", json_object_new_int64(c->revision));
    json_object_object_add(out, "segments",
                           json_object_new_uint64(c->segments));
    json_object_object_add(out, "firstEntry",
                           json_object_new_uint64(c->first_entry));
    json_object_object_add(out, "lastEntry",
                           json_object_new_uint64(c->last_entry));
    json_object_object_add(out, "commit", json_object_new_uint64(c->commit));
    json_object_object_add(out, "applied", json_object_new_uint64(c->applied));
    (void)puts(json_object_to_json_string_ext(out, JSON_C_TO_STRING_PLAIN));
    json_object_put(out);
}

static void print_text(const struct check *c)
{
    (void)printf("store: %" PRIu64 " records of %" PRIu64
                 " keys up to revision %" PRId64 ", entry %" PRIu64 "\n",
                 c->records, c->keys, c->revision, c->applied);
    (void)printf("log: %zu segments, entries %" PRIu64 " to %" PRIu64
                 ", committed up to %" PRIu64 "\n",
                 c->segments, c->first_entry, c->last_entry, c->commit);
    if (c->n == 0)
        (void)puts("nothing is damaged");
    else
        (void)printf("%" PRIu64
                     " damages: restore the member from a backup, or "
                     "remove it from its cluster and add it again\n",
                     c->n);
}

int check_run(const struct options *options)
{
    struct errmsg msg = {""};
    struct check c = {
        .options = options,
        .quiet = strcmp(options->write_out, "json") == 0,
    };
    int lock = -1;
    int err;

    if (!print_knows(options->write_out))
        return EXIT_BAD_USAGE;
    err = place_name(&c.place, options, &msg);
    if (err == 0)
        err = place_lock(&c.place, &lock, &msg);
    if (err == 0) {
        bool sound = check_pages(&c);

        (void)close(lock);
        if (sound)
            check_store(&c);
        check_log(&c);
        if (c.quiet)
            print_json(&c);
        else
            print_text(&c);
    }
    for (uint64_t i = 0; i < c.n && i < CHECK_TOLD_MAX; i++)
        free(c.problems[i]);
    free(c.problems);
    place_close(&c.place);
    if (err != 0)
        return tool_fail(&msg);
    return c.n == 0 ? EXIT_OK : EXIT_DAMAGED;
}
