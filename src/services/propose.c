/* Requests that go through the log: from the shard to the loop and back. */
#include "service.h"

#include "chorad/base/clock.h"

/* What the stamp and the keys take at most, besides the user's name. */
#define WRAP_MAX ((size_t)60)

static bool too_large(struct services *services, const struct auth_who *who,
                      enum apply_kind kind, size_t len)
{
    struct apply_stamp stamp;

    if (len + WRAP_MAX + who->len <= services->config.max_request_bytes)
        return false;
    stamp = (struct apply_stamp){node_next_id(services->node), auth_name(who),
                                 who->rev};
    return apply_wrapped_size(&stamp, kind, len) >
           services->config.max_request_bytes;
}

static void came_back(struct rpc_task *task)
{
    struct service_proposal *p =
        container_of(task, struct service_proposal, back);
    const struct node_request *request = &p->request;

    p->took_ns = clock_mono_ns() - p->start_ns;
    /* What was applied has been served, whatever came of it. */
    if (request->applied_ns != 0 || request->proposed_ns != 0)
        service_observe(services_of(p->call), p->type, request->applied_ns != 0,
                        p->took_ns);
    p->done(p);
}

static void on_done(struct node_request *request)
{
    struct service_proposal *p =
        container_of(request, struct service_proposal, request);

    rpc_post(p->call->shard, &p->back);
}

/* Ends without having been proposed. */
static void refuse(struct service_proposal *p, int err)
{
    p->request = (struct node_request){.err = err};
    p->took_ns = clock_mono_ns() - p->start_ns;
    p->done(p);
}

void service_proposal_start(struct service_proposal *p, enum apply_kind kind,
                            struct bytes payload)
{
    struct services *services = services_of(p->call);
    struct auth_who who;
    int err = 0;

    who.rev = 0;
    who.len = 0;
    if (service_auth_on(p->call))
        err = service_identify(p->call, &who);
    if (err != 0) {
        refuse(p, err);
        return;
    }
    if (too_large(services, &who, kind, payload.len)) {
        service_observe(services, p->type, false,
                        clock_mono_ns() - p->start_ns);
        refuse(p, ERR_REQUEST_TOO_LARGE);
        return;
    }
    p->back.run = came_back;
    p->request.kind = kind;
    p->request.payload = payload;
    p->request.done = on_done;
    p->request.user = auth_name(&who);
    p->request.auth_rev = who.rev;
    node_propose(services->node, &p->request);
}

static void answer(struct service_proposal *p)
{
    struct node_request *request = &p->request;
    struct rpc_call *call = p->call;

    service_log_slow(call, p->took_ns, request, request->body.len);
    if (request->err == 0) {
        rpc_reply(call, &request->body);
        return;
    }
    buf_close(&request->body);
    rpc_fail(call, request->err);
}

void service_propose(struct rpc_call *call, enum service_type type,
                     enum apply_kind kind, struct bytes payload)
{
    struct service_proposal *p = arena_alloc(&call->arena, sizeof(*p));

    p->call = call;
    p->type = type;
    p->start_ns = call->start_ns;
    p->done = answer;
    service_proposal_start(p, kind, payload);
}

bool service_has_room(const struct rpc_call *call, uint64_t cost)
{
    return node_within_quota(services_of(call)->node, cost);
}

void service_raise_full(struct service_proposal *p)
{
    struct node *node = services_of(p->call)->node;
    Etcdserverpb__AlarmRequest req = ETCDSERVERPB__ALARM_REQUEST__INIT;
    uint8_t *out;

    p->type = SERVICE_ALARM;
    p->start_ns = clock_mono_ns();
    if (alarms_active(node_alarms(node), ALARM_NOSPACE)) {
        refuse(p, 0);
        return;
    }
    req.action = ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__ACTIVATE;
    req.memberid = node_header(node).member_id;
    req.alarm = ETCDSERVERPB__ALARM_TYPE__NOSPACE;
    out = arena_alloc(&p->call->arena,
                      etcdserverpb__alarm_request__get_packed_size(&req));
    service_proposal_start(
        p, APPLY_ALARM,
        bytes_of(out, etcdserverpb__alarm_request__pack(&req, out)));
}

/* What came of raising the alarm doesn't matter. */
static void answer_full(struct service_proposal *p)
{
    buf_close(&p->request.body);
    rpc_fail(p->call, ERR_NO_SPACE);
}

bool service_within_quota(struct rpc_call *call, uint64_t cost)
{
    struct service_proposal *p;

    if (service_has_room(call, cost))
        return true;
    p = arena_alloc(&call->arena, sizeof(*p));
    p->call = call;
    p->done = answer_full;
    service_raise_full(p);
    return false;
}
