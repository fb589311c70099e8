/* A snapshot that a member receives, on a disk that fails or loses its power:
 * the member may speak of it only when all of it is there for good, and nothing
 * half may be left where it isn't. */
#include "child.h"
#include "chorad/base/be.h"
#include "chorad/base/file.h"
#include "chorad/base/log.h"
#include "chorad/peer.h"
#include "chorad/raftpb.h"
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define IMAGE_BYTES ((size_t)2000000)
#define NAME "0000000000000009.snap.db"

static char root[64] = "/tmp/chorad-peerfault-XXXXXX";

static uint8_t image_byte(size_t i)
{
    return (uint8_t)(i * 7 + i / 251);
}

/* ---- the process that meets the fault -------------------------------------
 */

static const char *dir;
static bool told;

static const char *on_message(void *arg, const struct raft_message *message)
{
    (void)arg;
    (void)message;
    return NULL;
}

static void nothing(void *arg)
{
    (void)arg;
}

/* The power fails at this write. */
static void on_snapshot(void *arg, struct peers_request *request,
                        const struct raft_message *message, const char *path)
{
    char end[128];
    char place[128];

    (void)arg;
    (void)message;
    /* As the node does it. */
    (void)snprintf(place, sizeof(place), "%s/snap/" NAME, dir);
    (void)snprintf(end, sizeof(end), "%s/snap", dir);
    if (rename(path, place) != 0 || file_sync_dir(end, NULL) != 0) {
        (void)unlink(path);
        peers_answer(request, 500, NULL, bytes_of(NULL, 0));
        return;
    }
    peers_answer(request, 204, NULL, bytes_of(NULL, 0));
    told = true;
    (void)dprintf(1, "told\n");
    (void)snprintf(end, sizeof(end), "%s/end", dir);
    int fd = open(end, O_WRONLY | O_CREAT, 0600);
    (void)!write(fd, "x", 1);
}

static void on_id(void *arg, uint64_t id)
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

static bool no(void *arg, uint64_t id)
{
    (void)arg;
    (void)id;
    return false;
}

static struct buf request(void)
{
    struct raft_conf_state cs = {0};
    struct raft_message m = {.type = RAFT_MSG_SNAP,
                             .to = 1,
                             .from = 2,
                             .term = 5,
                             .snapshot = raft_snapshot_new(9, 5, &cs, NULL)};
    size_t size = raftpb_message_size(&m);
    struct buf out = {0};

    buf_printf(
        &out,
        "POST /raft/snapshot HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n"
        "X-Server-From: 2\r\nX-Server-Version: 3.7.1\r\n"
        "X-Min-Cluster-Version: 3.0.0\r\nX-Etcd-Cluster-ID: c1\r\n\r\n",
        8 + size + IMAGE_BYTES);
    be_put_u64(buf_reserve(&out, 8), size);
    out.len += 8;
    (void)raftpb_message_put(buf_reserve(&out, size), &m);
    out.len += size;
    uint8_t *image = buf_reserve(&out, IMAGE_BYTES);
    for (size_t i = 0; i < IMAGE_BYTES; i++)
        image[i] = image_byte(i);
    out.len += IMAGE_BYTES;
    raft_message_close(&m);
    return out;
}

static int child(void)
{
    uv_loop_t loop;
    char snap_dir[96];
    char answer[1024] = "";
    struct buf out = request();
    size_t sent = 0;
    int fds[2];

    (void)signal(SIGPIPE, SIG_IGN);
    log_set_level(LOG_FATAL);
    (void)snprintf(snap_dir, sizeof(snap_dir), "%s/snap", dir);
    REQUIRE(uv_loop_init(&loop) == 0);
    const struct peers_config config = {.loop = &loop,
                                        .member_id = 1,
                                        .cluster_id = 0xc1,
                                        .version = "3.7.1",
                                        .min_cluster_version = "3.0.0",
                                        .snap_dir = snap_dir,
                                        .received = on_message,
                                        .received_all = nothing,
                                        .snapshot_received = on_snapshot,
                                        .unreachable = on_id,
                                        .snapshot_sent = on_sent,
                                        .is_removed = no,
                                        .removed = nothing};
    struct peers *peers = peers_open(&config);
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
    peers_add_connection(peers, fds[0]);
    for (int i = 0; i < 20000 && recv(fds[1], answer, 1000, 0) <= 0; i++) {
        ssize_t n = send(fds[1], out.data + sent, out.len - sent, 0);
        if (n > 0)
            sent += (size_t)n;
        else
            (void)usleep(500);
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    }
    peers_close(peers, nothing, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    REQUIRE(told == (strncmp(answer, "HTTP/1.1 204", 12) == 0));
    REQUIRE(told || strncmp(answer, "HTTP/1.1 500", 12) == 0);
    return told ? 0 : 3;
}

/* ---- the process that looks after it ---------------------------------------
 */

static const char *library;

static void make_data(void)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "rm -rf %s/data", root);
    REQUIRE(system(path) == 0);
    (void)snprintf(path, sizeof(path), "%s/data", root);
    REQUIRE(mkdir(path, 0700) == 0);
    (void)snprintf(path, sizeof(path), "%s/data/snap", root);
    REQUIRE(mkdir(path, 0700) == 0);
}

