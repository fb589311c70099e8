/* The YAML file: keys, kinds of values, sections, and what etcd rejects. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "chorad/config.h"

struct fixture {
    struct config config;
    struct errmsg msg;
};

static int setup(void **state)
{
    static struct fixture f;

    config_default(&f.config);
    f.msg.text[0] = '\0';
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    config_close(&f->config);
    return 0;
}

static int read_text(struct fixture *f, const char *yaml)
{
    return config_read_yaml(&f->config, yaml, strlen(yaml), &f->msg);
}

static void test_top_level(void **state)
{
    struct fixture *f = *state;
    const struct config *c = &f->config;

    assert_int_equal(
        read_text(f,
                  "name: 'x'\n"
                  "# a comment\n"
                  "DATA-DIR: /d\n"
                  "snapshot-count: 5\n"
                  "quota-backend-bytes: 0x10000000\n"
                  "pre-vote: no\n"
                  "wal-dir:\n"
                  "grpc-keepalive-timeout: 5000000000\n"
                  "auto-compaction-retention: \"1\"\n"
                  "listen-peer-urls: http://127.0.0.1:1,"
                  "http://127.0.0.1:2\n"
                  "listen-client-urls: ''\n"
                  "max-concurrent-streams: +7\n"
                  "log-outputs: [stdout, /x, stdout]\n"
                  "cipher-suites:\n"
                  "  - TLS_RSA_WITH_RC4_128_SHA\n  - TLS_AES_128_GCM_SHA256\n"
                  "cors: '*'\n"
                  "host-whitelist: b,a\n"
                  "feature-gates: InitialCorruptCheck=true\n"
                  "no-such-key: {a: [b]}\n"
                  "socket-options:\n  reuse-port: true\n"),
        0);
    assert_string_equal(c->name, "x");
    assert_string_equal(c->data_dir, "/d");
    assert_int_equal(c->snapshot_count, 5);
    assert_int_equal(c->quota_backend_bytes, 0x10000000);
    assert_false(c->pre_vote);
    assert_string_equal(c->wal_dir, "");
    assert_int_equal(c->grpc_keepalive_timeout_ns, 5000000000);
    assert_int_equal(c->listen_peer_urls.n, 2);
    assert_string_equal(c->listen_client_urls.items[0].text,
                        "http://localhost:2379");
    assert_int_equal(c->max_concurrent_streams, 7);
    assert_int_equal(c->log_outputs.n, 2);
    assert_string_equal(c->cipher_suites.items[0], "TLS_RSA_WITH_RC4_128_SHA");
    assert_string_equal(c->host_whitelist.items[0], "a");
    assert_true(config_gate(c, CONFIG_GATE_InitialCorruptCheck));
    assert_true(c->socket_reuse_port);
    assert_true(config_is_set(c, "name"));
    assert_false(config_is_set(c, "max-wals"));
    assert_int_equal(config_check(&f->config, &f->msg), 0);
}

static void test_sections(void **state)
{
    struct fixture *f = *state;
    const struct config *c = &f->config;

    assert_int_equal(
        read_text(f, "client-transport-security:\n"
                     "  cert-file: c\n"
                     "  key-file: k\n"
                     "  client-cert-auth: true\n"
                     "  trusted-ca-file: ca\n"
                     "  allowed-hostname: [h1, h2]\n"
                     "peer-transport-security: &p\n"
                     "  cert-file: pc\n"
                     "  allowed-cn: [cn1]\n"
                     "  skip-client-san-verification: true\n"
                     "  auto-tls: true\n"
                     "discovery-config:\n"
                     "  token: t\n"
                     "  client:\n"
                     "    endpoints: [e]\n"
                     "    dial-timeout: 1000000000\n"
                     "    secure: {cert: dc, insecure-transport: false}\n"
                     "    auth: {username: u, password: p}\n"),
        0);
    assert_string_equal(c->client_tls.cert_file, "c");
    assert_string_equal(c->client_tls.key_file, "k");
    assert_true(c->client_tls.client_cert_auth);
    assert_string_equal(c->client_tls.trusted_ca_file, "ca");
    assert_int_equal(c->client_tls.allowed_hostnames.n, 2);
    assert_false(c->client_tls.auto_tls);
    assert_string_equal(c->peer_tls.cert_file, "pc");
    assert_string_equal(c->peer_tls.allowed_cns.items[0], "cn1");
    assert_true(c->peer_tls.skip_client_san_verify && c->peer_tls.auto_tls);
    assert_string_equal(c->discovery.token, "t");
    assert_string_equal(c->discovery.endpoints.items[0], "e");
    assert_int_equal(c->discovery.dial_timeout_ns, 1000000000);
    assert_string_equal(c->discovery.cert_file, "dc");
    assert_false(c->discovery.insecure_transport);
    assert_string_equal(c->discovery.password, "p");
    /* Discovery makes the default cluster go away. */
    assert_string_equal(c->initial_cluster, "");
    assert_true(config_is_set(c, "peer-cert-file"));
}

