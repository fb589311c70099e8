#include "client.h"
#include "chorad/base/check.h"
#include "chorad/codec.h"
#include "keys.h"
#include "member.h"
#include "node/node.h"
#include "rpc.pb-c.h"
#include "watcher.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLIENTS_MAX 16

struct client_settings client_settings;

struct client {
    unsigned number;
    struct call *call;
    /* 0: has no lease; keep_alives: before it lets go of it. */
    int64_t lease;
    int64_t ttl_s;
    bool lease_used;
    unsigned keep_alives;
    size_t lease_at;
    int64_t revoked; /* its last lease, which it has ended; 0: none */
    unsigned home;   /* the slot where it is at home */
};

/* A request under way. Given up, it stays until the member has done with it. */
struct call {
    struct node_request request;
    struct node_barrier barrier;
    struct node_renewal renewal;
    struct client *client; /* NULL: nobody waits any more */
    uint64_t number;
    struct life *life;
    size_t op; /* SIZE_MAX: none of the history's */
    uint64_t start_ns;
    int64_t lease;
    int64_t ttl_s;
    struct buf payload;
};

static struct client clients[CLIENTS_MAX];
static bool quiet;
static uint64_t answers;
static uint64_t values;
static uint64_t calls;
static int64_t leases_given = 100;

static struct history_op *ops;
static size_t op_count;
static size_t op_cap;
static struct history_lease *leases;
static size_t lease_count;
static struct history_renewal *renewals;
static size_t renewal_count;
static size_t renewal_cap;

uint64_t client_answers(void)
{
    return answers;
}

struct history client_history(void)
{
    return (struct history){.ops = ops,
                            .op_count = op_count,
                            .leases = leases,
                            .lease_count = lease_count,
                            .renewals = renewals,
                            .renewal_count = renewal_count};
}

/* ---- the end of a request ----------------------------------------------- */

static void next(void *arg);

static void think(struct client *c)
{
    uint64_t ns = client_settings.think_ns;

    sim_at(sim_between(ns / 4, 2 * ns), NULL, next, c);
}

static void free_call(struct call *call)
{
    buf_close(&call->payload);
    buf_close(&call->request.body);
    free(call);
}

/* Somebody waits, or nobody does any more. */
static struct history_op *finish(struct call *call)
{
    struct client *c = call->client;

    if (!c)
        return NULL;
    c->call = NULL;
    answers++;
    think(c);
    return call->op == SIZE_MAX ? NULL : &ops[call->op];
}

static void give_up(struct call *call)
{
    struct client *c = call->client;

    call->client = NULL;
    c->call = NULL;
    think(c);
}

struct patience {
    struct client *client;
    uint64_t call;
};

static void too_long(void *arg)
{
    struct patience *p = arg;

    struct call *call = p->client->call;

    if (call && call->number == p->call)
        give_up(call);
    free(p);
}

void client_life_ended(const struct life *life)
{
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        if (clients[i].call && clients[i].call->life == life)
            give_up(clients[i].call);
}

static struct call *new_call(struct client *c, struct life *life)
{
    struct call *call = mem_zalloc(sizeof(*call));
    struct patience *p = mem_alloc(sizeof(*p));

    call->client = c;
    call->life = life;
    call->op = SIZE_MAX;
    call->start_ns = sim.now_ns;
    c->call = call;
    call->number = ++calls;
    *p = (struct patience){c, call->number};
    sim_at(sim_between(SIM_S, 8 * SIM_S), NULL, too_long, p);
    return call;
}

static struct history_op *new_op(struct call *call, enum history_kind kind,
                                 unsigned key)
{
    struct history_op *op;

    if (op_count == op_cap) {
        op_cap = op_cap ? op_cap * 2 : 256;
        ops = mem_realloc(ops, op_cap * sizeof(*ops));
    }
    op = &ops[op_count];
    *op = (struct history_op){.kind = kind,
                              .client = call->client->number,
                              .start_ns = sim.now_ns,
                              .key = key};
    call->op = op_count++;
    return op;
}

/* ---- writes ------------------------------------------------------------- */

/* Errors that say for certain that nothing was done. */
static bool is_refusal(int err)
{
    return err == ERR_LEASE_NOT_FOUND || err == ERR_LEASE_EXISTS ||
           err == ERR_TOO_MANY_REQUESTS || err == ERR_LEASE_TTL;
}

