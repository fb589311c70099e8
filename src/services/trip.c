/* A unary call's way to the loop and back.
 *
 *   shard --barrier--> loop --> worker --> loop --post--> shard: answer
 *
 * The barrier and the worker only where they are asked for. */
#include "service.h"

#include "chorad/base/clock.h"

static void answer(struct rpc_task *task)
{
    struct service_trip *trip = container_of(task, struct service_trip, back);
    struct rpc_call *call = trip->call;

    service_log_slow(call, clock_mono_ns() - call->start_ns, NULL,
                     trip->body.len);
    if (trip->err == 0) {
        rpc_reply(call, &trip->body);
        return;
    }
    buf_close(&trip->body);
    rpc_fail(call, trip->err);
}

static void go_back(struct service_trip *trip)
{
    rpc_post(trip->call->shard, &trip->back);
}

static void on_worker(struct node_work *work)
{
    struct service_trip *trip = container_of(work, struct service_trip, work);

    trip->err = trip->worker(trip);
}

static void worker_done(struct node_work *work)
{
    go_back(container_of(work, struct service_trip, work));
}

void service_trip_go_on(struct service_trip *trip, int err)
{
    trip->err = err;
    if (err != 0 || trip->worker == NULL) {
        go_back(trip);
        return;
    }
    trip->work.run = on_worker;
    trip->work.done = worker_done;
    node_work(services_of(trip->call)->node, &trip->work);
}

/* The trip may be over when `loop` returns SERVICE_LATER. */
static void on_loop(struct service_trip *trip)
{
    int err = trip->loop != NULL ? trip->loop(trip) : 0;

    if (err != SERVICE_LATER)
        service_trip_go_on(trip, err);
}

static void run_there(struct node_task *task)
{
    on_loop(container_of(task, struct service_trip, there));
}

static void barrier_done(struct node_barrier *barrier)
{
    struct service_trip *trip =
        container_of(barrier, struct service_trip, barrier);

    trip->err = barrier->err;
    if (trip->err != 0)
        go_back(trip);
    else
        on_loop(trip);
}

struct service_trip *service_trip_new(struct rpc_call *call)
{
    struct service_trip *trip = arena_zalloc(&call->arena, sizeof(*trip));

    trip->call = call;
    trip->back.run = answer;
    return trip;
}

void service_trip_start(struct service_trip *trip, bool linearizable)
{
    struct node *node = services_of(trip->call)->node;

    trip->barrier.done = barrier_done;
    if (linearizable && !node_barrier(node, &trip->barrier))
        return;
    trip->there.run = run_there;
    node_run(node, &trip->there);
}
