/* Flags, ETCD_* variables and the checks, with etcd's texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "chorad/config.h"

#define MAX_WORDS 8
#define SUITES "--cipher-suites=TLS_RSA_WITH_RC4_128_SHA,TLS_AES_128_GCM_SHA256"
#define SECOND_NS ((int64_t)1000000000)

/* Made anew for every case. */
struct fixture {
    struct config config;
    struct errmsg msg;
};

/* `args` and `env` end in NULL; the program's name is put before. */
static enum config_action load(struct fixture *f, const char *const *args,
                               const char *const *env)
{
    char *argv[MAX_WORDS + 2] = {(char *)"chorad"};
    char *envp[MAX_WORDS + 1] = {NULL};
    int argc = 1;

    for (; *args != NULL; args++)
        argv[argc++] = (char *)*args;
    for (int i = 0; env != NULL && env[i] != NULL; i++)
        envp[i] = (char *)env[i];
    f->msg.text[0] = '\0';
    return config_load(argc, argv, envp, &f->config, &f->msg);
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

static bool has_note(const struct config *config, enum log_level level,
                     const char *msg, const char *value)
{
    for (size_t i = 0; i < config->n_notes; i++) {
        const struct config_note *note = &config->notes[i];

        if (note->level == level && strstr(note->msg, msg) != NULL &&
            (value == NULL ||
             (note->value != NULL && strcmp(note->value, value) == 0)))
            return true;
    }
    return false;
}

static void test_defaults(void **state)
{
    struct fixture f;
    const struct config *c = &f.config;

    (void)state;
    assert_int_equal(load(&f, WORDS(), NULL), CONFIG_RUN);
    assert_string_equal(c->name, "default");
    assert_string_equal(c->data_dir, "");
    assert_int_equal(c->snapshot_count, 10000);
    assert_int_equal(c->heartbeat_interval_ms, 100);
    assert_int_equal(c->election_timeout_ms, 1000);
    assert_string_equal(c->listen_peer_urls.items[0].text,
                        "http://localhost:2380");
    assert_int_equal(c->listen_client_urls.n, 1);
    assert_int_equal(c->listen_client_http_urls.n, 0);
    assert_int_equal(c->max_txn_ops, 128);
    assert_int_equal(c->max_request_bytes, 1572864);
    assert_true(c->max_concurrent_streams == UINT32_MAX);
    assert_int_equal(c->grpc_keepalive_interval_ns, 7200 * SECOND_NS);
    assert_true(c->pre_vote && c->strict_reconfig_check);
    assert_string_equal(c->initial_cluster, "default=http://localhost:2380");
    assert_int_equal(c->compaction_mode, CONFIG_COMPACT_OFF);
    assert_int_equal(c->compact_hash_check_time_ns, 60 * SECOND_NS);
    assert_string_equal(c->log_outputs.items[0], "default");
    assert_string_equal(c->cors.items[0], "*");
    assert_int_equal(c->max_learners, 1);
    assert_false(config_is_set(c, "name"));
    assert_false(config_is_set(c, "no-such-flag"));
    config_close(&f.config);
}

static void test_flag_forms(void **state)
{
    struct fixture f;

    (void)state;
    assert_int_equal(load(&f,
                          WORDS("-name", "a", "--data-dir=b", "-pre-vote=0",
                                "--snapshot-count", "0x10", "--v", "--"),
                          NULL),
                     CONFIG_RUN);
    assert_string_equal(f.config.name, "a");
    assert_string_equal(f.config.data_dir, "b");
    assert_false(f.config.pre_vote);
    assert_int_equal(f.config.snapshot_count, 16);
    assert_true(config_is_set(&f.config, "name"));
    config_close(&f.config);
    /* A value may look like a flag, and the last one counts. */
    assert_int_equal(load(&f, WORDS("--name", "--x", "--name="), NULL),
                     CONFIG_RUN);
    assert_string_equal(f.config.name, "");
    config_close(&f.config);
    assert_int_equal(
        load(&f,
             WORDS("--max-wals=3", "--quota-backend-bytes=-1", "--enable-pprof",
                   "--grpc-keepalive-timeout=1m30s"),
             NULL),
        CONFIG_RUN);
    assert_int_equal(f.config.max_wals, 3);
    assert_int_equal(f.config.quota_backend_bytes, -1);
    assert_true(f.config.enable_pprof);
    assert_int_equal(f.config.grpc_keepalive_timeout_ns, 90 * SECOND_NS);
    config_close(&f.config);
}

static void test_lists(void **state)
{
    struct fixture f;

    (void)state;
    assert_int_equal(
        load(&f,
             WORDS("--listen-peer-urls=http://127.0.0.2:1,http://127.0.0.1:1",
                   "--log-outputs=stdout,stderr,stdout",
                   "--cors=http://b:1,http://a:1", "--host-whitelist=x,a",
                   "--listen-metrics-urls=", SUITES),
             NULL),
        CONFIG_RUN);
    assert_int_equal(f.config.listen_peer_urls.n, 2);
    assert_string_equal(f.config.listen_peer_urls.items[0].host, "127.0.0.1");
    assert_int_equal(f.config.log_outputs.n, 2);
    assert_string_equal(f.config.log_outputs.items[0], "stderr");
    assert_int_equal(f.config.cors.n, 2);
    assert_string_equal(f.config.cors.items[0], "http://a:1");
    assert_string_equal(f.config.host_whitelist.items[0], "a");
    assert_string_equal(f.config.cipher_suites.items[0],
                        "TLS_RSA_WITH_RC4_128_SHA");
    config_close(&f.config);
    /* An empty list of URLs leaves the default. */
    assert_int_equal(load(&f, WORDS("--listen-peer-urls="), NULL), CONFIG_RUN);
    assert_string_equal(f.config.listen_peer_urls.items[0].text,
                        "http://localhost:2380");
    config_close(&f.config);
}

static void test_other_actions(void **state)
{
    static const struct {
        const char *args[4];
        enum config_action action;
        const char *error;
    } cases[] = {
        {{"--help"}, CONFIG_PRINT_HELP, ""},
        {{"-h", "--nope"}, CONFIG_PRINT_HELP, ""},
        {{"--force", "-help=x"}, CONFIG_PRINT_HELP, ""},
        {{"--version"}, CONFIG_PRINT_VERSION, ""},
        {{"--name=x", "-version", "foo"},
         CONFIG_BAD_SETTING,
         "\"foo\" is not a valid flag"},
        {{"foo"}, CONFIG_BAD_SETTING, "\"foo\" is not a valid flag"},
        {{"-"}, CONFIG_BAD_SETTING, "\"-\" is not a valid flag"},
        {{"--pre-vote", "false"},
         CONFIG_BAD_SETTING,
         "\"false\" is not a valid flag"},
        {{"gateway", "start"},
         CONFIG_NOT_SUPPORTED,
         "\"gateway\" is not supported"},
        {{"grpc-proxy"},
         CONFIG_NOT_SUPPORTED,
         "\"grpc-proxy\" is not supported"},
        {{"--force", "gateway"},
         CONFIG_BAD_SETTING,
         "\"gateway\" is not a valid flag"},
    };
    struct fixture f;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(load(&f, cases[i].args, NULL), cases[i].action);
        assert_string_equal(f.msg.text, cases[i].error);
        config_close(&f.config);
    }
}

