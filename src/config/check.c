/* The checks that need nothing but the settings, in etcd's order and with its
 * texts. */
#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "chorad/base/duration.h"
#include "chorad/base/mem.h"
#include "chorad/base/url.h"
#include "chorad/config.h"
#include "rotation.h"
#include "value.h"

#define MAX_ELECTION_MS 50000
#define MAX_PORT 65535
#define MAX_SAMPLING_PER_MILLION 1000000
#define NS_PER_HOUR (3600 * (int64_t)1000000000)

static bool is_ip(const char *host)
{
    unsigned char addr[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, host, addr) == 1 ||
           inet_pton(AF_INET6, host, addr) == 1;
}

static int check_bind_urls(const struct url_list *urls, struct errmsg *msg)
{
    for (size_t i = 0; i < urls->n; i++) {
        const struct url *url = &urls->items[i];

        if (url_is_unix(url))
            continue;
        if (strcmp(url->host, "localhost") != 0 && !is_ip(url->host))
            return err_set(msg, ERR_INVALID,
                           "expected IP in URL for binding (%s)", url->text);
        if (url->port > MAX_PORT)
            return err_set(msg, ERR_INVALID, "invalid port (%s)", url->text);
    }
    return 0;
}

static int check_host_urls(const struct url_list *urls, const char *flag,
                           const char *form, struct errmsg *msg)
{
    for (size_t i = 0; i < urls->n; i++) {
        const struct url *url = &urls->items[i];

        if (!url_is_unix(url) && url->host[0] == '\0') {
            char *all = urls_join(urls, "");

            err_set(msg, ERR_INVALID,
                    "%s \"%s\" must be %s (unexpected empty host (%s))", flag,
                    all, form, url->text);
            free(all);
            return ERR_INVALID;
        }
    }
    return 0;
}

/* Rotation writes one file, described by JSON. */
static int check_rotation(struct config *config, struct errmsg *msg)
{
    size_t files = 0;

    for (size_t i = 0; i < config->log_outputs.n; i++) {
        const char *output = config->log_outputs.items[i];

        if (strcmp(output, "default") != 0 && strcmp(output, "stderr") != 0 &&
            strcmp(output, "stdout") != 0)
            files++;
    }
    if (files > 1 || (files == 0 && config->log_outputs.n == 1))
        return err_set(msg, ERR_INVALID,
                       "--log-outputs requires a single file path when "
                       "--log-rotate-config-json is defined");
    return rotation_parse(config->log_rotation_config_json,
                          &config->log_rotation, msg);
}

static int check_logging(struct config *config, struct errmsg *msg)
{
    if (strcmp(config->logger, "capnslog") == 0)
        return err_set(msg, ERR_INVALID,
                       "--logger=capnslog is removed in v3.5");
    if (strcmp(config->logger, "zap") != 0)
        return err_set(msg, ERR_INVALID, "unknown logger option \"%s\"",
                       config->logger);
    if (config->log_outputs.n == 0)
        strs_add(&config->log_outputs, "default", strlen("default"));
    if (config->log_outputs.n > 1 && strs_has(&config->log_outputs, "default"))
        return err_set(msg, ERR_INVALID,
                       "multi logoutput for \"default\" is not supported yet");
    if (config->enable_log_rotation && check_rotation(config, msg) != 0)
        return ERR_INVALID;
    if (config->log_level[0] == '\0')
        value_str(&config->log_level, "info");
    for (char *at = config->log_level; *at != '\0'; at++)
        *at = (char)tolower((unsigned char)*at);
    if (log_level_parse(config->log_level) < 0)
        return err_set(msg, ERR_INVALID, "unrecognized level: \"%s\"",
                       config->log_level);
    if (config->log_format[0] == '\0')
        value_str(&config->log_format, "json");
    if (strcmp(config->log_format, "json") != 0 &&
        strcmp(config->log_format, "console") != 0)
        return err_set(msg, ERR_INVALID,
                       "unknown log format: %s, supported values json, console",
                       config->log_format);
    return 0;
}

static int check_urls(const struct config *config, struct errmsg *msg)
{
    if (check_bind_urls(&config->listen_peer_urls, msg) != 0 ||
        check_bind_urls(&config->listen_client_urls, msg) != 0 ||
        check_bind_urls(&config->listen_client_http_urls, msg) != 0 ||
        check_bind_urls(&config->listen_metrics_urls, msg) != 0 ||
        check_host_urls(&config->initial_advertise_peer_urls,
                        "--initial-advertise-peer-urls", "\"host:port\"",
                        msg) != 0 ||
        check_host_urls(&config->advertise_client_urls,
                        "--advertise-client-urls",
                        "in the format \"host:port\", \"unix:/path/to/socket\" "
                        "or \"unixs:/path/to/socket\"",
                        msg) != 0)
        return ERR_INVALID;
    return 0;
}

