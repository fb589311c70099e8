/* Claims: from the lease to the first place in the line. */
#include "claim.h"

#include "chorad/base/check.h"

static void enter(struct claim *claim, enum claim_state state)
{
    static const unsigned allowed[] = {
        [CLAIM_NEW] = 1u << CLAIM_GRANTING | 1u << CLAIM_CLAIMING,
        [CLAIM_GRANTING] = 1u << CLAIM_CLAIMING,
        [CLAIM_CLAIMING] =
            1u << CLAIM_CHANGING | 1u << CLAIM_WAITING | 1u << CLAIM_RELEASING,
        [CLAIM_CHANGING] = 1u << CLAIM_WAITING | 1u << CLAIM_RELEASING,
        [CLAIM_WAITING] = 1u << CLAIM_CHECKING | 1u << CLAIM_RELEASING,
        [CLAIM_CHECKING] = 1u << CLAIM_RELEASING,
        [CLAIM_RELEASING] = 0,
    };

    CHECK(allowed[claim->state] & 1u << state);
    claim->state = state;
}

static struct claim *of_inner(struct inner *inner)
{
    return container_of(inner, struct claim, inner);
}

static struct claim *of_guest(struct line_guest *guest)
{
    return container_of(guest, struct claim, guest);
}

/* ---- giving it up ---- */

static void released(struct inner *inner, int err, struct bytes answer)
{
    struct claim *claim = of_inner(inner);

    /* Whatever came of it: the lease is the last to take the key away. */
    (void)err;
    (void)answer;
    inner_fail(claim->call, claim->err);
}

static void release(struct claim *claim, int err)
{
    enter(claim, CLAIM_RELEASING);
    claim->err = err;
    inner_txn(&claim->inner, claim->call,
              recipe_release(&claim->call->arena, claim->key, claim->rev),
              released);
}

/* ---- the first place ---- */

static void win(struct claim *claim, Etcdserverpb__ResponseHeader *header)
{
    /* Who has had the key from an earlier call keeps it. */
    if (rpc_cancelled(claim->call) && (claim->created || claim->guest.waited))
        release(claim, inner_end(claim->call));
    else
        claim->kind->won(claim, header);
}

struct look {
    int64_t create_rev;
};

static int visit(void *arg, const struct mvcc_kv *kv)
{
    struct look *look = arg;

    look->create_rev = kv->create_rev;
    return 0;
}

/* May the caller look at all the claims, now? */
static int may_look(const struct claim *claim, struct access *access)
{
    return access_range(claim->call, claim->prefix, claim->end, access);
}

/* The key as it is now, for who may still look at all of them. The barrier is
 * behind us: what has been acknowledged anywhere can be read here. */
static void check(struct claim *claim)
{
    struct rpc_call *call = claim->call;
    struct mvcc_range range = {.key = claim->key, .want = MVCC_KEYS};
    struct mvcc_range_result result;
    struct look look = {0};
    struct access access;
    Etcdserverpb__ResponseHeader header = service_pb_header(services_of(call));
    int err = claim->barrier.err;

    if (err == 0)
        err = may_look(claim, &access);
    if (err == 0)
        err = mvcc_range(access_reader(&access), &range, visit, &look, &result);
    if (err == ERR_STOPPED) {
        inner_fail(call, err);
    } else if (err != 0) {
        release(claim, err);
    } else if (look.create_rev != claim->rev) {
        inner_fail(call, claim->kind->lost);
    } else {
        header.revision = result.rev;
        win(claim, &header);
    }
}

static void after_barrier(struct rpc_task *task)
{
    check(container_of(task, struct claim, back));
}

static void barrier_done(struct node_barrier *barrier)
{
    struct claim *claim = container_of(barrier, struct claim, barrier);

    rpc_post(claim->call->shard, &claim->back);
}

/* Who has waited may have lost its key where this member doesn't know it yet.
 */
static void on_first(struct line_guest *guest)
{
    struct claim *claim = of_guest(guest);

    if (!guest->waited) {
        win(claim, claim->header);
        return;
    }
    enter(claim, CLAIM_CHECKING);
    claim->barrier = (struct node_barrier){.done = barrier_done};
    claim->back.run = after_barrier;
    if (node_barrier(services_of(claim->call)->node, &claim->barrier))
        check(claim);
}

