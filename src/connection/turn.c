/* The loop of a shard, a turn at a time:
 *
 *   poll: sockets are read -> check: posted tasks run, outputs are written
 *     ^                                                          |
 *     `---- prepare: what came in between; asleep from here on <-'
 *
 * Answers of one turn leave together, because nothing is written before all
 * that came in has been looked at. */
#include "internal.h"

#include "chorad/base/check.h"
#include "chorad/base/clock.h"

#include <stdlib.h>

/* ---- posting --------------------------------------------------------- */

/* Either the poster sees that the thread sleeps, or the thread sees before it
 * goes to sleep that something is there: each writes its own word first and
 * reads the other's after, all of it in one order. */
void shard_post(struct shard *shard, struct shard_task *task)
{
    (void)queue_push(&shard->posted, &task->node);
    if (!atomic_exchange(&shard->pending, true) && atomic_load(&shard->asleep))
        (void)uv_async_send(&shard->wake);
}

static void run_posted(struct shard *shard)
{
    struct queue_node *node;

    if (!atomic_load_explicit(&shard->pending, memory_order_relaxed))
        return;
    atomic_store(&shard->pending, false);
    node = queue_take_all(&shard->posted);
    while (node != NULL) {
        struct shard_task *task = container_of(node, struct shard_task, node);

        node = node->next;
        task->run(task);
    }
}

/* The queue is looked at in each turn anyway. */
static void on_wake(uv_async_t *wake)
{
    (void)wake;
}

/* ---- timers ---------------------------------------------------------- */

static void on_clock(uv_timer_t *clock);

static void set_clock(struct shard *shard)
{
    const struct heap_node *min = heap_min(&shard->timers);
    uint64_t at_ns = min != NULL ? min->key : UINT64_MAX;
    uint64_t now_ns;

    if (at_ns == shard->clock_at_ns || shard->stopping)
        return;
    shard->clock_at_ns = at_ns;
    if (min == NULL) {
        (void)uv_timer_stop(&shard->clock);
        return;
    }
    now_ns = clock_mono_ns();
    /* Rounded up: a timer is never early. */
    (void)uv_timer_start(
        &shard->clock, on_clock,
        at_ns > now_ns ? (at_ns - now_ns + 999999) / 1000000 : 0, 0);
}

static void run_timers(struct shard *shard)
{
    struct heap_node *min;

    while ((min = heap_min(&shard->timers)) != NULL &&
           min->key <= shard->now_ns) {
        struct shard_timer *timer = container_of(min, struct shard_timer, node);

        heap_remove(&shard->timers, min);
        timer->run(timer);
    }
}

static void on_clock(uv_timer_t *clock)
{
    struct shard *shard = clock->data;

    shard->clock_at_ns = UINT64_MAX;
    shard->now_ns = clock_mono_ns();
    run_timers(shard);
}

void shard_timer_init(struct shard_timer *timer,
                      void (*run)(struct shard_timer *timer))
{
    heap_node_init(&timer->node);
    timer->run = run;
}

void shard_timer_set(struct shard *shard, struct shard_timer *timer,
                     uint64_t at_ns)
{
    heap_set(&shard->timers, &timer->node, at_ns);
}

void shard_timer_clear(struct shard *shard, struct shard_timer *timer)
{
    heap_remove(&shard->timers, &timer->node);
}

/* ---- a turn ---------------------------------------------------------- */

/* Those who want to go on when their share is written come again in the next
 * turn, behind all others. */
static void flush_dirty(struct shard *shard)
{
    struct connection *c = shard->dirty;

    shard->dirty = NULL;
    shard->dirty_tail = &shard->dirty;
    while (c != NULL) {
        struct connection *next = c->next_dirty;

        c->dirty = false;
        if (connection_flush(c))
            connection_want_output(c);
        c = next;
    }
}

static void on_again(uv_idle_t *again)
{
    (void)again;
}

static void keep_awake(struct shard *shard)
{
    if (!shard->stopping)
        (void)uv_idle_start(&shard->again, on_again);
}

static void work(struct shard *shard)
{
    run_posted(shard);
    flush_dirty(shard);
    connection_bury(shard);
}

static void on_check(uv_check_t *check)
{
    struct shard *shard = check->data;

    atomic_store_explicit(&shard->asleep, false, memory_order_relaxed);
    shard->now_ns = clock_mono_ns();
    work(shard);
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct shard *shard = prepare->data;

    /* Timers have run since. */
    if (shard->dirty != NULL || shard->dying != NULL)
        work(shard);
    set_clock(shard);
    atomic_store(&shard->asleep, true);
    if (shard->dirty != NULL || shard->dying != NULL ||
        atomic_load(&shard->pending))
        keep_awake(shard);
    else
        (void)uv_idle_stop(&shard->again);
}

/* ---- life ------------------------------------------------------------ */

void shard_loop_open(struct shard *shard)
{
    int rv = uv_loop_init(&shard->loop);

    CHECK(rv == 0);
    rv = uv_async_init(&shard->loop, &shard->wake, on_wake);
    CHECK(rv == 0);
    rv = uv_prepare_init(&shard->loop, &shard->prepare);
    CHECK(rv == 0);
    rv = uv_check_init(&shard->loop, &shard->check);
    CHECK(rv == 0);
    rv = uv_idle_init(&shard->loop, &shard->again);
    CHECK(rv == 0);
    rv = uv_timer_init(&shard->loop, &shard->clock);
    CHECK(rv == 0);
    shard->prepare.data = shard;
    shard->check.data = shard;
    shard->clock.data = shard;
    rv = uv_prepare_start(&shard->prepare, on_prepare);
    CHECK(rv == 0);
    rv = uv_check_start(&shard->check, on_check);
    CHECK(rv == 0);
    shard->clock_at_ns = UINT64_MAX;
    shard->now_ns = clock_mono_ns();
    shard->dirty_tail = &shard->dirty;
    shard->input = mem_alloc(INPUT_BYTES);
    queue_init(&shard->posted);
}

void shard_loop_run(struct shard *shard)
{
    int rv = uv_run(&shard->loop, UV_RUN_DEFAULT);

    CHECK(rv == 0);
    run_posted(shard);
}

void shard_loop_stop(struct shard *shard)
{
    shard->draining = true;
    shard_abort_connections(shard);
    connection_bury(shard);
    shard->stopping = true;
    uv_close((uv_handle_t *)&shard->wake, NULL);
    uv_close((uv_handle_t *)&shard->prepare, NULL);
    uv_close((uv_handle_t *)&shard->check, NULL);
    uv_close((uv_handle_t *)&shard->again, NULL);
    uv_close((uv_handle_t *)&shard->clock, NULL);
}

void shard_loop_close(struct shard *shard)
{
    int rv = uv_loop_close(&shard->loop);

    CHECK(rv == 0);
    output_close_pool(shard);
    heap_close(&shard->timers);
    queue_close(&shard->posted);
    free(shard->input);
}
