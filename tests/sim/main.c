/* chorad_sim: runs of the simulated cluster.
 *
 *   chorad_sim --seed 1 --count 2000     many, in as many processes as there
 *                                        are processors
 *   chorad_sim --seed 17 -v              one, and what happens in it
 *   chorad_sim --seed 1 --count 50 --twice   each twice: do they agree?
 *   chorad_sim --plant NAME ...          with that fault in the code */
#include "chorad/base/log.h"
#include "plants.h"
#include "run.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct options {
    uint64_t seed;
    uint64_t count;
    unsigned jobs;
    bool verbose;
    bool logs;
    bool twice;
    bool until_found; /* stops at the first fault, and wants one */
};

/* What a child leaves for its parent. */
struct child {
    pid_t pid;
    uint64_t seed;
    int out;    /* what it prints, and at last its result */
    bool again; /* the second run of the same seed */
    uint64_t trace;
};

struct totals {
    uint64_t runs;
    uint64_t faults;
    uint64_t steps;
    uint64_t answers;
    uint64_t elections;
    uint64_t entries;
};

/* One that goes on for ever is a fault as well. */
static void limit_time(void)
{
    struct rlimit limit = {60, 60};

    (void)setrlimit(RLIMIT_CPU, &limit);
}

static int run_one(const struct options *o, uint64_t seed, int result_fd)
{
    log_set_level(o->logs ? LOG_DEBUG : LOG_FATAL);
    limit_time();
    struct run_result r = run(seed, o->verbose);
    if (result_fd >= 0)
        return write(result_fd, &r, sizeof(r)) == sizeof(r) ? SIM_OK : 1;
    printf("seed %" PRIu64 ": %" PRIu64 " steps, %" PRIu64 " answers, %" PRIu64
           " elections, %" PRIu64 " entries, revision %" PRId64
           ", trace %016" PRIx64 "\n",
           seed, r.steps, r.answers, r.elections, r.entries, r.revision,
           r.trace);
    return SIM_OK;
}

static void start(const struct options *o, struct child *child, uint64_t seed)
{
    int fds[2];

    fflush(stdout);
    if (pipe(fds) != 0)
        exit(2);
    child->seed = seed;
    child->pid = fork();
    if (child->pid < 0)
        exit(2);
    if (child->pid == 0) {
        close(fds[0]);
        _exit(run_one(o, seed, fds[1]));
    }
    close(fds[1]);
    child->out = fds[0];
}

/* True: it has shown no fault. */
static bool finish(const struct options *o, struct child *child, int status,
                   struct totals *totals)
{
    struct run_result r = {0};
    bool ok = WIFEXITED(status) && WEXITSTATUS(status) == SIM_OK &&
              read(child->out, &r, sizeof(r)) == sizeof(r);

    close(child->out);
    child->pid = 0;
    totals->runs++;
    if (ok && child->again && r.trace != child->trace) {
        printf("seed %" PRIu64 ": two runs differ\n", child->seed);
        ok = false;
    }
    if (!ok) {
        totals->faults++;
        printf("seed %" PRIu64 " failed", child->seed);
        if (WIFSIGNALED(status))
            printf(" by signal %d", WTERMSIG(status));
        printf("; to follow it: scripts/sim --seed %" PRIu64 " -v%s%s\n",
               child->seed, plant_name() ? " --plant " : "",
               plant_name() ? plant_name() : "");
    }
    totals->steps += r.steps;
    totals->answers += r.answers;
    totals->elections += r.elections;
    totals->entries += r.entries;
    child->trace = r.trace;
    (void)o;
    return ok;
}

static struct child *find_child(struct child *children, unsigned n, pid_t pid)
{
    for (unsigned i = 0; i < n; i++)
        if (children[i].pid == pid)
            return &children[i];
    return NULL;
}

static uint64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static int run_many(const struct options *o)
{
    struct child children[64] = {0};
    struct totals totals = {0};
    uint64_t began = now_ms();
    uint64_t next = o->seed;
    uint64_t end = o->seed + o->count;
    unsigned running = 0;

    while (running > 0 || next < end) {
        while (running < o->jobs && next < end) {
            struct child *child = find_child(children, o->jobs, 0);
            child->again = false;
            start(o, child, next++);
            running++;
        }
        int status;
        pid_t pid = wait(&status);
        struct child *child = find_child(children, o->jobs, pid);
        if (!child)
            return 2;
        bool ok = finish(o, child, status, &totals);
        running--;
        if (!ok && (o->until_found || totals.faults == 20))
            next = end;
        if (ok && o->twice && !child->again) {
            child->again = true;
            start(o, child, child->seed);
            running++;
        }
    }
    printf("%" PRIu64 " runs, %" PRIu64 " failed; %.1f s; %" PRIu64
           " steps, %" PRIu64 " answers, %" PRIu64 " elections, %" PRIu64
           " entries\n",
           totals.runs, totals.faults, (double)(now_ms() - began) / 1000,
           totals.steps, totals.answers, totals.elections, totals.entries);
    if (o->until_found)
        return totals.faults > 0 ? 0 : 1;
    return totals.faults > 0 ? 1 : 0;
}

static int usage(void)
{
    printf("usage: chorad_sim [--seed N] [--count M] [--jobs J] [--twice] "
           "[-v] [--logs]\n"
           "                  [--plant NAME [--until-found]] [--plants]\n");
    return 2;
}

int main(int argc, char **argv)
{
    struct options o = {
        .seed = 1, .count = 1, .jobs = (unsigned)sysconf(_SC_NPROCESSORS_ONLN)};

    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(arg, "--seed") == 0 && value)
            o.seed = strtoull(argv[++i], NULL, 10);
        else if (strcmp(arg, "--count") == 0 && value)
            o.count = strtoull(argv[++i], NULL, 10);
        else if (strcmp(arg, "--jobs") == 0 && value)
            o.jobs = (unsigned)strtoul(argv[++i], NULL, 10);
        else if (strcmp(arg, "--plant") == 0 && value) {
            if (!plant_choose(argv[++i]))
                return usage();
        } else if (strcmp(arg, "--plants") == 0)
            return plant_list(), 0;
        else if (strcmp(arg, "--until-found") == 0)
            o.until_found = true;
        else if (strcmp(arg, "--twice") == 0)
            o.twice = true;
        else if (strcmp(arg, "-v") == 0)
            o.verbose = true;
        else if (strcmp(arg, "--logs") == 0)
            o.logs = true;
        else
            return usage();
    }
    if (o.jobs < 1 || o.jobs > 64)
        o.jobs = 2;
    if (o.count == 1 && !o.twice && !o.until_found)
        return run_one(&o, o.seed, -1);
    return run_many(&o);
}
