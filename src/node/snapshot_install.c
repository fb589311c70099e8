/* A snapshot from the leader in the place of all that this member has.
 *
 *   it is here              the image lies in member/snap/tmp*
 *   worker  build           a store beside ours, and what is in memory of it;
 *                           an image of which that can't be made is refused,
 *                           and its sender told: nothing has changed
 *           place           the image in member/snap/<index>.snap.db
 *   loop    -> Raft         its message; what Raft doesn't want goes
 *           -> log          its record, which says that a start needs it
 *   worker  replace         its file in the place of ours
 *   loop    swap            readers and watchers go on with the new contents
 *   worker  close           what was here before, and the image
 *
 * From the record on nothing is applied: Raft holds back what is committed
 * until it is told that the snapshot is installed. A crash before the
 * replacement finds the record in the log and the image beside it, and takes it
 * at the next start; one after it finds the new store. There is one at a time,
 * as the directory and the image are called the same. */
#include "chorad/base/check.h"
#include "chorad/base/clock.h"
#include "chorad/base/file.h"
#include "chorad/base/log.h"
#include "chorad/snapshot.h"
#include "node.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of the database that a message came with: it is made a little later, so that
 * it may hold more than the message says. */
#define INDEX_AHEAD_MAX (UINT64_C(1) << 24)

struct install {
    struct node *node;
    struct peers_request *request; /* of who sent it; NULL: answered */
    struct raft_message message;
    struct append_job *job; /* the snapshot's, from the log's thread */
    struct raft_snapshot *snapshot;
    struct node_work work;
    char *received; /* the image as it came; NULL: it is in its place */
    char *image;    /* its place */
    char *dir;
    bool wanted; /* the log may say that a start needs the image */
    bool done;   /* and doesn't any more */
    uint64_t began_ns;
    int err;
    struct errmsg msg;

    /* What was made of it; after the swap, what was here before. */
    struct snapshot_info info;
    struct store *store;
    struct mvcc *mvcc;
    struct lessor *lessor;
    struct alarms *alarms;
    struct auth *auth;
    struct cluster *cluster;
};

/* ---- a worker: made ---- */

/* A member that stops goes on with it at its next start. */
static int on_progress(void *arg, const struct snapshot_progress *progress)
{
    struct install *in = arg;

    (void)progress;
    return atomic_load(&in->node->stop_works) ? ERR_CANCELED : 0;
}

static int build(struct install *in)
{
    struct snapshot_build build = {.file = {.name = in->received},
                                   .dir = in->dir,
                                   .progress = on_progress,
                                   .arg = in};
    int rc;

    build.file.fd = open(in->received, O_RDONLY | O_CLOEXEC);
    if (build.file.fd < 0)
        return err_errno(&in->msg, errno, "%s", in->received);
    rc = snapshot_build(&build, &in->info, &in->msg);
    (void)close(build.file.fd);
    if (rc == 0 && (in->info.index < in->snapshot->index ||
                    in->info.index > in->snapshot->index + INDEX_AHEAD_MAX))
        rc = err_set(&in->msg, ERR_CORRUPT,
                     "%s ends at index %" PRIu64 " instead of %" PRIu64,
                     in->received, in->info.index, in->snapshot->index);
    return rc;
}

static void attach_lease(void *arg, int64_t lease, struct bytes key)
{
    struct install *in = arg;

    lessor_attach(in->lessor, lease, key);
}

static int open_all(struct install *in)
{
    const struct node *node = in->node;
    struct store_config store = node_store_config(node, in->dir);
    struct mvcc_config mvcc = {node->config.compact_batch,
                               node->config.compact_pause_ns, .aside = true};
    int rc;

    store.aside = true;
    rc = store_open(&store, &in->store, &in->msg);
    if (rc == 0)
        rc =
            lessor_open(in->store, node_min_ttl_s(node), &in->lessor, &in->msg);
    if (rc == 0)
        rc = alarms_open(in->store, &in->alarms, &in->msg);
    if (rc == 0)
        rc = auth_open(in->store, NULL, 0, &in->auth, &in->msg);
    if (rc == 0)
        rc = cluster_open(in->store, &in->cluster, &in->msg);
    if (rc == 0)
        rc = mvcc_open(in->store, &mvcc, attach_lease, in, &in->mvcc, &in->msg);
    if (rc == 0)
        store_stop(in->store);
    return rc;
}

/* Who sends it has this member in its configuration. One without it would have
 * the member believe that it was removed. */
static int check_membership(struct install *in)
{
    uint64_t id = in->node->member_id;

    if (cluster_find(in->cluster, id) != NULL &&
        !cluster_is_removed(in->cluster, id))
        return 0;
    return err_set(&in->msg, ERR_CORRUPT,
                   "this member is none in the database");
}