static void take_answer(struct history_op *op, const struct buf *body)
{
    if (op->kind == HISTORY_PUT) {
        Etcdserverpb__PutResponse *r =
            etcdserverpb__put_response__unpack(NULL, body->len, body->data);
        op->rev = r->header->revision;
        etcdserverpb__put_response__free_unpacked(r, NULL);
    } else if (op->kind == HISTORY_DELETE) {
        Etcdserverpb__DeleteRangeResponse *r =
            etcdserverpb__delete_range_response__unpack(NULL, body->len,
                                                        body->data);
        op->rev = r->header->revision;
        op->done = r->deleted > 0;
        etcdserverpb__delete_range_response__free_unpacked(r, NULL);
    } else {
        Etcdserverpb__TxnResponse *r =
            etcdserverpb__txn_response__unpack(NULL, body->len, body->data);
        op->rev = r->header->revision;
        op->done = r->succeeded;
        etcdserverpb__txn_response__free_unpacked(r, NULL);
    }
}

static void written(struct node_request *request)
{
    struct call *call = container_of(request, struct call, request);
    struct history_op *op = finish(call);

    if (op && request->err == 0) {
        op->end_ns = sim.now_ns;
        take_answer(op, &request->body);
    } else if (op && is_refusal(request->err)) {
        op->end_ns = sim.now_ns;
        op->refused = true;
    }
    sim_note((uint64_t)request->err);
    free_call(call);
}

static void propose(struct call *call, enum apply_kind kind,
                    const ProtobufCMessage *message,
                    void (*done)(struct node_request *request))
{
    codec_pack(&call->payload, message);
    call->request.kind = kind;
    call->request.payload = bytes_of(call->payload.data, call->payload.len);
    call->request.done = done;
    node_propose(call->life->node, &call->request);
}

static ProtobufCBinaryData data_of(const char *s)
{
    return (ProtobufCBinaryData){strlen(s), (uint8_t *)(uintptr_t)s};
}

static void put(struct client *c, struct life *life, unsigned key,
                int64_t lease)
{
    struct call *call = new_call(c, life);
    struct history_op *op = new_op(call, HISTORY_PUT, key);
    Etcdserverpb__PutRequest req = ETCDSERVERPB__PUT_REQUEST__INIT;
    char name[KEYS_SIZE];
    char value[24];

    op->value = ++values;
    op->lease = lease;
    snprintf(value, sizeof(value), "%" PRIu64, op->value);
    req.key = data_of(keys_name(name, key));
    req.value = data_of(value);
    req.lease = lease;
    propose(call, APPLY_PUT, &req.base, written);
}

static void take_away(struct client *c, struct life *life, unsigned key)
{
    struct call *call = new_call(c, life);
    Etcdserverpb__DeleteRangeRequest req =
        ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    char name[KEYS_SIZE];

    new_op(call, HISTORY_DELETE, key);
    req.key = data_of(keys_name(name, key));
    propose(call, APPLY_DELETE_RANGE, &req.base, written);
}

/* Two keys at once, or one if it is as it was seen last. */
static void transact(struct client *c, struct life *life, unsigned key,
                     unsigned key2, bool pair, int64_t expect)
{
    struct call *call = new_call(c, life);
    struct history_op *op =
        new_op(call, pair ? HISTORY_PAIR : HISTORY_SWAP, key);
    Etcdserverpb__TxnRequest req = ETCDSERVERPB__TXN_REQUEST__INIT;
    Etcdserverpb__Compare compare = ETCDSERVERPB__COMPARE__INIT;
    Etcdserverpb__Compare *compares[] = {&compare};
    Etcdserverpb__PutRequest puts[2] = {ETCDSERVERPB__PUT_REQUEST__INIT,
                                        ETCDSERVERPB__PUT_REQUEST__INIT};
    Etcdserverpb__RequestOp items[2] = {ETCDSERVERPB__REQUEST_OP__INIT,
                                        ETCDSERVERPB__REQUEST_OP__INIT};
    Etcdserverpb__RequestOp *list[] = {&items[0], &items[1]};
    char names[2][KEYS_SIZE];
    char value[24];

    op->value = ++values;
    op->key2 = key2;
    op->expect = expect;
    snprintf(value, sizeof(value), "%" PRIu64, op->value);
    for (int i = 0; i < 2; i++) {
        puts[i].key = data_of(keys_name(names[i], i == 0 ? key : key2));
        puts[i].value = data_of(value);
        items[i].request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
        items[i].request_put = &puts[i];
    }
    if (!pair) {
        compare.target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__MOD;
        compare.result = ETCDSERVERPB__COMPARE__COMPARE_RESULT__EQUAL;
        compare.key = puts[0].key;
        compare.target_union_case =
            ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION;
        compare.mod_revision = expect;
        req.n_compare = 1;
        req.compare = compares;
    }
    req.n_success = pair ? 2 : 1;
    req.success = list;
    propose(call, APPLY_TXN, &req.base, written);
}