static int check_cluster(const struct config *config, struct errmsg *msg)
{
    const struct config_discovery *discovery = &config->discovery;
    int ways = (config->initial_cluster[0] != '\0') +
               (discovery->srv[0] != '\0') + (discovery->endpoints.n > 0);

    if (strcmp(config->initial_cluster_state, "new") != 0 &&
        strcmp(config->initial_cluster_state, "existing") != 0)
        return err_set(msg, ERR_INVALID, "unexpected clusterState \"%s\"",
                       config->initial_cluster_state);
    if (ways > 1)
        return err_set(msg, ERR_INVALID,
                       "multiple discovery or bootstrap flags are set. Choose "
                       "one of \"initial-cluster\", \"discovery-endpoints\" or "
                       "\"discovery-srv\"");
    if ((discovery->token[0] != '\0') != (discovery->endpoints.n > 0))
        return err_set(
            msg, ERR_INVALID,
            "both --discovery-token and --discovery-endpoints must be set");
    for (size_t i = 0; i < discovery->endpoints.n; i++) {
        const char *endpoint = discovery->endpoints.items[i];

        if (endpoint[strspn(endpoint, " \t\r\n\v\f")] == '\0')
            return err_set(
                msg, ERR_INVALID,
                "--discovery-endpoints must not contain empty endpoints");
    }
    return 0;
}

static int check_timing(const struct config *config, struct errmsg *msg)
{
    unsigned long long tick = config->heartbeat_interval_ms;
    unsigned long long election = config->election_timeout_ms;

    if (tick == 0)
        return err_set(msg, ERR_INVALID,
                       "--heartbeat-interval must be >0 (set to 0ms)");
    if (election == 0)
        return err_set(msg, ERR_INVALID,
                       "--election-timeout must be >0 (set to 0ms)");
    /* Division, as the product may not fit. */
    if (tick > election / 5)
        return err_set(msg, ERR_INVALID,
                       "--election-timeout[%llums] should be at least as 5 "
                       "times as --heartbeat-interval[%llums]",
                       election, tick);
    if (election > MAX_ELECTION_MS)
        return err_set(msg, ERR_INVALID,
                       "--election-timeout[%llums] is too long, and should be "
                       "set less than %dms",
                       election, MAX_ELECTION_MS);
    return 0;
}

/* Go's texts for a duration that can't be read. */
static int retention_error(const char *text, struct errmsg *msg)
{
    size_t digits = text[0] == '-' || text[0] == '+';
    bool bare;

    digits += strspn(text + digits, "0123456789.");
    bare = text[digits] == '\0' && strpbrk(text, "0123456789") != NULL;
    return err_set(
        msg, ERR_INVALID, "error parsing CompactionRetention: time: %s \"%s\"",
        bare ? "missing unit in duration" : "invalid duration", text);
}

/* A plain number of hours or revisions, or a duration. Sets what follows. */
static int check_compaction(struct config *config, struct errmsg *msg)
{
    const char *mode = config->auto_compaction_mode_text;
    const char *text = config->auto_compaction_retention_text;
    bool periodic = strcmp(mode, "periodic") == 0;
    int64_t n = 0;
    char *end;

    if (mode[0] == '\0')
        return err_set(msg, ERR_INVALID, "undefined auto-compaction-mode");
    if (!periodic && strcmp(mode, "revision") != 0)
        return err_set(msg, ERR_INVALID, "unknown auto-compaction-mode \"%s\"",
                       mode);
    n = strtoll(text, &end, 10);
    if (*end == '\0' && n >= 0 && text[0] != ' ') {
        if (periodic && n > INT64_MAX / NS_PER_HOUR)
            return retention_error(text, msg);
        n = periodic ? n * NS_PER_HOUR : n;
    } else if (duration_parse(text, &n) != 0) {
        return retention_error(text, msg);
    } else if (n < 0) {
        return err_set(msg, ERR_INVALID,
                       "--auto-compaction-retention must not be negative "
                       "(set to %s)",
                       text);
    } else if (!periodic) {
        config_note(config, LOG_WARN,
                    "a duration as --auto-compaction-retention makes no sense "
                    "in mode revision, its nanoseconds count as revisions",
                    "auto-compaction-retention", text);
    }
    config->compaction_retention = n;
    if (n == 0)
        config->compaction_mode = CONFIG_COMPACT_OFF;
    else
        config->compaction_mode =
            periodic ? CONFIG_COMPACT_PERIODIC : CONFIG_COMPACT_REVISION;
    return 0;
}