static void test_nothing(void **state)
{
    static const char *const texts[] = {
        "",
        "\n",
        "# nothing\n",
        "~\n",
        "{}\n",
        "---\n",
        "client-transport-security:\n",
        "socket-options: ~\n",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_int_equal(read_text(*state, texts[i]), 0);
}

static void test_errors(void **state)
{
    static const struct {
        const char *yaml;
        const char *error;
    } cases[] = {
        {"name: 5\n",
         "config file line 1: \"name\" must be a string, not a number"},
        {"\nname: true\n",
         "config file line 2: \"name\" must be a string, not a boolean"},
        {"name: 1.5\n",
         "config file line 1: \"name\" must be a string, not a fraction"},
        {"name: [a]\n",
         "config file line 1: \"name\" must be a string, not a list"},
        {"snapshot-count: '5'\n", "config file line 1: \"snapshot-count\" must "
                                  "be a number, not a string"},
        {"snapshot-count: 1.5\n", "config file line 1: \"snapshot-count\" must "
                                  "be a number, not a fraction"},
        {"snapshot-count: -5\n", "config file line 1: invalid value for "
                                 "\"snapshot-count\": parse error"},
        {"max-concurrent-streams: 4294967296\n",
         "config file line 1: invalid value for \"max-concurrent-streams\": "
         "strconv.ParseUint: parsing \"4294967296\": value out of range"},
        {"grpc-keepalive-timeout: 5s\n",
         "config file line 1: \"grpc-keepalive-timeout\" must be a number, not "
         "a string"},
        {"grpc-keepalive-timeout: 99999999999999999999\n",
         "config file line 1: invalid value for \"grpc-keepalive-timeout\": "
         "value out of range"},
        {"pre-vote: 1\n",
         "config file line 1: \"pre-vote\" must be a boolean, not a number"},
        {"pre-vote: 'true'\n",
         "config file line 1: \"pre-vote\" must be a boolean, not a string"},
        {"log-outputs: stderr\n",
         "config file line 1: \"log-outputs\" must be a list, not a string"},
        {"log-outputs: [1]\n",
         "config file line 1: \"log-outputs\" must be a string, not a number"},
        {"cors: foo\n",
         "config file line 1: invalid value for \"cors\": URL scheme must be "
         "http, https, unix, or unixs: foo"},
        {"listen-peer-urls: foo\n",
         "config file line 1: invalid value for \"listen-peer-urls\": URL "
         "scheme must be http, https, unix, or unixs: foo"},
        {"feature-gates: Foo=true\n",
         "config file line 1: invalid value for \"feature-gates\": "
         "unrecognized feature gate: Foo"},
        {"peer-transport-security: foo\n",
         "config file line 1: \"peer-transport-security\" must be a section, "
         "not a string"},
        {"[]\n", "config file line 1: \"the file\" must be a section, not a "
                 "list"},
        {"foo\n", "config file line 1: \"the file\" must be a section, not a "
                  "string"},
        {"a: &a {name: x}\nb:\n  <<: *a\n",
         "config file line 3: merge keys (<<) are not supported"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture *f = *state;

        if (read_text(f, cases[i].yaml) != ERR_INVALID)
            fail_msg("taken: %s", cases[i].yaml);
        assert_string_equal(f->msg.text, cases[i].error);
    }
}

static void test_broken_yaml(void **state)
{
    static const char *const texts[] = {"name: [a\n", "a: b: c\n", "\tx: y\n",
                                        "a: *nowhere\n", "\xff\xfe\xfd"};
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_int_equal(read_text(f, texts[i]), ERR_INVALID);
        assert_non_null(strstr(f->msg.text, "config file line"));
    }
}

/* A file with the text; the caller unlinks it. */
static void write_file(char *path, const char *text)
{
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static enum config_action load(struct fixture *f, const char *arg,
                               const char *variable)
{
    char *argv[] = {(char *)"chorad", (char *)"--name=flag", (char *)arg, NULL};
    char *env[] = {(char *)"ETCD_NAME=variable", (char *)variable, NULL};

    config_close(&f->config);
    return config_load(arg == NULL ? 2 : 3, argv, env, &f->config, &f->msg);
}

static void test_file_alone_counts(void **state)
{
    struct fixture *f = *state;
    char path[] = "/tmp/chorad-config-XXXXXX";
    char arg[64];

    write_file(path, "max-wals: 9\n"
                     "listen-client-urls: http://127.0.0.1:5\n");
    (void)snprintf(arg, sizeof(arg), "--config-file=%s", path);
    assert_int_equal(load(f, arg, NULL), CONFIG_RUN);
    assert_string_equal(f->config.name, "default");
    assert_int_equal(f->config.max_wals, 9);
    assert_string_equal(f->config.config_file, path);
    assert_int_equal(f->config.advertise_client_urls.n, 1);
    (void)snprintf(arg, sizeof(arg), "ETCD_CONFIG_FILE=%s", path);
    assert_int_equal(load(f, NULL, arg), CONFIG_RUN);
    assert_int_equal(f->config.max_wals, 9);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(load(f, NULL, arg), CONFIG_BAD_SETTING);
    assert_non_null(strstr(f->msg.text, "No such file or directory"));
}

static void test_checked_after_reading(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(read_text(f, "initial-cluster-state: bad\n"), 0);
    assert_int_equal(config_check(&f->config, &f->msg), ERR_INVALID);
    assert_string_equal(f->msg.text, "unexpected clusterState \"bad\"");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    static const struct CMUnitTest tests[] = {
        TEST(test_top_level),
        TEST(test_sections),
        TEST(test_nothing),
        TEST(test_errors),
        TEST(test_broken_yaml),
        TEST(test_file_alone_counts),
        TEST(test_checked_after_reading),
    };

    return cmocka_run_group_tests_name("config_yaml", tests, NULL, NULL);
}
