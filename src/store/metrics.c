/* The store's series on the metrics page. */
#include "internal.h"

#define COMMIT "etcd_disk_backend_commit_duration_seconds"
#define DEBUG_COMMIT "etcd_debugging_disk_backend_commit_"
#define SIZE "etcd_mvcc_db_total_size_"

static double read_total(void *arg)
{
    return (double)store_size(arg).total;
}

static double read_in_use(void *arg)
{
    return (double)store_size(arg).in_use;
}

static double read_readers(void *arg)
{
    return store_readers_active(arg);
}

static struct metric_histogram *commit_histogram(const char *name,
                                                 const char *help)
{
    return metric_histogram_exp(name, help, 0.001, 2, 14, NULL, 0);
}

void store_metrics_open(struct store *store)
{
    struct store_metrics *m = &store->metrics;

    m->commit = commit_histogram(COMMIT, "Time a commit to the store takes.");
    m->commit_write =
        commit_histogram(DEBUG_COMMIT "write_duration_seconds",
                         "Time that writing the pages of a commit takes.");
    /* LMDB does these while the operations are carried out: no samples. */
    (void)commit_histogram(DEBUG_COMMIT "rebalance_duration_seconds",
                           "Time that merging pages in a commit takes.");
    (void)commit_histogram(DEBUG_COMMIT "spill_duration_seconds",
                           "Time that splitting pages in a commit takes.");
    m->defrag = metric_histogram_exp(
        "etcd_disk_backend_defrag_duration_seconds",
        "Time a defragmentation of the store takes.", 0.1, 2, 13, NULL, 0);
    (void)metric_histogram_exp("etcd_disk_backend_snapshot_duration_seconds",
                               "Time a snapshot of the store takes.", 0.01, 2,
                               17, NULL, 0);
    m->defrag_inflight =
        metric_gauge("etcd_disk_defrag_inflight",
                     "1 while the store is defragmented.", NULL, 0);
    if (store->config.aside)
        return;
    metric_read(METRIC_GAUGE, SIZE "in_bytes",
                "Size of the store, free pages included.", NULL, 0, read_total,
                store);
    metric_read(METRIC_GAUGE, SIZE "in_use_in_bytes",
                "Size of what the store's pages hold.", NULL, 0, read_in_use,
                store);
    metric_read(METRIC_GAUGE, "etcd_mvcc_db_open_read_transactions",
                "Read transactions of the store that are open.", NULL, 0,
                read_readers, store);
}

void store_metrics_close(struct store *store)
{
    metric_forget(store);
}