static void test_bad_usage(void **state)
{
    static const struct {
        const char *arg;
        const char *error;
    } cases[] = {
        {"--nope", "flag provided but not defined: -nope"},
        {"--nope=1", "flag provided but not defined: -nope"},
        {"--discovery", "flag provided but not defined: -discovery"},
        {"--experimental-initial-corrupt-check",
         "flag provided but not defined: -experimental-initial-corrupt-check"},
        {"---x", "bad flag syntax: ---x"},
        {"--=", "bad flag syntax: --="},
        {"--name", "flag needs an argument: -name"},
        {"--heartbeat-interval=abc",
         "invalid value \"abc\" for flag -heartbeat-interval: parse error"},
        {"--heartbeat-interval=-1",
         "invalid value \"-1\" for flag -heartbeat-interval: parse error"},
        {"--quota-backend-bytes=9999999999999999999999",
         "invalid value \"9999999999999999999999\" for flag "
         "-quota-backend-bytes: value out of range"},
        {"--strict-reconfig-check=maybe",
         "invalid boolean value \"maybe\" for -strict-reconfig-check: parse "
         "error"},
        {"--grpc-keepalive-timeout=5",
         "invalid value \"5\" for flag -grpc-keepalive-timeout: parse error"},
        {"--feature-gates=Foo=true", "invalid value \"Foo=true\" for flag "
                                     "-feature-gates: unrecognized feature "
                                     "gate: Foo"},
        {"--initial-cluster-state=bad",
         "invalid value \"bad\" for flag -initial-cluster-state: invalid "
         "value"},
        {"--discovery-fallback=x",
         "invalid value \"x\" for flag -discovery-fallback: invalid value"},
        {"--v2-deprecation=bad", "invalid value \"bad\" for flag "
                                 "-v2-deprecation: invalid value \"bad\""},
        {"--max-concurrent-streams=-1",
         "invalid value \"-1\" for flag -max-concurrent-streams: "
         "strconv.ParseUint: parsing \"-1\": invalid syntax"},
        {"--max-concurrent-streams=4294967296",
         "invalid value \"4294967296\" for flag -max-concurrent-streams: "
         "strconv.ParseUint: parsing \"4294967296\": value out of range"},
        {"--listen-peer-urls=ftp://x",
         "invalid value \"ftp://x\" for flag -listen-peer-urls: URL scheme "
         "must be http, https, unix, or unixs: ftp://x"},
        {"--cors=foo", "invalid value \"foo\" for flag -cors: URL scheme must "
                       "be http, https, unix, or unixs: foo"},
    };
    struct fixture f;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(load(&f, WORDS(cases[i].arg), NULL), CONFIG_BAD_USAGE);
        assert_string_equal(f.msg.text, cases[i].error);
        config_close(&f.config);
    }
}

