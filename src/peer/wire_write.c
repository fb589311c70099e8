#include "wire.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* Names with the capitals that Go gives them. */

static void put_identity(struct buf *out, const struct wire_identity *self)
{
    /* Who isn't a member yet has nothing to say. */
    if (self->member_id == 0)
        return;
    buf_printf(out,
               "X-Server-From: %" PRIx64 "\r\n"
               "X-Server-Version: %s\r\n"
               "X-Min-Cluster-Version: %s\r\n"
               "X-Etcd-Cluster-Id: %" PRIx64 "\r\n",
               self->member_id, self->version, self->min_version,
               self->cluster_id);
    if (self->peer_urls)
        buf_printf(out, "X-Peerurls: %s\r\n", self->peer_urls);
}

/* Values come from clients, too: none may end its line. */
static void put_header(struct buf *out, const char *name, const char *value)
{
    if (value && !strpbrk(value, "\r\n"))
        buf_printf(out, "%s: %s\r\n", name, value);
}

void wire_put_request(struct buf *out, const struct wire_identity *self,
                      const struct wire_request *request)
{
    buf_printf(out,
               "%s %s HTTP/1.1\r\n"
               "Host: %s\r\n"
               "User-Agent: chorad\r\n",
               request->method, request->path, request->host);
    put_identity(out, self);
    if (request->raft_to != 0)
        buf_printf(out, "X-Raft-To: %" PRIx64 "\r\n", request->raft_to);
    put_header(out, "Content-Type", request->content_type);
    put_header(out, "Authorization", request->authorization);
    if (request->body_len == WIRE_CHUNKED)
        buf_printf(out, "Transfer-Encoding: chunked\r\n");
    else if (request->body_len != WIRE_NO_BODY)
        buf_printf(out, "Content-Length: %" PRId64 "\r\n", request->body_len);
    buf_printf(out, "\r\n");
}

static void put_status(struct buf *out, const struct wire_identity *self,
                       unsigned status)
{
    char date[64];
    time_t now = time(NULL);
    struct tm tm;

    (void)gmtime_r(&now, &tm);
    (void)strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
    buf_printf(out,
               "HTTP/1.1 %u %s\r\n"
               "Date: %s\r\n"
               "X-Etcd-Cluster-Id: %" PRIx64 "\r\n",
               status, http_status_str((enum http_status)status), date,
               self->cluster_id);
}

void wire_put_answer(struct buf *out, const struct wire_identity *self,
                     const struct wire_answer *answer)
{
    const char *type = answer->content_type;

    put_status(out, self, answer->status);
    if (answer->with_version)
        put_header(out, "X-Server-Version", self->version);
    put_header(out, "Content-Type", type);
    put_header(out, "Allow", answer->allow);
    if (type && answer->status >= 400 && strncmp(type, "text/plain", 10) == 0)
        buf_printf(out, "X-Content-Type-Options: nosniff\r\n");
    if (!answer->keep_alive)
        buf_printf(out, "Connection: close\r\n");
    if (answer->status != 204)
        buf_printf(out, "Content-Length: %zu\r\n", answer->body.len);
    buf_printf(out, "\r\n");
    if (answer->status != 204 && !answer->head_only)
        buf_append(out, answer->body.data, answer->body.len);
}

void wire_put_stream_head(struct buf *out, const struct wire_identity *self)
{
    put_status(out, self, 200);
    buf_printf(out,
               "X-Server-Version: %s\r\n"
               "Transfer-Encoding: chunked\r\n\r\n",
               self->version);
}

void wire_put_chunk_head(uint8_t *p, size_t len)
{
    char line[WIRE_CHUNK_HEAD + 1];

    (void)snprintf(line, sizeof(line), "%08zx\r\n", len & 0xffffffff);
    memcpy(p, line, WIRE_CHUNK_HEAD);
}
