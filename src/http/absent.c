/* Families of metrics that etcd prints and that nothing here feeds: of Go's
 * runtime, of etcd's proxy, of its store of version 2, of its snapshot files,
 * of the loops that send its watch events. Dashboards and etcd's own tests look
 * for their names, so they are there, with the types that they have there, and
 * say 0. */
#include "absent.h"
#include "chorad/base/metrics.h"

#include <stddef.h>

static const char help[] = "Always 0: this program has nothing of that kind.";

static const struct {
    enum metric_type type;
    const char *name;
} numbers[] = {
    {METRIC_COUNTER, "etcd_debugging_store_expires_total"},
    {METRIC_COUNTER, "etcd_debugging_store_watch_requests_total"},
    {METRIC_GAUGE, "etcd_debugging_store_watchers"},
    {METRIC_GAUGE, "etcd_grpc_proxy_cache_hits_total"},
    {METRIC_GAUGE, "etcd_grpc_proxy_cache_keys_total"},
    {METRIC_GAUGE, "etcd_grpc_proxy_cache_misses_total"},
    {METRIC_COUNTER, "etcd_grpc_proxy_events_coalescing_total"},
    {METRIC_GAUGE, "etcd_grpc_proxy_watchers_coalescing_total"},
    {METRIC_GAUGE, "go_gc_gogc_percent"},
    {METRIC_GAUGE, "go_gc_gomemlimit_bytes"},
    {METRIC_GAUGE, "go_goroutines"},
    {METRIC_GAUGE, "go_memstats_alloc_bytes"},
    {METRIC_COUNTER, "go_memstats_alloc_bytes_total"},
    {METRIC_GAUGE, "go_memstats_buck_hash_sys_bytes"},
    {METRIC_COUNTER, "go_memstats_frees_total"},
    {METRIC_GAUGE, "go_memstats_gc_sys_bytes"},
    {METRIC_GAUGE, "go_memstats_heap_alloc_bytes"},
    {METRIC_GAUGE, "go_memstats_heap_idle_bytes"},
    {METRIC_GAUGE, "go_memstats_heap_inuse_bytes"},
    {METRIC_GAUGE, "go_memstats_heap_objects"},
    {METRIC_GAUGE, "go_memstats_heap_released_bytes"},
    {METRIC_GAUGE, "go_memstats_heap_sys_bytes"},
    {METRIC_GAUGE, "go_memstats_last_gc_time_seconds"},
    {METRIC_COUNTER, "go_memstats_mallocs_total"},
    {METRIC_GAUGE, "go_memstats_mcache_inuse_bytes"},
    {METRIC_GAUGE, "go_memstats_mcache_sys_bytes"},
    {METRIC_GAUGE, "go_memstats_mspan_inuse_bytes"},
    {METRIC_GAUGE, "go_memstats_mspan_sys_bytes"},
    {METRIC_GAUGE, "go_memstats_next_gc_bytes"},
    {METRIC_GAUGE, "go_memstats_other_sys_bytes"},
    {METRIC_GAUGE, "go_memstats_stack_inuse_bytes"},
    {METRIC_GAUGE, "go_memstats_stack_sys_bytes"},
    {METRIC_GAUGE, "go_memstats_sys_bytes"},
    {METRIC_GAUGE, "go_sched_gomaxprocs_threads"},
    {METRIC_GAUGE, "go_threads"},
};

static const struct {
    const char *name;
    double start; /* of the buckets, each twice the one before */
    size_t count;
} histograms[] = {
    {"etcd_debugging_server_watch_send_loop_control_stream_duration_seconds",
     0.001, 14},
    {"etcd_debugging_server_watch_send_loop_progress_duration_seconds", 0.001,
     14},
    {"etcd_debugging_server_watch_send_loop_watch_stream_duration_seconds",
     0.001, 14},
    {"etcd_debugging_server_watch_send_loop_watch_stream_duration_per_event_"
     "seconds",
     0.001, 14},
    {"etcd_debugging_snap_save_marshalling_duration_seconds", 0.001, 14},
    {"etcd_debugging_snap_save_total_duration_seconds", 0.001, 14},
    {"etcd_snap_db_fsync_duration_seconds", 0.001, 14},
    {"etcd_snap_db_save_total_duration_seconds", 0.1, 10},
    {"etcd_snap_fsync_duration_seconds", 0.001, 14},
};

static void open_versions(void)
{
    struct metric_label go = {"version", "none"};
    struct metric_label server = {"server_go_version", "none"};

    metric_gauge("go_info", help, &go, 1);
    metric_gauge("etcd_server_go_version", help, &server, 1);
}

void absent_metrics_open(void)
{
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (numbers[i].type == METRIC_COUNTER)
            metric_counter(numbers[i].name, help, NULL, 0);
        else
            metric_gauge(numbers[i].name, help, NULL, 0);
    }
    for (size_t i = 0; i < sizeof(histograms) / sizeof(histograms[0]); i++)
        metric_histogram_exp(histograms[i].name, help, histograms[i].start, 2,
                             histograms[i].count, NULL, 0);
    metric_empty_summary("go_gc_duration_seconds", help);
    open_versions();
}
