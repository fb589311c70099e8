/* Auth.Authenticate: a token for a name and a password.
 *
 *   open --barrier--> look up --> compare (bcrypt) --log--> given out -->
 * answer ^                                      |   |
 *                        `--- the users have changed meanwhile -'   | signed
 *                                                                   v
 *                                                      worker: sign --> answer
 */
#include "auth.h"
#include "secret.h"

#include "chorad/base/clock.h"
#include "chorad/base/log.h"
#include "chorad/base/pb.h"

/* etcdserverpb.InternalAuthenticateRequest and AuthenticateResponse
 * (proto/). */
enum { NAME = 1, SIMPLE_TOKEN = 3, RESPONSE_TOKEN = 2 };

struct authentication {
    struct rpc_call *call;
    struct bytes name; /* in the request */
    struct bytes password;
    uint64_t rev; /* at which the hash was the user's */
    struct node_barrier barrier;
    struct node_request request;
    struct rpc_task back;
    uint64_t proposed_ns;
};

static void look_up(struct authentication *a);

static void refuse(const struct authentication *a, int err)
{
    if (err != ERR_AUTH_NOT_ENABLED)
        log_warn("invalid authentication was requested",
                 LOG_BYTES("user-name", a->name.data, a->name.len),
                 LOG_STR("error", err_text(err)));
    rpc_fail(a->call, err);
}

/* ---- the answer ---- */

static int sign(struct service_trip *trip)
{
    const struct authentication *a = trip->state;
    struct services *services = services_of(trip->call);
    struct apply_header header = service_header(services);
    struct buf token = {0};
    int err =
        auth_sign(services->auth, a->name, a->rev, clock_wall_ns(), &token);

    if (err == 0) {
        size_t size = pb_len_size(RESPONSE_TOKEN, token.len) + token.len;
        uint8_t *at;

        apply_put_header(&trip->body, &header);
        at = buf_reserve(&trip->body, size);
        pb_put_bytes(at, RESPONSE_TOKEN, bytes_of(token.data, token.len));
        trip->body.len += size;
    }
    buf_close(&token);
    return err;
}

static void answer_signed(struct authentication *a)
{
    struct service_trip *trip = service_trip_new(a->call);

    trip->state = a;
    trip->worker = sign;
    service_trip_start(trip, false);
}

static void given_out(struct rpc_task *task)
{
    struct authentication *a = container_of(task, struct authentication, back);
    struct node_request *request = &a->request;
    struct rpc_call *call = a->call;
    struct services *services = services_of(call);

    service_observe(services, SERVICE_AUTHENTICATE, request->applied_ns != 0,
                    clock_mono_ns() - a->proposed_ns);
    if (request->err != 0) {
        buf_close(&request->body);
        rpc_fail(call, request->err);
    } else if (a->rev != auth_revision(services->auth)) {
        /* The password may have been changed before the token was given. */
        buf_close(&request->body);
        log_info("users have changed while a password was checked; checking "
                 "it again");
        look_up(a);
    } else if (auth_signs(services->auth)) {
        buf_close(&request->body);
        answer_signed(a);
    } else {
        service_log_slow(call, clock_mono_ns() - call->start_ns, request,
                         request->body.len);
        rpc_reply(call, &request->body);
    }
}

/* ---- through the log ---- */

static void request_done(struct node_request *request)
{
    struct authentication *a =
        container_of(request, struct authentication, request);

    rpc_post(a->call->shard, &a->back);
}

static void give_out(struct authentication *a)
{
    struct services *services = services_of(a->call);
    char prefix[AUTH_PREFIX_LEN];
    struct bytes token = {(const uint8_t *)prefix,
                          auth_new_prefix(services->auth, prefix)};
    size_t size =
        pb_bytes_size(NAME, a->name) + pb_bytes_size(SIMPLE_TOKEN, token);
    uint8_t *payload = arena_alloc(&a->call->arena, size);

    pb_put_bytes(pb_put_bytes(payload, NAME, a->name), SIMPLE_TOKEN, token);
    a->request = (struct node_request){.kind = APPLY_AUTHENTICATE,
                                       .payload = bytes_of(payload, size),
                                       .done = request_done};
    a->back.run = given_out;
    a->proposed_ns = clock_mono_ns();
    node_propose(services->node, &a->request);
}

/* ---- the password ---- */

static void compared(struct secret_job *job, int err)
{
    struct authentication *a = job->arg;

    if (err != 0)
        rpc_fail(a->call, err);
    else if (!job->matches)
        refuse(a, ERR_AUTH_FAILED);
    else
        give_out(a);
}

static void look_up(struct authentication *a)
{
    struct buf hash = {0};
    int err =
        auth_password_of(services_of(a->call)->auth, a->name, &hash, &a->rev);

    if (err != 0)
        refuse(a, err);
    else
        secret_compare(a->call, a->name, a->password, &hash, compared, a);
    buf_close(&hash);
}

static void after_barrier(struct rpc_task *task)
{
    struct authentication *a = container_of(task, struct authentication, back);

    if (a->barrier.err != 0)
        rpc_fail(a->call, a->barrier.err);
    else
        look_up(a);
}

static void barrier_done(struct node_barrier *barrier)
{
    struct authentication *a =
        container_of(barrier, struct authentication, barrier);

    rpc_post(a->call->shard, &a->back);
}

void authenticate_open(struct rpc_call *call)
{
    struct authentication *a;
    struct apply_auth_request req;

    if (!auth_request_read(call, APPLY_ASKED_TO_AUTHENTICATE, &req))
        return;
    a = arena_zalloc(&call->arena, sizeof(*a));
    a->call = call;
    a->name = req.name;
    a->password = req.password;
    a->barrier.done = barrier_done;
    a->back.run = after_barrier;
    if (node_barrier(services_of(call)->node, &a->barrier))
        look_up(a);
}