static void run(struct child_result *result, const char *const env[])
{
    char data[80];

    make_data();
    (void)snprintf(data, sizeof(data), "%s/data", root);
    child_run(result, library, env,
              (const char *[]){"child", "child", data, NULL});
}

static void assert_whole(void)
{
    char path[128];
    uint8_t *got = malloc(IMAGE_BYTES + 1);

    (void)snprintf(path, sizeof(path), "%s/data/snap/" NAME, root);
    int fd = open(path, O_RDONLY);
    REQUIRE(fd >= 0 && got);
    REQUIRE(read(fd, got, IMAGE_BYTES + 1) == (ssize_t)IMAGE_BYTES);
    for (size_t i = 0; i < IMAGE_BYTES; i++)
        REQUIRE(got[i] == image_byte(i));
    (void)close(fd);
    free(got);
}

static size_t count_files(void)
{
    char path[128];
    const struct dirent *entry;
    size_t n = 0;

    (void)snprintf(path, sizeof(path), "%s/data/snap", root);
    DIR *d = opendir(path);
    REQUIRE(d);
    while ((entry = readdir(d)) != NULL)
        n += entry->d_name[0] != '.';
    (void)closedir(d);
    return n;
}

static void what_is_told_survives_the_power(void)
{
    static struct child_result result;
    char power[128];
    char match[128];

    (void)snprintf(power, sizeof(power), "FAULTIO_POWER=%s/data", root);
    (void)snprintf(match, sizeof(match), "FAULTIO_MATCH=%s/data/end", root);
    run(&result, (const char *[]){power, match, "FAULTIO_OP=write",
                                  "FAULTIO_NTH=1", NULL});
    REQUIRE(WIFSIGNALED(result.status) && WTERMSIG(result.status) == SIGKILL);
    REQUIRE(strcmp(result.out, "told\n") == 0);
    assert_whole();
}

/* Each call that the file sees fails in turn. */
static void failures_are_told(const char *op)
{
    static struct child_result result;
    unsigned refused = 0;

    for (unsigned nth = 1; nth < 100; nth++) {
        char match[128];
        char count[64];
        (void)snprintf(match, sizeof(match), "FAULTIO_MATCH=%s/data/snap",
                       root);
        (void)snprintf(count, sizeof(count), "FAULTIO_NTH=%u", nth);
        run(&result, (const char *[]){match, op, count, "FAULTIO_ERRNO=EIO",
                                      "FAULTIO_STICKY=1", NULL});
        REQUIRE(WIFEXITED(result.status));
        if (WEXITSTATUS(result.status) == 0) {
            assert_whole();
            REQUIRE(refused > 0);
            return;
        }
        REQUIRE(WEXITSTATUS(result.status) == 3);
        /* What was renamed stays: it is whole, and it may be asked for again.
         */
        REQUIRE(count_files() <= (strstr(op, "fsync") && nth > 1 ? 1 : 0));
        refused++;
    }
    REQUIRE(!"some call must be the last");
}

int main(int argc, char *argv[])
{
    char command[96];

    if (argc > 2) {
        dir = argv[2];
        return child();
    }
    REQUIRE(argc == 2 && mkdtemp(root));
    library = argv[1];
    what_is_told_survives_the_power();
    failures_are_told("FAULTIO_OP=write");
    failures_are_told("FAULTIO_OP=fsync");
    failures_are_told("FAULTIO_OP=rename");
    (void)snprintf(command, sizeof(command), "rm -rf %s", root);
    REQUIRE(system(command) == 0);
    return 0;
}
