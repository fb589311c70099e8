/* /version and /debug/vars. */
#include "process.h"
#include "server.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>

void info_version(struct request *request)
{
    request->status = MHD_HTTP_OK;
    request->content_type = "application/json";
    node_put_version(request->http->config.node, &request->body);
    request_answer(request);
}

static void put_json_string(struct buf *out, const char *text)
{
    buf_append(out, "\"", 1);
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < 0x20)
            buf_printf(out, "\\u%04x", (unsigned)*text);
        else if (*text == '"' || *text == '\\')
            buf_printf(out, "\\%c", *text);
        else
            buf_append(out, text, 1);
    }
    buf_append(out, "\"", 1);
}

static void put_command_line(struct buf *out)
{
    struct buf args = {0};
    const char *separator = "";

    process_read("/proc/self/cmdline", &args);
    buf_printf(out, "\"cmdline\": [");
    for (size_t at = 0; at + 1 < args.len;) {
        const char *arg = (const char *)args.data + at;

        buf_printf(out, "%s", separator);
        put_json_string(out, arg);
        separator = ",";
        at += strlen(arg) + 1;
    }
    buf_printf(out, "],\n");
    buf_close(&args);
}

/* Of Go's memory statistics those that mean something for a program in C. */
static void put_memory(struct buf *out)
{
    struct mallinfo2 info = mallinfo2();

    buf_printf(out,
               "\"memstats\": {\"Alloc\":%zu,\"Sys\":%zu,\"HeapAlloc\":%zu,"
               "\"HeapSys\":%zu,\"HeapIdle\":%zu,\"HeapInuse\":%zu},\n",
               info.uordblks + info.hblkhd, info.arena + info.hblkhd,
               info.uordblks + info.hblkhd, info.arena + info.hblkhd,
               info.fordblks, info.uordblks + info.hblkhd);
}

static void put_raft(struct buf *out, const struct node_status *status)
{
    buf_printf(out,
               "\"raft.status\": {\"id\":\"%" PRIx64 "\",\"term\":%" PRIu64
               ",\"commit\":%" PRIu64 ",\"lead\":\"%" PRIx64
               "\",\"raftState\":\"%s\",\"applied\":%" PRIu64 "}\n",
               status->member_id, status->raft_term, status->raft_index,
               status->leader,
               status->is_leader ? "StateLeader" : "StateFollower",
               status->applied_index);
}

void info_vars(struct request *request)
{
    struct node_status status = node_status(request->http->config.node);
    struct buf *out = &request->body;

    request->status = MHD_HTTP_OK;
    request->content_type = "application/json; charset=utf-8";
    buf_printf(out, "{\n");
    put_command_line(out);
    buf_printf(out, "\"file_descriptor_limit\": %" PRIu64 ",\n",
               process_fd_limit());
    put_memory(out);
    put_raft(out, &status);
    buf_printf(out, "}\n");
    request_answer(request);
}
