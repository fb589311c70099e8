/* The loop's turns: what each takes, and a word about those that take long. */
#include "chorad/base/turn.h"

#include "chorad/base/check.h"
#include "chorad/base/clock.h"
#include "chorad/base/log.h"
#include "chorad/base/metrics.h"

#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>

#define LONG_NS UINT64_C(50000000)
#define TELL_EVERY_NS UINT64_C(1000000000)
/* The kernel is asked that often: what a turn has used is exact to as much. */
#define USAGE_EVERY_NS UINT64_C(5000000)

/* What the thread had of the processor until then. */
struct usage {
    uint64_t at_ns;
    uint64_t cpu_ns;
    uint64_t preempted; /* how often it lost the processor */
    uint64_t blocked;   /* how often it waited for something */
};

static _Thread_local struct {
    bool open;
    enum turn_part part;
    uint64_t began_ns; /* 0: nothing has been done since the last poll */
    uint64_t marked_ns;
    uint64_t spent_ns[TURN_PARTS_N];
    struct usage usage; /* read before, or when it began */
    double longest_s;
    uint64_t told_ns;
    uint64_t untold;
    struct metric_histogram *seconds;
    struct metric *longest;
    struct metric *longs[TURN_PARTS_N];
} turn;

static const char *const texts[] = {
#define X(name, text) text,
    TURN_PARTS(X)
#undef X
};

static uint64_t ns_of(struct timeval t)
{
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) +
           (uint64_t)t.tv_usec * 1000;
}

static struct usage usage_at(uint64_t now_ns)
{
    struct rusage r;

    CHECK(getrusage(RUSAGE_THREAD, &r) == 0);
    return (struct usage){.at_ns = now_ns,
                          .cpu_ns = ns_of(r.ru_utime) + ns_of(r.ru_stime),
                          .preempted = (uint64_t)r.ru_nivcsw,
                          .blocked = (uint64_t)r.ru_nvcsw};
}

void turn_open(void)
{
    memset(&turn, 0, sizeof(turn));
    turn.seconds = metric_histogram_exp(
        "chorad_loop_turn_seconds",
        "How long the turns of the member's loop take, from one poll to the "
        "next.",
        0.0001, 2, 14, NULL, 0);
    turn.longest = metric_gauge(
        "chorad_loop_longest_turn_seconds",
        "The longest turn of the member's loop since its start.", NULL, 0);
    for (int i = 0; i < TURN_PARTS_N; i++) {
        struct metric_label label[] = {{"part", texts[i]}};
        turn.longs[i] = metric_counter(
            "chorad_loop_long_turns_total",
            "Turns of the member's loop that took 50 ms or more, by the part "
            "that took most of it.",
            label, 1);
    }
    turn.open = true;
}

static void begin(uint64_t now_ns)
{
    turn.began_ns = now_ns;
    turn.marked_ns = now_ns;
    turn.part = TURN_OTHER;
    memset(turn.spent_ns, 0, sizeof(turn.spent_ns));
    if (now_ns - turn.usage.at_ns >= USAGE_EVERY_NS)
        turn.usage = usage_at(now_ns);
}

enum turn_part turn_part(enum turn_part part)
{
    enum turn_part before = turn.part;
    uint64_t now_ns;

    if (!turn.open || part == before)
        return before;
    now_ns = clock_mono_ns();
    if (turn.began_ns == 0) {
        begin(now_ns);
        before = TURN_OTHER;
    }
    turn.spent_ns[before] += now_ns - turn.marked_ns;
    turn.marked_ns = now_ns;
    turn.part = part;
    return before;
}

void turn_polled(uint64_t polled_ns)
{
    if (!turn.open)
        return;
    if (turn.began_ns == 0)
        begin(clock_mono_ns());
    if (polled_ns >= turn.began_ns)
        return;
    turn.spent_ns[TURN_OTHER] += turn.began_ns - polled_ns;
    turn.began_ns = polled_ns;
}

/* ---- a long one ---- */

static enum turn_part longest_part(void)
{
    enum turn_part longest = TURN_OTHER;

    for (int i = 0; i < TURN_PARTS_N; i++)
        if (turn.spent_ns[i] > turn.spent_ns[longest])
            longest = (enum turn_part)i;
    return longest;
}

/* A part that had the processor all the time has too much to do; one that was
 * preempted had to share it; one that was blocked waited for a lock or for the
 * disk. What was before the first part isn't in these. */
static void tell(uint64_t now_ns, uint64_t took_ns, enum turn_part part)
{
    struct usage usage;

    if (turn.told_ns != 0 && now_ns - turn.told_ns < TELL_EVERY_NS) {
        turn.untold++;
        return;
    }
    usage = usage_at(now_ns);
    log_warn("the loop was held up", LOG_NS("took", took_ns),
             LOG_STR("part", texts[part]),
             LOG_NS("part-took", turn.spent_ns[part]),
             LOG_NS("processor-time", usage.cpu_ns - turn.usage.cpu_ns),
             LOG_U64("preempted", usage.preempted - turn.usage.preempted),
             LOG_U64("blocked", usage.blocked - turn.usage.blocked),
             LOG_U64("others-since-last-told", turn.untold));
    turn.told_ns = now_ns;
    turn.untold = 0;
}

void turn_end(void)
{
    uint64_t now_ns;
    uint64_t took_ns;
    double took_s;

    if (!turn.open || turn.began_ns == 0)
        return;
    now_ns = clock_mono_ns();
    turn.spent_ns[turn.part] += now_ns - turn.marked_ns;
    took_ns = now_ns - turn.began_ns;
    took_s = (double)took_ns / 1e9;
    metric_observe(turn.seconds, took_s);
    if (took_s > turn.longest_s) {
        turn.longest_s = took_s;
        metric_set(turn.longest, took_s);
    }
    if (took_ns >= LONG_NS) {
        enum turn_part part = longest_part();
        metric_inc(turn.longs[part]);
        tell(now_ns, took_ns, part);
    }
    turn.began_ns = 0;
    turn.part = TURN_OTHER;
}
