/* What the store holds of the membership, and looking at it. */
#include "chorad/base/log.h"
#include "internal.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void member_print_key(char out[17], uint64_t id)
{
    snprintf(out, 17, "%" PRIx64, id);
}

static bool is_id(struct bytes key, uint64_t id)
{
    char hex[17];

    member_print_key(hex, id);
    return key.len == strlen(hex) && memcmp(key.data, hex, key.len) == 0;
}

static size_t position(const struct cluster *cluster, uint64_t id)
{
    size_t i = 0;

    while (i < cluster->len && cluster->members[i].id < id)
        i++;
    return i;
}

struct cluster_member *members_find(const struct cluster *cluster, uint64_t id)
{
    size_t at = position(cluster, id);

    return at < cluster->len && cluster->members[at].id == id
               ? &cluster->members[at]
               : NULL;
}

void members_insert(struct cluster *cluster, struct cluster_member member)
{
    size_t at = position(cluster, member.id);

    cluster->members =
        mem_realloc(cluster->members, (cluster->len + 1) * sizeof(member));
    memmove(&cluster->members[at + 1], &cluster->members[at],
            (cluster->len - at) * sizeof(member));
    cluster->members[at] = member;
    cluster->len++;
}

void members_remove(struct cluster *cluster, uint64_t id)
{
    struct cluster_member *member = members_find(cluster, id);

    if (!member)
        return;
    cluster_member_close(member);
    cluster->len--;
    memmove(member, member + 1,
            (size_t)(&cluster->members[cluster->len] - member) *
                sizeof(*member));
}

void removed_add(struct cluster *cluster, uint64_t id)
{
    size_t at = 0;

    while (at < cluster->removed_len && cluster->removed[at] < id)
        at++;
    if (at < cluster->removed_len && cluster->removed[at] == id)
        return;
    cluster->removed = mem_realloc(
        cluster->removed, (cluster->removed_len + 1) * sizeof(uint64_t));
    memmove(&cluster->removed[at + 1], &cluster->removed[at],
            (cluster->removed_len - at) * sizeof(uint64_t));
    cluster->removed[at] = id;
    cluster->removed_len++;
}

void member_persist(struct cluster *cluster,
                    const struct cluster_member *member)
{
    char key[17];
    char *json = cluster_member_json(member);

    member_print_key(key, member->id);
    store_put(cluster->store, STORE_MEMBERS, text_bytes(key), text_bytes(json));
    free(json);
}

/* ---- opening ---- */

static int load_member(void *arg, struct bytes key, struct bytes value)
{
    struct cluster_member member;

    if (member_from_json(value, &member) < 0)
        return ERR_CORRUPT;
    if (!is_id(key, member.id)) {
        cluster_member_close(&member);
        return ERR_CORRUPT;
    }
    members_insert(arg, member);
    return 0;
}

static int load_removed(void *arg, struct bytes key, struct bytes value)
{
    struct cluster *cluster = arg;
    char hex[17] = {0};

    (void)value;
    if (key.len > 16)
        return ERR_CORRUPT;
    memcpy(hex, key.data, key.len);
    uint64_t id = strtoull(hex, NULL, 16);
    if (!is_id(key, id))
        return ERR_CORRUPT;
    removed_add(cluster, id);
    return 0;
}

/* A key is in there as a text with its length: names are no more than that. */
static bool is_key(struct bytes key, const char *name)
{
    return bytes_cmp(key, text_bytes(name)) == 0;
}

static char *text_of(struct bytes value)
{
    return mem_printf("%.*s", (int)value.len, (const char *)value.data);
}

static int load_downgrade(struct cluster *cluster, struct bytes json)
{
    json_object *obj = json_parse_object(json);
    json_object *field;

    if (!obj)
        return ERR_CORRUPT;
    if (json_object_object_get_ex(obj, "enabled", &field) &&
        json_object_get_boolean(field) &&
        json_object_object_get_ex(obj, "target-version", &field) &&
        json_object_is_type(field, json_type_string)) {
        free(cluster->downgrade);
        cluster->downgrade = mem_strdup(json_object_get_string(field));
    }
    json_object_put(obj);
    return 0;
}

