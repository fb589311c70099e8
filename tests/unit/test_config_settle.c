/* Dynamic defaults, the checks before a first start, and what this version
 * refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "chorad/config.h"

#define MAX_WORDS 16

struct fixture {
    struct config config;
    struct errmsg msg;
};

#define WORDS(...) ((const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

/* Loads and settles; `host` is this machine's address. */
static void settle(struct fixture *f, const char *const *args, const char *host)
{
    char *argv[MAX_WORDS + 2] = {(char *)"chorad"};
    char *env[] = {NULL};
    int argc = 1;

    for (; *args != NULL; args++)
        argv[argc++] = (char *)*args;
    f->msg.text[0] = '\0';
    if (config_load(argc, argv, env, &f->config, &f->msg) != CONFIG_RUN)
        fail_msg("%s", f->msg.text);
    config_settle(&f->config, host);
}

static bool has_note(const struct config *config, const char *msg,
                     const char *value)
{
    for (size_t i = 0; i < config->n_notes; i++) {
        const struct config_note *note = &config->notes[i];

        if (strcmp(note->msg, msg) == 0 && note->value != NULL &&
            strcmp(note->value, value) == 0)
            return true;
    }
    return false;
}

static void test_zeros_become_defaults(void **state)
{
    struct fixture f;
    const struct config *c = &f.config;

    (void)state;
    settle(&f,
           WORDS("--snapshot-count=0", "--raft-read-timeout=1s",
                 "--warning-unary-request-duration=0"),
           NULL);
    assert_string_equal(c->data_dir, "default.etcd");
    assert_int_equal(c->quota_backend_bytes, (int64_t)2 << 30);
    assert_int_equal(c->backend_batch_interval_ns, 100000000);
    assert_int_equal(c->backend_batch_limit, 10000);
    assert_int_equal(c->compaction_batch_limit, 1000);
    assert_int_equal(c->compaction_sleep_interval_ns, 10000000);
    assert_int_equal(c->watch_progress_notify_interval_ns, 600000000000);
    assert_int_equal(c->snapshot_count, 10000);
    assert_int_equal(c->raft_read_timeout_ns, 5000000000);
    assert_int_equal(c->warning_unary_request_duration_ns, 300000000);
    assert_int_equal(c->n_members, 1);
    assert_string_equal(c->members[0].name, "default");
    config_close(&f.config);
    settle(&f, WORDS("--quota-backend-bytes=-1", "--data-dir=d"), NULL);
    assert_int_equal(c->quota_backend_bytes, -1);
    assert_string_equal(c->data_dir, "d");
    config_close(&f.config);
}

static void test_cluster_follows_name(void **state)
{
    struct fixture f;

    (void)state;
    settle(&f,
           WORDS("--name=a",
                 "--initial-advertise-peer-urls=http://b:2,http://a:1"),
           NULL);
    assert_string_equal(f.config.initial_cluster, "a=http://a:1,a=http://b:2");
    assert_int_equal(f.config.n_members, 1);
    assert_int_equal(f.config.members[0].peer_urls.n, 2);
    assert_string_equal(f.config.data_dir, "a.etcd");
    config_close(&f.config);
    settle(&f, WORDS("--name=a", "--initial-cluster=b=http://b:1"), NULL);
    assert_string_equal(f.config.initial_cluster, "b=http://b:1");
    config_close(&f.config);
}

static void test_default_host(void **state)
{
    struct fixture f;

    (void)state;
    settle(&f,
           WORDS("--name=a", "--listen-peer-urls=http://0.0.0.0:5",
                 "--listen-client-urls=http://0.0.0.0:6",
                 "--advertise-client-urls=http://localhost:2379"),
           "10.0.0.1");
    assert_string_equal(f.config.initial_cluster, "a=http://10.0.0.1:5");
    assert_string_equal(f.config.advertise_client_urls.items[0].text,
                        "http://10.0.0.1:6");
    assert_true(
        has_note(&f.config, "detected default host for advertise", "10.0.0.1"));
    config_close(&f.config);
    settle(&f, WORDS("--name=a", "--listen-peer-urls=http://0.0.0.0:5"),
           "2001:db8::1");
    assert_string_equal(f.config.initial_cluster, "a=http://[2001:db8::1]:5");
    config_close(&f.config);
    settle(&f,
           WORDS("--listen-client-urls=http://0.0.0.0:6",
                 "--advertise-client-urls=http://localhost:2379"),
           "10.0.0.1");
    assert_true(
        has_note(&f.config, "detected default host for advertise", "10.0.0.1"));
    config_close(&f.config);
    /* Neither without an address, nor when another host is advertised. */
    settle(&f, WORDS("--listen-peer-urls=http://0.0.0.0:5"), NULL);
    assert_string_equal(f.config.initial_advertise_peer_urls.items[0].text,
                        "http://localhost:2380");
    config_close(&f.config);
    settle(&f,
           WORDS("--listen-peer-urls=http://0.0.0.0:5",
                 "--initial-advertise-peer-urls=http://h:5"),
           "10.0.0.1");
    assert_string_equal(f.config.initial_advertise_peer_urls.items[0].text,
                        "http://h:5");
    config_close(&f.config);
}

