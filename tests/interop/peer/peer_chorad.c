/* chorad's transport between members with a line in front: what it is told on
 * standard input it does, what happens it prints. The other side is etcd's, in
 * Go; see common/.
 *
 *   peer_chorad ID CLUSTER SNAP_DIR     ids in hexadecimal
 *   peer_chorad --reencode              messages in hexadecimal, one a line
 *
 * in    add ID URL[,URL]      remove ID       was-removed ID
 *       send MESSAGE          bulk TO TERM INDEX MESSAGES ENTRIES LEN
 *       snapshot TO INDEX TERM LEN          call TO METHOD PATH BODY
 *       active ID             count           quit
 * out   listening URL         got MESSAGE     got-snapshot MESSAGE PATH LEN
 *       sent ID ok|failed     unreachable ID  removed
 *       answered ERR STATUS BODY              active ID 0|1
 *       counted MESSAGES BYTES
 *
 * MESSAGE: type to from term logterm index commit reject hint context entries,
 * numbers in hexadecimal, bytes in hexadecimal or "-" for none, entries as
 * term/index/type/data, parted by commas. */
#include "chorad/base/log.h"
#include "chorad/peer.h"
#include "chorad/raftpb.h"
#include <inttypes.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORDS_MAX 16

static uv_loop_t loop;
static struct peers *peers;
static uint64_t self;
static uint64_t was_removed;
static bool bulk; /* appends are counted, not printed */
static uint64_t counted;
static uint64_t counted_bytes;

/* ---- messages as text ---------------------------------------------------- */

static void put_hex(const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        (void)printf("%02x", data[i]);
}

static void print_message(const struct raft_message *m)
{
    (void)printf("%x %" PRIx64 " %" PRIx64 " %" PRIx64 " %" PRIx64 " %" PRIx64
                 " %" PRIx64 " %d %" PRIx64 " ",
                 (unsigned)m->type, m->to, m->from, m->term, m->log_term,
                 m->index, m->commit, m->reject, m->reject_hint);
    if (!m->context)
        (void)printf("-");
    else
        put_hex(m->context->data, m->context->len);
    (void)printf(m->entry_count > 0 ? " " : " -");
    for (size_t i = 0; i < m->entry_count; i++) {
        const struct raft_entry *e = &m->entries[i];
        (void)printf("%s%" PRIx64 "/%" PRIx64 "/%x/", i > 0 ? "," : "", e->term,
                     e->index, (unsigned)e->type);
        put_hex(e->data, e->len);
    }
}

static uint64_t number(const char *text)
{
    return strtoull(text, NULL, 16);
}

static size_t unhex(const char *hex, uint8_t *out)
{
    static const char digits[] = "0123456789abcdef";
    size_t n = 0;
    const char *high;
    const char *low;

    for (; hex[0] && hex[1] && (high = strchr(digits, hex[0])) &&
           (low = strchr(digits, hex[1]));
         hex += 2)
        out[n++] = (uint8_t)((high - digits) << 4 | (low - digits));
    return n;
}

static void parse_entries(struct raft_message *m, char *text)
{
    char *rest;

    for (char *one = strtok_r(text, ",", &rest); one;
         one = strtok_r(NULL, ",", &rest)) {
        uint64_t term;
        uint64_t index;
        unsigned type;
        int at;
        if (sscanf(one, "%" SCNx64 "/%" SCNx64 "/%x/%n", &term, &index, &type,
                   &at) != 3)
            abort();
        uint8_t *data = mem_alloc(strlen(one));
        size_t len = unhex(one + at, data);
        struct raft_entry e =
            raft_entry_new((enum raft_entry_type)type, data, len);
        free(data);
        e.term = term;
        e.index = index;
        m->entries = mem_realloc(m->entries, (m->entry_count + 1) * sizeof(e));
        m->entries[m->entry_count++] = e;
    }
}

