/* What other members ask on the peer port, besides Raft. Statuses and texts are
 * etcd's: its members look at them. */
#include "routes.h"
#include "chorad/auth.h"
#include "chorad/base/clock.h"
#include "chorad/base/log.h"
#include "node.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define JSON "application/json"
#define TEXT "text/plain; charset=utf-8"

void route_error(struct peers_request *request, unsigned status,
                 const char *text)
{
    char *line = mem_printf("%s\n", text);

    peers_answer(request, status, TEXT, bytes_of(line, strlen(line)));
    free(line);
}

bool route_method(struct peers_request *request,
                  const struct peers_query *query, const char *method)
{
    if (strcmp(query->method, method) == 0)
        return true;
    route_error(request, 405, "Method Not Allowed");
    return false;
}

static void answer_text(struct peers_request *request, const char *type,
                        char *text)
{
    peers_answer(request, 200, type, bytes_of(text, strlen(text)));
    free(text);
}

static void on_members(void *arg, struct peers_request *request,
                       const struct peers_query *query)
{
    struct node *node = arg;
    size_t n;
    const struct cluster_member *m = cluster_members(node->cluster, &n);

    if (route_method(request, query, "GET"))
        answer_text(request, JSON, cluster_list_json(m, n));
}

void node_put_version(const struct node *node, struct buf *out)
{
    const char *decided = cluster_version(node->cluster);
    const char *storage = cluster_storage_version(node->cluster);

    buf_printf(out,
               "{\"etcdserver\":\"%s\",\"etcdcluster\":\"%s\",\"storage\":"
               "\"%s\"}",
               CLUSTER_API_VERSION, decided ? decided : "not_decided",
               storage ? storage : "unknown");
}

static void on_version(void *arg, struct peers_request *request,
                       const struct peers_query *query)
{
    struct buf out = {0};

    if (!route_method(request, query, "GET"))
        return;
    node_put_version(arg, &out);
    peers_answer(request, 200, JSON, bytes_of(out.data, out.len));
    buf_close(&out);
}

/* ---- /members/promote/<id> ---- */

struct promotion {
    struct node_change change;
    struct peers_request *request;
    char *authorization;
};

static void answer_promotion(const struct promotion *p)
{
    static const char failed[] = "{\"message\":\"Internal Server Error\"}";
    int err = p->change.err;

    if (err == 0)
        answer_text(
            p->request, JSON,
            cluster_list_json(p->change.members.members, p->change.members.n));
    else if (err == ERR_MEMBER_NOT_FOUND)
        route_error(p->request, 404, "membership: ID not found");
    else if (err == ERR_NOT_LEARNER)
        route_error(p->request, 412,
                    "membership: can only promote a learner member");
    else if (err == ERR_LEARNER_NOT_READY)
        route_error(p->request, 412, err_text(err));
    else
        peers_answer(p->request, 500, JSON,
                     bytes_of(failed, sizeof(failed) - 1));
}

static void promoted(struct node_change *change)
{
    struct promotion *p = container_of(change, struct promotion, change);

    if (change->err < 0)
        log_warn("failed to promote a member", LOG_HEX("member-id", change->id),
                 LOG_STR("error", err_text(change->err)));
    answer_promotion(p);
    cluster_list_close(&change->members);
    free(p->authorization);
    free(p);
}

/* It is a client's request that another member passes on. */
static int may_promote(struct node *node, const char *authorization)
{
    struct auth_who who = {.rev = 0};
    struct bytes token = bytes_of(authorization, strlen(authorization));
    int err = 0;

    if (!auth_enabled(node->auth))
        return 0;
    if (token.len > 0)
        err = auth_identify(node->auth, auth_bare_token(token), clock_mono_ns(),
                            clock_wall_ns(), &who);
    return err != 0 ? err : auth_may_manage(node->auth, &who);
}

static void on_promote(void *arg, struct peers_request *request,
                       const struct peers_query *query)
{
    const char *text = query->path + strlen("/members/promote/");
    struct promotion *p;
    char *end;
    uint64_t id;

    if (!route_method(request, query, "POST"))
        return;
    errno = 0;
    id = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0) {
        char *why = mem_printf("member %s not found in cluster", text);
        route_error(request, 404, why);
        free(why);
        return;
    }
    p = mem_zalloc(sizeof(*p));
    p->request = request;
    p->change.kind = NODE_PROMOTE_MEMBER;
    p->change.id = id;
    if (query->authorization[0] != '\0')
        p->authorization = mem_strdup(query->authorization);
    p->change.authorization = p->authorization;
    p->change.done = promoted;
    p->change.err = may_promote(arg, query->authorization);
    if (p->change.err != 0)
        promoted(&p->change);
    else
        node_change_members(arg, &p->change);
}

/* ---- /downgrade/enabled ---- */

struct inquiry {
    struct node_barrier barrier;
    struct node *node;
    struct peers_request *request;
};

static void answer_downgrade(struct node_barrier *barrier)
{
    struct inquiry *inquiry = container_of(barrier, struct inquiry, barrier);
    const char *enabled =
        cluster_downgrade(inquiry->node->cluster) ? "true" : "false";

    if (barrier->err < 0) {
        char *why =
            mem_printf("failed linearized read: %s", err_text(barrier->err));
        route_error(inquiry->request, 500, why);
        free(why);
    } else {
        peers_answer(inquiry->request, 200, "text/plain",
                     bytes_of(enabled, strlen(enabled)));
    }
    free(inquiry);
}

static void on_downgrade(void *arg, struct peers_request *request,
                         const struct peers_query *query)
{
    struct inquiry *inquiry;

    if (!route_method(request, query, "GET"))
        return;
    inquiry = mem_zalloc(sizeof(*inquiry));
    inquiry->node = arg;
    inquiry->request = request;
    inquiry->barrier.done = answer_downgrade;
    if (node_barrier(arg, &inquiry->barrier))
        answer_downgrade(&inquiry->barrier);
}

const struct peers_route node_routes[] = {
    {"/members", on_members},
    {"/version", on_version},
    {"/members/promote/", on_promote},
    {"/members/hashkv", route_hash_kv},
    {"/leases", route_renew},
    {"/leases/internal", route_lease_info},
    {"/downgrade/enabled", on_downgrade},
    {NULL, NULL},
};
