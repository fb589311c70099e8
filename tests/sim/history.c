#include "history.h"
#include "chorad/base/mem.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_S UINT64_C(1000000000)

static char text[512];

static const char *wrong(const char *fmt, ...)
    __attribute__((format(printf, 1, 2)));

static const char *wrong(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    return text;
}

static const char *op_text(const struct history_op *op)
{
    static const char *const names[] = {"put",  "delete", "pair",
                                        "swap", "read",   "stale read"};
    static char out[2][200];
    static int turn;
    char *at = out[turn = !turn];

    snprintf(at, sizeof(out[0]),
             "%s of client %u, key %u, value %" PRIu64 ", rev %" PRId64
             ", %.6f to %.6f",
             names[op->kind], op->client, op->key, op->value, op->rev,
             (double)op->start_ns * 1e-9, (double)op->end_ns * 1e-9);
    return at;
}

/* ---- the truth ---------------------------------------------------------- */

/* Revisions without gaps, and the numbers of each key as they should be. */
static const char *judge_events(const struct history *h)
{
    struct history_event last[HISTORY_KEYS] = {0};
    int64_t rev = 1;

    for (size_t i = 0; i < h->event_count; i++) {
        const struct history_event *e = &h->events[i];
        struct history_event *before = &last[e->key];
        bool there = before->rev != 0 && before->value != 0;

        if (e->rev != rev && e->rev != rev + 1)
            return wrong("revision %" PRId64 " follows %" PRId64, e->rev, rev);
        rev = e->rev;
        if (e->mod_rev != e->rev)
            return wrong("mod_revision %" PRId64 " at %" PRId64, e->mod_rev,
                         e->rev);
        if (e->value == 0 && !there)
            return wrong("key %u deleted at %" PRId64 ", where it wasn't",
                         e->key, e->rev);
        if (e->value != 0 &&
            (e->version != (there ? before->version + 1 : 1) ||
             e->create_rev != (there ? before->create_rev : e->rev)))
            return wrong("key %u at %" PRId64 ": version %" PRId64
                         ", created %" PRId64,
                         e->key, e->rev, e->version, e->create_rev);
        *before = *e;
    }
    return NULL;
}

/* The events of a revision: the first and how many. */
static const struct history_event *at_rev(const struct history *h, int64_t rev,
                                          size_t *n)
{
    size_t lo = 0;
    size_t hi = h->event_count;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (h->events[mid].rev < rev)
            lo = mid + 1;
        else
            hi = mid;
    }
    *n = 0;
    while (lo + *n < h->event_count && h->events[lo + *n].rev == rev)
        ++*n;
    return &h->events[lo];
}

/* ---- writes ------------------------------------------------------------- */

static bool writes_values(const struct history_op *op)
{
    return op->kind == HISTORY_PUT || op->kind == HISTORY_PAIR ||
           op->kind == HISTORY_SWAP;
}

/* Are the events just what the request does? */
static bool is_effect(const struct history_op *op,
                      const struct history_event *e, size_t n)
{
    if (op->kind == HISTORY_DELETE)
        return n == 1 && e[0].key == op->key && e[0].value == 0;
    if (op->kind == HISTORY_PAIR)
        return n == 2 && e[0].key == op->key && e[1].key == op->key2 &&
               e[0].value == op->value && e[1].value == op->value;
    return n == 1 && e[0].key == op->key && e[0].value == op->value &&
           e[0].lease == op->lease;
}

static bool is_write(const struct history_op *op)
{
    return op->end_ns != 0 && !op->refused &&
           (op->kind == HISTORY_PUT || op->kind == HISTORY_PAIR ||
            ((op->kind == HISTORY_SWAP || op->kind == HISTORY_DELETE) &&
             op->done));
}

/* The key's newest event at or before the revision; NULL: none. */
static const struct history_event *key_at(const struct history *h, unsigned key,
                                          int64_t rev)
{
    const struct history_event *found = NULL;
    size_t n;
    const struct history_event *end = at_rev(h, rev + 1, &n);

    for (const struct history_event *e = end; e-- > h->events;)
        if (e->key == key) {
            found = e;
            break;
        }
    return found;
}

static bool matches(const struct history_event *e,
                    const struct history_seen *seen)
{
    bool there = e && e->value != 0;

    if (!there || seen->value == 0)
        return !there && seen->value == 0;
    return e->value == seen->value && e->mod_rev == seen->mod_rev &&
           e->version == seen->version;
}

static const char *judge_write(const struct history *h,
                               const struct history_op *op)
{
    size_t n;
    const struct history_event *e = at_rev(h, op->rev, &n);

    if (!is_effect(op, e, n))
        return wrong("acknowledged, but not there: %s", op_text(op));
    if (op->kind == HISTORY_SWAP) {
        const struct history_event *before = key_at(h, op->key, op->rev - 1);
        int64_t mod = before && before->value != 0 ? before->mod_rev : 0;
        if (mod != op->expect)
            return wrong("swapped against %" PRId64 ", expected %" PRId64
                         ": %s",
                         mod, op->expect, op_text(op));
    }
    return NULL;
}