static struct raft_message parse_message(char **w)
{
    struct raft_message m = {.type = (enum raft_message_type)number(w[0]),
                             .to = number(w[1]),
                             .from = number(w[2]),
                             .term = number(w[3]),
                             .log_term = number(w[4]),
                             .index = number(w[5]),
                             .commit = number(w[6]),
                             .reject = number(w[7]) != 0,
                             .reject_hint = number(w[8])};

    if (strcmp(w[9], "-") != 0) {
        m.context = shared_new(strlen(w[9]) / 2);
        (void)unhex(w[9], m.context->data);
    }
    if (strcmp(w[10], "-") != 0)
        parse_entries(&m, w[10]);
    return m;
}

/* ---- what the transport tells -------------------------------------------- */

static const char *on_received(void *arg, const struct raft_message *m)
{
    (void)arg;
    if (bulk && m->type == RAFT_MSG_APP) {
        counted++;
        for (size_t i = 0; i < m->entry_count; i++)
            counted_bytes += m->entries[i].len;
        return NULL;
    }
    (void)printf("got ");
    print_message(m);
    (void)printf("\n");
    return NULL;
}

static void on_received_all(void *arg)
{
    (void)arg;
}

static void on_snapshot(void *arg, struct peers_request *request,
                        const struct raft_message *m, const char *path)
{
    struct stat st;

    (void)arg;
    (void)printf("got-snapshot ");
    print_message(m);
    (void)printf(" %" PRIx64 "/%" PRIx64 "/%.*s %s %lld\n", m->snapshot->index,
                 m->snapshot->term,
                 m->snapshot->data ? (int)m->snapshot->data->len : 0,
                 m->snapshot->data ? (const char *)m->snapshot->data->data : "",
                 path, stat(path, &st) == 0 ? (long long)st.st_size : -1);
    peers_answer(request, 204, NULL, bytes_of(NULL, 0));
}

static void on_unreachable(void *arg, uint64_t id)
{
    (void)arg;
    (void)printf("unreachable %" PRIx64 "\n", id);
}

static void on_sent(void *arg, uint64_t id, bool ok)
{
    (void)arg;
    (void)printf("sent %" PRIx64 " %s\n", id, ok ? "ok" : "failed");
}

static bool is_removed(void *arg, uint64_t id)
{
    (void)arg;
    return was_removed != 0 && id == was_removed;
}

static void on_removed(void *arg)
{
    (void)arg;
    (void)printf("removed\n");
}

static void on_echo(void *arg, struct peers_request *request,
                    const struct peers_query *query)
{
    (void)arg;
    peers_answer(request, 200, "application/protobuf", query->body);
}

static const struct peers_route routes[] = {{"/leases", on_echo}, {NULL, NULL}};

/* ---- commands ------------------------------------------------------------ */

static void do_add(char **w)
{
    const char *urls[8] = {NULL};
    char *rest;
    size_t n = 0;

    for (char *one = strtok_r(w[1], ",", &rest); one && n < 7;
         one = strtok_r(NULL, ",", &rest))
        urls[n++] = one;
    peers_add(peers, number(w[0]), urls);
}

/* Appends of one leader, one behind the other. */
static void do_bulk(char **w)
{
    uint64_t index = number(w[2]);
    size_t messages = (size_t)number(w[3]);
    size_t entries = (size_t)number(w[4]);
    size_t len = (size_t)number(w[5]);
    uint8_t *data = mem_zalloc(len + 1);

    for (size_t i = 0; i < messages; i++) {
        struct raft_message m = {.type = RAFT_MSG_APP,
                                 .from = self,
                                 .to = number(w[0]),
                                 .term = number(w[1]),
                                 .log_term = number(w[1]),
                                 .index = index,
                                 .commit = index,
                                 .entry_count = entries};
        m.entries = mem_zalloc(entries * sizeof(m.entries[0]) + 1);
        for (size_t e = 0; e < entries; e++) {
            memset(data, (int)index, len);
            m.entries[e] = raft_entry_new(RAFT_ENTRY_NORMAL, data, len);
            m.entries[e].term = m.term;
            m.entries[e].index = ++index;
        }
        peers_send(peers, &m, 1);
    }
    free(data);
}

