/* The metrics registry: counters, gauges and histograms with labels, printed
 * in Prometheus' text format 0.0.4, families sorted by name, labels by name.
 *
 * Families and series live for the whole process. Registering is done at
 * start (takes a lock); changing a value is lock-free from any thread. */
#ifndef CHORAD_BASE_METRICS_H
#define CHORAD_BASE_METRICS_H

#include "chorad/base/mem.h"
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum metric_type {
    METRIC_COUNTER,
    METRIC_GAUGE,
    METRIC_HISTOGRAM,
    METRIC_SUMMARY,
};

/* One series of a counter or gauge. */
struct metric {
    _Atomic double value;
};

struct metric_histogram;

struct metric_label {
    const char *name;
    const char *value;
};

/* The series of that name and those labels, made if it isn't there yet.
 * `name` and `help` are literals; label values are copied. The labels are
 * given sorted by name. The pointer stays valid. */
struct metric *metric_counter(const char *name, const char *help,
                              const struct metric_label *labels, size_t n);
struct metric *metric_gauge(const char *name, const char *help,
                            const struct metric_label *labels, size_t n);

/* A gauge or counter whose value is asked for at scrape time, on the thread
 * that prints the page and under the registry's lock: the callback must be
 * quick and must not call the registry. Registering the same labels again
 * puts the new callback in the old one's place. */
typedef double (*metric_read_cb)(void *arg);
void metric_read(enum metric_type type, const char *name, const char *help,
                 const struct metric_label *labels, size_t n,
                 metric_read_cb read, void *arg);
/* Takes all read callbacks with that `arg` out again. None of them runs any
 * more once this returns. */
void metric_forget(void *arg);

/* Upper bounds ascending, without +Inf; copied. */
struct metric_histogram *metric_histogram(const char *name, const char *help,
                                          const double *bounds, size_t n_bounds,
                                          const struct metric_label *labels,
                                          size_t n);
/* start, start*factor, ...: `count` bounds. */
struct metric_histogram *metric_histogram_exp(const char *name,
                                              const char *help, double start,
                                              double factor, size_t count,
                                              const struct metric_label *labels,
                                              size_t n);

/* A summary without labels in which nothing is ever observed. */
void metric_empty_summary(const char *name, const char *help);

void metric_add(struct metric *m, double delta);
void metric_set(struct metric *m, double value);
double metric_value(const struct metric *m);
static inline void metric_inc(struct metric *m)
{
    metric_add(m, 1);
}
void metric_observe(struct metric_histogram *h, double value);

/* Appends the whole page. */
void metrics_print(struct buf *out);

#endif
