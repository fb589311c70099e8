/* The membership as etcd before 3.6 kept it: .snap files, the v2 store in them,
 * and the entries of the log that change it. The bytes of requests and of the
 * v2 store were read from etcd 3.4.23. */
#include "takeover/internal.h"

#include "chorad/base/crc32c.h"
#include "chorad/base/pb.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct bytes text(const char *s)
{
    return bytes_of(s, strlen(s));
}

/* "<id hex> <name> <peer urls> <client urls>[ learner]; ... -<removed>" */
static char *describe(const struct roster *m)
{
    struct buf out = {0};

    for (size_t i = 0; i < m->n; i++) {
        const struct cluster_member *member = &m->members[i];

        buf_printf(&out, "%llx %s", (unsigned long long)member->id,
                   member->name ? member->name : "?");
        for (char **u = member->peer_urls; u && *u; u++)
            buf_printf(&out, " p:%s", *u);
        for (char **u = member->client_urls; u && *u; u++)
            buf_printf(&out, " c:%s", *u);
        buf_printf(&out, "%s; ", member->is_learner ? " learner" : "");
    }
    for (size_t i = 0; i < m->n_removed; i++)
        buf_printf(&out, "-%llx ", (unsigned long long)m->removed[i]);
    buf_printf(&out, "v%s", m->version ? m->version : "?");
    buf_append(&out, "", 1);
    return (char *)out.data;
}

static void assert_members(const struct roster *m, const char *expected)
{
    char *found = describe(m);

    assert_string_equal(found, expected);
    free(found);
}

/* ---- the v2 store ----------------------------------------------------------
 */

#define NODE(path, value, children)                                            \
    "{\"Path\":\"" path "\",\"CreatedIndex\":1,\"ModifiedIndex\":1,"           \
    "\"ExpireTime\":\"0001-01-01T00:00:00Z\",\"Value\":\"" value               \
    "\",\"Children\":" children "}"

#define RAFT_ATTRIBUTES(value)                                                 \
    "\"raftAttributes\":" NODE("/0/members/x/raftAttributes", value, "null")
#define ATTRIBUTES(value)                                                      \
    "\"attributes\":" NODE("/0/members/x/attributes", value, "null")

static char *v2_store(const char *members, const char *removed,
                      const char *keys)
{
    return mem_printf(
        "{\"Root\":{\"Path\":\"/\",\"Children\":{\"0\":{\"Path\":\"/0\","
        "\"Children\":{\"members\":{\"Children\":{%s}},\"removed_members\":"
        "{\"Children\":{%s}},\"version\":" NODE(
            "/0/version", "3.4.0",
            "null") "}},\"1\":{\"Path\":\"/"
                    "1\",\"Children\":{%s}}}},\"CurrentIndex\":7,"
                    "\"CurrentVersion\":2}",
        members, removed, keys);
}

static int read_store(char *json, struct roster *m, struct errmsg *msg)
{
    int rc;

    *m = (struct roster){0};
    rc = v2_store_read(text(json), m, msg);
    free(json);
    return rc;
}

#define TWO_MEMBERS                                                                                 \
    "\"2e1259d415f2a040\":{\"Children\":{" ATTRIBUTES(                                              \
        "{\\\"name\\\":"                                                                            \
        "\\\"m1\\\","                                                                               \
        "\\\"clientURLs\\\":["                                                                      \
        "\\\"http://c1\\\"]}") "," RAFT_ATTRIBUTES("{\\\"peerURLs\\\":["                            \
                                                   "\\\"http://p1\\\"]}") "}}"                      \
                                                                          ","                       \
                                                                          "\""                      \
                                                                          "8"                       \
                                                                          "\""                      \
                                                                          ":{"                      \
                                                                          "\""                      \
                                                                          "Ch"                      \
                                                                          "il"                      \
                                                                          "dr"                      \
                                                                          "en"                      \
                                                                          "\""                      \
                                                                          ":"                       \
                                                                          "{" RAFT_ATTRIBUTES(      \
                                                                              "{\\\"peerURLs\\\":[" \
                                                                              "\\\"http://"         \
                                                                              "p2\\\",\\\"http://"  \
                                                                              "p3\\\"],"            \
                                                                              "\\\"isLearner\\\":"  \
                                                                              "true}") "}}"

