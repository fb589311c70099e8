/* The membership as the store of etcd's v2 API saves itself:
 *
 *   {"Root": node, "CurrentIndex": n, "CurrentVersion": 2}
 *   /0/members/<id>/raftAttributes   {"peerURLs":[...],"isLearner":true}
 *   /0/members/<id>/attributes       {"name":"...","clientURLs":[...]}
 *   /0/removed_members/<id>          ""
 *   /0/version                       "3.7.0"
 *   /1
 *
 * etcd before 3.7 reads it when a snapshot arrives; its history of events,
 * which nobody can ask for, is left out. */
#include "internal.h"
#include <inttypes.h>
#include <stdlib.h>

struct writer {
    struct buf out;
    uint64_t index;
};

/* Everything of a node up to its value, which is its own to write. */
static void begin_node(struct writer *w, const char *path, uint64_t index)
{
    buf_printf(&w->out,
               "{\"Path\":\"%s\",\"CreatedIndex\":%" PRIu64
               ",\"ModifiedIndex\":%" PRIu64
               ",\"ExpireTime\":\"0001-01-01T00:00:00Z\",\"Value\":",
               path, index, index);
}

static void begin_dir(struct writer *w, const char *path, uint64_t index)
{
    begin_node(w, path, index);
    buf_printf(&w->out, "\"\",\"Children\":{");
}

static void end_dir(struct writer *w)
{
    buf_printf(&w->out, "}}");
}

static void put_leaf(struct writer *w, const char *path, const char *value)
{
    begin_node(w, path, ++w->index);
    json_append_string(&w->out, value);
    buf_printf(&w->out, ",\"Children\":null}");
}

static void put_half(struct writer *w, const char *member, const char *name,
                     void (*append)(struct buf *out,
                                    const struct cluster_member *member),
                     const struct cluster_member *from)
{
    struct buf json = {0};
    char *path = mem_printf("%s/%s", member, name);

    append(&json, from);
    buf_append(&json, "", 1);
    buf_printf(&w->out, "\"%s\":", name);
    put_leaf(w, path, (const char *)json.data);
    buf_close(&json);
    free(path);
}

static void put_member(struct writer *w, const struct cluster_member *member)
{
    char *path = mem_printf("/0/members/%" PRIx64, member->id);

    buf_printf(&w->out, "\"%" PRIx64 "\":", member->id);
    begin_dir(w, path, w->index + 1);
    put_half(w, path, "raftAttributes", json_append_raft_attributes, member);
    if (member->client_urls[0]) {
        buf_printf(&w->out, ",");
        put_half(w, path, "attributes", json_append_attributes, member);
    }
    end_dir(w);
    free(path);
}

static void put_members(struct writer *w, const struct cluster *cluster)
{
    buf_printf(&w->out, "\"members\":");
    begin_dir(w, "/0/members", 1);
    for (size_t i = 0; i < cluster->len; i++) {
        if (i > 0)
            buf_printf(&w->out, ",");
        put_member(w, &cluster->members[i]);
    }
    end_dir(w);
}

static void put_removed(struct writer *w, const struct cluster *cluster)
{
    buf_printf(&w->out, ",\"removed_members\":");
    begin_dir(w, "/0/removed_members", w->index + 1);
    for (size_t i = 0; i < cluster->removed_len; i++) {
        uint64_t id = cluster->removed[i];
        char *path = mem_printf("/0/removed_members/%" PRIx64, id);

        buf_printf(&w->out, "%s\"%" PRIx64 "\":", i ? "," : "", id);
        put_leaf(w, path, "");
        free(path);
    }
    end_dir(w);
}

char *cluster_v2_store(const struct cluster *cluster)
{
    struct writer w = {0};

    buf_printf(&w.out, "{\"Root\":");
    begin_dir(&w, "/", 0);
    buf_printf(&w.out, "\"0\":");
    begin_dir(&w, "/0", 0);
    put_members(&w, cluster);
    if (cluster->removed_len > 0)
        put_removed(&w, cluster);
    if (cluster->version) {
        buf_printf(&w.out, ",\"version\":");
        put_leaf(&w, "/0/version", cluster->version);
    }
    end_dir(&w);
    buf_printf(&w.out, ",\"1\":");
    begin_dir(&w, "/1", 0);
    end_dir(&w);
    end_dir(&w);
    buf_printf(&w.out, ",\"CurrentIndex\":%" PRIu64 ",\"CurrentVersion\":2}",
               w.index);
    buf_append(&w.out, "", 1);
    return (char *)w.out.data;
}
