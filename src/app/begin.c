/* A first start: what the settings say of the cluster, and what its members do
 * (source: etcd's bootstrapNewClusterNoWAL, bootstrapExistingClusterNoWAL). */
#include "begin.h"
#include "chorad/base/log.h"
#include "chorad/peer.h"
#include "discover.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FOUND_TIMEOUT_MS 1000
#define JOIN_TIMEOUT_MS 10000
/* A cluster that waits for this member to have a majority can't answer, and
 * should not wait for long. */
#define DOWNGRADE_TIMEOUT_MS 1000
/* For so long a member that was added isn't known to all of the others. */
#define JOIN_TRIES 20
#define JOIN_PAUSE_NS 100000000
#define ANSWER_MAX ((size_t)4 << 20)

/* ---- asking the others ---- */

static int fetch(const char *url, const char *path, uint64_t timeout_ms,
                 struct buf *body, uint64_t *cluster_id, struct errmsg *msg)
{
    unsigned status;
    int rc = peer_fetch(url, path, bytes_of(NULL, 0), timeout_ms, ANSWER_MAX,
                        &status, cluster_id, body, msg);

    if (rc == 0 && status != 200) {
        buf_close(body);
        rc = err_set(msg, ERR_IO, "%s%s: status %u", url, path, status);
    }
    return rc;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The URLs of the other members, sorted; ended by NULL, the texts borrowed. */
static const char **other_urls(const struct cluster_start *start)
{
    const char **urls = NULL;
    size_t n = 0;

    for (size_t i = 0; i < start->list.n; i++) {
        const struct cluster_member *m = &start->list.members[i];
        for (char **url = m->peer_urls; m->id != start->self && *url; url++) {
            urls = mem_realloc(urls, (n + 2) * sizeof(*urls));
            urls[n++] = *url;
        }
    }
    if (n > 1)
        qsort(urls, n, sizeof(*urls), compare_texts);
    if (n == 0)
        urls = mem_alloc(sizeof(*urls));
    urls[n] = NULL;
    return urls;
}

/* Is told what a member says of the membership; an error: perhaps another one
 * knows better. */
typedef int (*members_cb)(void *arg, const struct cluster_list *list,
                          uint64_t cluster_id, struct errmsg *msg);

static int ask_member(const char *url, uint64_t timeout_ms,
                      struct cluster_list *list, uint64_t *cluster_id)
{
    struct buf body = {0};
    struct errmsg why = {"the answer makes no sense"};
    int rc = fetch(url, "/members", timeout_ms, &body, cluster_id, &why);

