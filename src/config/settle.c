/* What follows from the settings given: etcd's dynamic defaults. */
#include <stdlib.h>
#include <string.h>

#include "chorad/base/mem.h"
#include "chorad/base/url.h"
#include "chorad/config.h"
#include "value.h"

#define MS ((int64_t)1000000)
#define DEFAULT_NAME "default"
#define DEFAULT_PEER_URL "http://localhost:2380"
#define DEFAULT_CLIENT_URL "http://localhost:2379"
#define DEFAULT_CLUSTER DEFAULT_NAME "=" DEFAULT_PEER_URL
#define QUOTA_DEFAULT ((int64_t)2 << 30)
#define QUOTA_RECOMMENDED ((int64_t)8 << 30)
#define REQUEST_RECOMMENDED ((uint64_t)10 << 20)
#define RAFT_TIMEOUT_MIN (5000 * MS)

/* The machine's own address in place of localhost, where the member listens
 * on all addresses and no other was given. Says whether it was used. */
static bool advertise_host(struct url_list *advertised,
                           const struct url_list *listen,
                           const char *default_url, const char *host)
{
    struct url *url = advertised->items;
    char *text;

    if (host == NULL || advertised->n != 1 || listen->n == 0 ||
        strcmp(url->text, default_url) != 0 ||
        strcmp(listen->items[0].host, "0.0.0.0") != 0)
        return false;
    text = mem_printf(strchr(host, ':') == NULL ? "http://%s:%d"
                                                : "http://[%s]:%d",
                      host, listen->items[0].port);
    (void)urls_parse(advertised, text, NULL);
    free(text);
    return true;
}

/* "name=url,name=url2" for this member alone. */
static void cluster_of_self(struct config *config)
{
    const char *name = config->name[0] == '\0' ? DEFAULT_NAME : config->name;
    char *prefix = mem_printf("%s=", name);

    free(config->initial_cluster);
    config->initial_cluster =
        urls_join(&config->initial_advertise_peer_urls, prefix);
    free(prefix);
}

static void settle_cluster(struct config *config, const char *default_host)
{
    bool used = advertise_host(&config->initial_advertise_peer_urls,
                               &config->listen_peer_urls, DEFAULT_PEER_URL,
                               default_host);

    if (strcmp(config->name, DEFAULT_NAME) != 0 &&
        strcmp(config->initial_cluster, DEFAULT_CLUSTER) == 0)
        cluster_of_self(config);
    used |= advertise_host(&config->advertise_client_urls,
                           &config->listen_client_urls, DEFAULT_CLIENT_URL,
                           default_host);
    if (used)
        config_note(config, LOG_INFO, "detected default host for advertise",
                    "host", default_host);
    (void)config_initial_parse(config->initial_cluster, &config->members,
                               &config->n_members, NULL);
}

static void or_default(int64_t *field, int64_t value)
{
    if (*field <= 0)
        *field = value;
}

static void settle_numbers(struct config *config)
{
    if (config->snapshot_count == 0)
        config->snapshot_count = 10000;
    if (config->snapshot_catchup_entries == 0)
        config->snapshot_catchup_entries = 5000;
    if (config->quota_backend_bytes == 0)
        config->quota_backend_bytes = QUOTA_DEFAULT;
    or_default(&config->backend_batch_interval_ns, 100 * MS);
    or_default(&config->backend_batch_limit, 10000);
    or_default(&config->compaction_batch_limit, 1000);
    or_default(&config->compaction_sleep_interval_ns, 10 * MS);
    or_default(&config->watch_progress_notify_interval_ns, 600 * 1000 * MS);
    or_default(&config->warning_unary_request_duration_ns, 300 * MS);
    if (config->raft_read_timeout_ns < RAFT_TIMEOUT_MIN)
        config->raft_read_timeout_ns = RAFT_TIMEOUT_MIN;
    if (config->raft_write_timeout_ns < RAFT_TIMEOUT_MIN)
        config->raft_write_timeout_ns = RAFT_TIMEOUT_MIN;
}

static void note_number(struct config *config, const char *msg,
                        const char *flag, unsigned long long n)
{
    char *text = mem_printf("%llu", n);

    config_note(config, LOG_WARN, msg, flag, text);
    free(text);
}

static void note_excess(struct config *config)
{
    if (config->quota_backend_bytes > QUOTA_RECOMMENDED)
        note_number(config, "quota exceeds the maximum value",
                    "quota-backend-bytes",
                    (unsigned long long)config->quota_backend_bytes);
    if (config->max_request_bytes > REQUEST_RECOMMENDED)
        note_number(config, "exceeded recommended request limit",
                    "max-request-bytes", config->max_request_bytes);
}

void config_settle(struct config *config, const char *default_host)
{
    settle_cluster(config, default_host);
    settle_numbers(config);
    note_excess(config);
    if (config->data_dir[0] == '\0') {
        free(config->data_dir);
        config->data_dir = mem_printf("%s.etcd", config->name);
        config_note(config, LOG_WARN, "'data-dir' was empty; using default",
                    "data-dir", config->data_dir);
    }
}
