/* Snapshots for members that need entries which are no longer in the log.
 *
 *   loop                    thread                         peers
 *   SNAP message  --------> flush, read transaction
 *                  begin <- what it holds: the message
 *   the pipe's end ------------------------------------->  sends it
 *                           image --------- pipe -------->
 *                    end <- its end
 *   snapshot_sent <--------------------------------------  its end
 *
 * The message that Raft wants sent stands for an older point of the log; what
 * goes out says what the image holds, the configuration included. Memory is
 * flat whatever the size: a slow peer holds back the thread. */
#include "chorad/base/check.h"
#include "chorad/base/clock.h"
#include "chorad/base/log.h"
#include "chorad/snapshot.h"
#include "node.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A member that has got one needs the entries behind it next (source: etcd's
 * releaseDelayAfterSnapshot). */
#define HOLD_NS UINT64_C(30000000000)
/* But not at any price. */
#define HOLD_ENTRIES UINT64_C(100000)

struct snapshot_send {
    struct node *node;
    struct snapshot_send *next;
    uint64_t to;
    struct raft_message message; /* the peers', once they have the pipe */
    pthread_t thread;
    bool has_thread;
    bool with_peers; /* they have the pipe's end */
    bool ended;      /* the thread has */

    /* Handed from the thread to the loop. */
    struct node_task begin;
    struct node_task end;
    struct raft_snapshot *snapshot;
    int err;

    int pipe[2]; /* to read: the loop's, to write: the thread's */
    atomic_bool complete;

    /* The thread waits for the flush. */
    pthread_mutex_t lock;
    pthread_cond_t flushed;
    bool is_flushed;
    int flush_err;
};

/* ---- the thread ---- */

static void on_flushed(void *arg, int err)
{
    struct snapshot_send *s = arg;

    pthread_mutex_lock(&s->lock);
    s->is_flushed = true;
    s->flush_err = err;
    pthread_cond_signal(&s->flushed);
    pthread_mutex_unlock(&s->lock);
}

static int flush(struct snapshot_send *s)
{
    store_flush(s->node->store, on_flushed, s);
    pthread_mutex_lock(&s->lock);
    while (!s->is_flushed)
        pthread_cond_wait(&s->flushed, &s->lock);
    pthread_mutex_unlock(&s->lock);
    return s->flush_err;
}

struct image {
    struct snapshot_send *send;
    struct store_reader *reader;
    struct errmsg *msg;
};

static int read_conf(struct store_reader *reader, struct raft_conf_state *conf)
{
    struct bytes value;
    int rc = store_get(reader, STORE_META, bytes_of("confState", 9), &value);

    if (rc < 0)
        return rc;
    return cluster_conf_state_read(value, &conf->voters.ids,
                                   &conf->voters.count, &conf->learners.ids,
                                   &conf->learners.count);
}

static struct shared *shared_text(char *text)
{
    size_t len = strlen(text);
    struct shared *s = shared_new(len);

    memcpy(s->data, text, len);
    free(text);
    return s;
}

/* What is about to come, from the same transaction as the image itself. */
static int on_begin(void *arg, const struct snapshot_info *info)
{
    struct image *image = arg;
    struct snapshot_send *s = image->send;
    struct raft_conf_state conf = {0};
    struct cluster *cluster;
    int rc = read_conf(image->reader, &conf);

    if (rc < 0)
        return err_set(image->msg, rc, "reading the configuration: %s",
                       err_text(rc));
    rc = cluster_view(image->reader, &cluster, image->msg);
    if (rc == 0) {
        s->snapshot = raft_snapshot_new(info->index, info->term, &conf,
                                        shared_text(cluster_v2_store(cluster)));
        cluster_close(cluster);
        node_run(s->node, &s->begin);
    }
    raft_conf_state_close(&conf);
    return rc;
}

