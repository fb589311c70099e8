/* /metrics */
#ifndef CHORAD_HTTP_METRICS_PAGE_H
#define CHORAD_HTTP_METRICS_PAGE_H

#include "server.h"

/* Registers what belongs to the process and what is only there because those
 * who read the page look for it. */
void metrics_page_open(void);

void metrics_page_run(struct request *request);

/* Requests that are found waiting together get the same page, so that a crowd
 * of them costs the loop no more than one. To be called when all of them have
 * been looked at. */
void metrics_page_forget(struct http *http);

#endif