static int load_cluster(void *arg, struct bytes key, struct bytes value)
{
    struct cluster *cluster = arg;

    if (is_key(key, "clusterVersion")) {
        free(cluster->version);
        cluster->version = text_of(value);
    }
    return is_key(key, "downgrade") ? load_downgrade(cluster, value) : 0;
}

static int load_meta(void *arg, struct bytes key, struct bytes value)
{
    struct cluster *cluster = arg;

    if (is_key(key, "storageVersion")) {
        free(cluster->storage_version);
        cluster->storage_version = text_of(value);
    }
    return 0;
}

static int load(struct cluster *cluster, struct store_reader *reader)
{
    struct bytes all = {0};
    int rc = store_scan(reader, STORE_MEMBERS, all, load_member, cluster);

    if (rc == 0)
        rc = store_scan(reader, STORE_MEMBERS_REMOVED, all, load_removed,
                        cluster);
    if (rc == 0)
        rc = store_scan(reader, STORE_CLUSTER, all, load_cluster, cluster);
    if (rc == 0)
        rc = store_scan(reader, STORE_META, all, load_meta, cluster);
    return rc;
}

int cluster_view(struct store_reader *reader, struct cluster **out,
                 struct errmsg *msg)
{
    struct cluster *cluster = mem_zalloc(sizeof(*cluster));
    int rc = load(cluster, reader);

    if (rc < 0) {
        cluster_close(cluster);
        return err_set(msg, rc, "reading the membership: %s", err_text(rc));
    }
    *out = cluster;
    return 0;
}

static int read_store(struct store *store, struct cluster **out,
                      struct errmsg *msg)
{
    struct store_reader *reader;
    int rc = store_reader_open(store, &reader);

    if (rc < 0)
        return err_set(msg, rc, "reading the membership: %s", err_text(rc));
    rc = store_read_begin(reader);
    if (rc == 0) {
        rc = cluster_view(reader, out, msg);
        store_read_end(reader);
    } else {
        err_set(msg, rc, "reading the membership: %s", err_text(rc));
    }
    store_reader_close(reader);
    return rc;
}

int cluster_open(struct store *store, struct cluster **out, struct errmsg *msg)
{
    int rc = read_store(store, out, msg);

    if (rc == 0)
        (*out)->store = store;
    return rc;
}

void cluster_use_store(struct cluster *cluster, struct store *store)
{
    cluster->store = store;
}

void cluster_close(struct cluster *cluster)
{
    if (!cluster)
        return;
    for (size_t i = 0; i < cluster->len; i++)
        cluster_member_close(&cluster->members[i]);
    free(cluster->members);
    free(cluster->removed);
    free(cluster->version);
    free(cluster->storage_version);
    free(cluster->downgrade);
    free(cluster);
}

/* ---- looking ---- */

const struct cluster_member *cluster_members(const struct cluster *cluster,
                                             size_t *n)
{
    *n = cluster->len;
    return cluster->members;
}

const struct cluster_member *cluster_find(const struct cluster *cluster,
                                          uint64_t id)
{
    return members_find(cluster, id);
}

bool cluster_is_removed(const struct cluster *cluster, uint64_t id)
{
    for (size_t i = 0; i < cluster->removed_len; i++)
        if (cluster->removed[i] == id)
            return true;
    return false;
}

const char *cluster_version(const struct cluster *cluster)
{
    return cluster->version;
}

const char *cluster_storage_version(const struct cluster *cluster)
{
    return cluster->storage_version;
}

const char *cluster_downgrade(const struct cluster *cluster)
{
    return cluster->downgrade;
}
