/* The initial cluster out of SRV records, with made-up name servers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "app/discover.h"
#include "chorad/base/mem.h"

struct record {
    const char *name;
    const char *host;
    uint16_t port;
};

static const struct record *zone;

static int zone_targets(const char *name, struct srv_targets *targets,
                        struct errmsg *msg)
{
    for (const struct record *r = zone; r->name != NULL; r++)
        if (strcmp(r->name, name) == 0)
            srv_add(targets, r->host, r->port);
    return targets->n > 0
               ? 0
               : err_set(msg, ERR_NOTFOUND, "lookup %s: no such host", name);
}

/* host1 is 10.0.0.1, and so on; an address is itself. */
static int zone_resolve(void *arg, const char *host, char *out, size_t size)
{
    (void)arg;
    if (strncmp(host, "host", 4) == 0)
        (void)snprintf(out, size, "10.0.0.%s", host + 4);
    else if (strncmp(host, "10.", 3) == 0)
        (void)snprintf(out, size, "%s", host);
    else
        return ERR_NOTFOUND;
    return 0;
}

static const struct config_resolver resolver = {zone_resolve, NULL, 1};
static const struct discover_dns dns = {zone_targets, &resolver};

/* What is discovered by the member m of 10.0.0.1:2380, or the error. */
static char *discovered(const struct record *records, const char *suffix)
{
    char args[][64] = {"chorad", "--name=m", "--discovery-srv=example.com",
                       "--initial-advertise-peer-urls=http://10.0.0.1:2380",
                       ""};
    char *argv[] = {args[0], args[1], args[2], args[3], args[4], NULL};
    char *env[] = {NULL};
    struct config config;
    struct errmsg msg = {0};
    char *cluster;

    (void)snprintf(args[4], sizeof(args[4]), "--discovery-srv-name=%s", suffix);
    zone = records;
    assert_int_equal(config_load(5, argv, env, &config, &msg), CONFIG_RUN);
    if (discover_cluster(&config, &dns, &cluster, &msg) != 0) {
        assert_null(cluster);
        cluster = mem_strdup(msg.text);
    }
    config_close(&config);
    return cluster;
}

static void expect(const struct record *records, const char *suffix,
                   const char *expected)
{
    char *got = discovered(records, suffix);

    assert_string_equal(got, expected);
    free(got);
}

#define PLAIN "_etcd-server._tcp.example.com"
#define SECURE "_etcd-server-ssl._tcp.example.com"

static void test_found(void **state)
{
    static const struct record three[] = {{PLAIN, "host2", 2380},
                                          {PLAIN, "host1", 2380},
                                          {PLAIN, "host3", 2381},
                                          {0}};
    static const struct record other_port[] = {
        {PLAIN, "host1", 2381}, {PLAIN, "host1", 2380}, {0}};
    static const struct record with_lost[] = {
        {PLAIN, "lost", 2380}, {PLAIN, "host1", 2380}, {0}};
    static const struct record named[] = {
        {"_etcd-server-x._tcp.example.com", "host1", 2380},
        {PLAIN, "host2", 2380},
        {0}};
    static const struct record mixed[] = {
        {SECURE, "host2", 2380}, {PLAIN, "host1", 2380}, {0}};

    (void)state;
    expect(three, "",
           "0=http://host2:2380,m=http://host1:2380,1=http://host3:2381");
    expect(other_port, "", "0=http://host1:2381,m=http://host1:2380");
    expect(with_lost, "", "m=http://host1:2380");
    expect(named, "x", "m=http://host1:2380");
    expect(mixed, "", "0=https://host2:2380,m=http://host1:2380");
}

static void test_not_found(void **state)
{
    static const struct record none[] = {{0}};
    static const struct record others[] = {{PLAIN, "host2", 2380}, {0}};
    static const struct record secure[] = {{SECURE, "host1", 2380}, {0}};

    (void)state;
    expect(none, "",
           "error setting up initial cluster: error querying DNS SRV records "
           "for _etcd-server-ssl: lookup " SECURE ": no such host\n"
           "error querying DNS SRV records for _etcd-server: lookup " PLAIN
           ": no such host");
    expect(others, "",
           "error setting up initial cluster: cannot find local etcd member "
           "\"m\" in SRV records");
    expect(secure, "",
           "error setting up initial cluster: error querying DNS SRV records "
           "for _etcd-server-ssl: bootstrap at https://host1:2380 from DNS for "
           "etcd-server-ssl has scheme mismatch with expected peer "
           "http://10.0.0.1:2380\n"
           "error querying DNS SRV records for _etcd-server: lookup " PLAIN
           ": no such host");
}

/* An answer to the question for _s._tcp.a with one record: priority 1, weight
 * 2, port 2380, target b.a, its end a pointer to the question's. */
static const unsigned char answer[] = {
    0,   1,   0x81, 0x80, 0,   1, 0, 1,  0, 0, 0,    0,  2,   '_',  's', 4, '_',
    't', 'c', 'p',  1,    'a', 0, 0, 33, 0, 1, 0xc0, 12, 0,   33,   0,   1, 0,
    0,   0,   9,    0,    10,  0, 1, 0,  2, 9, 76,   1,  'b', 0xc0, 20};

static void test_answer(void **state)
{
    struct srv_targets targets = {0};

    (void)state;
    assert_int_equal(srv_read(answer, sizeof(answer), &targets), 0);
    assert_int_equal(targets.n, 1);
    assert_string_equal(targets.items[0].host, "b.a");
    assert_int_equal(targets.items[0].port, 2380);
    srv_close(&targets);
}

/* Whole or not at all. */
static void test_cut_answer(void **state)
{
    (void)state;
    for (size_t len = 0; len < sizeof(answer); len++) {
        struct srv_targets targets = {0};

        assert_int_equal(srv_read(answer, len, &targets), ERR_MALFORMED);
        srv_close(&targets);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_found),
        cmocka_unit_test(test_not_found),
        cmocka_unit_test(test_answer),
        cmocka_unit_test(test_cut_answer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
