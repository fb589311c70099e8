/* Raft's configuration in the meta bucket: raftpb.ConfState as Go's JSON. */
#include "internal.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char key[] = "confState";

static void append_ids(struct buf *out, const char *name, const uint64_t *ids,
                       size_t n)
{
    if (n == 0)
        return;
    buf_printf(out, "\"%s\":[", name);
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "%s%" PRIu64, i ? "," : "", ids[i]);
    buf_printf(out, "],");
}

void cluster_save_conf_state(struct cluster *cluster, const uint64_t *voters,
                             size_t n_voters, const uint64_t *learners,
                             size_t n_learners)
{
    struct buf json = {0};

    buf_printf(&json, "{");
    append_ids(&json, "voters", voters, n_voters);
    append_ids(&json, "learners", learners, n_learners);
    buf_printf(&json, "\"auto_leave\":false}");
    store_put(cluster->store, STORE_META, text_bytes(key),
              bytes_of(json.data, json.len));
    buf_close(&json);
}

/* Raft's sets are sorted, and have each id once; what others have stored may
 * not be: an etcd 3.7 that was restarted lists them in the order of a map. */
static void put_id(uint64_t *ids, size_t *n, uint64_t id)
{
    size_t i = *n;

    while (i > 0 && ids[i - 1] >= id)
        i--;
    if (i < *n && ids[i] == id)
        return;
    memmove(ids + i + 1, ids + i, (*n - i) * sizeof(ids[0]));
    ids[i] = id;
    (*n)++;
}

/* None where there is no such field. */
static int ids_from_json(json_object *obj, const char *name, uint64_t **ids,
                         size_t *n)
{
    json_object *array = NULL;

    if (!json_object_object_get_ex(obj, name, &array) || !array)
        return 0;
    if (!json_object_is_type(array, json_type_array))
        return ERR_CORRUPT;
    size_t length = json_object_array_length(array);
    *ids = mem_alloc((length + 1) * sizeof(uint64_t));
    for (size_t i = 0; i < length; i++) {
        json_object *id = json_object_array_get_idx(array, i);
        if (!json_object_is_type(id, json_type_int))
            return ERR_CORRUPT;
        put_id(*ids, n, json_object_get_uint64(id));
    }
    return 0;
}

int cluster_conf_state_read(struct bytes json, uint64_t **voters,
                            size_t *n_voters, uint64_t **learners,
                            size_t *n_learners)
{
    json_object *obj = json_parse_object(json);
    int rc = obj ? 0 : ERR_CORRUPT;

    *voters = *learners = NULL;
    *n_voters = *n_learners = 0;
    if (rc == 0)
        rc = ids_from_json(obj, "voters", voters, n_voters);
    if (rc == 0)
        rc = ids_from_json(obj, "learners", learners, n_learners);
    json_object_put(obj);
    if (rc < 0) {
        free(*voters);
        free(*learners);
        *voters = *learners = NULL;
        *n_voters = *n_learners = 0;
    }
    return rc;
}

struct conf_state_at {
    uint64_t **voters;
    size_t *n_voters;
    uint64_t **learners;
    size_t *n_learners;
};

static int load(void *arg, struct bytes name, struct bytes value)
{
    struct conf_state_at *at = arg;

    if (bytes_cmp(name, text_bytes(key)) != 0)
        return 0;
    return cluster_conf_state_read(value, at->voters, at->n_voters,
                                   at->learners, at->n_learners);
}

int cluster_load_conf_state(const struct cluster *cluster, uint64_t **voters,
                            size_t *n_voters, uint64_t **learners,
                            size_t *n_learners)
{
    struct conf_state_at at = {voters, n_voters, learners, n_learners};

    *voters = *learners = NULL;
    *n_voters = *n_learners = 0;
    return store_load(cluster->store, STORE_META, load, &at);
}
