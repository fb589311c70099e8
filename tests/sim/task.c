/* Threads as coroutines. One runs until it would block: on a sync, a sleep, a
 * condition, a futex, another thread's end. */
#include "chorad/base/check.h"
#include "sim.h"
#include "wraps.h"
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>

#define STACK_BYTES ((size_t)512 << 10)

struct task {
    ucontext_t context;
    struct life *life;
    void *(*run)(void *arg);
    void *arg;
    bool ended;
    /* What it waits for, by address, and how often it has: a timeout that comes
     * after the wait has ended is no timeout. */
    const void *waits_for;
    uint64_t waits;
    bool timed_out;
    struct task *next_waiting;
    void *stack;
};

static struct task *current;
static ucontext_t world;
static struct task *waiting;
/* Stacks that are free again. */
static void *stacks[64];
static size_t stack_count;

struct task *task_current(void)
{
    return current;
}

static void give_way(void)
{
    struct task *task = current;

    current = NULL;
    CHECK(swapcontext(&task->context, &world) == 0);
    current = task;
}

static void resume(void *arg)
{
    struct task *task = arg;

    CHECK(current == NULL);
    sim.threaded = true;
    current = task;
    CHECK(swapcontext(&world, &task->context) == 0);
    current = NULL;
    if (task->ended && task->stack) {
        if (stack_count < 64)
            stacks[stack_count++] = task->stack;
        task->stack = NULL;
    }
}

/* ---- waiting ------------------------------------------------------------ */

static void wait_on(const void *what)
{
    CHECK(current != NULL);
    current->waits_for = what;
    current->waits++;
    current->timed_out = false;
    struct task **at = &waiting;
    while (*at)
        at = &(*at)->next_waiting;
    *at = current;
    current->next_waiting = NULL;
    give_way();
}

static void stop_waiting(struct task *task)
{
    struct task **at = &waiting;

    while (*at != task)
        at = &(*at)->next_waiting;
    *at = task->next_waiting;
    task->waits_for = NULL;
}

/* The first, or all, of those that wait for it. */
static void wake(const void *what, bool all)
{
    struct task *next;

    for (struct task *task = waiting; task; task = next) {
        next = task->next_waiting;
        if (task->waits_for != what || task->life->dead)
            continue;
        stop_waiting(task);
        sim_at(sim_between(1, 20) * SIM_US, task->life, resume, task);
        if (!all)
            return;
    }
}

struct timeout {
    struct task *task;
    uint64_t waits;
};

static void on_timeout(void *arg)
{
    struct timeout *timeout = arg;
    struct task *task = timeout->task;

    if (task->waits == timeout->waits && task->waits_for) {
        stop_waiting(task);
        task->timed_out = true;
        resume(task);
    }
    free(timeout);
}

void task_sleep(uint64_t ns)
{
    CHECK(current != NULL);
    sim_at(ns, current->life, resume, current);
    give_way();
}

/* ---- threads ------------------------------------------------------------ */

static void task_main(void)
{
    struct task *task = current;

    (void)task->run(task->arg);
    task->ended = true;
    wake(task, true);
    give_way();
}

static void *new_stack(void)
{
    if (stack_count > 0)
        return stacks[--stack_count];
    void *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(stack != MAP_FAILED);
    return stack;
}

struct task *task_start(struct life *life, void *(*run)(void *arg), void *arg)
{
    struct task *task = mem_zalloc(sizeof(*task));

    task->life = life;
    task->run = run;
    task->arg = arg;
    task->stack = new_stack();
    CHECK(getcontext(&task->context) == 0);
    task->context.uc_stack.ss_sp = task->stack;
    task->context.uc_stack.ss_size = STACK_BYTES;
    makecontext(&task->context, task_main, 0);
    sim_at(sim_between(1, 200) * SIM_US, life, resume, task);
    return task;
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
                          void *(*run)(void *arg), void *arg)
{
    (void)attr;
    CHECK(sim.life != NULL);
    *thread = (pthread_t)(uintptr_t)task_start(sim.life, run, arg);
    return 0;
}

int __wrap_pthread_join(pthread_t thread, void **out)
{
    struct task *task = (struct task *)(uintptr_t)thread;

    (void)out;
    while (!task->ended)
        wait_on(task);
    return 0;
}

int __wrap_pthread_setname_np(pthread_t thread, const char *name)
{
    (void)thread;
    (void)name;
    return 0;
}

int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
    CHECK(pthread_mutex_unlock(mutex) == 0);
    wait_on(cond);
    CHECK(pthread_mutex_lock(mutex) == 0);
    return 0;
}

int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                                  const struct timespec *until)
{
    uint64_t due_ns =
        (uint64_t)until->tv_sec * SIM_S + (uint64_t)until->tv_nsec;
    struct timeout *timeout = mem_alloc(sizeof(*timeout));

    *timeout = (struct timeout){current, current->waits + 1};
    sim_at(due_ns > sim.now_ns ? due_ns - sim.now_ns : 0, current->life,
           on_timeout, timeout);
    CHECK(pthread_mutex_unlock(mutex) == 0);
    wait_on(cond);
    CHECK(pthread_mutex_lock(mutex) == 0);
    return current->timed_out ? ETIMEDOUT : 0;
}

int __wrap_pthread_cond_signal(pthread_cond_t *cond)
{
    wake(cond, false);
    return 0;
}

int __wrap_nanosleep(const struct timespec *time, struct timespec *left)
{
    (void)left;
    if (current)
        task_sleep((uint64_t)time->tv_sec * SIM_S + (uint64_t)time->tv_nsec);
    return 0;
}

/* The log's writer sleeps on a futex. */
long __wrap_syscall(long number, ...)
{
    va_list args;

    CHECK(number == SYS_futex);
    va_start(args, number);
    const atomic_uint *word = va_arg(args, const atomic_uint *);
    int op = va_arg(args, int);
    unsigned value = va_arg(args, unsigned);
    va_end(args);
    if (op == FUTEX_WAKE_PRIVATE)
        wake(word, false);
    else if (atomic_load(word) == value)
        wait_on(word);
    return 0;
}
