/* The registry's shape, shared by metrics.c, which fills it, and
 * metrics_text.c, which prints it. Private to base. */
#ifndef CHORAD_BASE_METRICS_REGISTRY_H
#define CHORAD_BASE_METRICS_REGISTRY_H

#include "chorad/base/metrics.h"

struct metric_histogram {
    _Atomic double sum;
    size_t n_bounds;
    const double *bounds;
    /* One per bound and one for what is above the last, not cumulative. */
    atomic_uint_fast64_t counts[];
};

/* A series and its labels. On cache lines of its own: series are counted by
 * different threads at once. */
struct series {
    _Alignas(64) struct metric metric;
    struct metric_histogram *histogram;
    metric_read_cb read;
    void *read_arg;
    bool forgotten; /* its reader is gone: not printed */
    struct series *next;
    size_t n_labels;
    struct metric_label *labels;
    char *label_text; /* `a="x",b="y"`, escaped, made once */
};

/* Series are linked in the order they are printed in. */
struct family {
    const char *name;
    const char *help;
    enum metric_type type;
    struct series *series;
    struct family *next;
};

/* `a="x",b="y"`, to be freed. */
char *metrics_label_text(const struct metric_label *labels, size_t n);

void metrics_print_family(struct buf *out, const struct family *family);

#endif