struct feed {
    size_t len;
    int fd;
};

static void write_image(void *arg)
{
    struct feed *feed = arg;
    char block[4096];
    size_t done = 0;

    while (done < feed->len) {
        size_t n = feed->len - done < 4096 ? feed->len - done : 4096;
        memset(block, (int)(done / 4096), n);
        ssize_t written = write(feed->fd, block, n);
        if (written < 0)
            break;
        done += (size_t)written;
    }
    (void)close(feed->fd);
    free(feed);
}

static void do_snapshot(char **w)
{
    struct raft_message m = {.type = RAFT_MSG_SNAP,
                             .to = number(w[0]),
                             .from = self,
                             .term = number(w[2])};
    struct raft_conf_state cs = {0};
    struct shared *data = shared_new(10);
    struct feed *feed = mem_alloc(sizeof(*feed));
    int fds[2];
    uv_thread_t thread;

    memcpy(data->data, "membership", 10);
    raft_ids_add(&cs.voters, 1);
    raft_ids_add(&cs.voters, 2);
    m.snapshot = raft_snapshot_new(number(w[1]), number(w[2]), &cs, data);
    raft_conf_state_close(&cs);
    if (pipe(fds) != 0)
        abort();
    *feed = (struct feed){(size_t)number(w[3]), fds[1]};
    if (uv_thread_create(&thread, write_image, feed) != 0)
        abort();
    peers_send_snapshot(peers, &m, fds[0], NULL);
}

struct asked {
    struct peers_call call;
    char method[8];
    char path[64];
    char body[64];
};

static void on_called(struct peers_call *call, int err, unsigned status,
                      struct bytes body)
{
    struct asked *asked = call->arg;

    (void)printf("answered %d %u %.*s\n", err, status, (int)body.len,
                 body.data ? (const char *)body.data : "");
    free(asked);
}

static void do_call(char **w)
{
    struct asked *a = mem_zalloc(sizeof(*a));

    (void)snprintf(a->method, sizeof(a->method), "%s", w[1]);
    (void)snprintf(a->path, sizeof(a->path), "%s", w[2]);
    (void)snprintf(a->body, sizeof(a->body), "%s", w[3]);
    a->call = (struct peers_call){.to = number(w[0]),
                                  .method = a->method,
                                  .path = a->path,
                                  .body = bytes_of(a->body, strlen(a->body)),
                                  .answer_max = 4096,
                                  .timeout_ms = 5000,
                                  .done = on_called,
                                  .arg = a};
    peers_call(peers, &a->call);
}

static void on_closed(void *arg)
{
    (void)arg;
    exit(0);
}

static void execute(char *line)
{
    char *w[WORDS_MAX] = {NULL};
    char *rest;
    size_t n = 0;

    for (char *one = strtok_r(line, " ", &rest); one && n < WORDS_MAX;
         one = strtok_r(NULL, " ", &rest))
        w[n++] = one;
    if (n == 0)
        return;
    if (strcmp(w[0], "add") == 0 && n == 3) {
        do_add(w + 1);
    } else if (strcmp(w[0], "remove") == 0 && n == 2) {
        peers_remove(peers, number(w[1]));
    } else if (strcmp(w[0], "was-removed") == 0 && n == 2) {
        was_removed = number(w[1]);
    } else if (strcmp(w[0], "send") == 0 && n == 12) {
        struct raft_message m = parse_message(w + 1);
        peers_send(peers, &m, 1);
    } else if (strcmp(w[0], "bulk") == 0 && n == 7) {
        do_bulk(w + 1);
    } else if (strcmp(w[0], "snapshot") == 0 && n == 5) {
        do_snapshot(w + 1);
    } else if (strcmp(w[0], "call") == 0 && n == 5) {
        do_call(w + 1);
    } else if (strcmp(w[0], "active") == 0 && n == 2) {
        (void)printf("active %s %d\n", w[1],
                     peers_active_since(peers, number(w[1])) != 0);
    } else if (strcmp(w[0], "count") == 0) {
        bulk = true;
        (void)printf("counted %" PRIu64 " %" PRIu64 "\n", counted,
                     counted_bytes);
    } else if (strcmp(w[0], "quit") == 0) {
        peers_close(peers, on_closed, NULL);
        peers = NULL;
    } else {
        (void)fprintf(stderr, "what is \"%s\" of %zu words?\n", w[0], n);
        exit(2);
    }
}

