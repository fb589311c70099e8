/* From an answered request to the bytes of its answer. */
#ifndef CHORAD_HTTP_REPLY_H
#define CHORAD_HTTP_REPLY_H

#include "server.h"

/* Queues the answer; the body goes with it. */
enum MHD_Result reply_send(struct request *request);

#endif