/* ---- reads -------------------------------------------------------------- */

static const char *judge_read(const struct history *h,
                              const struct history_op *op)
{
    for (unsigned key = 0; key < HISTORY_KEYS; key++)
        if (!matches(key_at(h, key, op->rev), &op->seen[key]))
            return wrong("key %u read as %" PRIu64 " (mod %" PRId64
                         "), which it wasn't at that revision: %s",
                         key, op->seen[key].value, op->seen[key].mod_rev,
                         op_text(op));
    return NULL;
}

/* A swap that wasn't, a deletion of nothing: a look at one key. */
static const char *judge_look(const struct history *h,
                              const struct history_op *op)
{
    const struct history_event *e = key_at(h, op->key, op->rev);
    int64_t mod = e && e->value != 0 ? e->mod_rev : 0;
    bool right = op->kind == HISTORY_SWAP ? mod != op->expect : mod == 0;

    return right ? NULL : wrong("should have been done: %s", op_text(op));
}

static const char *judge_answers(const struct history *h)
{
    const char *fault = NULL;

    for (size_t i = 0; i < h->op_count && !fault; i++) {
        const struct history_op *op = &h->ops[i];
        if (op->end_ns == 0 || op->refused)
            continue;
        if (is_write(op))
            fault = judge_write(h, op);
        else if (op->kind == HISTORY_READ || op->kind == HISTORY_STALE_READ)
            fault = judge_read(h, op);
        else
            fault = judge_look(h, op);
    }
    return fault;
}

/* ---- nothing else is there ---------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    const struct history_op *x = *(const struct history_op *const *)a;
    const struct history_op *y = *(const struct history_op *const *)b;

    return x->value < y->value ? -1 : x->value > y->value;
}

static const struct history_op *writer_of(const struct history_op **ops,
                                          size_t n, uint64_t value)
{
    struct history_op key = {.value = value};
    const struct history_op *wanted = &key;
    const struct history_op **found =
        bsearch(&wanted, ops, n, sizeof(*ops), by_value);

    return found ? *found : NULL;
}

/* Who may have deleted the key at this revision: an answered deletion says so,
 * one without an answer may have, and so may the end of the lease it was
 * attached to. */
static bool has_deleter(const struct history *h, const struct history_event *e)
{
    const struct history_event *before = key_at(h, e->key, e->rev - 1);

    if (before && before->lease != 0)
        return true;
    for (size_t i = 0; i < h->op_count; i++) {
        const struct history_op *op = &h->ops[i];
        if (op->kind == HISTORY_DELETE && op->key == e->key &&
            (op->end_ns == 0 ? op->start_ns <= e->seen_ns : op->rev == e->rev))
            return true;
    }
    return false;
}

static const char *judge_origins(const struct history *h)
{
    const struct history_op **ops = mem_alloc((h->op_count + 1) * sizeof(*ops));
    bool *used = mem_zalloc(h->op_count + 1);
    const char *fault = NULL;
    size_t n = 0;

    for (size_t i = 0; i < h->op_count; i++)
        if (writes_values(&h->ops[i]))
            ops[n++] = &h->ops[i];
    qsort(ops, n, sizeof(*ops), by_value);
    for (size_t i = 0; i < h->event_count && !fault;) {
        const struct history_event *e = &h->events[i];
        size_t count;
        (void)at_rev(h, e->rev, &count);
        i += count;
        if (e->value == 0) {
            if (!has_deleter(h, e))
                fault = wrong("key %u deleted at %" PRId64
                              " though nobody asked for that",
                              e->key, e->rev);
            continue;
        }
        const struct history_op *op = writer_of(ops, n, e->value);
        if (!op || !is_effect(op, e, count))
            fault =
                wrong("value %" PRIu64 " at %" PRId64 ", which nobody wrote so",
                      e->value, e->rev);
        else if (used[op - h->ops])
            fault = wrong("written twice, again at %" PRId64 ": %s", e->rev,
                          op_text(op));
        else if (op->start_ns > e->seen_ns)
            fault = wrong("there before it was asked for: %s", op_text(op));
        else if (op->end_ns != 0 && !is_write(op))
            fault = wrong("said not to be done, but it was: %s", op_text(op));
        if (!fault)
            used[op - h->ops] = true;
    }
    free(ops);
    free(used);
    return fault;
}

/* ---- time --------------------------------------------------------------- */

/* An operation's place in the order of all, and its time. */
struct place {
    const struct history_op *op;
    int64_t rev;
    bool write;
};

static int by_start(const void *a, const void *b)
{
    const struct place *x = a;
    const struct place *y = b;

    return x->op->start_ns < y->op->start_ns
               ? -1
               : x->op->start_ns > y->op->start_ns;
}

static int by_end(const void *a, const void *b)
{
    const struct place *x = a;
    const struct place *y = b;

    return x->op->end_ns < y->op->end_ns ? -1 : x->op->end_ns > y->op->end_ns;
}