static void on_lost(struct line_guest *guest)
{
    struct claim *claim = of_guest(guest);

    inner_fail(claim->call, claim->kind->lost);
}

static void on_failed(struct line_guest *guest, int err)
{
    release(of_guest(guest), err);
}

/* Ends without having waited. */
static void turn_back(struct claim *claim, int err)
{
    if (claim->created)
        release(claim, err);
    else
        inner_fail(claim->call, err);
}

static void wait_in_line(struct claim *claim)
{
    struct rpc_call *call = claim->call;
    int err;

    if (claim->stopping) {
        inner_fail(call, ERR_STOPPED);
        return;
    }
    if (rpc_cancelled(call)) {
        turn_back(claim, inner_end(call));
        return;
    }
    enter(claim, CLAIM_WAITING);
    claim->guest = (struct line_guest){.call = call,
                                       .key = claim->key,
                                       .rev = claim->rev,
                                       .first = on_first,
                                       .lost = on_lost,
                                       .failed = on_failed};
    err = line_join(&claim->guest, claim->prefix, claim->end);
    if (err != 0)
        turn_back(claim, err);
}

/* ---- the key ---- */

static void changed(struct inner *inner, int err, struct bytes answer)
{
    struct claim *claim = of_inner(inner);

    if (err != 0)
        release(claim, err);
    else if (!recipe_held(answer))
        inner_fail(claim->call, claim->kind->lost);
    else
        wait_in_line(claim);
}

static void claimed(struct inner *inner, int err, struct bytes answer)
{
    struct claim *claim = of_inner(inner);
    struct arena *arena = &claim->call->arena;
    struct recipe_claimed what;

    if (err == 0)
        err = recipe_read_claim(arena, answer, &what);
    if (err != 0) {
        inner_fail(claim->call, err);
        return;
    }
    claim->header = what.header;
    claim->created = what.created;
    claim->rev = what.rev;
    if (!claim->kind->change || what.created ||
        bytes_cmp(what.value, claim->value) == 0) {
        wait_in_line(claim);
        return;
    }
    enter(claim, CLAIM_CHANGING);
    inner_txn(inner, claim->call,
              recipe_change(arena, claim->key, claim->rev, claim->value,
                            claim->lease),
              changed);
}

static void claim_key(struct claim *claim)
{
    struct arena *arena = &claim->call->arena;
    struct access access;
    int err = claim->kind->looks_first ? may_look(claim, &access) : 0;

    if (err != 0) {
        inner_fail(claim->call, err);
        return;
    }
    claim->key = recipe_key(arena, claim->prefix, claim->lease);
    enter(claim, CLAIM_CLAIMING);
    inner_txn(&claim->inner, claim->call,
              recipe_claim(arena, claim->key, claim->value, claim->lease),
              claimed);
}

static void granted(struct inner *inner, int err, struct bytes answer)
{
    struct claim *claim = of_inner(inner);

    (void)answer;
    if (err != 0)
        inner_fail(claim->call, err);
    else
        claim_key(claim);
}

void claim_open(struct rpc_call *call, const struct claim_kind *kind,
                struct bytes name, int64_t lease, struct bytes value)
{
    struct claim *claim = arena_zalloc(&call->arena, sizeof(*claim));

    call->state = claim;
    claim->call = call;
    claim->kind = kind;
    claim->name = name;
    claim->value = value;
    claim->lease = lease;
    recipe_range(&call->arena, name, &claim->prefix, &claim->end);
    if (lease != 0) {
        claim_key(claim);
        return;
    }
    enter(claim, CLAIM_GRANTING);
    inner_grant(&claim->inner, call, &claim->lease, granted);
}

/* ---- from outside ---- */

void claim_cancel(struct rpc_call *call)
{
    struct claim *claim = call->state;

    if (claim->state != CLAIM_WAITING)
        return; /* the next step sees it */
    line_leave(&claim->guest);
    release(claim, inner_end(call));
}

void claim_drain(struct rpc_call *call)
{
    struct claim *claim = call->state;

    claim->stopping = true;
    if (claim->state != CLAIM_WAITING)
        return;
    line_leave(&claim->guest);
    inner_fail(call, ERR_STOPPED);
}
