/* The v2 store as etcd wrote it into .snap files: a tree of nodes
 *
 *   {"Path":"/0/members", "Value":"", "Children":{"<name>": node, ...}}
 *
 * /0/members/<id>/{raftAttributes,attributes}, /0/removed_members/<id> and
 * /0/version are the membership, /1 is what users of the v2 API had. */
#include "internal.h"

#include <json-c/json.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* Two levels of JSON for each of a path. */
#define DEPTH_MAX 4096

static json_object *child(json_object *node, const char *name)
{
    json_object *children = NULL;
    json_object *found = NULL;

    if (json_object_object_get_ex(node, "Children", &children) &&
        json_object_is_type(children, json_type_object) &&
        json_object_object_get_ex(children, name, &found) &&
        json_object_is_type(found, json_type_object))
        return found;
    return NULL;
}

/* NULL where there are none. */
static json_object *children_of(json_object *node)
{
    json_object *children = NULL;

    if (node && json_object_object_get_ex(node, "Children", &children) &&
        json_object_is_type(children, json_type_object))
        return children;
    return NULL;
}

static struct bytes value_of(json_object *node)
{
    json_object *value = NULL;

    if (!node || !json_object_object_get_ex(node, "Value", &value) ||
        !json_object_is_type(value, json_type_string))
        return (struct bytes){0};
    return bytes_of(json_object_get_string(value),
                    (size_t)json_object_get_string_len(value));
}

static bool read_id(const char *text, uint64_t *id)
{
    char *end;

    *id = strtoull(text, &end, 16);
    return *text != '\0' && *end == '\0';
}

static int read_member(struct roster *m, uint64_t id, json_object *node)
{
    struct cluster_member member = {0};
    struct bytes raft = value_of(child(node, "raftAttributes"));
    struct bytes attributes = value_of(child(node, "attributes"));
    int rc = cluster_member_read(raft, &member);

    if (rc == 0 && attributes.len > 0)
        rc = cluster_member_read(attributes, &member);
    if (rc < 0) {
        cluster_member_close(&member);
        return ERR_CORRUPT;
    }
    member.id = id;
    *roster_make(m, id) = member;
    return 0;
}

static int read_members(struct roster *m, json_object *members)
{
    uint64_t id;

    if (!members)
        return 0;
    json_object_object_foreach(members, name, node)
    {
        if (!read_id(name, &id) || roster_find(m, id) ||
            read_member(m, id, node) < 0)
            return ERR_CORRUPT;
    }
    return 0;
}

static int read_removed(struct roster *m, json_object *removed)
{
    uint64_t id;

    if (!removed)
        return 0;
    json_object_object_foreach(removed, name, node)
    {
        (void)node;
        if (!read_id(name, &id))
            return ERR_CORRUPT;
        roster_remove(m, id);
    }
    return 0;
}

static int read_tree(json_object *root, struct roster *m, struct errmsg *msg)
{
    json_object *cluster = child(root, "0");
    json_object *keys = children_of(child(root, "1"));
    struct bytes version;
    int rc;

    if (keys && json_object_object_length(keys) > 0)
        return err_set(msg, ERR_UNSUPPORTED,
                       "there are keys of etcd's v2 API, which chorad doesn't "
                       "have: remove or migrate them with etcd before");
    if (!cluster)
        return 0;
    rc = read_members(m, children_of(child(cluster, "members")));
    if (rc == 0)
        rc = read_removed(m, children_of(child(cluster, "removed_members")));
    if (rc < 0)
        return err_set(msg, rc, "the members in the v2 store are damaged");
    version = value_of(child(cluster, "version"));
    if (version.len > 0)
        roster_set_version(m, version);
    return 0;
}

int v2_store_read(struct bytes json, struct roster *m, struct errmsg *msg)
{
    json_tokener *tok = json_tokener_new_ex(DEPTH_MAX);
    json_object *store = NULL;
    json_object *root = NULL;
    int rc;

    if (json.len <= INT_MAX)
        store =
            json_tokener_parse_ex(tok, (const char *)json.data, (int)json.len);
    json_tokener_free(tok);
    if (!json_object_is_type(store, json_type_object) ||
        !json_object_object_get_ex(store, "Root", &root) ||
        !json_object_is_type(root, json_type_object))
        rc = err_set(msg, ERR_CORRUPT, "no v2 store");
    else
        rc = read_tree(root, m, msg);
    json_object_put(store);
    return rc;
}