/* ---- reads -------------------------------------------------------------- */

static void take_kvs(struct history_op *op, const struct buf *out)
{
    Etcdserverpb__RangeResponse *r =
        etcdserverpb__range_response__unpack(NULL, out->len, out->data);

    CHECK(r != NULL);
    op->rev = r->header->revision;
    for (size_t i = 0; i < r->n_kvs; i++) {
        const Mvccpb__KeyValue *kv = r->kvs[i];
        unsigned key = keys_number(bytes_of(kv->key.data, kv->key.len));
        op->seen[key] = (struct history_seen){
            keys_value(bytes_of(kv->value.data, kv->value.len)),
            kv->mod_revision, kv->version};
    }
    etcdserverpb__range_response__free_unpacked(r, NULL);
}

static void read_now(struct call *call)
{
    struct history_op *op = finish(call);
    Etcdserverpb__RangeRequest req = ETCDSERVERPB__RANGE_REQUEST__INIT;
    struct arena arena = {0};
    struct buf out = {0};

    if (op) {
        req.key = data_of("key-");
        req.range_end = data_of("key.");
        CHECK(apply_range(watcher_reader(call->life), &req,
                          node_header(call->life->node), &arena, &out) == 0);
        op->end_ns = sim.now_ns;
        take_kvs(op, &out);
    }
    arena_close(&arena);
    buf_close(&out);
    free_call(call);
}

static void barrier_passed(struct node_barrier *barrier)
{
    struct call *call = container_of(barrier, struct call, barrier);

    if (barrier->err == 0 && call->client) {
        read_now(call);
        return;
    }
    (void)finish(call);
    free_call(call);
}

static void read_all(struct client *c, struct life *life, bool stale)
{
    struct call *call = new_call(c, life);

    new_op(call, stale ? HISTORY_STALE_READ : HISTORY_READ, 0);
    call->barrier.done = barrier_passed;
    if (stale || node_barrier(life->node, &call->barrier))
        read_now(call);
}

/* ---- leases ------------------------------------------------------------- */

static void note_renewal(const struct call *call, bool found)
{
    if (renewal_count == renewal_cap) {
        renewal_cap = renewal_cap ? renewal_cap * 2 : 64;
        renewals = mem_realloc(renewals, renewal_cap * sizeof(*renewals));
    }
    renewals[renewal_count++] = (struct history_renewal){
        call->lease, call->start_ns, sim.now_ns, call->ttl_s, found};
}

static void granted(struct node_request *request)
{
    struct call *call = container_of(request, struct call, request);
    struct client *c = call->client;

    (void)finish(call);
    if (c && request->err == 0) {
        c->lease = call->lease;
        c->ttl_s = call->ttl_s;
        c->lease_used = false;
        c->keep_alives = (unsigned)sim_below(sim_chance(300) ? 40 : 8);
        c->lease_at = lease_count - 1;
        for (size_t i = 0; i < lease_count; i++)
            if (leases[i].id == call->lease) {
                leases[i].granted_ns = call->start_ns;
                c->lease_at = i;
            }
        note_renewal(call, true);
    }
    free_call(call);
}

static void grant(struct client *c, struct life *life)
{
    struct call *call = new_call(c, life);
    Etcdserverpb__LeaseGrantRequest req =
        ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;

    call->lease = req.id = ++leases_given;
    call->ttl_s = req.ttl = (int64_t)sim_between(2, 4);
    leases = mem_realloc(leases, (lease_count + 1) * sizeof(*leases));
    leases[lease_count++] = (struct history_lease){.id = req.id};
    propose(call, APPLY_LEASE_GRANT, &req.base, granted);
}