struct bad_setting {
    const char *args[4];
    const char *error;
};

static void check_rejected(const struct bad_setting *cases, size_t n)
{
    struct fixture f;

    for (size_t i = 0; i < n; i++) {
        enum config_action action = load(&f, cases[i].args, NULL);

        if (action != CONFIG_BAD_SETTING ||
            strcmp(f.msg.text, cases[i].error) != 0)
            fail_msg("%s: action %d, \"%s\"", cases[i].args[0], (int)action,
                     f.msg.text);
        config_close(&f.config);
    }
}

static void test_bad_cluster_settings(void **state)
{
    static const struct bad_setting cases[] = {
        {{"--election-timeout=10"},
         "--election-timeout[10ms] should be at least as 5 times as "
         "--heartbeat-interval[100ms]"},
        {{"--heartbeat-interval=201"},
         "--election-timeout[1000ms] should be at least as 5 times as "
         "--heartbeat-interval[201ms]"},
        {{"--heartbeat-interval=18446744073709551615"},
         "--election-timeout[1000ms] should be at least as 5 times as "
         "--heartbeat-interval[18446744073709551615ms]"},
        {{"--heartbeat-interval=0"},
         "--heartbeat-interval must be >0 (set to 0ms)"},
        {{"--election-timeout=0"},
         "--election-timeout must be >0 (set to 0ms)"},
        {{"--election-timeout=50001"},
         "--election-timeout[50001ms] is too long, and should be set less "
         "than 50000ms"},
        {{"--listen-client-urls=http://foo:1"},
         "expected IP in URL for binding (http://foo:1)"},
        {{"--listen-peer-urls=http://:1"},
         "expected IP in URL for binding (http://:1)"},
        {{"--listen-metrics-urls=http://m:1"},
         "expected IP in URL for binding (http://m:1)"},
        {{"--listen-client-http-urls=http://m:1"},
         "expected IP in URL for binding (http://m:1)"},
        {{"--listen-client-urls=http://127.0.0.1:99999",
          "--advertise-client-urls=http://a:1"},
         "invalid port (http://127.0.0.1:99999)"},
        {{"--listen-client-urls=http://127.0.0.1:1"},
         "--advertise-client-urls is required when --listen-client-urls is "
         "set explicitly"},
        {{"--initial-advertise-peer-urls=http://:2380"},
         "--initial-advertise-peer-urls \"http://:2380\" must be \"host:port\" "
         "(unexpected empty host (http://:2380))"},
        {{"--advertise-client-urls=http://:2380"},
         "--advertise-client-urls \"http://:2380\" must be in the format "
         "\"host:port\", \"unix:/path/to/socket\" or \"unixs:/path/to/socket\" "
         "(unexpected empty host (http://:2380))"},
        {{"--discovery-fallback=proxy"},
         "v2 proxy is deprecated, and --discovery-fallback can't be configured "
         "as \"proxy\""},
        {{"--discovery-token=x"},
         "both --discovery-token and --discovery-endpoints must be set"},
        {{"--discovery-endpoints=http://x:1"},
         "both --discovery-token and --discovery-endpoints must be set"},
        {{"--discovery-token=x", "--discovery-endpoints=a, "},
         "--discovery-endpoints must not contain empty endpoints"},
        {{"--discovery-srv=x", "--initial-cluster=a=http://b:1"},
         "multiple discovery or bootstrap flags are set. Choose one of "
         "\"initial-cluster\", \"discovery-endpoints\" or \"discovery-srv\""},
    };

    (void)state;
    check_rejected(cases, sizeof(cases) / sizeof(cases[0]));
}

