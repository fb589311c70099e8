/* Prometheus' text format 0.0.4, byte for byte as the client library for Go
 * prints it. */
#include "float_text.h"
#include "metrics_registry.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static void put(struct buf *out, const char *s)
{
    buf_append(out, s, strlen(s));
}

static void put_escaped(struct buf *out, const char *s, bool quotes_too)
{
    for (; *s != '\0'; s++) {
        if (*s == '\\')
            put(out, "\\\\");
        else if (*s == '\n')
            put(out, "\\n");
        else if (*s == '"' && quotes_too)
            put(out, "\\\"");
        else
            buf_append(out, s, 1);
    }
}

static void put_float(struct buf *out, double v)
{
    char text[FLOAT_TEXT_SIZE];
    size_t len = float_text_g(text, v);

    buf_append(out, text, len);
}

char *metrics_label_text(const struct metric_label *labels, size_t n)
{
    struct buf text = {0};

    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            put(&text, ",");
        put(&text, labels[i].name);
        put(&text, "=\"");
        put_escaped(&text, labels[i].value, true);
        put(&text, "\"");
    }
    buf_append(&text, "", 1);
    return (char *)text.data;
}

/* "name{labels} " */
static void put_name(struct buf *out, const char *name, const char *suffix,
                     const struct series *s)
{
    put(out, name);
    put(out, suffix);
    if (s->n_labels > 0) {
        put(out, "{");
        put(out, s->label_text);
        put(out, "}");
    }
    put(out, " ");
}

static void put_bucket(struct buf *out, const char *name,
                       const struct series *s, double bound, uint64_t count)
{
    put(out, name);
    put(out, "_bucket{");
    put(out, s->label_text);
    put(out, s->n_labels > 0 ? ",le=\"" : "le=\"");
    put_float(out, bound);
    buf_printf(out, "\"} %" PRIu64 "\n", count);
}

/* The count is the sum of the buckets just read, so that the two agree
 * whatever is observed meanwhile. */
static void put_histogram(struct buf *out, const char *name,
                          const struct series *s)
{
    struct metric_histogram *h = s->histogram;
    uint64_t count = 0;

    for (size_t i = 0; i <= h->n_bounds; i++) {
        count += atomic_load_explicit(&h->counts[i], memory_order_relaxed);
        put_bucket(out, name, s, i < h->n_bounds ? h->bounds[i] : INFINITY,
                   count);
    }
    put_name(out, name, "_sum", s);
    put_float(out, atomic_load_explicit(&h->sum, memory_order_relaxed));
    put(out, "\n");
    put_name(out, name, "_count", s);
    buf_printf(out, "%" PRIu64 "\n", count);
}

static void put_series(struct buf *out, const char *name,
                       const struct series *s)
{
    if (s->histogram != NULL) {
        put_histogram(out, name, s);
        return;
    }
    put_name(out, name, "", s);
    put_float(out, s->read != NULL ? s->read(s->read_arg)
                                   : metric_value(&s->metric));
    put(out, "\n");
}

static void put_head(struct buf *out, const struct family *family)
{
    static const char *const types[] = {
        [METRIC_COUNTER] = "counter",
        [METRIC_GAUGE] = "gauge",
        [METRIC_HISTOGRAM] = "histogram",
        [METRIC_SUMMARY] = "summary",
    };

    put(out, "# HELP ");
    put(out, family->name);
    put(out, " ");
    put_escaped(out, family->help, false);
    put(out, "\n# TYPE ");
    put(out, family->name);
    put(out, " ");
    put(out, types[family->type]);
    put(out, "\n");
}

void metrics_print_family(struct buf *out, const struct family *family)
{
    bool any = false;

    for (const struct series *s = family->series; s != NULL; s = s->next) {
        if (s->forgotten)
            continue;
        if (!any)
            put_head(out, family);
        any = true;
        if (family->type == METRIC_SUMMARY)
            buf_printf(out, "%s_sum 0\n%s_count 0\n", family->name,
                       family->name);
        else
            put_series(out, family->name, s);
    }
}
