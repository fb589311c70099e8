/* libmicrohttpd on the loop: opening, connections, closing. */
#include "server.h"
#include "chorad/base/check.h"
#include "chorad/base/log.h"
#include "chorad/base/turn.h"
#include "health.h"
#include "metrics_page.h"
#include "reply.h"

#include <stdlib.h>
#include <unistd.h>

/* Request line and headers have to fit in; so have the answer's headers. */
#define CONNECTION_BYTES ((size_t)32 << 10)
#define BODY_MAX ((size_t)64 << 10)
#define CONNECTIONS_MAX 32768U
/* A connection on which nothing happens; a suspended one doesn't count. */
#define IDLE_S 120U

/* ---- the loop ---- */

static void run(struct server *server);

static void on_timer(uv_timer_t *timer)
{
    run(timer->data);
}

static void run_soon(struct server *server)
{
    CHECK(uv_timer_start(&server->timer, on_timer, 0, 0) == 0);
}

/* libmicrohttpd names the time until it has to run even if no socket is
 * ready. */
static void set_timer(struct server *server)
{
    MHD_UNSIGNED_LONG_LONG timeout_ms;

    if (MHD_get_timeout(server->daemon, &timeout_ms) == MHD_YES)
        CHECK(uv_timer_start(&server->timer, on_timer, timeout_ms, 0) == 0);
    else
        CHECK(uv_timer_stop(&server->timer) == 0);
}

static void run(struct server *server)
{
    enum turn_part before;

    if (server->closing)
        return;
    before = turn_part(TURN_HTTP);
    CHECK(MHD_run(server->daemon) == MHD_YES);
    metrics_page_forget(server->http);
    set_timer(server);
    turn_part(before);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    run(poll->data);
}

/* ---- requests ---- */

static void link_pending(struct request *request)
{
    struct http *http = request->http;

    request->next = http->pending;
    request->prev = &http->pending;
    if (request->next != NULL)
        request->next->prev = &request->next;
    http->pending = request;
}

static void unlink_pending(struct request *request)
{
    *request->prev = request->next;
    if (request->next != NULL)
        request->next->prev = request->prev;
}

void request_answer(struct request *request)
{
    CHECK(!request->answered);
    request->answered = true;
    if (!request->suspended)
        return;
    request->suspended = false;
    unlink_pending(request);
    MHD_resume_connection(request->connection);
    /* A daemon that doesn't listen isn't woken by that. */
    run_soon(&request->http->servers[request->surface]);
}

static struct request *new_request(struct server *server,
                                   struct MHD_Connection *connection,
                                   const char *url, const char *method)
{
    struct request *request = mem_zalloc(sizeof(*request));

    request->http = server->http;
    request->surface = server->surface;
    request->connection = connection;
    request->path = url;
    request->method = method;
    return request;
}

/* Called with the headers, then with each piece of a body, then at its end,
 * and once more when a suspended connection goes on. */
static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection,
                                  const char *url, const char *method,
                                  const char *version, const char *upload,
                                  size_t *upload_len, void **state)
{
    struct request *request = *state;

    (void)version;
    (void)upload;
    if (request == NULL) {
        *state = new_request(arg, connection, url, method);
        return MHD_YES;
    }
    if (*upload_len > 0) {
        /* Nothing here reads a body. One that goes on and on ends the
         * connection. */
        request->received += *upload_len;
        *upload_len = 0;
        return request->received <= BODY_MAX ? MHD_YES : MHD_NO;
    }
    if (!request->answered)
        routes_run(request);
    if (request->answered)
        return reply_send(request);
    MHD_suspend_connection(connection);
    request->suspended = true;
    link_pending(request);
    return MHD_YES;
}

static void on_completed(void *arg, struct MHD_Connection *connection,
                         void **state, enum MHD_RequestTerminationCode code)
{
    struct request *request = *state;

    (void)arg;
    (void)connection;
    (void)code;
    if (request == NULL)
        return;
    health_drop(request);
    buf_close(&request->body);
    shared_unref(request->shared_body);
    free(request);
    *state = NULL;
}

/* ---- open and close ---- */

static void open_server(struct server *server, struct http *http,
                        enum http_surface surface)
{
    const union MHD_DaemonInfo *info;
    uv_loop_t *loop = node_loop(http->config.node);

    server->http = http;
    server->surface = surface;
    server->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME, 0,
        NULL, NULL, on_request, server, MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, server, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        CONNECTION_BYTES, MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_END);
    CHECK(server->daemon != NULL);
    info = MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    CHECK(info != NULL);
    CHECK(uv_poll_init(loop, &server->poll, info->epoll_fd) == 0);
    server->poll.data = server;
    CHECK(uv_poll_start(&server->poll, UV_READABLE, on_poll) == 0);
    CHECK(uv_timer_init(loop, &server->timer) == 0);
    server->timer.data = server;
}

struct http *http_open(const struct http_config *config)
{
    struct http *http = mem_zalloc(sizeof(*http));

    http->config = *config;
    CHECK(mvcc_reader_open(node_mvcc(config->node), &http->reader) == 0);
    metrics_page_open();
    health_metrics_open();
    open_server(&http->servers[HTTP_CLIENT], http, HTTP_CLIENT);
    open_server(&http->servers[HTTP_METRICS], http, HTTP_METRICS);
    return http;
}

void http_add_connection(struct http *http, enum http_surface surface, int fd)
{
    struct server *server = &http->servers[surface];

    if (server->closing) {
        close(fd);
        return;
    }
    /* The address isn't looked at, a unix socket has none. Where it fails,
     * the socket has been closed. */
    if (MHD_add_connection(server->daemon, fd, NULL, 0) != MHD_YES)
        log_warn("refused an HTTP connection");
    run_soon(server);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct server *server = handle->data;
    struct http *http = server->http;
    void (*closed)(void *arg) = http->closed;
    void *arg = http->closed_arg;

    if (--http->handles > 0)
        return;
    free(http);
    closed(arg);
}

/* libmicrohttpd can't be stopped with connections suspended. They end without
 * an answer. */
static void resume_pending(struct http *http)
{
    while (http->pending != NULL) {
        struct request *request = http->pending;

        unlink_pending(request);
        request->suspended = false;
        MHD_resume_connection(request->connection);
    }
}

static void close_server(struct server *server)
{
    struct http *http = server->http;

    server->closing = true;
    MHD_stop_daemon(server->daemon);
    http->handles += 2;
    uv_close((uv_handle_t *)&server->poll, on_handle_closed);
    uv_close((uv_handle_t *)&server->timer, on_handle_closed);
}

void http_close(struct http *http, void (*closed)(void *arg), void *arg)
{
    http->closed = closed;
    http->closed_arg = arg;
    resume_pending(http);
    for (int i = 0; i < SERVERS; i++)
        close_server(&http->servers[i]);
    mvcc_reader_close(http->reader);
}