static void the_v2_store_tells_the_members(void **state)
{
    struct roster m;
    struct errmsg msg = {""};

    (void)state;
    assert_int_equal(
        read_store(v2_store(TWO_MEMBERS, "\"ab\":{}", ""), &m, &msg), 0);
    assert_members(&m, "2e1259d415f2a040 m1 p:http://p1 c:http://c1; "
                       "8 ? p:http://p2 p:http://p3 learner; -ab v3.4.0");
    roster_close(&m);
}

static void a_restored_v2_store_is_small(void **state)
{
    struct roster m = {0};
    struct errmsg msg = {""};

    (void)state;
    assert_int_equal(
        v2_store_read(text("{\"Root\":{\"Children\":{}}}"), &m, &msg), 0);
    assert_members(&m, "v?");
}

static void keys_of_the_v2_api_are_refused(void **state)
{
    struct roster m;
    struct errmsg msg = {""};

    (void)state;
    assert_int_equal(
        read_store(v2_store("", "", "\"key\":{\"Value\":\"v\"}"), &m, &msg),
        ERR_UNSUPPORTED);
    assert_non_null(strstr(msg.text, "v2 API"));
    roster_close(&m);
}

static void damaged_v2_stores_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "7",
        "{}",
        "{\"Root\":7}",
        "{\"Root\":{\"Children\":",
        "{\"Root\":{\"Children\":{\"0\":{\"Children\":{\"members\":"
        "{\"Children\":{\"xyz\":{}}}}}}}}",
        "{\"Root\":{\"Children\":{\"0\":{\"Children\":{\"members\":"
        "{\"Children\":{\"8\":{}}}}}}}}",
        "{\"Root\":{\"Children\":{\"0\":{\"Children\":{\"members\":"
        "{\"Children\":{\"8\":{\"Children\":{\"raftAttributes\":"
        "{\"Value\":\"{\"}}}}}}}}}}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct roster m = {0};
        struct errmsg msg = {""};

        assert_int_equal(v2_store_read(text(bad[i]), &m, &msg), ERR_CORRUPT);
        assert_true(msg.text[0] != '\0');
        roster_close(&m);
    }
}

/* ---- .snap files -----------------------------------------------------------
 */

static size_t make_snap_file(uint8_t *out)
{
    uint8_t metadata[64];
    uint8_t inner[256];
    uint8_t *end = pb_put_u64(metadata, 2, 102);
    uint8_t *at;

    end = pb_put_u64(end, 3, 7);
    at = pb_put_bytes(inner, 1, text("{\"Root\":{}}"));
    at = pb_put_bytes(at, 2, bytes_of(metadata, (size_t)(end - metadata)));
    end = pb_put_u64(out, 1, crc32c(0, inner, (size_t)(at - inner)));
    end = pb_put_bytes(end, 2, bytes_of(inner, (size_t)(at - inner)));
    return (size_t)(end - out);
}

static void a_snap_file_is_read(void **state)
{
    uint8_t file[512];
    size_t len = make_snap_file(file);
    struct bytes v2;
    uint64_t index;
    uint64_t term;

    (void)state;
    assert_int_equal(snap_file_read(bytes_of(file, len), &index, &term, &v2),
                     0);
    assert_int_equal(index, 102);
    assert_int_equal(term, 7);
    assert_int_equal(bytes_cmp(v2, text("{\"Root\":{}}")), 0);
}