static void test_bad_other_settings(void **state)
{
    static const struct bad_setting cases[] = {
        {{"--auto-compaction-mode=foo"},
         "unknown auto-compaction-mode \"foo\""},
        {{"--auto-compaction-mode="}, "undefined auto-compaction-mode"},
        {{"--auto-compaction-retention=abc"},
         "error parsing CompactionRetention: time: invalid duration \"abc\""},
        {{"--auto-compaction-retention=-1"},
         "error parsing CompactionRetention: time: missing unit in duration "
         "\"-1\""},
        {{"--auto-compaction-retention=-1h"},
         "--auto-compaction-retention must not be negative (set to -1h)"},
        {{"--auto-compaction-retention=9223372036854775807"},
         "error parsing CompactionRetention: time: missing unit in duration "
         "\"9223372036854775807\""},
        {{"--feature-gates=LeaseCheckpointPersist=true"},
         "enabling feature gate LeaseCheckpointPersist requires enabling "
         "feature gate LeaseCheckpoint"},
        {{"--compact-hash-check-time=0"},
         "--compact-hash-check-time must be >0 (set to 0s)"},
        {{"--tls-min-version=TLS1.1"},
         "unexpected TLS version \"TLS1.1\" (must be one of: TLS1.2, TLS1.3)"},
        {{"--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"},
         "min version (TLS1.3) is greater than max version (TLS1.2)"},
        {{"--tls-min-version=TLS1.3", "--cipher-suites=A"},
         "cipher suites cannot be configured when only TLS1.3 is enabled"},
        {{"--cipher-suites=TLS_AES_128_GCM_SHA256,A"},
         "unexpected TLS cipher suite \"A\""},
        {{"--log-outputs=default,stderr"},
         "multi logoutput for \"default\" is not supported yet"},
        {{"--logger=capnslog"}, "--logger=capnslog is removed in v3.5"},
        {{"--logger=foo"}, "unknown logger option \"foo\""},
        {{"--log-format=foo"},
         "unknown log format: foo, supported values json, console"},
        {{"--log-level=foo"}, "unrecognized level: \"foo\""},
        {{"--enable-log-rotation"},
         "--log-outputs requires a single file path when "
         "--log-rotate-config-json is defined"},
        {{"--enable-log-rotation", "--log-outputs=/a,/b"},
         "--log-outputs requires a single file path when "
         "--log-rotate-config-json is defined"},
        {{"--enable-distributed-tracing",
          "--distributed-tracing-sampling-rate=-1"},
         "distributed tracing configurition is not valid: (tracing sampling "
         "rate must be positive)"},
        {{"--enable-distributed-tracing",
          "--distributed-tracing-sampling-rate=1000001"},
         "distributed tracing configurition is not valid: (tracing sampling "
         "rate must be less than 1000000)"},
    };

    (void)state;
    check_rejected(cases, sizeof(cases) / sizeof(cases[0]));
}

