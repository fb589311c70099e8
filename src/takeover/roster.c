/* Members, and how entries of the log change them: the rules are those by which
 * etcd applies them. */
#include "internal.h"

#include "chorad/base/pb.h"
#include <stdlib.h>
#include <string.h>

/* etcdserverpb.InternalRaftRequest, membershippb. */
enum {
    REQUEST_VERSION = 1300,
    REQUEST_ATTRIBUTES = 1301,
    VERSION_TEXT = 1,
    ATTRIBUTES_ID = 1,
    ATTRIBUTES_FIELDS = 2,
    FIELDS_NAME = 1,
    FIELDS_URLS = 2,
};

void roster_close(struct roster *m)
{
    for (size_t i = 0; i < m->n; i++)
        cluster_member_close(&m->members[i]);
    free(m->members);
    free(m->removed);
    free(m->version);
    *m = (struct roster){0};
}

struct cluster_member *roster_find(const struct roster *m, uint64_t id)
{
    for (size_t i = 0; i < m->n; i++)
        if (m->members[i].id == id)
            return &m->members[i];
    return NULL;
}

struct cluster_member *roster_make(struct roster *m, uint64_t id)
{
    struct cluster_member *member = roster_find(m, id);

    if (member)
        return member;
    m->members = mem_realloc(m->members, (m->n + 1) * sizeof(m->members[0]));
    member = &m->members[m->n++];
    *member = (struct cluster_member){.id = id};
    return member;
}

static void drop(struct roster *m, uint64_t id)
{
    struct cluster_member *member = roster_find(m, id);

    if (!member)
        return;
    cluster_member_close(member);
    *member = m->members[--m->n];
}

static bool was_removed(const struct roster *m, uint64_t id)
{
    for (size_t i = 0; i < m->n_removed; i++)
        if (m->removed[i] == id)
            return true;
    return false;
}

void roster_remove(struct roster *m, uint64_t id)
{
    drop(m, id);
    if (was_removed(m, id))
        return;
    m->removed =
        mem_realloc(m->removed, (m->n_removed + 1) * sizeof(m->removed[0]));
    m->removed[m->n_removed++] = id;
}

static char *text_of(struct bytes b)
{
    return mem_printf("%.*s", (int)b.len, (const char *)b.data);
}

void roster_set_version(struct roster *m, struct bytes version)
{
    free(m->version);
    m->version = text_of(version);
}

/* ---- configuration changes ------------------------------------------------
 */

static bool has_url(const struct cluster_member *member, const char *url)
{
    for (size_t i = 0; member->peer_urls && member->peer_urls[i]; i++)
        if (strcmp(member->peer_urls[i], url) == 0)
            return true;
    return false;
}

static bool shares_url(const struct roster *m,
                       const struct cluster_member *changed)
{
    for (size_t i = 0; i < m->n; i++) {
        if (m->members[i].id == changed->id)
            continue;
        for (size_t u = 0; changed->peer_urls && changed->peer_urls[u]; u++)
            if (has_url(&m->members[i], changed->peer_urls[u]))
                return true;
    }
    return false;
}

/* Takes over `member`, or closes it. */
static void add(struct roster *m, struct cluster_member *member)
{
    if (roster_find(m, member->id) || shares_url(m, member)) {
        cluster_member_close(member);
        return;
    }
    *roster_make(m, member->id) = *member;
}

static void update(struct roster *m, struct cluster_member *member)
{
    struct cluster_member *there = roster_find(m, member->id);

    if (there && !shares_url(m, member)) {
        char **urls = there->peer_urls;

        there->peer_urls = member->peer_urls;
        member->peer_urls = urls;
    }
    cluster_member_close(member);
}

/* Promotion is an addition that says so. */
static bool is_promotion(const struct raft_conf_change *cc)
{
    static const char mark[] = "\"isPromote\":true";

    return cc->context.len > 0 && memmem(cc->context.data, cc->context.len,
                                         mark, sizeof(mark) - 1) != NULL;
}

