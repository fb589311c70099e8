/* The Cluster service: the membership looked at and changed. */
#include "service.h"

#include "chorad/base/clock.h"
#include "chorad/base/url.h"
#include "chorad/codec.h"

#include <string.h>

/* ---- members as messages ---- */

static size_t count_strings(char **strings)
{
    size_t n = 0;

    while (strings[n] != NULL)
        n++;
    return n;
}

/* Borrows the member's strings. */
static Etcdserverpb__Member *make_member(const struct cluster_member *member,
                                         struct arena *arena)
{
    Etcdserverpb__Member *out = arena_alloc(arena, sizeof(*out));

    etcdserverpb__member__init(out);
    out->id = member->id;
    out->name = member->name;
    out->peerurls = member->peer_urls;
    out->n_peerurls = count_strings(member->peer_urls);
    out->clienturls = member->client_urls;
    out->n_clienturls = count_strings(member->client_urls);
    out->islearner = member->is_learner;
    return out;
}

static Etcdserverpb__Member **make_members(const struct cluster_member *members,
                                           size_t n, struct arena *arena)
{
    Etcdserverpb__Member **out = arena_alloc(arena, (n + 1) * sizeof(*out));

    for (size_t i = 0; i < n; i++)
        out[i] = make_member(&members[i], arena);
    return out;
}

/* The membership doesn't belong to a revision. */
static Etcdserverpb__ResponseHeader make_header(const struct services *services)
{
    Etcdserverpb__ResponseHeader header = service_pb_header(services);

    header.revision = 0;
    return header;
}

/* ---- looking ---- */

static int list_members(struct service_trip *trip)
{
    struct services *services = services_of(trip->call);
    Etcdserverpb__MemberListResponse out =
        ETCDSERVERPB__MEMBER_LIST_RESPONSE__INIT;
    Etcdserverpb__ResponseHeader header = make_header(services);
    const struct cluster_member *members =
        cluster_members(node_cluster(services->node), &out.n_members);

    out.header = &header;
    out.members = make_members(members, out.n_members, &trip->call->arena);
    codec_pack(&trip->body, &out.base);
    return 0;
}

static void open_member_list(struct rpc_call *call)
{
    const Etcdserverpb__MemberListRequest *req =
        service_unpack(call, &etcdserverpb__member_list_request__descriptor);
    struct service_trip *trip;

    if (req == NULL || !service_require_user(call))
        return;
    trip = service_trip_new(call);
    trip->loop = list_members;
    service_trip_start(trip, req->linearizable);
}

/* ---- changing --------------------------------------------------------------
 *
 *   shard: request -> loop: change -> ... applied -> answer made -> shard */

struct change {
    struct node_change node;
    struct service_trip *trip;
    struct cluster_member member; /* its lists lie in the arena */
    /* Packs the answer. */
    void (*pack)(const struct change *change, struct buf *out,
                 Etcdserverpb__ResponseHeader *header,
                 Etcdserverpb__Member **members, size_t n);
};

static void pack_add(const struct change *change, struct buf *out,
                     Etcdserverpb__ResponseHeader *header,
                     Etcdserverpb__Member **members, size_t n)
{
    Etcdserverpb__MemberAddResponse response =
        ETCDSERVERPB__MEMBER_ADD_RESPONSE__INIT;

    response.header = header;
    response.member = make_member(&change->member, &change->trip->call->arena);
    response.members = members;
    response.n_members = n;
    codec_pack(out, &response.base);
}

/* Those of Remove, Update and Promote are the same on the wire. */
static void pack_members(const struct change *change, struct buf *out,
                         Etcdserverpb__ResponseHeader *header,
                         Etcdserverpb__Member **members, size_t n)
{
    Etcdserverpb__MemberRemoveResponse response =
        ETCDSERVERPB__MEMBER_REMOVE_RESPONSE__INIT;

    (void)change;
    response.header = header;
    response.members = members;
    response.n_members = n;
    codec_pack(out, &response.base);
}

static void changed(struct node_change *node)
{
    struct change *change = container_of(node, struct change, node);
    struct service_trip *trip = change->trip;

    if (node->err == 0) {
        struct cluster_list *list = &node->members;
        Etcdserverpb__ResponseHeader header =
            make_header(services_of(trip->call));

        change->pack(change, &trip->body, &header,
                     make_members(list->members, list->n, &trip->call->arena),
                     list->n);
    }
    cluster_list_close(&node->members);
    service_trip_go_on(trip, node->err);
}

static int begin_change(struct service_trip *trip)
{
    struct change *change = trip->state;

    node_change_members(services_of(trip->call)->node, &change->node);
    return SERVICE_LATER;
}

static struct change *new_change(struct rpc_call *call,
                                 enum node_change_kind kind, uint64_t id)
{
    struct change *change = arena_zalloc(&call->arena, sizeof(*change));