static void test_good_settings(void **state)
{
    static const char *const cases[] = {
        "--election-timeout=50000",
        "--election-timeout=500",
        "--listen-peer-urls=unix://localhost:1,unixs:///x",
        "--listen-peer-urls=http://[::]:2380",
        "--log-level=WARN",
        "--log-level=",
        "--log-format=",
        "--auto-compaction-retention=",
        "--tls-max-version=TLS1.3",
        "--initial-cluster=",
        "--v2-deprecation=gone,write-only",
        "--bcrypt-cost=50",
    };
    struct fixture f;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (load(&f, WORDS(cases[i]), NULL) != CONFIG_RUN)
            fail_msg("%s: %s", cases[i], f.msg.text);
        config_close(&f.config);
    }
}

#define NOT_JSON "improperly formatted log rotation config: "
#define NOT_RIGHT "invalid log rotation config: json: cannot unmarshal "
#define INTO " into Go struct field logRotationConfig.Logger."

/* The texts are etcd's, of Go's encoding/json. */
static void test_rotation_errors(void **state)
{
    static const struct {
        const char *json;
        const char *text;
    } cases[] = {
        {"", NOT_JSON "unexpected end of JSON input"},
        {" ", NOT_JSON "unexpected end of JSON input"},
        {"{\"maxsize\": 1", NOT_JSON "unexpected end of JSON input"},
        {"{\"maxsize", NOT_JSON "unexpected end of JSON input"},
        {"x", NOT_JSON "invalid character 'x' looking for beginning of value"},
        {"{} {}", NOT_JSON "invalid character '{' after top-level value"},
        {"{,", NOT_JSON
         "invalid character ',' looking for beginning of object key string"},
        {"{\"a\":1,}", NOT_JSON
         "invalid character '}' looking for beginning of object key string"},
        {"{\"a\" 1}", NOT_JSON "invalid character '1' after object key"},
        {"{\"a\":1 2}",
         NOT_JSON "invalid character '2' after object key:value pair"},
        {"[1 2]", NOT_JSON "invalid character '2' after array element"},
        {"[1,]",
         NOT_JSON "invalid character ']' looking for beginning of value"},
        {"tru ",
         NOT_JSON "invalid character ' ' in literal true (expecting 'e')"},
        {"{\"a\":-x}", NOT_JSON "invalid character 'x' in numeric literal"},
        {"{\"a\":01}",
         NOT_JSON "invalid character '1' after object key:value pair"},
        {"{\"a\":1.}", NOT_JSON
         "invalid character '}' after decimal point in numeric literal"},
        {"{\"a\":1e}",
         NOT_JSON "invalid character '}' in exponent of numeric literal"},
        {"\"\\x\"", NOT_JSON "invalid character 'x' in string escape code"},
        {"\"\\u00g0\"",
         NOT_JSON "invalid character 'g' in \\u hexadecimal character escape"},
        {"\"\n\"", NOT_JSON "invalid character '\\n' in string literal"},
        {"'",
         NOT_JSON "invalid character '\\'' looking for beginning of value"},
        {"{}\"", NOT_JSON "invalid character '\"' after top-level value"},
        {"\xc3\xa9", NOT_JSON
         "invalid character '\xc3\x83' looking for beginning of value"},
        {"[]", NOT_RIGHT "array into Go value of type embed.logRotationConfig"},
        {"7", NOT_RIGHT "number into Go value of type embed.logRotationConfig"},
        {"null", "invalid log rotation config: null"},
        {"{\"maxsize\":\"a\"}", NOT_RIGHT "string" INTO "maxsize of type int"},
        {"{\"maxsize\":true}", NOT_RIGHT "bool" INTO "maxsize of type int"},
        {"{\"maxage\":1.5}", NOT_RIGHT "number 1.5" INTO "maxage of type int"},
        {"{\"maxage\":1e2}", NOT_RIGHT "number 1e2" INTO "maxage of type int"},
        {"{\"maxbackups\":99999999999999999999}",
         NOT_RIGHT "number 99999999999999999999" INTO "maxbackups of type int"},
        {"{\"maxbackups\":{\"a\":[]}}",
         NOT_RIGHT "object" INTO "maxbackups of type int"},
        {"{\"localtime\":[1]}",
         NOT_RIGHT "array" INTO "localtime of type bool"},
        {"{\"compress\":1}", NOT_RIGHT "number" INTO "compress of type bool"},
        {"{\"filename\":1}", NOT_RIGHT "number" INTO "filename of type string"},
        /* The first one; but what is no JSON comes before all. */
        {"{\"compress\":\"\",\"maxsize\":true}",
         NOT_RIGHT "string" INTO "compress of type bool"},
        {"{\"compress\":\"\",]", NOT_JSON
         "invalid character ']' looking for beginning of object key string"},
    };
    struct fixture f;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(
            load(&f,
                 WORDS("--enable-log-rotation", "--log-outputs=/x",
                       "--log-rotation-config-json", cases[i].json),
                 NULL),
            CONFIG_BAD_SETTING);
        assert_string_equal(f.msg.text, cases[i].text);
        config_close(&f.config);
    }
    /* Without rotation nobody looks. */
    assert_int_equal(load(&f, WORDS("--log-rotation-config-json", "x"), NULL),
                     CONFIG_RUN);
    config_close(&f.config);
}

