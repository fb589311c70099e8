/* Listening sockets, and the limit of open files. */
#include "front_private.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKLOG 4096
#define FD_LIMIT_MAX ((rlim_t)1 << 20)

static int set_on(int fd, int level, int option)
{
    int on = 1;

    return setsockopt(fd, level, option, &on, sizeof(on));
}

/* "::" takes IPv4 too, whatever the system's default says. */
static int set_options(int fd, const struct front_address *address,
                       bool reuse_port, bool reuse_address)
{
    int off = 0;

    if (address->u.any.sa_family == AF_UNIX)
        return 0;
    if (address->u.any.sa_family == AF_INET6 &&
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) != 0)
        return -1;
    if (reuse_port && set_on(fd, SOL_SOCKET, SO_REUSEPORT) != 0)
        return -1;
    /* On Linux this lets a restarted member have its port back while old
     * connections linger; it doesn't let two members share one. */
    (void)reuse_address;
    return set_on(fd, SOL_SOCKET, SO_REUSEADDR);
}

/* A socket file that a killed member left behind; anything else stays. */
static void remove_old_socket(const char *path)
{
    struct stat st;

    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
        (void)unlink(path);
}

int front_bind(const struct front_address *address, bool reuse_port,
               bool reuse_address, struct errmsg *msg)
{
    bool is_unix = address->u.any.sa_family == AF_UNIX;
    const char *net = is_unix ? "unix" : "tcp";
    const char *step = "socket";
    int err;
    int fd = socket(address->u.any.sa_family,
                    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        goto err;
    if (is_unix)
        remove_old_socket(address->u.un.sun_path);
    step = "setsockopt";
    if (set_options(fd, address, reuse_port, reuse_address) != 0)
        goto err_after_socket;
    step = "bind";
    if (bind(fd, &address->u.any, address->len) != 0)
        goto err_after_socket;
    step = "listen";
    if (listen(fd, BACKLOG) != 0)
        goto err_after_socket;
    return fd;

err_after_socket:
    err = errno;
    (void)close(fd);
    errno = err;
err:
    if (errno == EADDRINUSE)
        return err_set(msg, ERR_BUSY,
                       "listen %s %s: %s: address already in use", net,
                       address->text, step);
    return err_errno(msg, errno, "listen %s %s: %s", net, address->text, step);
}

uint64_t front_raise_fd_limit(void)
{
    struct rlimit limit;
    rlim_t want;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    want = limit.rlim_max > FD_LIMIT_MAX ? FD_LIMIT_MAX : limit.rlim_max;
    if (want > limit.rlim_cur) {
        struct rlimit raised = {.rlim_cur = want, .rlim_max = limit.rlim_max};

        if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
            return want;
    }
    return limit.rlim_cur;
}