    change->node.kind = kind;
    change->node.id = id;
    change->node.done = changed;
    change->pack = pack_members;
    change->trip = service_trip_new(call);
    change->trip->state = change;
    change->trip->loop = begin_change;
    return change;
}

static void start_change(struct change *change)
{
    service_trip_start(change->trip, false);
}

static void set_member(struct change *change, char **urls)
{
    static char none[] = "";
    static char *no_urls[] = {NULL};

    change->member.id = change->node.id;
    change->member.name = none;
    change->member.peer_urls = urls;
    change->member.client_urls = no_urls;
    change->node.member = &change->member;
}

/* The URLs as they are stored: parsed, sorted; ended by NULL. NULL: one isn't
 * any. */
static char **read_urls(struct rpc_call *call, char **texts, size_t n)
{
    struct url_list urls = {0};
    char **out = arena_zalloc(&call->arena, (n + 1) * sizeof(*out));
    int err = n > 0 ? 0 : ERR_BAD_URLS;

    for (size_t i = 0; i < n && err == 0; i++) {
        struct url url;

        err = url_parse(&url, texts[i], NULL);
        if (err == 0) {
            urls_add(&urls, &url);
            url_close(&url);
        }
    }
    urls_sort(&urls);
    for (size_t i = 0; i < urls.n; i++)
        out[i] = arena_dup(&call->arena, urls.items[i].text,
                           strlen(urls.items[i].text) + 1);
    urls_close(&urls);
    return err == 0 ? out : NULL;
}

static void open_member_add(struct rpc_call *call)
{
    const Etcdserverpb__MemberAddRequest *req =
        service_unpack(call, &etcdserverpb__member_add_request__descriptor);
    struct change *change;
    char **urls;

    if (req == NULL)
        return;
    urls = read_urls(call, req->peerurls, req->n_peerurls);
    if (urls == NULL) {
        rpc_fail(call, ERR_BAD_URLS);
        return;
    }
    if (!service_require_root(call))
        return;
    change =
        new_change(call, NODE_ADD_MEMBER,
                   cluster_added_member_id((const char *const *)(uintptr_t)urls,
                                           clock_wall_ns() / 1000000000));
    set_member(change, urls);
    change->member.is_learner = req->islearner;
    change->pack = pack_add;
    start_change(change);
}

static void open_member_remove(struct rpc_call *call)
{
    const Etcdserverpb__MemberRemoveRequest *req =
        service_unpack(call, &etcdserverpb__member_remove_request__descriptor);

    if (req != NULL && service_require_root(call))
        start_change(new_change(call, NODE_REMOVE_MEMBER, req->id));
}

static bool are_urls(char **texts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct url url;

        if (url_parse(&url, texts[i], NULL) < 0)
            return false;
        url_close(&url);
    }
    return n > 0;
}

/* The URLs are stored as they are (source: etcd, whose members all end on one
 * that is none). */
static void open_member_update(struct rpc_call *call)
{
    const Etcdserverpb__MemberUpdateRequest *req =
        service_unpack(call, &etcdserverpb__member_update_request__descriptor);
    struct change *change;
    char **urls;

    if (req == NULL || !service_require_root(call))
        return;
    if (!are_urls(req->peerurls, req->n_peerurls)) {
        rpc_fail(call, ERR_BAD_URLS);
        return;
    }
    change = new_change(call, NODE_UPDATE_MEMBER, req->id);
    urls = arena_zalloc(&call->arena, (req->n_peerurls + 1) * sizeof(*urls));
    for (size_t i = 0; i < req->n_peerurls; i++)
        urls[i] = req->peerurls[i];
    set_member(change, urls);
    start_change(change);
}

static void open_member_promote(struct rpc_call *call)
{
    const Etcdserverpb__MemberPromoteRequest *req =
        service_unpack(call, &etcdserverpb__member_promote_request__descriptor);
    struct change *change;

    if (req == NULL || !service_require_root(call))
        return;
    change = new_change(call, NODE_PROMOTE_MEMBER, req->id);
    if (call->token.len > 0) {
        char *token = arena_zalloc(&call->arena, call->token.len + 1);

        memcpy(token, call->token.data, call->token.len);
        change->node.authorization = token;
    }
    start_change(change);
}

static const struct rpc_method methods[] = {
    {.name = "MemberAdd", .kind = RPC_UNARY, .open = open_member_add},
    {.name = "MemberRemove", .kind = RPC_UNARY, .open = open_member_remove},
    {.name = "MemberUpdate", .kind = RPC_UNARY, .open = open_member_update},
    {.name = "MemberList", .kind = RPC_UNARY, .open = open_member_list},
    {.name = "MemberPromote", .kind = RPC_UNARY, .open = open_member_promote},
};

const struct rpc_service service_cluster = {
    .name = "etcdserverpb.Cluster",
    .methods = methods,
    .n = sizeof(methods) / sizeof(methods[0]),
    .preset_metrics = true,
};
