/* How fast appends go from one member to another: two processes on loopback, a
 * window of messages under way as Raft has it, an answer to each batch.
 *
 *   peer_pair [entries a message] [bytes an entry] [seconds] */
#include "chorad/base/clock.h"
#include "chorad/base/log.h"
#include "chorad/peer.h"
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define WINDOW 512
/* Messages of one turn: what a leader under load proposes at once. */
#define BATCH 16

struct side {
    uv_loop_t loop;
    struct peers *peers;
    uint64_t id;
    uint64_t other;
    int listen_fd;
    uint64_t index; /* sent, or received */
    uint64_t acked;
    uint64_t messages;
    struct raft_entry *entries; /* whose payloads all appends share */
    size_t entry_count;
    uint64_t until_ns;
    bool ended;
};

static void send_appends(struct side *s)
{
    struct raft_message batch[BATCH];
    size_t n = 0;

    while (n < BATCH &&
           s->index + s->entry_count <= s->acked + WINDOW * s->entry_count) {
        struct raft_message *m = &batch[n++];
        *m = (struct raft_message){.type = RAFT_MSG_APP,
                                   .from = s->id,
                                   .to = s->other,
                                   .term = 5,
                                   .log_term = 5,
                                   .index = s->index,
                                   .commit = s->acked,
                                   .entry_count = s->entry_count};
        m->entries = mem_alloc(s->entry_count * sizeof(m->entries[0]));
        for (size_t i = 0; i < s->entry_count; i++) {
            m->entries[i] = s->entries[i];
            m->entries[i].index = ++s->index;
            raft_entry_ref(&m->entries[i]);
        }
        s->messages++;
    }
    peers_send(s->peers, batch, n);
}

static const char *on_received(void *arg, const struct raft_message *m)
{
    struct side *s = arg;

    if (m->type == RAFT_MSG_APP) {
        s->index = m->index + m->entry_count;
        s->messages++;
    } else if (m->type == RAFT_MSG_APP_RESP && m->index > s->acked) {
        s->acked = m->index;
    }
    return NULL;
}

static void on_received_all(void *arg)
{
    struct side *s = arg;
    struct raft_message m = {.type = RAFT_MSG_APP_RESP,
                             .from = s->id,
                             .to = s->other,
                             .term = 5,
                             .index = s->index};

    if (s->id == 2)
        peers_send(s->peers, &m, 1);
}

static void ignore(void *arg)
{
    (void)arg;
}

static void ignore_id(void *arg, uint64_t id)
{
    (void)arg;
    (void)id;
}

static bool no(void *arg, uint64_t id)
{
    (void)arg;
    (void)id;
    return false;
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
    struct side *s = poll->data;
    int fd;

    (void)status;
    (void)events;
    while ((fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK)) >= 0)
        peers_add_connection(s->peers, fd);
}

static void on_closed(void *arg)
{
    struct side *s = arg;

    s->ended = true;
}

static void on_turn(uv_check_t *check)
{
    struct side *s = check->data;

    if (s->id == 1 && peers_active_since(s->peers, s->other) != 0)
        send_appends(s);
}

static int listen_on(char *url, size_t size)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || bind(fd, (void *)&address, len) != 0 || listen(fd, 16) != 0 ||
        getsockname(fd, (void *)&address, &len) != 0)
        abort();
    (void)snprintf(url, size, "http://127.0.0.1:%u", ntohs(address.sin_port));
    return fd;
}

static void run(struct side *s, const char *other_url, uint64_t seconds)
{
    const char *urls[] = {other_url, NULL};
    const struct peers_config config = {.loop = &s->loop,
                                        .member_id = s->id,
                                        .cluster_id = 1,
                                        .version = "3.7.1",
                                        .min_cluster_version = "3.0.0",
                                        .snap_dir = "/tmp",
                                        .received = on_received,
                                        .received_all = on_received_all,
                                        .unreachable = ignore_id,
                                        .is_removed = no,
                                        .removed = ignore,
                                        .arg = s};
    uv_poll_t connections;
    uv_check_t turn;
    struct rusage usage;

    log_set_level(LOG_ERROR);
    (void)uv_loop_init(&s->loop);
    s->peers = peers_open(&config);
    (void)uv_poll_init(&s->loop, &connections, s->listen_fd);
    connections.data = s;
    (void)uv_poll_start(&connections, UV_READABLE, on_connection);
    (void)uv_check_init(&s->loop, &turn);
    turn.data = s;
    (void)uv_check_start(&turn, on_turn);
    peers_add(s->peers, s->other, urls);
    s->until_ns = clock_mono_ns() + seconds * 1000000000;
    uint64_t start = clock_mono_ns();
    while (clock_mono_ns() < s->until_ns)
        (void)uv_run(&s->loop, UV_RUN_ONCE);
    double took = (double)(clock_mono_ns() - start) / 1e9;
    (void)getrusage(RUSAGE_SELF, &usage);
    double cpu =
        (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
        (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    (void)printf("%s %9.0f messages/s %9.0f entries/s %7.2f us CPU a message "
                 "(%.0f %% of a core)\n",
                 s->id == 1 ? "sends" : "takes", (double)s->messages / took,
                 (double)s->index / took, cpu * 1e6 / (double)s->messages,
                 cpu * 100 / took);
    peers_close(s->peers, on_closed, s);
    while (!s->ended)
        (void)uv_run(&s->loop, UV_RUN_ONCE);
}

int main(int argc, char **argv)
{
    static struct side side;
    char urls[2][64];
    int fds[2];
    size_t entries = argc > 1 ? strtoul(argv[1], NULL, 10) : 1;
    size_t len = argc > 2 ? strtoul(argv[2], NULL, 10) : 1024;
    uint64_t seconds = argc > 3 ? strtoul(argv[3], NULL, 10) : 5;
    uint8_t *data = mem_zalloc(len + 1);

    (void)signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < 2; i++)
        fds[i] = listen_on(urls[i], sizeof(urls[i]));
    pid_t pid = fork();
    int me = pid == 0 ? 1 : 0;
    side.id = me == 0 ? 1 : 2;
    side.other = 3 - side.id;
    side.listen_fd = fds[me];
    side.entry_count = entries;
    side.entries = mem_zalloc(entries * sizeof(side.entries[0]));
    for (size_t i = 0; i < entries; i++) {
        side.entries[i] = raft_entry_new(RAFT_ENTRY_NORMAL, data, len);
        side.entries[i].term = 5;
    }
    run(&side, urls[1 - me], seconds);
    if (pid != 0)
        (void)waitpid(pid, NULL, 0);
    return 0;
}