    if (rc == 0)
        rc = cluster_list_read(bytes_of(body.data, body.len), list);
    if (rc == 0 && (*cluster_id == 0 || list->n == 0)) {
        cluster_list_close(list);
        rc = ERR_INVALID;
    }
    if (rc < 0 && timeout_ms == JOIN_TIMEOUT_MS)
        log_warn("failed to get cluster response", LOG_STR("address", url),
                 LOG_STR("error", why.text));
    buf_close(&body);
    return rc;
}

/* Asks one after the other until the callback takes what one says.
 * ERR_NOTFOUND: none answers. */
static int ask_members(const struct cluster_start *start, uint64_t timeout_ms,
                       members_cb take, void *arg, struct errmsg *msg)
{
    const char **urls = other_urls(start);
    int rc =
        err_set(msg, ERR_NOTFOUND,
                "could not retrieve cluster information from the given URLs");

    for (const char **url = urls; *url && rc != 0; url++) {
        struct cluster_list list = {0};
        uint64_t cluster_id;

        if (ask_member(*url, timeout_ms, &list, &cluster_id) < 0)
            continue;
        rc = take(arg, &list, cluster_id, msg);
        cluster_list_close(&list);
    }
    free(urls);
    return rc;
}

/* ---- does this server fit in? ---- */

static char *ask_cluster_version(const struct cluster_member *member)
{
    struct buf body = {0};
    uint64_t id;
    char *version = NULL;
    json_object *obj = NULL;
    json_object *field;

    for (char **url = member->peer_urls; *url && !obj; url++) {
        if (fetch(*url, "/version", JOIN_TIMEOUT_MS, &body, &id, NULL) < 0)
            continue;
        buf_append(&body, "", 1);
        obj = json_tokener_parse((const char *)body.data);
        buf_close(&body);
    }
    if (json_object_is_type(obj, json_type_object) &&
        json_object_object_get_ex(obj, "etcdcluster", &field))
        version = mem_strdup(json_object_get_string(field));
    json_object_put(obj);
    return version;
}

static bool downgrade_enabled(const struct cluster_start *start)
{
    const char **urls = other_urls(start);
    bool enabled = false;
    int rc = ERR_NOTFOUND;

    for (const char **url = urls; *url && rc != 0; url++) {
        struct buf body = {0};
        uint64_t id;

        rc = fetch(*url, "/downgrade/enabled", DOWNGRADE_TIMEOUT_MS, &body, &id,
                   NULL);
        enabled = rc == 0 && body.len == 4 && memcmp(body.data, "true", 4) == 0;
        buf_close(&body);
    }
    free(urls);
    return enabled;
}

/* In a cluster that is being downgraded only servers of the lower version may
 * join. */
static bool fits(const char *version, bool downgrading)
{
    struct cluster_semver lowest;
    struct cluster_semver highest;
    struct cluster_semver v;

    (void)cluster_semver_read(CLUSTER_MIN_VERSION, &lowest);
    (void)cluster_semver_read(CLUSTER_STORAGE_VERSION, &highest);
    if (downgrading) {
        highest.minor++;
        lowest = highest;
    }
    return cluster_semver_read(version, &v) == 0 &&
           cluster_semver_compare(lowest, v) <= 0 &&
           cluster_semver_compare(v, highest) <= 0;
}

/* One fits and none that answers doesn't: others may be down. */
static bool is_compatible(const struct cluster_start *start)
{
    bool downgrading = downgrade_enabled(start);
    struct cluster_semver parsed;
    bool any = false;

    for (size_t i = 0; i < start->list.n; i++) {
        const struct cluster_member *m = &start->list.members[i];
        char *version = m->id == start->self ? NULL : ask_cluster_version(m);
        bool known = version && cluster_semver_read(version, &parsed) == 0;
        bool fitting = known && fits(version, downgrading);

        if (known && !fitting)
            log_warn("cluster version of remote member is not compatible",
                     LOG_HEX("remote-member-id", m->id),
                     LOG_STR("remote-member-cluster-version", version));
        free(version);
        if (known && !fitting)
            return false;
        any = any || fitting;
    }
    return any;
}

/* ---- joining ---- */

static bool same_urls(void *arg, char *const *a, char *const *b,
                      struct errmsg *why)
{
    (void)arg;
    return config_same_urls((const char *const *)(uintptr_t)a,
                            (const char *const *)(uintptr_t)b, NULL, why);
}

static void print_urls(struct buf *out, char *const *urls)
{
    for (size_t i = 0; urls[i]; i++)
        buf_printf(out, "%s%s", i ? " " : "", urls[i]);
}

/* As Go prints the cluster. */
static char *list_text(const struct cluster_list *list, uint64_t cluster_id)
{
    struct buf out = {0};

    buf_printf(&out, "{ClusterID:%" PRIx64 " Members:[", cluster_id);
    for (size_t i = 0; i < list->n; i++) {
        const struct cluster_member *m = &list->members[i];

        buf_printf(&out, "%s&{ID:%" PRIx64 " RaftAttributes:{PeerURLs:[",
                   i ? " " : "", m->id);
        print_urls(&out, m->peer_urls);
        buf_printf(&out, "] IsLearner:%s} Attributes:{Name:%s ClientURLs:[",
                   m->is_learner ? "true" : "false", m->name);
        print_urls(&out, m->client_urls);
        buf_printf(&out, "]}}");
    }
    buf_printf(&out, "] RemovedMemberIDs:[]}");
    buf_append(&out, "", 1);
    return (char *)out.data;
}

static int check_learners(const struct config *config,
                          const struct cluster_list *list, struct errmsg *msg)
{
    int64_t learners = 0;

    for (size_t i = 0; i < list->n; i++)
        learners += list->members[i].is_learner;
    return learners <= config->max_learners
               ? 0
               : err_set(msg, ERR_TOO_MANY_LEARNERS,
                         "membership: too many learner members in cluster");
}

struct joining {
    const struct config *config;
    struct cluster_start *start;
};

static int take_running(void *arg, const struct cluster_list *running,
                        uint64_t cluster_id, struct errmsg *msg)
{
    struct joining *joining = arg;
    int rc = cluster_start_join(joining->start, running, cluster_id, same_urls,
                                NULL, msg);

    if (rc == 0)
        return check_learners(joining->config, running, msg);
    char *text = list_text(running, cluster_id);
    err_wrap(msg, rc, "error validating peerURLs %s", text);
    free(text);
    return rc;
}

static int join(const struct config *config, struct cluster_start *start,
                struct errmsg *msg)
{
    struct joining joining = {config, start};
    const struct timespec pause = {.tv_nsec = JOIN_PAUSE_NS};
    int rc = ask_members(start, JOIN_TIMEOUT_MS, take_running, &joining, msg);