static size_t collect(const struct history *h, struct place *out)
{
    size_t n = 0;

    for (size_t i = 0; i < h->op_count; i++) {
        const struct history_op *op = &h->ops[i];
        if (op->end_ns != 0 && !op->refused && op->kind != HISTORY_STALE_READ)
            out[n++] = (struct place){op, op->rev, is_write(op)};
    }
    return n;
}

static const char *judge_time(const struct history *h)
{
    struct place *starts = mem_alloc((h->op_count + 1) * sizeof(*starts));
    size_t n = collect(h, starts);
    struct place *ends = mem_alloc((n + 1) * sizeof(*ends));
    const struct place *newest = NULL; /* of what has ended */
    const char *fault = NULL;
    size_t ended = 0;

    memcpy(ends, starts, n * sizeof(*ends));
    qsort(starts, n, sizeof(*starts), by_start);
    qsort(ends, n, sizeof(*ends), by_end);
    for (size_t i = 0; i < n && !fault; i++) {
        const struct place *p = &starts[i];
        for (; ended < n && ends[ended].op->end_ns < p->op->start_ns; ended++)
            if (!newest || ends[ended].rev > newest->rev)
                newest = &ends[ended];
        if (newest && (p->write ? p->rev <= newest->rev : p->rev < newest->rev))
            fault = wrong("began after the other had ended, but comes before "
                          "it: %s; the other: %s",
                          op_text(p->op), op_text(newest->op));
    }
    free(starts);
    free(ends);
    return fault;
}

/* ---- leases ------------------------------------------------------------- */

static const struct history_lease *find_lease(const struct history *h,
                                              int64_t id)
{
    for (size_t i = 0; i < h->lease_count; i++)
        if (h->leases[i].id == id)
            return &h->leases[i];
    return NULL;
}

/* When its keys were seen to be deleted, by no request; 0: never. */
static uint64_t lease_end(const struct history *h, int64_t id)
{
    for (size_t i = 0; i < h->event_count; i++) {
        const struct history_event *e = &h->events[i];
        const struct history_event *before;
        bool asked = false;
        if (e->value != 0)
            continue;
        before = key_at(h, e->key, e->rev - 1);
        if (!before || before->lease != id)
            continue;
        for (size_t j = 0; j < h->op_count && !asked; j++) {
            const struct history_op *op = &h->ops[j];
            asked = op->kind == HISTORY_DELETE && op->key == e->key &&
                    (op->end_ns == 0 || op->rev == e->rev);
        }
        if (!asked)
            return e->seen_ns;
    }
    return 0;
}

/* Until when the lease was promised at least, by what was answered before. */
static uint64_t promised(const struct history *h, int64_t id, uint64_t before)
{
    uint64_t until = 0;

    for (size_t i = 0; i < h->renewal_count; i++) {
        const struct history_renewal *r = &h->renewals[i];
        uint64_t to = r->start_ns + (uint64_t)r->ttl_s * NS_PER_S;
        if (r->id == id && r->found && r->end_ns <= before && to > until)
            until = to;
    }
    return until;
}

static const char *judge_renewal(const struct history *h,
                                 const struct history_renewal *r)
{
    const struct history_lease *lease = find_lease(h, r->id);

    if (r->found && lease->gone_ns != 0 && lease->gone_ns < r->start_ns)
        return wrong("lease %" PRId64 " was renewed at %.6f, after its end was "
                     "acknowledged at %.6f",
                     r->id, (double)r->start_ns * 1e-9,
                     (double)lease->gone_ns * 1e-9);
    if (lease->revoked_ns != 0 && lease->revoked_ns < r->end_ns)
        return NULL;
    if (r->found || lease->granted_ns == 0)
        return NULL;
    if (r->end_ns < promised(h, r->id, r->start_ns))
        return wrong("lease %" PRId64 " was said to be unknown at %.6f, but "
                     "was promised until %.6f",
                     r->id, (double)r->end_ns * 1e-9,
                     (double)promised(h, r->id, r->start_ns) * 1e-9);
    return NULL;
}

static const char *judge_leases(const struct history *h)
{
    const char *fault = NULL;

    for (size_t i = 0; i < h->renewal_count && !fault; i++)
        fault = judge_renewal(h, &h->renewals[i]);
    for (size_t i = 0; i < h->lease_count && !fault; i++) {
        const struct history_lease *lease = &h->leases[i];
        uint64_t end = lease_end(h, lease->id);
        if (end == 0 || (lease->revoked_ns != 0 && lease->revoked_ns <= end))
            continue;
        uint64_t until = promised(h, lease->id, UINT64_MAX);
        if (end < until)
            fault = wrong("lease %" PRId64 " ended at %.6f, but was promised "
                          "until %.6f",
                          lease->id, (double)end * 1e-9, (double)until * 1e-9);
    }
    return fault;
}

/* ---- the whole ---------------------------------------------------------- */

const char *history_judge(const struct history *h)
{
    const char *fault = judge_events(h);

    if (!fault)
        fault = judge_answers(h);
    if (!fault)
        fault = judge_origins(h);
    if (!fault)
        fault = judge_time(h);
    if (!fault)
        fault = judge_leases(h);
    return fault;
}
