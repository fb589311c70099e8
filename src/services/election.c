/* The Election service but for looking at who leads, which is observe.c's. */
#include "election.h"
#include "claim.h"

#include "chorad/codec.h"
#include "election.pb-c.h"

static struct bytes bytes_from(ProtobufCBinaryData b)
{
    return bytes_of(b.data, b.len);
}

static ProtobufCBinaryData binary(struct bytes b)
{
    return (ProtobufCBinaryData){b.len, (uint8_t *)(uintptr_t)b.data};
}

/* ---- Campaign ---- */

static void elected(struct claim *claim, Etcdserverpb__ResponseHeader *header)
{
    V3electionpb__CampaignResponse out = V3ELECTIONPB__CAMPAIGN_RESPONSE__INIT;
    V3electionpb__LeaderKey leader = V3ELECTIONPB__LEADER_KEY__INIT;

    (void)header;
    leader.name = binary(claim->name);
    leader.key = binary(claim->key);
    leader.rev = claim->rev;
    leader.lease = claim->lease;
    out.header = claim->header;
    out.leader = &leader;
    inner_reply(claim->call, &out.base);
}

static void open_campaign(struct rpc_call *call)
{
    static const struct claim_kind kind = {
        .lost = ERR_ELECTION_NOT_LEADER, .change = true, .won = elected};
    const V3electionpb__CampaignRequest *req =
        service_unpack(call, &v3electionpb__campaign_request__descriptor);

    if (req)
        claim_open(call, &kind, bytes_from(req->name), req->lease,
                   bytes_from(req->value));
}

/* ---- Proclaim and Resign: one transaction with a leader's key ----
 *
 *   open --lease given--> transaction --> answer
 *     \--none--> lease ---^
 */

struct step {
    struct inner inner; /* first */
    struct rpc_call *call;
    const V3electionpb__LeaderKey *leader;
    int64_t lease;
    void (*run)(struct step *step);
    struct bytes value; /* Proclaim's */
};

static struct step *step_of(struct inner *inner)
{
    return container_of(inner, struct step, inner);
}

static void step_granted(struct inner *inner, int err, struct bytes answer)
{
    struct step *step = step_of(inner);

    (void)answer;
    if (err != 0)
        inner_fail(step->call, err);
    else
        step->run(step);
}

/* As in etcd a leader without a lease gets one, even in order to resign. */
static void start_step(struct rpc_call *call,
                       const V3electionpb__LeaderKey *leader,
                       struct bytes value, void (*run)(struct step *step))
{
    struct step *step;

    if (!leader) {
        inner_fail(call, ERR_LEADER_MISSING);
        return;
    }
    step = arena_zalloc(&call->arena, sizeof(*step));
    step->call = call;
    step->leader = leader;
    step->lease = leader->lease;
    step->run = run;
    step->value = value;
    if (step->lease == 0)
        inner_grant(&step->inner, call, &step->lease, step_granted);
    else
        run(step);
}

static void proclaimed(struct inner *inner, int err, struct bytes answer)
{
    struct rpc_call *call = step_of(inner)->call;
    V3electionpb__ProclaimResponse out = V3ELECTIONPB__PROCLAIM_RESPONSE__INIT;

    if (err == 0 && !recipe_held(answer))
        err = ERR_ELECTION_NOT_LEADER;
    if (err != 0) {
        inner_fail(call, err);
        return;
    }
    out.header = inner_header(call, answer);
    inner_reply(call, &out.base);
}

static void run_proclaim(struct step *step)
{
    inner_txn(&step->inner, step->call,
              recipe_change(&step->call->arena, bytes_from(step->leader->key),
                            step->leader->rev, step->value, step->lease),
              proclaimed);
}

static void open_proclaim(struct rpc_call *call)
{
    const V3electionpb__ProclaimRequest *req =
        service_unpack(call, &v3electionpb__proclaim_request__descriptor);

    if (req)
        start_step(call, req->leader, bytes_from(req->value), run_proclaim);
}

/* Whether or not there was something to resign from. */
static void resigned(struct inner *inner, int err, struct bytes answer)
{
    struct rpc_call *call = step_of(inner)->call;
    V3electionpb__ResignResponse out = V3ELECTIONPB__RESIGN_RESPONSE__INIT;

    if (err != 0) {
        inner_fail(call, err);
        return;
    }
    out.header = inner_header(call, answer);
    inner_reply(call, &out.base);
}

static void run_resign(struct step *step)
{
    inner_txn(&step->inner, step->call,
              recipe_release(&step->call->arena, bytes_from(step->leader->key),
                             step->leader->rev),
              resigned);
}

static void open_resign(struct rpc_call *call)
{
    const V3electionpb__ResignRequest *req =
        service_unpack(call, &v3electionpb__resign_request__descriptor);

    if (req)
        start_step(call, req->leader, bytes_of(NULL, 0), run_resign);
}

static const struct rpc_method methods[] = {
    {.name = "Campaign",
     .kind = RPC_UNARY,
     .open = open_campaign,
     .on_cancel = claim_cancel,
     .on_drain = claim_drain},
    {.name = "Proclaim", .kind = RPC_UNARY, .open = open_proclaim},
    {.name = "Leader",
     .kind = RPC_UNARY,
     .open = leader_open,
     .on_drain = leader_drain},
    {.name = "Observe",
     .kind = RPC_SERVER_STREAM,
     .open = observe_open,
     .on_drained = observe_drained,
     .on_done = observe_done},
    {.name = "Resign", .kind = RPC_UNARY, .open = open_resign},
};

const struct rpc_service service_election = {
    .name = "v3electionpb.Election",
    .methods = methods,
    .n = sizeof(methods) / sizeof(methods[0]),
};
