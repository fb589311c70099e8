#include "chorad/base/check.h"
#include "chorad/base/crc32c.h"
#include "sim.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct sim sim;

/* ---- events ------------------------------------------------------------- */

struct event {
    uint64_t due_ns;
    uint64_t number; /* those of one moment come in this order */
    struct life *life;
    void (*run)(void *arg);
    void *arg;
};

static struct event *events; /* a binary heap */
static size_t event_count;
static size_t event_cap;
static uint64_t event_number;

static bool before(const struct event *a, const struct event *b)
{
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns
                                  : a->number < b->number;
}

static void push(struct event e)
{
    size_t at = event_count++;

    if (event_count > event_cap) {
        event_cap = event_cap ? event_cap * 2 : 1024;
        events = mem_realloc(events, event_cap * sizeof(*events));
    }
    for (; at > 0 && before(&e, &events[(at - 1) / 2]); at = (at - 1) / 2)
        events[at] = events[(at - 1) / 2];
    events[at] = e;
}

static struct event pop(void)
{
    struct event top = events[0];
    struct event last = events[--event_count];
    size_t at = 0;

    for (;;) {
        size_t child = 2 * at + 1;
        if (child + 1 < event_count &&
            before(&events[child + 1], &events[child]))
            child++;
        if (child >= event_count || !before(&events[child], &last))
            break;
        events[at] = events[child];
        at = child;
    }
    events[at] = last;
    return top;
}

void sim_at(uint64_t delay_ns, struct life *life, void (*run)(void *arg),
            void *arg)
{
    push((struct event){sim.now_ns + delay_ns, ++event_number, life, run, arg});
}

bool sim_step(void)
{
    if (event_count == 0 || sim.over)
        return false;
    struct event e = pop();
    CHECK(e.due_ns >= sim.now_ns);
    sim.now_ns = e.due_ns;
    sim.last_life = NULL;
    if (e.life && e.life->dead)
        return true;
    /* A process that is stopped finds everything when it goes on, in order. */
    if (e.life && e.life->paused_until > sim.now_ns) {
        e.due_ns = e.life->paused_until;
        push(e);
        return true;
    }
    sim.steps++;
    sim_note(e.due_ns);
    sim.life = e.life;
    sim.threaded = false;
    e.run(e.arg);
    if (e.life && !e.life->dead && !sim.threaded)
        loop_turn_ends(e.life);
    sim.last_life = e.life;
    sim.life = NULL;
    return true;
}

/* ---- chance ------------------------------------------------------------- */

uint64_t sim_below(uint64_t n)
{
    return prng_below(&sim.random, n);
}

uint64_t sim_between(uint64_t lo, uint64_t hi)
{
    return lo + prng_below(&sim.random, hi - lo + 1);
}

bool sim_chance(unsigned permille)
{
    return permille > 0 && prng_below(&sim.random, 1000) < permille;
}

/* ---- the clock: in the place of base/clock.c ---------------------------- */

uint64_t clock_mono_ns(void)
{
    return sim.now_ns;
}

uint64_t clock_wall_ns(void)
{
    return sim.now_ns + sim.wall_offset_ns;
}

uint64_t random_u64(void)
{
    return prng_next(&sim.random);
}

void random_bytes(void *out, size_t len)
{
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)out)[i] = (uint8_t)prng_next(&sim.random);
}

/* ---- telling ------------------------------------------------------------ */

void sim_init(uint64_t seed, bool verbose)
{
    sim = (struct sim){
        .seed = seed,
        .now_ns = 1000 * SIM_S,
        .wall_offset_ns = UINT64_C(1700000000) * SIM_S,
        .random = {seed},
        .verbose = verbose,
    };
}

void sim_note(uint64_t value)
{
    sim.trace = (sim.trace ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    sim.trace ^= sim.trace >> 29;
}

static void print_line(const char *prefix, const char *fmt, va_list args)
{
    printf("%10.6f %s", (double)(sim.now_ns - 1000 * SIM_S) * 1e-9, prefix);
    vprintf(fmt, args);
    printf("\n");
}

void sim_say(const char *fmt, ...)
{
    va_list args;

    if (!sim.verbose)
        return;
    va_start(args, fmt);
    print_line("", fmt, args);
    va_end(args);
    fflush(stdout);
}

void sim_fail(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    print_line("FAULT: ", fmt, args);
    va_end(args);
    fflush(stdout);
    _exit(SIM_FAILED);
}