static void test_rotation(void **state)
{
    static const struct {
        const char *json; /* NULL: the flag isn't given */
        struct log_rotation expected;
    } cases[] = {
        {NULL, {100 << 20, 0, 0, false, false}},
        {"{}", {100 << 20, 0, 0, false, false}},
        {"{\"maxsize\":0,\"maxage\":-1,\"maxbackups\":-2}",
         {100 << 20, 0, 0, false, false}},
        {" { \"maxsize\" : 3 , \"maxage\" : 4, \"maxbackups\": 5,\n"
         "\"localtime\": true, \"compress\": true, \"filename\": \"x\" } ",
         {3 << 20, 4, 5, true, true}},
        {"{\"MaxSize\":1,\"unknown\":{\"maxsize\":9},\"compress\":null}",
         {1 << 20, 0, 0, false, false}},
        {"{\"maxsize\":1,\"maxsize\":2,\"maxsiz\":3,\"maxsizes\":4}",
         {2 << 20, 0, 0, false, false}},
        {"{\"maxsize\":9223372036854775807}",
         {UINT64_C(1) << 60, 0, 0, false, false}},
    };
    struct fixture f;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct log_rotation *want = &cases[i].expected;
        const struct log_rotation *got = &f.config.log_rotation;

        assert_int_equal(
            load(&f,
                 WORDS("--enable-log-rotation", "--log-outputs=stdout,/x",
                       cases[i].json == NULL ? NULL
                                             : "--log-rotation-config-json",
                       cases[i].json),
                 NULL),
            CONFIG_RUN);
        assert_int_equal(got->max_bytes, want->max_bytes);
        assert_int_equal(got->max_age_days, want->max_age_days);
        assert_int_equal(got->max_backups, want->max_backups);
        assert_int_equal(got->local_time, want->local_time);
        assert_int_equal(got->compress, want->compress);
        config_close(&f.config);
    }
}

static void test_compaction(void **state)
{
    static const struct {
        const char *mode;
        const char *retention;
        enum config_compaction_mode expected;
        int64_t amount;
    } cases[] = {
        {"periodic", "0", CONFIG_COMPACT_OFF, 0},
        {"periodic", "1", CONFIG_COMPACT_PERIODIC, 3600 * SECOND_NS},
        {"periodic", "5m", CONFIG_COMPACT_PERIODIC, 300 * SECOND_NS},
        {"revision", "0", CONFIG_COMPACT_OFF, 0},
        {"revision", "1000", CONFIG_COMPACT_REVISION, 1000},
        {"revision", "1s", CONFIG_COMPACT_REVISION, SECOND_NS},
    };
    struct fixture f;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(
            load(&f,
                 WORDS("--auto-compaction-mode", cases[i].mode,
                       "--auto-compaction-retention", cases[i].retention),
                 NULL),
            CONFIG_RUN);
        assert_int_equal(f.config.compaction_mode, cases[i].expected);
        assert_int_equal(f.config.compaction_retention, cases[i].amount);
        config_close(&f.config);
    }
}