/* Each bit is under the checksum or is the checksum, or shifts what is. */
static void a_flipped_bit_in_a_snap_file_is_found(void **state)
{
    uint8_t file[512];
    size_t len = make_snap_file(file);
    struct bytes v2;
    uint64_t index;
    uint64_t term;

    (void)state;
    for (size_t bit = 0; bit < len * 8; bit++) {
        file[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(
            snap_file_read(bytes_of(file, len), &index, &term, &v2),
            ERR_CORRUPT);
        file[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(
            snap_file_read(bytes_of(file, cut), &index, &term, &v2),
            ERR_CORRUPT);
}

/* ---- entries of the log ----------------------------------------------------
 */

static void apply_entry_of(struct roster *m, enum raft_entry_type type,
                           struct bytes payload, int expected)
{
    struct raft_entry entry = {
        .type = type, .data = payload.data, .len = (uint32_t)payload.len};

    assert_int_equal(roster_apply(m, &entry), expected);
}

static void conf(struct roster *m, enum raft_conf_change_type type, uint64_t id,
                 const char *context)
{
    struct raft_conf_change cc = {.v1 = true,
                                  .change_count = 1,
                                  .changes = {{type, id}},
                                  .context = text(context)};
    struct raft_entry entry = raft_conf_change_entry(&cc);

    assert_int_equal(roster_apply(m, &entry), 0);
    raft_entry_unref(&entry);
}

static void configuration_changes(void **state)
{
    struct roster m = {0};

    (void)state;
    conf(&m, RAFT_CONF_ADD_NODE, 1,
         "{\"id\":1,\"peerURLs\":[\"http://p1\"],\"name\":\"one\"}");
    conf(&m, RAFT_CONF_ADD_LEARNER, 2,
         "{\"id\":2,\"peerURLs\":[\"http://p2\"],\"isLearner\":true}");
    assert_members(&m, "1 one p:http://p1; 2 ? p:http://p2 learner; v?");
    /* Neither an id nor a URL is there twice. */
    conf(&m, RAFT_CONF_ADD_NODE, 1, "{\"id\":1,\"peerURLs\":[\"http://p9\"]}");
    conf(&m, RAFT_CONF_ADD_NODE, 3, "{\"id\":3,\"peerURLs\":[\"http://p2\"]}");
    conf(&m, RAFT_CONF_UPDATE_NODE, 1,
         "{\"id\":1,\"peerURLs\":[\"http://p2\"]}");
    assert_members(&m, "1 one p:http://p1; 2 ? p:http://p2 learner; v?");
    conf(&m, RAFT_CONF_UPDATE_NODE, 1,
         "{\"id\":1,\"peerURLs\":[\"http://p4\"]}");
    conf(&m, RAFT_CONF_ADD_NODE, 2,
         "{\"id\":2,\"peerURLs\":[\"http://p2\"],\"isPromote\":true}");
    assert_members(&m, "1 one p:http://p4; 2 ? p:http://p2; v?");
    /* Who was removed doesn't come back. */
    conf(&m, RAFT_CONF_REMOVE_NODE, 2, "");
    conf(&m, RAFT_CONF_REMOVE_NODE, 7, "");
    conf(&m, RAFT_CONF_ADD_NODE, 2, "{\"id\":2,\"peerURLs\":[\"http://p2\"]}");
    assert_members(&m, "1 one p:http://p4; -2 v?");
    roster_close(&m);
}

static void damaged_changes(void **state)
{
    struct roster m = {0};
    struct raft_conf_change cc = {.v1 = true,
                                  .change_count = 1,
                                  .changes = {{RAFT_CONF_ADD_NODE, 1}},
                                  .context = text("{\"id\":")};
    struct raft_entry entry = raft_conf_change_entry(&cc);

    (void)state;
    assert_int_equal(roster_apply(&m, &entry), ERR_CORRUPT);
    raft_entry_unref(&entry);
    apply_entry_of(&m, RAFT_ENTRY_CONF_CHANGE, text("\xff"), ERR_CORRUPT);
    apply_entry_of(&m, RAFT_ENTRY_NORMAL, text("\xff"), ERR_CORRUPT);
    roster_close(&m);
}

/* etcdserverpb.Request as etcd 3.4 writes it: all fields, zeros too. */
static size_t make_v2(uint8_t *out, const char *method, const char *path,
                      const char *value)
{
    static const uint8_t rest[] = {0x28, 0, 0x32, 0, 0x38, 0, 0x48, 0,
                                   0x50, 0, 0x58, 0, 0x60, 0, 0x68, 0,
                                   0x70, 0, 0x78, 0, 0x80, 1, 0};
    uint8_t *end = pb_put_u64(out, 1, UINT64_C(0xa040a211d8ebbc81));

    end = pb_put_bytes(end, 2, text(method));
    end = pb_put_bytes(end, 3, text(path));
    end = pb_put_bytes(end, 4, text(value));
    memcpy(end, rest, sizeof(rest));
    return (size_t)(end + sizeof(rest) - out);
}

static void v2(struct roster *m, const char *method, const char *path,
               const char *value, int expected)
{
    uint8_t bytes[512];
    size_t len = make_v2(bytes, method, path, value);

    apply_entry_of(m, RAFT_ENTRY_NORMAL, bytes_of(bytes, len), expected);
}

static void requests_of_the_v2_api(void **state)
{
    struct roster m = {0};

    (void)state;
    conf(&m, RAFT_CONF_ADD_NODE, UINT64_C(0x2e1259d415f2a040),
         "{\"id\":3319814642761637952,\"peerURLs\":[\"http://p1\"]}");
    v2(&m, "PUT", "/0/members/2e1259d415f2a040/attributes",
       "{\"name\":\"m1\",\"clientURLs\":[\"http://c1\",\"http://c2\"]}", 0);
    v2(&m, "PUT", "/0/version", "3.4.0", 0);
    assert_members(&m, "2e1259d415f2a040 m1 p:http://p1 c:http://c1 "
                       "c:http://c2; v3.4.0");
    v2(&m, "PUT", "/0/members/99/attributes", "{\"name\":\"no\"}", 0);
    v2(&m, "PUT", "/1/key", "value", 0);
    v2(&m, "DELETE", "/0/version", "", 0);
    v2(&m, "SYNC", "", "", 0);
    assert_members(&m, "2e1259d415f2a040 m1 p:http://p1 c:http://c1 "
                       "c:http://c2; v3.4.0");
    v2(&m, "PUT", "/0/members/2e1259d415f2a040/attributes", "{", ERR_CORRUPT);
    roster_close(&m);
}

static void requests_of_version_3_5(void **state)
{
    static const uint8_t attributes[] =
        "\xa2\x06\x02\x08\x01\xaa\x51\x18\x08\x01\x12\x14"
        "\x0a\x02m9\x12\x0ehttp://c1:1234";
    static const uint8_t version[] = "\xa2\x06\x02\x08\x01\xa2\x51\x07\x0a\x05"
                                     "3.5.0";
    struct roster m = {0};

    (void)state;
    conf(&m, RAFT_CONF_ADD_NODE, 1,
         "{\"id\":1,\"peerURLs\":[\"http://p1\"],\"clientURLs\":[\"http://c0\"]"
         "}");
    apply_entry_of(&m, RAFT_ENTRY_NORMAL,
                   bytes_of(attributes, sizeof(attributes) - 1), 0);
    apply_entry_of(&m, RAFT_ENTRY_NORMAL,
                   bytes_of(version, sizeof(version) - 1), 0);
    apply_entry_of(&m, RAFT_ENTRY_NORMAL, text(""), 0);
    assert_members(&m, "1 m9 p:http://p1 c:http://c1:1234; v3.5.0");
    roster_close(&m);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_v2_store_tells_the_members),
        cmocka_unit_test(a_restored_v2_store_is_small),
        cmocka_unit_test(keys_of_the_v2_api_are_refused),
        cmocka_unit_test(damaged_v2_stores_are_refused),
        cmocka_unit_test(a_snap_file_is_read),
        cmocka_unit_test(a_flipped_bit_in_a_snap_file_is_found),
        cmocka_unit_test(configuration_changes),
        cmocka_unit_test(damaged_changes),
        cmocka_unit_test(requests_of_the_v2_api),
        cmocka_unit_test(requests_of_version_3_5),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
