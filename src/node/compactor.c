#include "node.h"
#include <stdlib.h>
#include <string.h>

#define HOUR_NS UINT64_C(3600000000000)
#define REVISION_EVERY_NS UINT64_C(300000000000)
/* A periodic compactor looks ten times an interval. */
#define LOOKS 10

/* Periodic: revisions are noted LOOKS times an interval (the retention, or an
 * hour if that is shorter), and the one that is as old as the retention is
 * compacted to once an interval. Revision: every five minutes, to so many
 * behind the current one. (Source: etcd's v3compactor.) */
struct compactor {
    enum node_compact_mode mode;
    int64_t retention;
    uint64_t every_ns;
    uint64_t next_ns;

    int64_t *revs; /* oldest first */
    size_t len;
    size_t cap;
    uint64_t interval_ns;
    uint64_t first_ns; /* nothing before a whole retention has passed */
    uint64_t last_success_ns;
    int64_t last_rev;
    int64_t asked_rev;
    uint64_t asked_ns;
};

struct compactor *node_compactor_new(enum node_compact_mode mode,
                                     int64_t retention, uint64_t now_ns)
{
    struct compactor *c;
    uint64_t period = (uint64_t)retention;

    if (retention <= 0)
        return NULL;
    c = mem_zalloc(sizeof(*c));
    c->mode = mode;
    c->retention = retention;
    c->last_success_ns = now_ns;
    c->every_ns = REVISION_EVERY_NS;
    if (mode == NODE_COMPACT_PERIODIC) {
        c->interval_ns = period < HOUR_NS ? period : HOUR_NS;
        c->first_ns = period;
        c->every_ns = c->interval_ns / LOOKS ? c->interval_ns / LOOKS : 1;
        c->cap = (size_t)(period / c->every_ns) + 1;
        c->revs = mem_alloc((c->cap + 1) * sizeof(int64_t));
        c->next_ns = now_ns; /* the first revision is noted at once */
    } else {
        c->next_ns = now_ns + c->every_ns;
    }
    return c;
}

void node_compactor_free(struct compactor *c)
{
    if (!c)
        return;
    free(c->revs);
    free(c);
}

static void note_revision(struct compactor *c, int64_t revision)
{
    if (c->len == c->cap) {
        memmove(c->revs, c->revs + 1, (c->len - 1) * sizeof(int64_t));
        c->len--;
    }
    c->revs[c->len++] = revision;
}

static int64_t periodic_due(struct compactor *c, uint64_t now_ns,
                            int64_t revision)
{
    uint64_t wait_ns = c->first_ns ? c->first_ns : c->interval_ns;
    int64_t rev = c->len > 0 ? c->revs[0] : 0;
    bool due = c->len > 0 && now_ns - c->last_success_ns >= wait_ns &&
               rev != c->last_rev;

    note_revision(c, revision);
    if (!due)
        return 0;
    c->first_ns = 0;
    return rev;
}

int64_t node_compactor_due(struct compactor *c, uint64_t now_ns,
                           int64_t revision)
{
    int64_t rev;

    if (!c || now_ns < c->next_ns)
        return 0;
    c->next_ns = now_ns + c->every_ns;
    if (c->mode == NODE_COMPACT_PERIODIC) {
        rev = periodic_due(c, now_ns, revision);
    } else {
        rev = revision - c->retention;
        if (rev <= 0 || rev == c->last_rev)
            rev = 0;
    }
    c->asked_rev = rev;
    c->asked_ns = now_ns;
    return rev;
}

void node_compactor_done(struct compactor *c, bool ok)
{
    if (!c || !ok)
        return;
    c->last_rev = c->asked_rev;
    c->last_success_ns = c->asked_ns;
}