static void revoked(struct node_request *request)
{
    struct call *call = container_of(request, struct call, request);
    struct client *c = call->client;

    (void)finish(call);
    if (c && request->err == 0) {
        leases[c->lease_at].gone_ns = sim.now_ns;
        c->revoked = call->lease;
    }
    free_call(call);
}

static void end_lease(struct client *c, struct life *life)
{
    struct call *call = new_call(c, life);
    Etcdserverpb__LeaseRevokeRequest req =
        ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;

    call->lease = req.id = c->lease;
    leases[c->lease_at].revoked_ns = sim.now_ns;
    c->lease = 0;
    propose(call, APPLY_LEASE_REVOKE, &req.base, revoked);
}

static void renewed(struct node_renewal *renewal)
{
    struct call *call = container_of(renewal, struct call, renewal);
    struct client *c = call->client;

    sim_say("lease %" PRId64 " renewed at %u: %s, %" PRId64 " s", call->lease,
            call->life->slot, err_text(renewal->err), renewal->ttl_s);
    (void)finish(call);
    if (c && renewal->err == 0) {
        call->ttl_s = renewal->ttl_s;
        note_renewal(call, true);
    } else if (c && renewal->err == ERR_LEASE_NOT_FOUND) {
        note_renewal(call, false);
        if (c->lease == call->lease)
            c->lease = 0;
    }
    free_call(call);
}

/* On the loop, as the node wants it. */
static void renew_now(void *arg)
{
    struct call *call = arg;

    if (!call->client)
        return;
    call->renewal.id = call->lease;
    call->renewal.done = renewed;
    node_renew(call->life->node, &call->renewal);
}

static void renew(struct client *c, struct life *life)
{
    struct call *call = new_call(c, life);

    call->lease = c->revoked ? c->revoked : c->lease;
    if (c->revoked)
        c->revoked = 0;
    else
        c->keep_alives--;
    sim_at(sim_between(1, 50) * SIM_US, life, renew_now, call);
}

/* A lease's key is its client's own. */
static void use_lease(struct client *c, struct life *life)
{
    if (c->revoked != 0)
        renew(c, life); /* it must be gone */
    else if (c->lease == 0)
        grant(c, life);
    else if (!c->lease_used) {
        c->lease_used = true;
        put(c, life, HISTORY_KEYS - 1 - c->number % 4, c->lease);
    } else if (c->keep_alives > 0)
        renew(c, life);
    else if (sim_chance(200))
        end_lease(c, life);
    else {
        c->lease = 0; /* left to its end */
        think(c);
    }
}

/* ---- what next ---------------------------------------------------------- */

/* The revision that a key was seen at by the newest reads. */
static int64_t expected(unsigned key)
{
    for (size_t i = op_count; i-- > 0 && i + 20 > op_count;)
        if (ops[i].end_ns != 0 && ops[i].kind == HISTORY_READ)
            return ops[i].seen[key].mod_rev;
    return 0;
}

static void any_request(struct client *c, struct life *life)
{
    unsigned key = (unsigned)sim_below(client_settings.keys);
    unsigned key2 = (unsigned)sim_below(client_settings.keys - 1);
    uint64_t dice = sim_below(100);

    if (key2 >= key)
        key2++;
    if (dice < 35)
        put(c, life, key, 0);
    else if (dice < 42)
        take_away(c, life, key);
    else if (dice < 50)
        transact(c, life, key, key2, true, 0);
    else if (dice < 62)
        transact(c, life, key, key2, false, expected(key));
    else if (dice < 92)
        read_all(c, life, false);
    else
        read_all(c, life, true);
}

static void next(void *arg)
{
    struct client *c = arg;
    struct life *life = member_random_life();

    /* Most stay where they are as long as that answers. */
    if (life && sim_chance(client_settings.faithful)) {
        struct life *home = member_life(c->home);
        if (home)
            life = home;
        else
            c->home = life->slot;
    }
    if (c->call || quiet)
        return;
    if (!life)
        think(c);
    else if (c->number < client_settings.lessees &&
             sim_chance(client_settings.leasing))
        use_lease(c, life);
    else
        any_request(c, life);
}

void client_start(void)
{
    for (unsigned i = 0; i < client_settings.clients; i++) {
        clients[i].number = i;
        think(&clients[i]);
    }
}

void client_quiet(void)
{
    quiet = true;
}