/* ---- the loop ------------------------------------------------------------ */

static void on_input(uv_poll_t *poll, int status, int events)
{
    static struct buf text;
    ssize_t n = read(0, buf_reserve(&text, 1 << 16), 1 << 16);
    uint8_t *end;

    (void)status;
    (void)events;
    if (n <= 0) {
        (void)uv_poll_stop(poll);
        if (peers)
            peers_close(peers, on_closed, NULL);
        peers = NULL;
        return;
    }
    text.len += (size_t)n;
    while (peers && text.len > 0 &&
           (end = memchr(text.data, '\n', text.len)) != NULL) {
        size_t used = (size_t)(end - text.data) + 1;
        *end = '\0';
        execute((char *)text.data);
        memmove(text.data, text.data + used, text.len - used);
        text.len -= used;
    }
}

static int listen_fd;

static void on_connection(uv_poll_t *poll, int status, int events)
{
    int fd;

    (void)poll;
    (void)status;
    (void)events;
    while ((fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (peers)
            peers_add_connection(peers, fd);
        else
            (void)close(fd);
    }
}

static int listen_somewhere(const char *port, char *url, size_t size)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);
    int on = 1;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((uint16_t)strtoul(port, NULL, 10));
    listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    (void)setsockopt(listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(listen_fd, (void *)&address, len) != 0 ||
        listen(listen_fd, 128) != 0 ||
        getsockname(listen_fd, (void *)&address, &len) != 0)
        return -1;
    (void)snprintf(url, size, "http://127.0.0.1:%u", ntohs(address.sin_port));
    return 0;
}

static int reencode(void)
{
    static char line[1 << 20];

    while (fgets(line, sizeof(line), stdin)) {
        uint8_t *bytes = mem_alloc(strlen(line));
        size_t len = unhex(line, bytes);
        struct raft_message m;
        if (raftpb_message_get(&m, bytes_of(bytes, len)) < 0)
            return 1;
        uint8_t *out = mem_alloc(raftpb_message_size(&m) + 1);
        put_hex(out, (size_t)(raftpb_message_put(out, &m) - out));
        (void)printf("\n");
        raft_message_close(&m);
        free(out);
        free(bytes);
    }
    return 0;
}

int main(int argc, char **argv)
{
    static char url[64];
    static const char *urls[2] = {url, NULL};
    uv_poll_t input;
    uv_poll_t connections;

    if (argc == 2 && strcmp(argv[1], "--reencode") == 0)
        return reencode();
    if (argc != 5)
        return 2;
    (void)signal(SIGPIPE, SIG_IGN);
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    self = number(argv[1]);
    if (uv_loop_init(&loop) != 0 ||
        listen_somewhere(argv[4], url, sizeof(url)) != 0)
        return 1;
    const struct peers_config config = {
        .loop = &loop,
        .member_id = self,
        .cluster_id = number(argv[2]),
        .peer_urls = urls,
        .version = "3.7.1",
        .min_cluster_version = "3.0.0",
        .heartbeat_ms = 100,
        .election_ms = 1000,
        .snap_dir = argv[3],
        .routes = routes,
        .received = on_received,
        .received_all = on_received_all,
        .snapshot_received = on_snapshot,
        .unreachable = on_unreachable,
        .snapshot_sent = on_sent,
        .is_removed = is_removed,
        .removed = on_removed,
    };
    peers = peers_open(&config);
    (void)uv_poll_init(&loop, &connections, listen_fd);
    (void)uv_poll_start(&connections, UV_READABLE, on_connection);
    (void)uv_poll_init(&loop, &input, 0);
    (void)uv_poll_start(&input, UV_READABLE, on_input);
    (void)printf("listening %s\n", url);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    return 0;
}
