#include "reply.h"
#include "chorad/base/check.h"

#include <stdlib.h>
#include <string.h>

static void add_header(struct MHD_Response *response, const char *name,
                       const char *value)
{
    CHECK(MHD_add_response_header(response, name, value) == MHD_YES);
}

static void add_headers(struct MHD_Response *response,
                        const struct request *request)
{
    if (request->content_type != NULL)
        add_header(response, "Content-Type", request->content_type);
    if (request->nosniff)
        add_header(response, "X-Content-Type-Options", "nosniff");
    if (request->allow != NULL)
        add_header(response, "Allow", request->allow);
    if (request->origin == NULL)
        return;
    add_header(response, "Access-Control-Allow-Methods",
               "POST, GET, OPTIONS, PUT, DELETE");
    add_header(response, "Access-Control-Allow-Origin", request->origin);
    add_header(response, "Access-Control-Allow-Headers",
               "accept, content-type, authorization");
}

static void free_shared(void *body)
{
    shared_unref(body);
}

/* The body is the response's from here on. */
static struct MHD_Response *new_response(struct request *request)
{
    struct shared *shared = request->shared_body;
    struct buf body = request->body;

    request->shared_body = NULL;
    request->body = (struct buf){0};
    return shared != NULL
               ? MHD_create_response_from_buffer_with_free_callback_cls(
                     shared->len, shared->data, free_shared, shared)
               : MHD_create_response_from_buffer_with_free_callback(
                     body.len, body.data, free);
}

enum MHD_Result reply_send(struct request *request)
{
    struct MHD_Response *response = new_response(request);
    enum MHD_Result result;

    CHECK(response != NULL);
    add_headers(response, request);
    result = MHD_queue_response(request->connection, request->status, response);
    MHD_destroy_response(response);
    return result;
}

void request_error(struct request *request, unsigned status, const char *text)
{
    request->status = status;
    request->content_type = "text/plain; charset=utf-8";
    request->nosniff = true;
    buf_printf(&request->body, "%s\n", text);
    request_answer(request);
}

void request_not_found(struct request *request)
{
    request_error(request, MHD_HTTP_NOT_FOUND, "404 page not found");
}