static void test_excess_is_noted(void **state)
{
    struct fixture f;

    (void)state;
    settle(&f,
           WORDS("--quota-backend-bytes=8589934593",
                 "--max-request-bytes=10485761"),
           NULL);
    assert_true(
        has_note(&f.config, "quota exceeds the maximum value", "8589934593"));
    assert_true(
        has_note(&f.config, "exceeded recommended request limit", "10485761"));
    config_close(&f.config);
    settle(&f, WORDS("--quota-backend-bytes=8589934592"), NULL);
    assert_false(
        has_note(&f.config, "quota exceeds the maximum value", "8589934592"));
    config_close(&f.config);
}

/* Knows "one" and "uno" as the same machine, nobody else. */
static int resolve(void *arg, const char *host, char *out, size_t size)
{
    (void)arg;
    if (strcmp(host, "one") == 0 || strcmp(host, "uno") == 0)
        (void)snprintf(out, size, "10.0.0.1");
    else if (host[0] >= '0' && host[0] <= '9')
        (void)snprintf(out, size, "%s", host);
    else
        return ERR_NOTFOUND;
    return 0;
}

static const struct config_resolver resolver = {resolve, NULL, 1};

static void test_bootstrap(void **state)
{
    static const struct {
        const char *args[4];
        const char *error; /* NULL: none */
    } cases[] = {
        {{"--data-dir=d"}, NULL},
        {{"--name=a"}, NULL},
        {{"--initial-cluster=default=http://one:1",
          "--initial-advertise-peer-urls=http://uno:1"},
         NULL},
        {{"--initial-cluster=default=http://one:1",
          "--initial-advertise-peer-urls=http://10.0.0.1:1"},
         NULL},
        {{"--initial-cluster=default=http://[::1]:1,,b=http://b:1",
          "--initial-advertise-peer-urls=http://[0:0::1]:1"},
         NULL},
        {{"--initial-cluster=a=http://localhost:2380"},
         "couldn't find local name \"default\" in the initial cluster "
         "configuration"},
        {{"--initial-cluster="},
         "couldn't find local name \"default\" in the initial cluster "
         "configuration"},
        {{"--name="},
         "couldn't find local name \"\" in the initial cluster configuration"},
        {{"--initial-cluster=foo"},
         "error setting up initial cluster: URL scheme must be http, https, "
         "unix, or unixs: "},
        {{"--initial-cluster=default=http://localhost:2381"},
         "--initial-cluster has default=http://localhost:2381 but missing from "
         "--initial-advertise-peer-urls=http://localhost:2380 (resolved urls: "
         "\"http://localhost:2380\" != \"http://localhost:2381\")"},
        {{"--initial-advertise-peer-urls=http://127.0.0.1:2380"},
         "--initial-cluster has default=http://localhost:2380 but missing from "
         "--initial-advertise-peer-urls=http://127.0.0.1:2380 (resolved urls: "
         "\"http://127.0.0.1:2380\" != \"http://localhost:2380\")"},
        {{"--initial-cluster=default=http://one:1",
          "--initial-advertise-peer-urls=http://one:1,http://one:2"},
         "--initial-advertise-peer-urls has http://one:2 but missing from "
         "--initial-cluster=default=http://one:1,default=http://one:2"},
        {{"--initial-cluster=default=http://one:1",
          "--initial-advertise-peer-urls=http://nobody:1"},
         "--initial-cluster has default=http://one:1 but missing from "
         "--initial-advertise-peer-urls=http://nobody:1 (failed to resolve "
         "\"http://nobody:1\")"},
        {{"--initial-cluster=default=http://localhost:2380,"
          "b=http://localhost:2380"},
         "initial cluster b=http://localhost:2380,default=http://localhost:"
         "2380 has duplicate url"},
    };
    struct fixture f;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int err;

        settle(&f, cases[i].args, NULL);
        err = config_check_bootstrap(&f.config, &resolver, &f.msg);
        if (cases[i].error == NULL && err != 0)
            fail_msg("%s: %s", cases[i].args[0], f.msg.text);
        assert_string_equal(f.msg.text,
                            cases[i].error == NULL ? "" : cases[i].error);
        config_close(&f.config);
    }
}

