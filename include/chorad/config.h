/* The settings of a member: flags, ETCD_* variables or a YAML file, read into
 * one typed struct, checked, and handed to the other modules read-only.
 *
 * The names, defaults, rules and error texts are those of etcd 3.7's server,
 * so that a command line or a file written for it works unchanged. */
#ifndef CHORAD_CONFIG_H
#define CHORAD_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "chorad/base/err.h"
#include "chorad/base/log.h"
#include "chorad/base/url.h"

/* What a client is told when it asks for the server's version. */
#define CONFIG_ETCD_VERSION "3.7.1"

struct config_strs {
    char **items;
    size_t n;
};

/* XX(name, default, stage): the feature gates that --feature-gates knows. */
#define CONFIG_GATE_MAP(XX)                                                    \
    XX(AllAlpha, false, "ALPHA")                                               \
    XX(AllBeta, false, "BETA")                                                 \
    XX(CompactHashCheck, false, "ALPHA")                                       \
    XX(FastLeaseKeepAlive, true, "BETA")                                       \
    XX(InitialCorruptCheck, false, "ALPHA")                                    \
    XX(LeaseCheckpoint, false, "ALPHA")                                        \
    XX(LeaseCheckpointPersist, false, "ALPHA")                                 \
    XX(PriorityRequest, false, "ALPHA")                                        \
    XX(SetMemberLocalAddr, false, "ALPHA")                                     \
    XX(StopGRPCServiceOnDefrag, false, "ALPHA")                                \
    XX(TxnModeWriteWithSharedBuffer, true, "BETA")

enum config_gate {
#define XX(name, on, stage) CONFIG_GATE_##name,
    CONFIG_GATE_MAP(XX)
#undef XX
        CONFIG_GATE_COUNT
};

struct config_gates {
    bool on[CONFIG_GATE_COUNT];
    bool given[CONFIG_GATE_COUNT]; /* named, or covered by AllAlpha/AllBeta */
};

struct config_tls {
    char *cert_file;
    char *key_file;
    char *client_cert_file;
    char *client_key_file;
    char *trusted_ca_file;
    char *crl_file;
    bool client_cert_auth;
    bool auto_tls;
    bool skip_client_san_verify;
    struct config_strs allowed_cns;
    struct config_strs allowed_hostnames;
};

struct config_discovery {
    char *token;
    struct config_strs endpoints;
    int64_t dial_timeout_ns;
    int64_t request_timeout_ns;
    int64_t keepalive_time_ns;
    int64_t keepalive_timeout_ns;
    bool insecure_transport;
    bool insecure_skip_verify;
    char *cert_file;
    char *key_file;
    char *ca_file;
    char *user;
    char *password;
    char *fallback;
    char *srv;
    char *srv_name;
};

enum config_compaction_mode {
    CONFIG_COMPACT_OFF,
    CONFIG_COMPACT_PERIODIC,
    CONFIG_COMPACT_REVISION,
};

/* A name of --initial-cluster with its peer URLs. */
struct config_member {
    char *name;
    struct url_list peer_urls;
};

/* A line for the log, noted while there is no log yet. Up to one field. */
struct config_note {
    enum log_level level;
    char *msg;
    char *key; /* NULL: no field */
    char *value;
};

#define CONFIG_FLAGS_MAX 160

/* Every string is owned and never NULL. `config_settle` replaces the zeros
 * that mean "default", so readers see final values. The order is that of the
 * help, there is one of it: padding doesn't matter. */
struct config { /* NOLINT(clang-analyzer-optin.performance.Padding) */
    /* member */
    char *name;
    char *data_dir;
    char *wal_dir; /* empty: inside the data directory */
    uint64_t snapshot_count;
    uint64_t heartbeat_interval_ms;
    uint64_t election_timeout_ms;
    bool initial_election_tick_advance;
    struct url_list listen_peer_urls;
    struct url_list listen_client_urls;
    struct url_list listen_client_http_urls;
    uint64_t max_snapshots;
    uint64_t max_wals;
    bool memory_mlock;
    int64_t quota_backend_bytes; /* negative: no quota */
    char *backend_freelist_type;
    int64_t backend_batch_interval_ns;
    int64_t backend_batch_limit;
    uint64_t max_txn_ops;
    uint64_t max_request_bytes;
    uint32_t max_concurrent_streams;
    int64_t grpc_keepalive_min_time_ns;
    int64_t grpc_keepalive_interval_ns;
    int64_t grpc_keepalive_timeout_ns;
    bool socket_reuse_port;
    bool socket_reuse_address;
    bool enable_grpc_gateway;
    int64_t raft_read_timeout_ns;
    int64_t raft_write_timeout_ns;
    struct config_gates gates;

    /* clustering */
    struct url_list initial_advertise_peer_urls;
    char *initial_cluster;
    char *initial_cluster_state; /* "new" or "existing" */
    char *initial_cluster_token;
    struct url_list advertise_client_urls;
    struct config_discovery discovery;
    bool strict_reconfig_check;
    bool pre_vote;
    char *auto_compaction_retention_text;
    char *auto_compaction_mode_text;
    char *v2_deprecation;

    /* security */
    struct config_tls client_tls;
    struct config_tls peer_tls;
    uint64_t self_signed_cert_validity_years;
    struct config_strs cipher_suites;
    struct config_strs cors;           /* sorted; empty or "*": any origin */
    struct config_strs host_whitelist; /* sorted; empty or "*": any host */
    char *tls_min_version;
    char *tls_max_version;

    /* auth */
    char *auth_token;
    uint64_t bcrypt_cost;
    uint64_t auth_token_ttl_s;

    /* profiling and monitoring */
    bool enable_pprof;
    char *metrics; /* "basic" or "extensive" */
    struct url_list listen_metrics_urls;