static void test_variables(void **state)
{
    struct fixture f;

    (void)state;
    assert_int_equal(
        load(&f, WORDS("--name=x"),
             WORDS("ETCD_DATA_DIR=d", "ETCD_PRE_VOTE=false", "HOME=/root",
                   "ETCD_SNAPSHOT=1",
                   "ETCD_WAL_DIR=", "ETCD_DISCOVERY_PASSWORD=secret")),
        CONFIG_RUN);
    assert_string_equal(f.config.data_dir, "d");
    assert_false(f.config.pre_vote);
    assert_true(config_is_set(&f.config, "data-dir"));
    assert_false(config_is_set(&f.config, "wal-dir"));
    assert_true(has_note(&f.config, LOG_INFO, "recognized and used",
                         "ETCD_DATA_DIR=d"));
    assert_true(has_note(&f.config, LOG_INFO, "recognized and used",
                         "ETCD_DISCOVERY_PASSWORD=***"));
    assert_false(has_note(&f.config, LOG_WARN, "unrecognized", NULL));
    config_close(&f.config);
    assert_int_equal(
        load(&f, WORDS(), WORDS("ETCD_FOO=a", "ETCD_VERSION=3", "ETCD_X")),
        CONFIG_RUN);
    assert_true(has_note(&f.config, LOG_WARN,
                         "unrecognized environment variable", "ETCD_FOO=a"));
    assert_true(has_note(&f.config, LOG_WARN,
                         "cannot set special environment variable", NULL));
    config_close(&f.config);
    /* The rule about --listen-client-urls counts variables too. */
    assert_int_equal(
        load(&f, WORDS(), WORDS("ETCD_LISTEN_CLIENT_URLS=http://127.0.0.1:1")),
        CONFIG_BAD_SETTING);
    config_close(&f.config);
}

static void test_bad_variables(void **state)
{
    static const struct {
        const char *arg;
        const char *variable;
        const char *error;
    } cases[] = {
        {"--name=x", "ETCD_NAME=a",
         "conflicting environment variable is shadowed by corresponding "
         "command-line flag (either unset environment variable or disable "
         "flag)): ETCD_NAME"},
        {"--name=x", "ETCD_NAME=",
         "conflicting environment variable is shadowed by corresponding "
         "command-line flag (either unset environment variable or disable "
         "flag)): ETCD_NAME"},
        {"--", "ETCD_SNAPSHOT_COUNT=a",
         "invalid value \"a\" for ETCD_SNAPSHOT_COUNT: parse error"},
        {"--", "ETCD_PRE_VOTE=a",
         "invalid value \"a\" for ETCD_PRE_VOTE: parse error"},
    };
    struct fixture f;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(
            load(&f, WORDS(cases[i].arg), WORDS(cases[i].variable)),
            CONFIG_BAD_SETTING);
        assert_string_equal(f.msg.text, cases[i].error);
        config_close(&f.config);
    }
}

static void test_deprecated(void **state)
{
    struct fixture f;

    (void)state;
    assert_int_equal(
        load(&f, WORDS("--max-snapshots=3", "--v2-deprecation=gone"), NULL),
        CONFIG_RUN);
    assert_true(has_note(&f.config, LOG_WARN,
                         "--max-snapshots is deprecated in 3.6 and will be "
                         "decommissioned in 3.8.",
                         NULL));
    assert_true(has_note(&f.config, LOG_WARN,
                         "--v2-deprecation is deprecated and scheduled for "
                         "removal in v3.8. The default value is enforced, "
                         "ignoring user input.",
                         NULL));
    assert_string_equal(f.config.v2_deprecation, "write-only");
    config_close(&f.config);
}

static void test_ignored_flags(void **state)
{
    struct fixture f;

    (void)state;
    assert_int_equal(load(&f,
                          WORDS("--cluster-active-size", "--snapshot=1", "-vv",
                                "--test.coverprofile=x", "--force=anything"),
                          NULL),
                     CONFIG_RUN);
    config_close(&f.config);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_flag_forms),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_other_actions),
        cmocka_unit_test(test_bad_usage),
        cmocka_unit_test(test_bad_cluster_settings),
        cmocka_unit_test(test_bad_other_settings),
        cmocka_unit_test(test_good_settings),
        cmocka_unit_test(test_rotation),
        cmocka_unit_test(test_rotation_errors),
        cmocka_unit_test(test_compaction),
        cmocka_unit_test(test_variables),
        cmocka_unit_test(test_bad_variables),
        cmocka_unit_test(test_deprecated),
        cmocka_unit_test(test_ignored_flags),
    };

    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