static int place(struct install *in)
{
    if (rename(in->received, in->image) != 0)
        return err_errno(&in->msg, errno, "rename %s", in->received);
    free(in->received);
    in->received = NULL;
    return file_sync_dir(in->node->snap_dir, &in->msg);
}

static void prepare(struct node_work *work)
{
    struct install *in = container_of(work, struct install, work);

    in->err = build(in);
    if (in->err == 0)
        in->err = open_all(in);
    if (in->err == 0)
        in->err = check_membership(in);
    if (in->err == 0)
        in->err = place(in);
}

static void replace(struct node_work *work)
{
    struct install *in = container_of(work, struct install, work);

    in->err = store_replace(in->node->store, in->store, &in->msg);
}

/* ---- a worker: let go of ---- */

static void close_opened(struct install *in)
{
    if (in->mvcc)
        mvcc_close(in->mvcc);
    lessor_close(in->lessor);
    alarms_close(in->alarms);
    auth_close(in->auth);
    cluster_close(in->cluster);
    if (in->store)
        store_close(in->store);
}

static void close_all(struct node_work *work)
{
    struct install *in = container_of(work, struct install, work);
    const char *image = in->received ? in->received : in->image;
    struct errmsg msg;

    close_opened(in);
    if ((in->dir != NULL && file_remove_tree(in->dir, &msg) < 0) ||
        ((!in->wanted || in->done) && file_remove_tree(image, &msg) < 0))
        log_warn("failed to clean up behind a snapshot",
                 LOG_STR("error", msg.text));
}

static void free_install(struct install *in)
{
    raft_message_close(&in->message);
    raft_snapshot_unref(in->snapshot);
    free(in->received);
    free(in->image);
    free(in->dir);
    free(in);
}

static void closed(struct node_work *work)
{
    struct install *in = container_of(work, struct install, work);

    if (in->node->install == in)
        in->node->install = NULL;
    free_install(in);
}

static void clean_up(struct install *in)
{
    in->work.run = close_all;
    in->work.done = closed;
    node_work(in->node, &in->work);
}

/* ---- the loop: is it one? ---- */

static void answer(struct install *in, unsigned status, const char *text)
{
    peers_answer(in->request, status,
                 text[0] != '\0' ? "text/plain; charset=utf-8" : NULL,
                 bytes_of(text, strlen(text)));
    in->request = NULL;
}

static bool is_own_fault(int err)
{
    return err == ERR_CANCELED || err == ERR_IO || err == ERR_NOSPC;
}

static void refuse(struct install *in)
{
    struct node *node = in->node;

    if (node->peers != NULL && !is_own_fault(in->err))
        peers_note_refusal(node->peers, &in->message, "bad-database",
                           in->msg.text);
    else if (in->err != ERR_CANCELED)
        log_warn("failed to take a snapshot", LOG_STR("error", in->msg.text));
    answer(in, is_own_fault(in->err) ? 500 : 400, "failed to take snapshot\n");
}

static void prepared(struct node_work *work)
{
    struct install *in = container_of(work, struct install, work);
    struct node *node = in->node;

    if (in->err < 0) {
        refuse(in);
        clean_up(in);
        return;
    }
    if (node->peers != NULL && !node->stopping) {
        (void)node_hear(node, &in->message);
        node_pump(node);
    }
    /* Meanwhile the log may have come as far. */
    in->wanted = node->replacing;
    answer(in, 204, "");
    if (!in->wanted)
        clean_up(in);
}

static bool is_news(const struct node *node, const struct raft_snapshot *snap)
{
    struct raft_status status;

    raft_status(node->raft, &status);
    return snap->index > status.commit;
}

/* Large files take their time. */
static void drop_image(struct node *node, const char *path)
{
    struct install *in = mem_zalloc(sizeof(*in));

    in->node = node;
    in->received = mem_strdup(path);
    clean_up(in);
}

static void start_install(struct node *node, struct peers_request *request,
                          const struct raft_message *message, const char *path)
{
    struct install *in = mem_zalloc(sizeof(*in));

    in->node = node;
    in->request = request;
    in->message = raft_message_copy(message);
    in->snapshot = raft_snapshot_ref(message->snapshot);
    in->received = mem_strdup(path);
    in->image = mem_printf("%s/%016" PRIx64 ".snap.db", node->snap_dir,
                           in->snapshot->index);
    in->dir = node_install_dir(node);
    in->began_ns = clock_mono_ns();
    in->work.run = prepare;
    in->work.done = prepared;
    node->install = in;
    node_work(node, &in->work);
}