static void test_joining_skips_the_comparison(void **state)
{
    struct fixture f;

    (void)state;
    settle(&f,
           WORDS("--initial-cluster-state=existing",
                 "--initial-cluster=default=http://other:1"),
           NULL);
    assert_int_equal(config_check_bootstrap(&f.config, &resolver, &f.msg), 0);
    config_close(&f.config);
}

static void test_refused(void **state)
{
    static const struct {
        const char *args[4];
        const char *error; /* NULL: runs */
    } cases[] = {
        {{"--name=a"}, NULL},
        {{"--cert-file="}, NULL},
        {{"--auto-tls=false", "--force-new-cluster=false"}, NULL},
        {{"--initial-cluster-state=new", "--auth-token=jwt,sign-method=ES256"},
         NULL},
        {{"--cert-file=c"}, "\"--cert-file\" is not supported yet"},
        {{"--client-cert-auth"}, "\"--client-cert-auth\" is not supported yet"},
        {{"--auto-tls"}, "\"--auto-tls\" is not supported yet"},
        {{"--peer-auto-tls"}, "\"--peer-auto-tls\" is not supported yet"},
        {{"--peer-cert-allowed-cn=x"},
         "\"--peer-cert-allowed-cn\" is not supported yet"},
        {{"--initial-cluster-state=existing"}, NULL},
        {{"--discovery-srv=x", "--discovery-srv-name=y"}, NULL},
        {{"--discovery-token=t", "--discovery-endpoints=e"},
         "\"--discovery-token\" is not supported yet"},
        {{"--enable-distributed-tracing"},
         "\"--enable-distributed-tracing\" is not supported yet"},
        {{"--log-outputs=systemd/journal"},
         "\"--log-outputs=systemd/journal\" is not supported yet"},
        {{"--listen-client-urls=https://127.0.0.1:1",
          "--advertise-client-urls=https://a:1"},
         "\"--listen-client-urls=https://127.0.0.1:1\" is not supported yet"},
        {{"--listen-metrics-urls=unixs:///m"},
         "\"--listen-metrics-urls=unixs:///m\" is not supported yet"},
        {{"--initial-cluster=default=http://localhost:2380,b=http://b:1"},
         NULL},
    };
    struct fixture f;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int err;

        settle(&f, cases[i].args, NULL);
        err = config_check_supported(&f.config, &f.msg);
        assert_int_equal(err, cases[i].error == NULL ? 0 : ERR_UNSUPPORTED);
        assert_string_equal(f.msg.text,
                            cases[i].error == NULL ? "" : cases[i].error);
        config_close(&f.config);
    }
}

static void test_no_effect_is_noted(void **state)
{
    static const char *const with_effect[] = {
        "max-wals",
        "bcrypt-cost",
        "memory-mlock",
        "unsafe-no-fsync",
        "socket-reuse-port",
        "socket-reuse-address",
        "enable-log-rotation",
        "log-rotation-config-json",
    };
    struct fixture f;

    (void)state;
    settle(&f,
           WORDS("--backend-bbolt-freelist-type=array", "--enable-pprof",
                 "--downgrade-check-time=1s",
                 "--feature-gates=SetMemberLocalAddr=true", "--max-wals=9",
                 "--bcrypt-cost=10", "--memory-mlock", "--unsafe-no-fsync",
                 "--socket-reuse-port", "--socket-reuse-address",
                 "--enable-log-rotation", "--log-outputs=/x",
                 "--log-rotation-config-json={\"maxsize\": 1}"),
           NULL);
    assert_int_equal(config_check_supported(&f.config, &f.msg), 0);
    assert_true(has_note(&f.config, "setting has no effect",
                         "backend-bbolt-freelist-type"));
    assert_true(has_note(&f.config, "setting has no effect", "enable-pprof"));
    assert_true(
        has_note(&f.config, "setting has no effect", "downgrade-check-time"));
    assert_true(has_note(&f.config, "feature gate has no effect",
                         "SetMemberLocalAddr"));
    for (size_t i = 0; i < sizeof(with_effect) / sizeof(with_effect[0]); i++)
        assert_false(
            has_note(&f.config, "setting has no effect", with_effect[i]));
    config_close(&f.config);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zeros_become_defaults),
        cmocka_unit_test(test_cluster_follows_name),
        cmocka_unit_test(test_default_host),
        cmocka_unit_test(test_excess_is_noted),
        cmocka_unit_test(test_bootstrap),
        cmocka_unit_test(test_joining_skips_the_comparison),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_no_effect_is_noted),
    };

    return cmocka_run_group_tests_name("config_settle", tests, NULL, NULL);
}