static int change(struct roster *m, const struct raft_conf_change *cc)
{
    uint64_t id = cc->changes[0].node_id;
    struct cluster_member member = {0};
    struct cluster_member *there = roster_find(m, id);

    if (was_removed(m, id))
        return 0;
    if (cc->changes[0].type == RAFT_CONF_REMOVE_NODE) {
        if (there)
            roster_remove(m, id);
        return 0;
    }
    if (cluster_member_read(cc->context, &member) < 0)
        return ERR_CORRUPT;
    member.id = id;
    if (cc->changes[0].type == RAFT_CONF_UPDATE_NODE) {
        update(m, &member);
    } else if (is_promotion(cc)) {
        if (there)
            there->is_learner = false;
        cluster_member_close(&member);
    } else {
        member.is_learner = cc->changes[0].type == RAFT_CONF_ADD_LEARNER;
        add(m, &member);
    }
    return 0;
}

static int apply_change(struct roster *m, const struct raft_entry *entry)
{
    struct raft_conf_change cc;
    int rc = raft_conf_change_decode(&cc, entry->type, entry->data, entry->len);

    if (rc < 0)
        return ERR_CORRUPT;
    return cc.change_count == 1 ? change(m, &cc) : 0;
}

/* ---- requests -------------------------------------------------------------
 */

/* The fields that it has replace both, as in etcd. */
static void set_attributes(struct roster *m, uint64_t id,
                           struct cluster_member *attributes)
{
    struct cluster_member *there = roster_find(m, id);

    if (there) {
        struct cluster_member old = *there;

        there->name = attributes->name;
        there->client_urls = attributes->client_urls;
        attributes->name = old.name;
        attributes->client_urls = old.client_urls;
    }
    cluster_member_close(attributes);
}

static int apply_v2(struct roster *m, const struct cluster_v2 *v2)
{
    struct cluster_member attributes = {0};

    if (v2->kind == CLUSTER_V2_VERSION)
        roster_set_version(m, v2->value);
    if (v2->kind != CLUSTER_V2_ATTRIBUTES)
        return 0;
    if (cluster_member_read(v2->value, &attributes) < 0)
        return ERR_CORRUPT;
    set_attributes(m, v2->id, &attributes);
    return 0;
}

static void add_url(struct cluster_member *member, struct bytes url)
{
    size_t n = 0;

    while (member->client_urls && member->client_urls[n])
        n++;
    member->client_urls =
        mem_realloc(member->client_urls, (n + 2) * sizeof(char *));
    member->client_urls[n] = text_of(url);
    member->client_urls[n + 1] = NULL;
}

static void read_fields(struct cluster_member *member, struct bytes data)
{
    struct pb_reader r = {data.data, data.data + data.len};
    struct pb_field f;

    while (pb_next(&r, &f) > 0) {
        if (f.wire != PB_LEN)
            continue;
        if (f.number == FIELDS_NAME) {
            free(member->name);
            member->name = text_of(f.bytes);
        } else if (f.number == FIELDS_URLS) {
            add_url(member, f.bytes);
        }
    }
}

static void apply_attributes(struct roster *m, struct bytes data)
{
    struct pb_reader r = {data.data, data.data + data.len};
    struct cluster_member attributes = {0};
    struct pb_field f;
    uint64_t id = 0;

    while (pb_next(&r, &f) > 0) {
        if (f.number == ATTRIBUTES_ID && f.wire == PB_VARINT)
            id = f.value;
        else if (f.number == ATTRIBUTES_FIELDS && f.wire == PB_LEN)
            read_fields(&attributes, f.bytes);
    }
    set_attributes(m, id, &attributes);
}

static void apply_version(struct roster *m, struct bytes data)
{
    struct pb_reader r = {data.data, data.data + data.len};
    struct pb_field f;

    while (pb_next(&r, &f) > 0)
        if (f.number == VERSION_TEXT && f.wire == PB_LEN)
            roster_set_version(m, f.bytes);
}

int roster_apply(struct roster *m, const struct raft_entry *entry)
{
    struct bytes payload = bytes_of(entry->data, entry->len);
    struct pb_reader r = {entry->data, entry->data + entry->len};
    struct cluster_v2 v2;
    struct pb_field f;
    int rc;

    if (entry->type != RAFT_ENTRY_NORMAL)
        return apply_change(m, entry);
    v2 = cluster_v2_read(payload);
    if (v2.kind != CLUSTER_V2_NONE)
        return apply_v2(m, &v2);
    while ((rc = pb_next(&r, &f)) > 0) {
        if (f.number == REQUEST_VERSION && f.wire == PB_LEN)
            apply_version(m, f.bytes);
        else if (f.number == REQUEST_ATTRIBUTES && f.wire == PB_LEN)
            apply_attributes(m, f.bytes);
    }
    return rc < 0 ? ERR_CORRUPT : 0;
}
