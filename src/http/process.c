#include "process.h"
#include "chorad/base/metrics.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* Longer than any file of /proc that is looked at. */
#define READ_MAX ((size_t)4 << 20)

void process_read(const char *path, struct buf *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = 0;

    if (fd >= 0) {
        do {
            n = read(fd, buf_reserve(out, 4096), 4096);
            if (n > 0)
                out->len += (size_t)n;
        } while (n > 0 && out->len < READ_MAX);
        close(fd);
    }
    buf_append(out, "", 1);
}

static uint64_t limit_of(__rlimit_resource_t resource)
{
    struct rlimit limit;

    return getrlimit(resource, &limit) == 0 ? limit.rlim_cur : 0;
}

uint64_t process_fd_limit(void)
{
    return limit_of(RLIMIT_NOFILE);
}

/* ---- what is looked up ---- */

/* From Linux 6.2 on the directory's size is what it holds; before, it is 0
 * and they have to be counted. */
static double open_fds(void)
{
    struct stat st;
    double n = 0;
    DIR *dir;

    if (stat("/proc/self/fd", &st) == 0 && st.st_size > 0)
        return (double)st.st_size;
    dir = opendir("/proc/self/fd");
    if (dir == NULL)
        return 0;
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;)
        n += entry->d_name[0] != '.';
    closedir(dir);
    return n - 1; /* that of the directory */
}

static double cpu_seconds(void)
{
    struct rusage usage;

    if (getrusage(RUSAGE_SELF, &usage) != 0)
        return 0;
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* Seconds since 1970: the boot's time and the process's ticks after it. */
static double start_time(void)
{
    struct buf stat = {0};
    struct buf self = {0};
    const char *boot;
    const char *at;
    double time = 0;

    process_read("/proc/stat", &stat);
    process_read("/proc/self/stat", &self);
    boot = strstr((char *)stat.data, "\nbtime ");
    /* The second field, the name, may hold blanks. The time is the 22nd. */
    at = strrchr((char *)self.data, ')');
    for (int field = 2; at != NULL && field < 22; field++)
        at = strchr(at + 1, ' ');
    if (boot != NULL && at != NULL)
        time = strtod(boot + 7, NULL) +
               strtod(at, NULL) / (double)sysconf(_SC_CLK_TCK);
    buf_close(&stat);
    buf_close(&self);
    return time;
}

/* The value under `name` in a pair of lines "IpExt: names...", "IpExt:
 * values...". */
static double net_value(const char *text, const char *name)
{
    const char *names = strstr(text, "IpExt: ");
    const char *values = names ? strstr(names + 1, "\nIpExt: ") : NULL;
    size_t len = strlen(name);

    if (values == NULL)
        return 0;
    for (values++; names != NULL && values != NULL;) {
        names = strpbrk(names, " \n");
        values = strpbrk(values, " \n");
        if (names == NULL || values == NULL || *names == '\n')
            return 0;
        if (strncmp(++names, name, len) == 0 &&
            strchr(" \n", names[len]) != NULL)
            return strtod(++values, NULL);
        values++;
    }
    return 0;
}

/* ---- metrics ---- */

enum value {
    CPU,
    MAX_FDS,
    NET_IN,
    NET_OUT,
    OPEN_FDS,
    RESIDENT,
    START,
    VIRTUAL,
    VIRTUAL_MAX,
    FD_LIMIT,
    FD_USED,
    VALUES
};

static const struct {
    enum metric_type type;
    const char *name;
    const char *help;
} table[VALUES] = {
    [CPU] = {METRIC_COUNTER, "process_cpu_seconds_total",
             "CPU time used, by user and system, in seconds."},
    [MAX_FDS] = {METRIC_GAUGE, "process_max_fds", "Limit of open files."},
    [NET_IN] = {METRIC_COUNTER, "process_network_receive_bytes_total",
                "Bytes received in the process's network namespace."},
    [NET_OUT] = {METRIC_COUNTER, "process_network_transmit_bytes_total",
                 "Bytes sent in the process's network namespace."},
    [OPEN_FDS] = {METRIC_GAUGE, "process_open_fds", "Open files."},
    [RESIDENT] = {METRIC_GAUGE, "process_resident_memory_bytes",
                  "Memory that is in RAM, in bytes."},
    [START] = {METRIC_GAUGE, "process_start_time_seconds",
               "When the process began, in seconds since 1970."},
    [VIRTUAL] = {METRIC_GAUGE, "process_virtual_memory_bytes",
                 "Address space in use, in bytes."},
    [VIRTUAL_MAX] = {METRIC_GAUGE, "process_virtual_memory_max_bytes",
                     "Limit of the address space, in bytes."},
    [FD_LIMIT] = {METRIC_GAUGE, "os_fd_limit", "Limit of open files."},
    [FD_USED] = {METRIC_GAUGE, "os_fd_used", "Open files."},
};

static struct metric *values[VALUES];

void process_metrics_open(void)
{
    for (int i = 0; i < VALUES; i++) {
        values[i] = table[i].type == METRIC_COUNTER
                        ? metric_counter(table[i].name, table[i].help, NULL, 0)
                        : metric_gauge(table[i].name, table[i].help, NULL, 0);
    }
    metric_set(values[START], start_time());
}

static void update_memory(void)
{
    struct buf statm = {0};
    double page = (double)sysconf(_SC_PAGESIZE);
    char *end;

    process_read("/proc/self/statm", &statm);
    metric_set(values[VIRTUAL], strtod((char *)statm.data, &end) * page);
    metric_set(values[RESIDENT], strtod(end, NULL) * page);
    metric_set(values[VIRTUAL_MAX], (double)limit_of(RLIMIT_AS));
    buf_close(&statm);
}

static void update_network(void)
{
    struct buf netstat = {0};

    process_read("/proc/self/net/netstat", &netstat);
    metric_set(values[NET_IN], net_value((char *)netstat.data, "InOctets"));
    metric_set(values[NET_OUT], net_value((char *)netstat.data, "OutOctets"));
    buf_close(&netstat);
}

void process_metrics_update(void)
{
    double fds = open_fds();
    double limit = (double)process_fd_limit();

    metric_set(values[CPU], cpu_seconds());
    metric_set(values[OPEN_FDS], fds);
    metric_set(values[FD_USED], fds);
    metric_set(values[MAX_FDS], limit);
    metric_set(values[FD_LIMIT], limit);
    update_memory();
    update_network();
}
