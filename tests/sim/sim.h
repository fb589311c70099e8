/* A whole cluster in one process: the members' real code on a simulated clock,
 * network and disk. Everything that happens is an event of one queue, and every
 * choice is drawn from one seed, so that a run can be repeated bit for bit.
 *
 *   core.c     events, time, randomness, the trace
 *   task.c     threads, as coroutines that give way where they would block
 *   disk.c     files that lose what was not synced; calls.c, the system calls
 *   loop.c     libuv's timers, polls and workers
 *   store*.c   the store's interface on sorted arrays instead of LMDB
 *   net*.c     the transport's interface on a network that loses and delays
 *   member.c   members: started, crashed, stopped, replaced
 *   client.c   clients and what they were told; watcher.c those who watch
 *   rules.c    what must hold at every step; history.c what clients may see
 *   nemesis.c  the faults
 *   run.c      one run from its seed to its verdict
 *
 * Production code knows nothing of it: the linker puts these files in the place
 * of the clock, the store, the transport and libuv, and --wrap leads the system
 * calls here. A run is one process, so there is one `struct sim`. */
#ifndef SIM_H
#define SIM_H

#include "chorad/base/clock.h"
#include "chorad/base/heap.h"
#include "chorad/base/mem.h"
#include "chorad/base/queue.h"
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#define SIM_US UINT64_C(1000)
#define SIM_MS UINT64_C(1000000)
#define SIM_S UINT64_C(1000000000)

#define SIM_SLOTS 8

struct node;

/* One life of a member's process: from its start to its crash. What is left
 * behind by a crash is never freed, as nobody runs who could. */
struct life {
    unsigned slot;
    unsigned number;
    bool dead;
    bool up; /* node_open has returned */
    bool stopping;
    bool blocked; /* the loop waits for a thread */
    uint64_t paused_until;
    struct node *node;
    struct peers *peers;
    uv_loop_t loop;
    uv_prepare_t *prepare;
};

/* ---- core.c ---- */

struct sim {
    uint64_t seed;
    uint64_t now_ns;
    uint64_t wall_offset_ns;
    struct prng random;
    uint64_t trace; /* a hash over all that has happened */
    uint64_t steps;
    struct life *life;      /* whose event is being handled, or NULL */
    struct life *last_life; /* whose event was the last one */
    bool threaded;          /* and it is a thread's, not the loop's */
    bool verbose;
    bool over;
};
extern struct sim sim;

void sim_init(uint64_t seed, bool verbose);

/* Calls `run` after so long, unless the life has ended by then. */
void sim_at(uint64_t delay_ns, struct life *life, void (*run)(void *arg),
            void *arg);
/* Handles the next event; false: there is none. */
bool sim_step(void);

uint64_t sim_below(uint64_t n);
/* lo <= result <= hi */
uint64_t sim_between(uint64_t lo, uint64_t hi);
/* True in so many of a thousand cases. */
bool sim_chance(unsigned permille);

/* Adds to the trace. */
void sim_note(uint64_t value);
/* Prints a line with the time, if the run is to be followed. */
void sim_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The run has shown a fault: says what, and ends the process. */
_Noreturn void sim_fail(const char *fmt, ...)
    __attribute__((format(printf, 1, 2)));
#define SIM_RULE(cond, ...)                                                    \
    do {                                                                       \
        if (!(cond))                                                           \
            sim_fail(__VA_ARGS__);                                             \
    } while (0)
/* Exit codes of a run. */
enum { SIM_OK = 0, SIM_FAILED = 3 };

/* ---- task.c ---- */

struct task;

/* A thread of the life; it begins a little later. */
struct task *task_start(struct life *life, void *(*run)(void *arg), void *arg);
/* The one that runs now, or NULL: the loop, or the world. */
struct task *task_current(void);
/* Gives way for so long; only within a task. */
void task_sleep(uint64_t ns);

/* ---- loop.c ---- */

/* An eventfd of the life was written to. */
void loop_fd_ready(struct life *life, int fd);
/* The callbacks before a poll: at the end of each event of the life. */
void loop_turn_ends(struct life *life);

/* ---- disk.c, calls.c ---- */

struct disk_faults {
    uint64_t sync_ns;     /* a sync takes up to twice as long */
    uint64_t stall_until; /* and none ends before */
    unsigned fail_sync;   /* permille */
    unsigned fail_write;  /* permille */
    bool direct;          /* knows O_DIRECT */
};
struct disk_faults *disk_faults(unsigned slot);
/* What was not synced is lost, or torn, or not. */
void disk_crash(unsigned slot);
/* Flips one bit of what is durably in the slot's log; false: there is none. */
bool disk_flip(unsigned slot);
/* Everything goes: a new machine. */
void disk_wipe(unsigned slot);

/* The database at that path; NULL if there is none. */
struct db *disk_db(const char *path);
struct db *disk_make_db(const char *path);
/* Durably. */
void disk_rename_db(const char *from, const char *to);

#endif