    for (int i = 1; i < JOIN_TRIES && rc == ERR_INVALID; i++) {
        (void)nanosleep(&pause, NULL);
        rc = ask_members(start, JOIN_TIMEOUT_MS, take_running, &joining, msg);
    }
    if (rc == ERR_NOTFOUND)
        return err_wrap(msg, rc, "cannot fetch cluster info from peer urls");
    if (rc == 0 && !is_compatible(start))
        rc = err_set(msg, ERR_UNSUPPORTED,
                     "incompatible with current running cluster");
    return rc;
}

/* ---- founding ---- */

/* The others know it already, with client URLs: it has been part of the cluster
 * and has lost its data. */
static int take_fresh(void *arg, const struct cluster_list *running,
                      uint64_t cluster_id, struct errmsg *msg)
{
    const struct cluster_start *start = arg;

    (void)cluster_id;
    for (size_t i = 0; i < running->n; i++)
        if (running->members[i].id == start->self &&
            running->members[i].client_urls[0])
            return err_set(msg, ERR_EXISTS,
                           "member %" PRIx64 " has already been bootstrapped",
                           start->self);
    return 0;
}

static int check_fresh(struct cluster_start *start, struct errmsg *msg)
{
    int rc = ask_members(start, FOUND_TIMEOUT_MS, take_fresh, start, msg);

    return rc == ERR_EXISTS ? rc : 0;
}

/* ---- the settings ---- */

static int add_member(const struct config *config,
                      const struct config_member *member,
                      struct cluster_start *start, struct errmsg *msg)
{
    const struct url_list *urls = &member->peer_urls;
    const char **texts = mem_zalloc((urls->n + 1) * sizeof(*texts));
    int rc;

    for (size_t i = 0; i < urls->n; i++)
        texts[i] = urls->items[i].text;
    rc = cluster_start_add(start, member->name, texts,
                           config->initial_cluster_token, msg);
    free(texts);
    return rc;
}

static int add_members(const struct config *config, struct cluster_start *start,
                       struct errmsg *msg)
{
    struct config_member *members;
    size_t n;
    int rc = config_initial_parse(config->initial_cluster, &members, &n, msg);

    for (size_t i = 0; i < n && rc == 0; i++)
        rc = add_member(config, &members[i], start, msg);
    if (rc == 0 && cluster_start_finish(start, config->name) < 0)
        rc = err_set(msg, ERR_INVALID,
                     "couldn't find local name \"%s\" in the initial cluster "
                     "configuration",
                     config->name);
    config_initial_free(members, n);
    return rc;
}

/* Founds or joins what the initial cluster of the settings says. */
static int begin(const struct config *config, struct cluster_start *start,
                 struct errmsg *msg)
{
    bool joins = strcmp(config->initial_cluster_state, "existing") == 0;
    int rc = config_check_bootstrap(config, NULL, msg);

    if (rc == 0)
        rc = add_members(config, start, msg);
    if (rc == 0)
        rc = joins ? join(config, start, msg) : check_fresh(start, msg);
    return rc;
}

int app_begin(const struct config *config, struct cluster_start *start,
              struct errmsg *msg)
{
    struct config discovered = *config;
    int rc;

    if (config->discovery.srv[0] == '\0')
        return begin(config, start, msg);
    rc = discover_cluster(config, NULL, &discovered.initial_cluster, msg);
    if (rc == 0)
        rc = begin(&discovered, start, msg);
    free(discovered.initial_cluster);
    return rc;
}
