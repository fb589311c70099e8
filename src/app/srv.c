#include "srv.h"

#include <arpa/nameser.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <resolv.h>
#include <stdlib.h>

#include "chorad/base/mem.h"

/* Priority, weight and port, two bytes each, stand before the name. */
#define PORT_AT 4
#define HOST_AT 6

void srv_add(struct srv_targets *targets, const char *host, uint16_t port)
{
    targets->items =
        mem_realloc(targets->items, (targets->n + 1) * sizeof(*targets->items));
    targets->items[targets->n++] =
        (struct srv_target){.host = mem_strdup(host), .port = port};
}

void srv_close(struct srv_targets *targets)
{
    for (size_t i = 0; i < targets->n; i++)
        free(targets->items[i].host);
    free(targets->items);
    *targets = (struct srv_targets){0};
}

static int read_record(const ns_msg *answer, const ns_rr *record,
                       struct srv_targets *targets)
{
    const unsigned char *data = ns_rr_rdata(*record);
    char host[NS_MAXDNAME];

    if (ns_rr_type(*record) != ns_t_srv)
        return 0;
    if (ns_rr_rdlen(*record) <= HOST_AT ||
        dn_expand(ns_msg_base(*answer), ns_msg_end(*answer), data + HOST_AT,
                  host, sizeof(host)) < 0)
        return ERR_MALFORMED;
    srv_add(targets, host, (uint16_t)ns_get16(data + PORT_AT));
    return 0;
}

int srv_read(const unsigned char *answer, size_t len,
             struct srv_targets *targets)
{
    ns_msg msg;
    int rc = 0;

    if (len > NS_MAXMSG || ns_initparse(answer, (int)len, &msg) < 0)
        return ERR_MALFORMED;
    for (int i = 0; i < ns_msg_count(msg, ns_s_an) && rc == 0; i++) {
        ns_rr record;

        rc = ns_parserr(&msg, ns_s_an, i, &record) < 0
                 ? ERR_MALFORMED
                 : read_record(&msg, &record, targets);
    }
    return rc;
}

static const char *reason(int code)
{
    switch (code) {
    case HOST_NOT_FOUND:
    case NO_DATA:
        return "no such host";
    case TRY_AGAIN:
        return "no name server answers";
    default:
        return "server misbehaving";
    }
}

int srv_lookup(const char *name, struct srv_targets *targets,
               struct errmsg *msg)
{
    struct __res_state state = {0};
    unsigned char *answer;
    int len;
    int rc = 0;

    if (res_ninit(&state) < 0)
        return err_set(msg, ERR_IO, "lookup %s: no resolver", name);
    answer = mem_alloc(NS_MAXMSG);
    len = res_nsearch(&state, name, ns_c_in, ns_t_srv, answer, NS_MAXMSG);
    if (len < 0)
        rc = err_set(msg, ERR_NOTFOUND, "lookup %s: %s", name,
                     reason(state.res_h_errno));
    else if (len > NS_MAXMSG || srv_read(answer, (size_t)len, targets) != 0)
        rc = err_set(msg, ERR_NOTFOUND, "lookup %s: %s", name,
                     reason(NO_RECOVERY));
    free(answer);
    res_nclose(&state);
    return rc;
}
