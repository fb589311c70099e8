/* A peer port that is sent anything: requests, half of them, none. */
#include "chorad/base/check.h"
#include "chorad/base/file.h"
#include "chorad/base/log.h"
#include "peer/peers.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static uv_loop_t loop;
static struct peers *peers;
/* In memory: syncing would take most of the time. */
static char snap_dir[] = "/dev/shm/chorad-fuzz-XXXXXX";

static const char *on_received(void *arg, const struct raft_message *m)
{
    (void)arg;
    CHECK(m->to == 1 && !raft_message_is_local(m->type));
    return m->term > 1000 ? "number-too-large" : NULL;
}

static void on_received_all(void *arg)
{
    (void)arg;
}

static void on_snapshot(void *arg, struct peers_request *request,
                        const struct raft_message *m, const char *path)
{
    (void)arg;
    CHECK(m->type == RAFT_MSG_SNAP && m->snapshot);
    CHECK(unlink(path) == 0);
    peers_answer(request, 204, NULL, bytes_of(NULL, 0));
}

static void on_peer(void *arg, uint64_t id)
{
    (void)arg;
    (void)id;
}

static void on_sent(void *arg, uint64_t id, bool ok)
{
    (void)arg;
    (void)id;
    (void)ok;
}

static bool is_removed(void *arg, uint64_t id)
{
    (void)arg;
    return id == 3;
}

static void on_removed(void *arg)
{
    (void)arg;
}

static void on_route(void *arg, struct peers_request *request,
                     const struct peers_query *query)
{
    (void)arg;
    peers_answer(request, 200, "text/plain", query->body);
}

static const struct peers_route routes[] = {
    {"/leases", on_route}, {"/members/", on_route}, {NULL, NULL}};

static void clean_up(void)
{
    (void)file_remove_tree(snap_dir, NULL);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const char *const urls[] = {"http://127.0.0.1:1", NULL};

    (void)argc;
    (void)argv;
    CHECK(mkdtemp(snap_dir) != NULL);
    (void)atexit(clean_up);
    (void)signal(SIGPIPE, SIG_IGN);
    log_set_level(LOG_FATAL);
    CHECK(uv_loop_init(&loop) == 0);
    const struct peers_config config = {.loop = &loop,
                                        .member_id = 1,
                                        .cluster_id = 0xc1,
                                        .version = "3.7.1",
                                        .min_cluster_version = "3.0.0",
                                        .snap_dir = snap_dir,
                                        .routes = routes,
                                        .received = on_received,
                                        .received_all = on_received_all,
                                        .snapshot_announced = on_received,
                                        .snapshot_received = on_snapshot,
                                        .unreachable = on_peer,
                                        .snapshot_sent = on_sent,
                                        .is_removed = is_removed,
                                        .removed = on_removed};
    peers = peers_open(&config);
    /* Nobody is there to be dialed. */
    peers->limits.redial_ms = 1000000;
    peers->limits.probe_first_ms = 1000000;
    peers_add(peers, 2, urls);
    for (int i = 0; i < 10; i++)
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    return 0;
}

static void run(int turns)
{
    for (int i = 0; i < turns; i++)
        (void)uv_run(&loop, UV_RUN_NOWAIT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fds[2];
    size_t cut;

    if (size < 1)
        return 0;
    cut = 1 + data[0] % size;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
                     fds) == 0);
    peers_add_connection(peers, fds[0]);
    run(1);
    (void)send(fds[1], data + 1, cut - 1, MSG_NOSIGNAL);
    run(2);
    (void)send(fds[1], data + cut, size - cut, MSG_NOSIGNAL);
    run(3);
    (void)close(fds[1]);
    run(3);
    /* A snapshot's worker may be at it still, waiting for the disk. */
    for (int i = 0; peers->visit_count + peers->download_count > 0; i++) {
        CHECK(i < 20000);
        run(1);
        if (i > 100)
            (void)usleep(500);
    }
    return 0;
}