    /* logging */
    char *logger;
    struct config_strs log_outputs;
    char *log_level;
    char *log_format;
    bool enable_log_rotation;
    char *log_rotation_config_json;
    int64_t warning_unary_request_duration_ns;

    /* distributed tracing */
    bool enable_distributed_tracing;
    char *distributed_tracing_address;
    char *distributed_tracing_service_name;
    char *distributed_tracing_instance_id;
    int64_t distributed_tracing_sampling_rate; /* per million */

    /* features */
    int64_t corrupt_check_time_ns; /* 0: off */
    int64_t compact_hash_check_time_ns;
    int64_t compaction_batch_limit;
    int64_t compaction_sleep_interval_ns;
    int64_t watch_progress_notify_interval_ns;
    int64_t warning_apply_duration_ns;
    uint64_t bootstrap_defrag_threshold_megabytes;
    int64_t max_learners;
    int64_t downgrade_check_time_ns;
    uint64_t snapshot_catchup_entries;

    /* unsafe */
    bool force_new_cluster;
    bool unsafe_no_fsync;

    /* asked of the program itself */
    char *config_file;
    bool version;

    /* Worked out by config_check and config_settle. */
    struct log_rotation log_rotation; /* if enable_log_rotation */
    enum config_compaction_mode compaction_mode;
    int64_t compaction_retention;  /* ns if periodic, revisions if revision */
    struct config_member *members; /* --initial-cluster, sorted by name */
    size_t n_members;

    struct config_note *notes;
    size_t n_notes;
    bool set[CONFIG_FLAGS_MAX]; /* given by flag, variable or file */
};

/* What the program has to do once its arguments are read. */
enum config_action {
    CONFIG_RUN,
    CONFIG_PRINT_HELP,    /* config_print_help, exit 0 */
    CONFIG_PRINT_VERSION, /* config_print_version, exit 0 */
    CONFIG_BAD_USAGE,     /* the message, the usage on stderr, exit 2 */
    CONFIG_BAD_SETTING,   /* the message into the log, exit 1 */
    CONFIG_NOT_SUPPORTED, /* the message on stderr, exit 1 */
};

/* Sets every default. What `config` held before is not freed. */
void config_default(struct config *config);
/* Frees what the settings own; safe on zeroed memory. */
void config_close(struct config *config);

/* Reads flags and ETCD_* variables, or the YAML file that one of them names
 * (then all others are ignored), and checks them. `env` is an environ-like
 * list ending in NULL. `config` is initialised here in any case and has to be
 * closed. Reads that one file and nothing else.
 * Source: etcd's configuration options. */
enum config_action config_load(int argc, char *const argv[], char *const env[],
                               struct config *config, struct errmsg *msg);

/* Reads YAML text into `config`, on top of what it holds. ERR_INVALID with a
 * text when the YAML is broken or a value is of the wrong kind. */
int config_read_yaml(struct config *config, const char *yaml, size_t len,
                     struct errmsg *msg);

/* The checks that concern the settings alone; ERR_INVALID with etcd's text. */
int config_check(struct config *config, struct errmsg *msg);

/* Puts in what follows from other settings: the initial cluster from the
 * name, `default_host` (NULL: unknown) as the advertised host when listening
 * on 0.0.0.0, the data directory, the members of --initial-cluster (none
 * where it can't be read: config_check_bootstrap says why), values for the
 * zeros that mean "default". After config_check. */
void config_settle(struct config *config, const char *default_host);

/* The text of --initial-cluster, "name=url,name=url2,other=url3": into fresh
 * memory, sorted by name; nothing on an error, ERR_INVALID with etcd's text. */
int config_initial_parse(const char *text, struct config_member **members,
                         size_t *n, struct errmsg *msg);
void config_initial_free(struct config_member *members, size_t n);
/* NULL when absent. */
const struct config_member *config_initial_find(
    const struct config_member *members, size_t n, const char *name);

/* Turns a host name into an IP address, as text in `out`. */
struct config_resolver {
    int (*resolve)(void *arg, const char *host, char *out, size_t size);
    void *arg;
    int attempts; /* a second apart */
};

/* The system's, asked as often as etcd does. */
extern const struct config_resolver config_system_resolver;

/* The checks that concern a member without data, before its first start: its
 * name is in the initial cluster, under the URLs it advertises, and no URL is
 * there twice. `resolver` compares hosts written differently; NULL: the
 * system's, as often as etcd asks. ERR_INVALID with etcd's text. */
int config_check_bootstrap(const struct config *config,
                           const struct config_resolver *resolver,
                           struct errmsg *msg);

/* Whether two lists of URLs (ended by NULL) mean the same addresses; otherwise
 * a text why not. */
bool config_same_urls(const char *const *a, const char *const *b,
                      const struct config_resolver *resolver,
                      struct errmsg *why);

/* Refuses what this version cannot do: ERR_UNSUPPORTED, the text
 * `"--cert-file" is not supported yet`. Notes a warning for settings that
 * have no effect here. After config_settle. */
int config_check_supported(struct config *config, struct errmsg *msg);

/* Whether --`flag` was given, by whichever source. */
bool config_is_set(const struct config *config, const char *flag);

bool config_gate(const struct config *config, enum config_gate gate);

/* Registers etcd_server_feature_enabled. */
void config_gates_metrics(const struct config_gates *gates);

void config_print_version(FILE *out);
/* The first lines of the help, also shown after a wrong flag. */
void config_print_usage(FILE *out);
void config_print_help(FILE *out);

/* Logs the settings that were given, by whichever source. */
void config_log_settings(struct config *config);

/* Notes a line for the log; `key` may be NULL. Copies its arguments. */
void config_note(struct config *config, enum log_level level, const char *msg,
                 const char *key, const char *value);

#endif
