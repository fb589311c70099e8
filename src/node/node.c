#include "node.h"
#include "chorad/base/check.h"
#include "chorad/base/clock.h"
#include "chorad/base/log.h"
#include "chorad/base/turn.h"
#include <stdlib.h>

void node_fail(struct node *node, const char *what, const char *why)
{
    if (atomic_exchange(&node->failed, true))
        return;
    log_error("the member stops: it can't go on safely", LOG_STR("while", what),
              LOG_STR("error", why));
    if (node->config.fatal)
        node->config.fatal(node->config.arg, why);
}

static void run_tasks(struct node *node)
{
    struct queue_node *queued = queue_take_all(&node->tasks);

    while (queued) {
        struct node_task *task = container_of(queued, struct node_task, node);
        queued = queued->next;
        task->run(task);
    }
}

void node_turn(struct node *node)
{
    enum turn_part before = turn_part(TURN_LOG);

    node_take_appended(node);
    turn_part(TURN_REQUESTS);
    node_take_requests(node);
    turn_part(TURN_READS);
    node_take_barriers(node);
    node_pump(node);
    turn_part(TURN_TASKS);
    run_tasks(node);
    turn_part(before);
}

static void on_tick(uv_timer_t *timer)
{
    struct node *node = timer->data;

    if (node->stopping)
        return;
    turn_part(TURN_DUTIES);
    node_check_sleep(node);
    if (node_may_tick(node))
        raft_tick(node->raft);
    node->last_tick_ns = clock_mono_ns();
    /* Requests that wait for a slow sync have timeouts, too. */
    node_turn(node);
    node_duties(node, node->last_tick_ns);
    node_pump(node);
    turn_part(TURN_OTHER);
}

/* Member id, milliseconds, a counter: unique for as long as no member hands
 * out 256 ids a millisecond over years (source: etcd's idutil). */
static void start_ids(struct node *node)
{
    uint64_t ms = clock_wall_ns() / 1000000;

    atomic_store(&node->next_id,
                 node->member_id << 48 | (ms & ((UINT64_C(1) << 40) - 1)) << 8);
}

uint64_t node_next_id(struct node *node)
{
    uint64_t id =
        atomic_fetch_add_explicit(&node->next_id, 1, memory_order_relaxed);
    uint64_t low = (UINT64_C(1) << 48) - 1;

    return node->member_id << 48 | (id & low);
}

static void start_handles(struct node *node)
{
    uint64_t every_ms = node->config.heartbeat_ms;

    node_wake_start(node);
    CHECK(uv_timer_init(node->loop, &node->tick) == 0);
    node->tick.data = node;
    CHECK(uv_timer_start(&node->tick, on_tick, every_ms, every_ms) == 0);
    node->handles = 3;
}

static void free_node(struct node *node)
{
    arena_close(&node->scratch);
    waiting_close(&node->waiting);
    node_compactor_free(node->compactor);
    queue_close(&node->requests);
    queue_close(&node->barriers);
    queue_close(&node->tasks);
    queue_close(&node->appended);
    watch_feed_free(node->feed);
    node_wake_close(node);
    free(node);
}

int node_open(uv_loop_t *loop, const struct node_config *config,
              struct node **out, struct errmsg *msg)
{
    struct node *node = mem_zalloc(sizeof(*node));
    int rc;

    node->config = *config;
    node->loop = loop;
    node->held_tail = &node->held;
    node->behind_install_tail = &node->behind_install;
    node->wake_fd = -1;
    queue_init(&node->requests);
    queue_init(&node->barriers);
    queue_init(&node->tasks);
    queue_init(&node->appended);
    waiting_init(&node->waiting);
    node->feed = watch_feed_new();
    rc = node_wake_open(node, msg);
    if (rc == 0)
        rc = node_boot(node, msg);
    if (rc < 0) {
        node_shut(node);
        free_node(node);
        return rc;
    }
    start_ids(node);
    node->compactor = node_compactor_new(
        config->compact_mode, config->compact_retention, clock_mono_ns());
    start_handles(node);
    node->opened_ns = node->last_tick_ns = clock_mono_ns();
    node_metrics_open(node);
    node_membership_changed(node);
    node_publish(node);
    node_wake(node);
    *out = node;
    return 0;
}