static int on_write(void *arg, struct bytes bytes)
{
    struct image *image = arg;

    while (bytes.len > 0) {
        ssize_t n = write(image->send->pipe[1], bytes.data, bytes.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(image->msg, errno, "sending it");
        bytes = bytes_of(bytes.data + n, bytes.len - (size_t)n);
    }
    return 0;
}

static int read_store(struct image *image)
{
    struct snapshot_sink sink = {
        .begin = on_begin, .write = on_write, .arg = image};
    int rc = store_read_begin(image->reader);

    if (rc < 0)
        return err_set(image->msg, rc, "reading the store: %s", err_text(rc));
    rc = snapshot_write(image->reader, &sink, image->msg);
    store_read_end(image->reader);
    return rc;
}

static int make(struct snapshot_send *s, struct errmsg *msg)
{
    struct image image = {.send = s, .msg = msg};
    int rc = flush(s);

    if (rc == 0)
        rc = store_reader_open(s->node->store, &image.reader);
    if (rc < 0)
        return err_set(msg, rc, "reading the store: %s", err_text(rc));
    rc = read_store(&image);
    store_reader_close(image.reader);
    return rc;
}

static void *run(void *arg)
{
    struct snapshot_send *s = arg;
    struct errmsg msg = {""};

    s->err = make(s, &msg);
    if (s->err < 0)
        log_warn("failed to make a snapshot for a member", LOG_HEX("to", s->to),
                 LOG_STR("error", msg.text));
    else
        atomic_store(&s->complete, true);
    CHECK(close(s->pipe[1]) == 0);
    node_run(s->node, &s->end);
    return NULL;
}

/* ---- the loop ---- */

static void unlink_send(struct snapshot_send *s)
{
    struct snapshot_send **at = &s->node->sends;

    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
}

/* Over when both the thread and the peers are done with it. */
static void free_if_over(struct snapshot_send *s)
{
    if (!s->ended || s->with_peers)
        return;
    unlink_send(s);
    raft_message_close(&s->message);
    raft_snapshot_unref(s->snapshot);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->flushed);
    free(s);
}

static void on_begun(struct node_task *task)
{
    struct snapshot_send *s = container_of(task, struct snapshot_send, begin);
    struct node *node = s->node;

    if (node->stopping || node->failed || !node->peers ||
        node->role != RAFT_LEADER)
        return;
    raft_snapshot_unref(s->message.snapshot);
    s->message.snapshot = s->snapshot;
    s->snapshot = NULL;
    s->with_peers = true;
    peers_send_snapshot(node->peers, &s->message, s->pipe[0], &s->complete);
    s->pipe[0] = -1;
}

static void on_ended(struct node_task *task)
{
    struct snapshot_send *s = container_of(task, struct snapshot_send, end);
    struct node *node = s->node;

    if (s->has_thread)
        CHECK(pthread_join(s->thread, NULL) == 0);
    s->ended = true;
    node->works--;
    if (s->pipe[0] >= 0) {
        /* The peers have never heard of it. */
        CHECK(close(s->pipe[0]) == 0);
        if (node->raft)
            raft_report_snapshot(node->raft, s->to, false);
    }
    free_if_over(s);
}

static int open_pipe(struct snapshot_send *s)
{
    if (pipe2(s->pipe, O_CLOEXEC) != 0) {
        s->pipe[0] = s->pipe[1] = -1;
        return -1;
    }
    return 0;
}

static void start(struct snapshot_send *s)
{
    struct node *node = s->node;

    s->begin.run = on_begun;
    s->end.run = on_ended;
    CHECK(pthread_mutex_init(&s->lock, NULL) == 0);
    CHECK(pthread_cond_init(&s->flushed, NULL) == 0);
    node->works++;
    if (open_pipe(s) == 0 && pthread_create(&s->thread, NULL, run, s) == 0) {
        s->has_thread = true;
        return;
    }
    log_warn("failed to begin with a snapshot for a member",
             LOG_HEX("to", s->to), LOG_STR("error", strerror(errno)));
    if (s->pipe[1] >= 0)
        CHECK(close(s->pipe[1]) == 0);
    node_run(node, &s->end);
}

static struct snapshot_send *find(const struct node *node, uint64_t to)
{
    struct snapshot_send *s = node->sends;

    while (s && s->to != to)
        s = s->next;
    return s;
}

void node_send_snapshot(struct node *node, struct raft_message *message)
{
    struct snapshot_send *s;

    if (node->stopping || find(node, message->to)) {
        raft_message_close(message);
        return;
    }
    s = mem_zalloc(sizeof(*s));
    s->node = node;
    s->to = message->to;
    s->message = *message;
    s->next = node->sends;
    node->sends = s;
    *message = (struct raft_message){0};
    start(s);
}

void node_snapshot_sent(struct node *node, uint64_t id, bool ok)
{
    struct snapshot_send *s = node->sends;

    while (s && !(s->with_peers && s->to == id))
        s = s->next;
    if (!s)
        return;
    if (ok)
        node->hold_until_ns = clock_mono_ns() + HOLD_NS;
    s->with_peers = false;
    free_if_over(s);
}

void node_forget_sends(struct node *node)
{
    struct snapshot_send *next;

    for (struct snapshot_send *s = node->sends; s; s = next) {
        next = s->next;
        s->with_peers = false;
        free_if_over(s);
    }
}

bool node_snapshot_holds(const struct node *node)
{
    uint64_t kept = node->applied - raft_first_index(node->raft);

    return (node->sends || node->hold_until_ns > node->last_tick_ns) &&
           kept < HOLD_ENTRIES + node->config.catchup_entries;
}