static int check_features(struct config *config, struct errmsg *msg)
{
    bool checkpoint = config_gate(config, CONFIG_GATE_LeaseCheckpoint);
    bool persist = config_gate(config, CONFIG_GATE_LeaseCheckpointPersist);
    int64_t rate = config->distributed_tracing_sampling_rate;
    char ns[DURATION_TEXT_SIZE];

    if (config->enable_distributed_tracing &&
        (rate < 0 || rate > MAX_SAMPLING_PER_MILLION))
        return err_set(msg, ERR_INVALID,
                       "distributed tracing configurition is not valid: "
                       "(tracing sampling rate must be %s)",
                       rate < 0 ? "positive" : "less than 1000000");
    if (persist && !checkpoint)
        return err_set(msg, ERR_INVALID,
                       "enabling feature gate LeaseCheckpointPersist requires "
                       "enabling feature gate LeaseCheckpoint");
    if (checkpoint && !persist)
        config_note(config, LOG_WARN,
                    "Detected that checkpointing is enabled without "
                    "persistence. Consider enabling feature gate "
                    "LeaseCheckpointPersist",
                    NULL, NULL);
    if (config->compact_hash_check_time_ns <= 0) {
        (void)duration_format(ns, config->compact_hash_check_time_ns);
        return err_set(msg, ERR_INVALID,
                       "--compact-hash-check-time must be >0 (set to %s)", ns);
    }
    return 0;
}

/* 0 for "whatever is newest", negative when unknown. */
static int tls_version(const char *text)
{
    if (text[0] == '\0')
        return 0;
    if (strcmp(text, "TLS1.2") == 0)
        return 12;
    return strcmp(text, "TLS1.3") == 0 ? 13 : -1;
}

/* Go's names, those of suites better not used included; the two shortened
 * ones are etcd's. */
static const char *const cipher_suites[] = {
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
};

static int check_cipher_suites(const struct config_strs *suites,
                               struct errmsg *msg)
{
    for (size_t i = 0; i < suites->n; i++) {
        bool known = false;

        for (size_t j = 0; j < sizeof(cipher_suites) / sizeof(char *); j++)
            known = known || strcmp(suites->items[i], cipher_suites[j]) == 0;
        if (!known)
            return err_set(msg, ERR_INVALID,
                           "unexpected TLS cipher suite \"%s\"",
                           suites->items[i]);
    }
    return 0;
}

static int check_tls(const struct config *config, struct errmsg *msg)
{
    int min = tls_version(config->tls_min_version);
    int max = tls_version(config->tls_max_version);

    if (min < 0 || max < 0)
        return err_set(msg, ERR_INVALID,
                       "unexpected TLS version \"%s\" (must be one of: TLS1.2, "
                       "TLS1.3)",
                       min < 0 ? config->tls_min_version
                               : config->tls_max_version);
    if (max != 0 && min > max)
        return err_set(msg, ERR_INVALID,
                       "min version (%s) is greater than max version (%s)",
                       config->tls_min_version, config->tls_max_version);
    if (min == 13 && config->cipher_suites.n > 0)
        return err_set(
            msg, ERR_INVALID,
            "cipher suites cannot be configured when only TLS1.3 is enabled");
    return check_cipher_suites(&config->cipher_suites, msg);
}

int config_check(struct config *config, struct errmsg *msg)
{
    if (strcmp(config->discovery.fallback, "proxy") == 0)
        return err_set(msg, ERR_INVALID,
                       "v2 proxy is deprecated, and --discovery-fallback can't "
                       "be configured as \"proxy\"");
    if (check_logging(config, msg) != 0 || check_urls(config, msg) != 0 ||
        check_cluster(config, msg) != 0 || check_timing(config, msg) != 0)
        return ERR_INVALID;
    if (config->listen_client_urls.n > 0 &&
        config->advertise_client_urls.n == 0)
        return err_set(msg, ERR_INVALID,
                       "--advertise-client-urls is required when "
                       "--listen-client-urls is set explicitly");
    if (check_compaction(config, msg) != 0 ||
        check_features(config, msg) != 0 || check_tls(config, msg) != 0)
        return ERR_INVALID;
    if (strcmp(config->name, "default") == 0)
        config_note(config, LOG_WARN,
                    "the name \"default\" is easily shared by several members, "
                    "better give each its own with --name",
                    "name", config->name);
    return 0;
}