void node_stop(struct node *node)
{
    node->stopping = true;
    atomic_store(&node->stop_works, true);
    atomic_store(&node->reads_free, false);
    node_take_requests(node);
    node_take_barriers(node);
    node_fail_requests(node, ERR_STOPPED);
    node_expire_strays(node, UINT64_MAX);
    node_fail_barriers(node, ERR_STOPPED);
    lessor_demote(node->lessor);
    node_fail_forwards(node, ERR_STOPPED);
    node_check_transfers(node, clock_mono_ns());
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct node *node = handle->data;

    if (--node->handles > 0)
        return;
    void (*closed)(void *arg) = node->closed;
    void *arg = node->closed_arg;
    free_node(node);
    closed(arg);
}

/* Work on the pool and jobs of the log's thread come back as tasks: the handles
 * stay until the last has. */
static void finish_close(struct node *node)
{
    run_tasks(node);
    node_metrics_close(node);
    node_shut(node);
    uv_close((uv_handle_t *)&node->wake, on_handle_closed);
    uv_close((uv_handle_t *)&node->before_poll, on_handle_closed);
    uv_close((uv_handle_t *)&node->tick, on_handle_closed);
}

static void wait_for_works(uv_timer_t *timer)
{
    struct node *node = timer->data;

    run_tasks(node);
    if (node->works > 0)
        return;
    uv_timer_stop(timer);
    finish_close(node);
}

static void on_peers_closed(void *arg)
{
    struct node *node = arg;

    node->peers = NULL;
    node_forget_sends(node);
    CHECK(uv_timer_start(&node->tick, wait_for_works, 0, 5) == 0);
}

void node_close(struct node *node, void (*closed)(void *arg), void *arg)
{
    CHECK(node->stopping);
    node->closed = closed;
    node->closed_arg = arg;
    uv_timer_stop(&node->tick);
    peers_close(node->peers, on_peers_closed, node);
}

void node_run(struct node *node, struct node_task *task)
{
    if (queue_push(&node->tasks, &task->node))
        node_wake(node);
}

static void work_run(uv_work_t *uv)
{
    struct node_work *work = container_of(uv, struct node_work, uv);

    work->run(work);
}

static void work_done(uv_work_t *uv, int status)
{
    struct node_work *work = container_of(uv, struct node_work, uv);
    struct node *node = uv->data;

    (void)status; /* nothing is ever cancelled */
    node->works--;
    turn_part(TURN_TASKS);
    work->done(work);
    turn_part(TURN_OTHER);
}

void node_work(struct node *node, struct node_work *work)
{
    node->works++;
    work->uv.data = node;
    CHECK(uv_queue_work(node->loop, &work->uv, work_run, work_done) == 0);
}

struct node_status node_status(const struct node *node)
{
    return (struct node_status){
        .cluster_id = node->cluster_id,
        .member_id = node->member_id,
        .leader = atomic_load(&node->status_leader),
        .raft_term = atomic_load(&node->status_term),
        .raft_index = atomic_load(&node->status_commit),
        .applied_index = atomic_load(&node->status_applied),
        .is_leader = atomic_load(&node->status_is_leader),
        .is_learner = atomic_load(&node->status_is_learner),
        .is_ready = atomic_load(&node->published),
        .quota_bytes = node->quota_bytes,
    };
}

struct apply_header node_header(const struct node *node)
{
    return (struct apply_header){
        .cluster_id = node->cluster_id,
        .member_id = node->member_id,
        .raft_term =
            atomic_load_explicit(&node->status_term, memory_order_relaxed),
    };
}

bool node_is_learner(const struct node *node)
{
    return atomic_load_explicit(&node->status_is_learner, memory_order_relaxed);
}

bool node_has_leader(const struct node *node)
{
    return atomic_load_explicit(&node->status_leader, memory_order_relaxed) !=
           RAFT_NONE;
}

struct mvcc *node_mvcc(struct node *node)
{
    return node->mvcc;
}

struct store *node_store(struct node *node)
{
    return node->store;
}

struct alarms *node_alarms(struct node *node)
{
    return node->alarms;
}

struct watch_feed *node_watch_feed(struct node *node)
{
    return node->feed;
}

struct auth *node_auth(struct node *node)
{
    return node->auth;
}

struct lessor *node_lessor(struct node *node)
{
    return node->lessor;
}

struct cluster *node_cluster(struct node *node)
{
    return node->cluster;
}

uv_loop_t *node_loop(struct node *node)
{
    return node->loop;
}

bool node_within_quota(const struct node *node, uint64_t cost)
{
    return cost == 0 || node->quota_bytes == 0 ||
           store_size(node->store).total + cost < node->quota_bytes;
}
