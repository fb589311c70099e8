/* MVCC's metrics. What the hot paths count is read at scrape time. */
#include "chorad/base/metrics.h"
#include "internal.h"

static double load(_Atomic uint64_t *counter)
{
    return (double)atomic_load_explicit(counter, memory_order_relaxed);
}

static double read_puts(void *arg)
{
    return load(&((struct mvcc *)arg)->counters.puts);
}

static double read_deletes(void *arg)
{
    return load(&((struct mvcc *)arg)->counters.deletes);
}

static double read_txns(void *arg)
{
    return load(&((struct mvcc *)arg)->counters.txns);
}

static double read_put_bytes(void *arg)
{
    return load(&((struct mvcc *)arg)->counters.put_bytes);
}

static double read_ranges(void *arg)
{
    return (double)readers_ranges(arg);
}

static double read_keys(void *arg)
{
    struct mvcc *mvcc = arg;

    return (double)atomic_load_explicit(&mvcc->counters.keys,
                                        memory_order_relaxed);
}

static double read_revision(void *arg)
{
    return (double)mvcc_revision(arg);
}

static double read_compacted(void *arg)
{
    return (double)mvcc_compacted(arg);
}

static const struct {
    enum metric_type type;
    const char *name;
    const char *help;
    metric_read_cb read;
} readings[] = {
    {METRIC_COUNTER, "etcd_mvcc_put_total", "Puts applied by this member.",
     read_puts},
    {METRIC_COUNTER, "etcd_mvcc_delete_total",
     "Delete operations applied by this member.", read_deletes},
    {METRIC_COUNTER, "etcd_mvcc_range_total", "Ranges read by this member.",
     read_ranges},
    {METRIC_COUNTER, "etcd_mvcc_txn_total",
     "Transactions of more than one operation.", read_txns},
    {METRIC_GAUGE, "etcd_debugging_mvcc_total_put_size_in_bytes",
     "Bytes of keys and values put through this member.", read_put_bytes},
    {METRIC_GAUGE, "etcd_debugging_mvcc_keys_total", "Live keys.", read_keys},
    {METRIC_GAUGE, "etcd_debugging_mvcc_current_revision",
     "The newest revision.", read_revision},
    {METRIC_GAUGE, "etcd_debugging_mvcc_compact_revision",
     "The revision of the newest compaction.", read_compacted},
};

struct metric_histogram *metrics_index_pause_ms(void)
{
    return metric_histogram_exp(
        "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds",
        "How long compacting the index took.", 0.5, 2, 14, NULL, 0);
}

struct metric_histogram *metrics_db_pause_ms(void)
{
    return metric_histogram_exp(
        "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds",
        "How long one batch of a compaction took.", 1, 2, 13, NULL, 0);
}

struct metric_histogram *metrics_db_total_ms(void)
{
    return metric_histogram_exp(
        "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
        "How long removing a compaction's records took in all.", 100, 2, 14,
        NULL, 0);
}

struct metric_histogram *metrics_hash_seconds(void)
{
    return metric_histogram_exp("etcd_mvcc_hash_duration_seconds",
                                "How long hashing the whole store took.", 0.01,
                                2, 15, NULL, 0);
}

struct metric_histogram *metrics_hash_rev_seconds(void)
{
    return metric_histogram_exp("etcd_mvcc_hash_rev_duration_seconds",
                                "How long hashing up to a revision took.", 0.01,
                                2, 15, NULL, 0);
}

struct metric *metrics_compact_keys(void)
{
    return metric_counter("etcd_debugging_mvcc_db_compaction_keys_total",
                          "Records removed by compactions.", NULL, 0);
}

struct metric *metrics_compact_last(void)
{
    return metric_gauge("etcd_debugging_mvcc_db_compaction_last",
                        "When the newest compaction ended, in Unix seconds; 0 "
                        "since the start if there was none.",
                        NULL, 0);
}

void metrics_open(struct mvcc *mvcc)
{
    for (size_t i = 0; i < sizeof(readings) / sizeof(readings[0]); i++)
        metric_read(readings[i].type, readings[i].name, readings[i].help, NULL,
                    0, readings[i].read, mvcc);
    /* Made here so that they are on the page before the first use. */
    metrics_index_pause_ms();
    metrics_db_pause_ms();
    metrics_db_total_ms();
    metrics_hash_seconds();
    metrics_hash_rev_seconds();
    metrics_compact_keys();
    metrics_compact_last();
}

void metrics_close(struct mvcc *mvcc)
{
    metric_forget(mvcc);
}
