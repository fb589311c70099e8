#include "metrics_page.h"
#include "absent.h"
#include "chorad/base/metrics.h"
#include "process.h"

#include <string.h>

static struct metric *in_flight;
static struct metric *served;

static struct metric *count_code(const char *code)
{
    struct metric_label label = {"code", code};

    return metric_counter("promhttp_metric_handler_requests_total",
                          "Scrapes, by HTTP status.", &label, 1);
}

void metrics_page_open(void)
{
    process_metrics_open();
    absent_metrics_open();
    in_flight = metric_gauge("promhttp_metric_handler_requests_in_flight",
                             "Scrapes under way.", NULL, 0);
    served = count_code("200");
    count_code("500");
    count_code("503");
}

static struct shared *print_page(void)
{
    struct buf text = {0};
    struct shared *page;

    metric_set(in_flight, 1);
    process_metrics_update();
    metrics_print(&text);
    metric_set(in_flight, 0);
    page = shared_new(text.len);
    memcpy(page->data, text.data, text.len);
    buf_close(&text);
    return page;
}

void metrics_page_run(struct request *request)
{
    struct http *http = request->http;

    if (http->page == NULL)
        http->page = print_page();
    metric_inc(served);
    request->shared_body = shared_ref(http->page);
    request->status = MHD_HTTP_OK;
    request->content_type =
        "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
    request_answer(request);
}

void metrics_page_forget(struct http *http)
{
    shared_unref(http->page);
    http->page = NULL;
}