void node_prepare_install(struct node *node, struct peers_request *request,
                          const struct raft_message *message, const char *path)
{
    static const char busy[] = "no snapshot is taken now\n";
    const char *why = NULL;

    if (node->stopping || node->failed || node->raft == NULL ||
        node->install != NULL ||
        cluster_is_removed(node->cluster, message->from)) {
        drop_image(node, path);
        peers_answer(request, 503, "text/plain; charset=utf-8",
                     bytes_of(busy, sizeof(busy) - 1));
        return;
    }
    if (is_news(node, message->snapshot))
        why = node_refusal(node, message);
    if (why == NULL && is_news(node, message->snapshot)) {
        start_install(node, request, message, path);
        return;
    }
    /* Nothing to install: Raft only says how far this member is. */
    drop_image(node, path);
    if (why == NULL)
        why = node_hear(node, message);
    if (why != NULL)
        peers_note_refusal(node->peers, message, why, "");
    peers_answer(request, why == NULL ? 204 : 400, NULL, bytes_of(NULL, 0));
    node_pump(node);
}

/* ---- the loop: it takes the place ---- */

static void swap_domain(struct node *node, struct install *in)
{
    struct lessor *lessor = node->lessor;
    struct cluster *cluster = node->cluster;

    /* Renewals that wait for it go to the leader. */
    lessor_demote(lessor);
    mvcc_swap(node->mvcc, in->mvcc, in->store);
    node->lessor = in->lessor;
    in->lessor = lessor;
    lessor_use_store(node->lessor, node->store);
    node->cluster = in->cluster;
    in->cluster = cluster;
    cluster_use_store(node->cluster, node->store);
    alarms_swap(node->alarms, in->alarms);
    auth_swap(node->auth, in->auth);
    if (node->config.lease_checkpoint)
        lessor_enable_checkpoints(node->lessor);
    node_open_apply(node);
}

static void take_over(struct node *node, struct install *in)
{
    uint64_t index = in->snapshot->index;

    swap_domain(node, in);
    raft_conf_state_close(&node->conf);
    node->conf = raft_conf_state_copy(&in->snapshot->conf_state);
    node->applied = in->info.index;
    node->applied_term = in->info.term;
    node->snapshot_index = index;
    node->conf_index = index;
    /* Its log begins here: should this member lead, whoever is behind that
     * needs a snapshot from it. */
    raft_set_snapshot(node->raft, raft_snapshot_new(index, in->snapshot->term,
                                                    &node->conf, NULL));
    node_know_peers(node);
    node_membership_changed(node);
    if (cluster_is_removed(node->cluster, node->member_id))
        node_was_removed(node);
    watch_feed_jump(node->feed, mvcc_revision(node->mvcc));
}

static void replaced(struct node_work *work)
{
    struct install *in = container_of(work, struct install, work);
    struct node *node = in->node;

    node->installing = false;
    node->replacing = false;
    if (in->err < 0) {
        if (!node->stopping)
            node_fail(node, "installing a snapshot", in->msg.text);
    } else if (node->raft && !node->failed) {
        take_over(node, in);
        node_release_log(node, in->snapshot->index);
        log_info("applied snapshot",
                 LOG_U64("snapshot-index", in->snapshot->index),
                 LOG_U64("snapshot-term", in->snapshot->term),
                 LOG_I64("revision", mvcc_revision(node->mvcc)),
                 LOG_NS("took", clock_mono_ns() - in->began_ns));
    } else {
        /* The member stops; nobody looks at it again. */
        store_replaced(node->store, in->store);
    }
    in->done = in->err == 0;
    node_install_done(node, in->job, in->err < 0);
    clean_up(in);
}

char *node_install_dir(const struct node *node)
{
    return mem_printf("%s.new", node->kv_dir);
}

void node_install(struct node *node, struct append_job *job)
{
    struct install *in = node->install;

    CHECK(in != NULL && in->snapshot->index == job->append->snapshot->index);
    in->job = job;
    in->work.run = replace;
    in->work.done = replaced;
    node->installing = true;
    log_info("applying snapshot",
             LOG_U64("current-snapshot-index", node->snapshot_index),
             LOG_U64("current-applied-index", node->applied),
             LOG_U64("incoming-leader-snapshot-index", in->snapshot->index),
             LOG_U64("incoming-leader-snapshot-term", in->snapshot->term));
    node_work(node, &in->work);
}

void node_forget_install(struct node *node)
{
    if (node->install == NULL)
        return;
    close_opened(node->install);
    free_install(node->install);
    node->install = NULL;
}
