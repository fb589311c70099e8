/* GET /members/hashkv: this member's hash of what it stores, for the check of
 * all members against each other. */
#include "chorad/base/log.h"
#include "node.h"
#include "routes.h"
#include <inttypes.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

struct hashing {
    struct node_work work;
    struct node *node;
    struct peers_request *request;
    int64_t rev;
    int64_t current;
    struct mvcc_hash hash;
    int err;
};

static void run(struct node_work *work)
{
    struct hashing *h = container_of(work, struct hashing, work);

    h->err = mvcc_hash_kv(h->node->mvcc, h->rev, &h->hash);
    h->current = mvcc_revision(h->node->mvcc);
}

/* The structs of protobuf as Go's encoding/json has them: zeros left out. */
static void put_number(struct buf *out, const char *name, int64_t n)
{
    if (n != 0)
        buf_printf(out, ",\"%s\":%" PRId64, name, n);
}

static void answer_hash(const struct hashing *h)
{
    struct buf out = {0};

    buf_printf(&out, "{\"header\":{\"revision\":%" PRId64 "}", h->current);
    put_number(&out, "hash", h->hash.hash);
    put_number(&out, "compact_revision", h->hash.compact_rev);
    put_number(&out, "hash_revision", h->hash.hash_rev);
    buf_printf(&out, "}");
    peers_answer(h->request, 200, "application/json",
                 bytes_of(out.data, out.len));
    buf_close(&out);
}

static void done(struct node_work *work)
{
    struct hashing *h = container_of(work, struct hashing, work);

    if (h->err == 0) {
        answer_hash(h);
    } else {
        log_warn("failed to get hashKV", LOG_I64("requested-revision", h->rev),
                 LOG_STR("error", err_text(h->err)));
        route_error(h->request, 400,
                    h->err == ERR_COMPACTED
                        ? "mvcc: required revision has been compacted"
                    : h->err == ERR_FUTURE_REV
                        ? "mvcc: required revision is a future revision"
                        : err_text(h->err));
    }
    free(h);
}

static int read_revision(struct bytes body, int64_t *rev)
{
    json_tokener *tok = json_tokener_new();
    json_object *obj = NULL;
    json_object *field;
    int rc = ERR_INVALID;

    if (body.len > 0 && body.len <= INT_MAX)
        obj =
            json_tokener_parse_ex(tok, (const char *)body.data, (int)body.len);
    json_tokener_free(tok);
    *rev = 0;
    if (json_object_is_type(obj, json_type_object)) {
        rc = 0;
        if (json_object_object_get_ex(obj, "revision", &field))
            *rev = json_object_get_int64(field);
    }
    json_object_put(obj);
    return rc;
}

/* An id other than this cluster's; none is fine. */
static bool is_foreign(const struct node *node, const char *cluster_id)
{
    char own[17];

    snprintf(own, sizeof(own), "%" PRIx64, node->cluster_id);
    return cluster_id[0] != '\0' && strcmp(cluster_id, own) != 0;
}

void route_hash_kv(void *arg, struct peers_request *request,
                   const struct peers_query *query)
{
    struct node *node = arg;
    struct hashing *h;
    int64_t rev;

    if (!route_method(request, query, "GET"))
        return;
    if (is_foreign(node, query->cluster_id)) {
        route_error(request, 412, "cluster ID mismatch");
        return;
    }
    if (read_revision(query->body, &rev) < 0) {
        route_error(request, 400, "error unmarshalling request");
        return;
    }
    h = mem_zalloc(sizeof(*h));
    h->node = node;
    h->request = request;
    h->rev = rev;
    h->work.run = run;
    h->work.done = done;
    node_work(node, &h->work);
}
