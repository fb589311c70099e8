/* The metrics registry and the values in it. */
#include "metrics_registry.h"

#include "chorad/base/check.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Guards the lists; values need no lock. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct family *families;

static struct family *get_family(const char *name, const char *help,
                                 enum metric_type type)
{
    struct family **at = &families;
    struct family *family;
    int order = -1;

    while (*at != NULL && (order = strcmp((*at)->name, name)) < 0)
        at = &(*at)->next;
    if (*at != NULL && order == 0) {
        CHECK((*at)->type == type);
        return *at;
    }
    family = mem_alloc(sizeof(*family));
    *family =
        (struct family){.name = name, .help = help, .type = type, .next = *at};
    *at = family;
    return family;
}

/* The order of the client library for Go: fewer labels first, then by value
 * in the labels' order. */
static int compare_labels(const struct series *s,
                          const struct metric_label *labels, size_t n)
{
    if (s->n_labels != n)
        return s->n_labels < n ? -1 : 1;
    for (size_t i = 0; i < n; i++) {
        int order = strcmp(s->labels[i].value, labels[i].value);

        if (order == 0)
            order = strcmp(s->labels[i].name, labels[i].name);
        if (order != 0)
            return order;
    }
    return 0;
}

static struct series *new_series(const struct metric_label *labels, size_t n)
{
    struct series *s = aligned_alloc(_Alignof(struct series), sizeof(*s));

    CHECK(s != NULL);
    *s = (struct series){.n_labels = n};
    s->labels = mem_alloc(n * sizeof(*labels));
    for (size_t i = 0; i < n; i++) {
        CHECK(i == 0 || strcmp(labels[i - 1].name, labels[i].name) < 0);
        s->labels[i].name = mem_strdup(labels[i].name);
        s->labels[i].value = mem_strdup(labels[i].value);
    }
    s->label_text = metrics_label_text(labels, n);
    return s;
}

static struct series *get_series(enum metric_type type, const char *name,
                                 const char *help,
                                 const struct metric_label *labels, size_t n)
{
    struct family *family = get_family(name, help, type);
    struct series **at = &family->series;
    struct series *s;
    int order = -1;

    while (*at != NULL && (order = compare_labels(*at, labels, n)) < 0)
        at = &(*at)->next;
    if (*at != NULL && order == 0)
        return *at;
    s = new_series(labels, n);
    s->next = *at;
    *at = s;
    return s;
}

static struct metric *get_metric(enum metric_type type, const char *name,
                                 const char *help,
                                 const struct metric_label *labels, size_t n)
{
    struct series *s;

    pthread_mutex_lock(&lock);
    s = get_series(type, name, help, labels, n);
    pthread_mutex_unlock(&lock);
    CHECK(s->read == NULL);
    return &s->metric;
}

struct metric *metric_counter(const char *name, const char *help,
                              const struct metric_label *labels, size_t n)
{
    return get_metric(METRIC_COUNTER, name, help, labels, n);
}

struct metric *metric_gauge(const char *name, const char *help,
                            const struct metric_label *labels, size_t n)
{
    return get_metric(METRIC_GAUGE, name, help, labels, n);
}

void metric_read(enum metric_type type, const char *name, const char *help,
                 const struct metric_label *labels, size_t n,
                 metric_read_cb read, void *arg)
{
    struct series *s;

    CHECK(type == METRIC_COUNTER || type == METRIC_GAUGE);
    pthread_mutex_lock(&lock);
    s = get_series(type, name, help, labels, n);
    s->read = read;
    s->read_arg = arg;
    s->forgotten = false;
    pthread_mutex_unlock(&lock);
}

static void forget_in(struct family *family, const void *arg)
{
    for (struct series *s = family->series; s != NULL; s = s->next) {
        if (s->read != NULL && s->read_arg == arg)
            s->forgotten = true;
    }
}

void metric_forget(void *arg)
{
    pthread_mutex_lock(&lock);
    for (struct family *f = families; f != NULL; f = f->next)
        forget_in(f, arg);
    pthread_mutex_unlock(&lock);
}

static struct metric_histogram *new_histogram(const double *bounds, size_t n)
{
    struct metric_histogram *h =
        mem_zalloc(sizeof(*h) + (n + 1) * sizeof(h->counts[0]));
    double *copy = mem_alloc(n * sizeof(*bounds));

    for (size_t i = 0; i < n; i++) {
        CHECK(i == 0 || bounds[i - 1] < bounds[i]);
        copy[i] = bounds[i];
    }
    h->bounds = copy;
    h->n_bounds = n;
    return h;
}

struct metric_histogram *metric_histogram(const char *name, const char *help,
                                          const double *bounds, size_t n_bounds,
                                          const struct metric_label *labels,
                                          size_t n)
{
    struct series *s;

    pthread_mutex_lock(&lock);
    s = get_series(METRIC_HISTOGRAM, name, help, labels, n);
    if (s->histogram == NULL)
        s->histogram = new_histogram(bounds, n_bounds);
    pthread_mutex_unlock(&lock);
    return s->histogram;
}

struct metric_histogram *metric_histogram_exp(const char *name,
                                              const char *help, double start,
                                              double factor, size_t count,
                                              const struct metric_label *labels,
                                              size_t n)
{
    double *bounds = mem_alloc(count * sizeof(*bounds));
    struct metric_histogram *h;

    /* Multiplied step by step, as the Go client does, so that the printed
     * bounds are the same to the last digit. */
    for (size_t i = 0; i < count; i++, start *= factor)
        bounds[i] = start;
    h = metric_histogram(name, help, bounds, count, labels, n);
    free(bounds);
    return h;
}

void metric_empty_summary(const char *name, const char *help)
{
    pthread_mutex_lock(&lock);
    (void)get_series(METRIC_SUMMARY, name, help, NULL, 0);
    pthread_mutex_unlock(&lock);
}

static void add_double(_Atomic double *to, double delta)
{
    double old = atomic_load_explicit(to, memory_order_relaxed);

    while (!atomic_compare_exchange_weak_explicit(
        to, &old, old + delta, memory_order_relaxed, memory_order_relaxed))
        ;
}

void metric_add(struct metric *m, double delta)
{
    add_double(&m->value, delta);
}

void metric_set(struct metric *m, double value)
{
    atomic_store_explicit(&m->value, value, memory_order_relaxed);
}

double metric_value(const struct metric *m)
{
    return atomic_load_explicit(&m->value, memory_order_relaxed);
}

void metric_observe(struct metric_histogram *h, double value)
{
    size_t low = 0;
    size_t high = h->n_bounds;

    /* The first bound that isn't below the value. NaN is below none and
     * belongs above all of them. */
    while (low < high) {
        size_t mid = (low + high) / 2;

        if (value <= h->bounds[mid])
            high = mid;
        else
            low = mid + 1;
    }
    atomic_fetch_add_explicit(&h->counts[low], 1, memory_order_relaxed);
    add_double(&h->sum, value);
}

void metrics_print(struct buf *out)
{
    pthread_mutex_lock(&lock);
    for (const struct family *f = families; f != NULL; f = f->next)
        metrics_print_family(out, f);
    pthread_mutex_unlock(&lock);
}
