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

/* -1 with errno, and the step that has failed. */
static int open_listener(const struct front_address *address, bool reuse_port,
                         bool reuse_address, const char **step)
{
    int err;
    int fd;

    *step = "socket";
    fd = socket(address->u.any.sa_family,
                SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    *step = "setsockopt";
    if (set_options(fd, address, reuse_port, reuse_address) != 0)
        goto err_after_socket;
    *step = "bind";
    if (bind(fd, &address->u.any, address->len) != 0)
        goto err_after_socket;
    *step = "listen";
    if (listen(fd, BACKLOG) != 0)
        goto err_after_socket;
    return fd;

err_after_socket:
    err = errno;
    (void)close(fd);
    errno = err;
    return -1;
}

/* "0.0.0.0" and the port of the address, which is of IPv6. */
static struct front_address all_of_ipv4(const struct front_address *address)
{
    struct front_address all = {.len = sizeof(struct sockaddr_in)};

    all.u.in.sin_family = AF_INET;
    all.u.in.sin_port = address->u.in6.sin6_port;
    all.u.in.sin_addr.s_addr = htonl(INADDR_ANY);
    return all;
}

int front_bind(const struct front_address *address, bool reuse_port,
               bool reuse_address, struct errmsg *msg)
{
    bool is_unix = address->u.any.sa_family == AF_UNIX;
    const char *net = is_unix ? "unix" : "tcp";
    const char *step;
    int fd;

    if (is_unix)
        remove_old_socket(address->u.un.sun_path);
    fd = open_listener(address, reuse_port, reuse_address, &step);
    /* A kernel without IPv6, or one that doesn't let it have IPv4 as well. */
    if (fd < 0 && address->either && errno != EADDRINUSE && errno != EACCES) {
        const struct front_address ipv4 = all_of_ipv4(address);

        fd = open_listener(&ipv4, reuse_port, reuse_address, &step);
    }
    if (fd >= 0)
        return fd;
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
