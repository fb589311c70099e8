/* What the node needs of libuv: in the place of the library's functions. */
#include "chorad/base/check.h"
#include "sim.h"
#include <stdlib.h>

static struct life *life_of(uv_loop_t *loop)
{
    return container_of(loop, struct life, loop);
}

/* ---- timers ------------------------------------------------------------- */

/* An alarm that was set; the timer knows the newest one. */
struct alarm {
    uv_timer_t *timer;
    uv_timer_cb run;
    uint64_t every_ms;
};

static void set_alarm(struct alarm *alarm, uint64_t delay_ms);

/* At the end the loop waits for threads: it has to be one itself. */
static void *run_blocking(void *arg)
{
    struct alarm *alarm = arg;
    struct life *life = life_of(alarm->timer->loop);

    life->blocked = true;
    alarm->run(alarm->timer);
    life->blocked = false;
    return NULL;
}

static void ring(void *arg)
{
    struct alarm *alarm = arg;
    uv_timer_t *timer = alarm->timer;

    /* Stopped, or set anew. */
    if (timer->u.reserved[0] != alarm) {
        free(alarm);
        return;
    }
    if (alarm->every_ms > 0)
        set_alarm(alarm, alarm->every_ms);
    else
        timer->u.reserved[0] = NULL;
    if (life_of(timer->loop)->stopping) {
        task_start(life_of(timer->loop), run_blocking, alarm);
        return;
    }
    alarm->run(timer);
    if (alarm->every_ms == 0)
        free(alarm);
}

static void set_alarm(struct alarm *alarm, uint64_t delay_ms)
{
    /* A loop that has other things to do is late by a little. */
    sim_at(delay_ms * SIM_MS + sim_below(200) * SIM_US,
           life_of(alarm->timer->loop), ring, alarm);
}

int uv_timer_init(uv_loop_t *loop, uv_timer_t *timer)
{
    timer->loop = loop;
    timer->u.reserved[0] = NULL;
    return 0;
}

int uv_timer_start(uv_timer_t *timer, uv_timer_cb run, uint64_t delay_ms,
                   uint64_t every_ms)
{
    struct alarm *alarm = mem_alloc(sizeof(*alarm));

    *alarm = (struct alarm){timer, run, every_ms};
    timer->u.reserved[0] = alarm;
    set_alarm(alarm, delay_ms);
    return 0;
}

int uv_timer_stop(uv_timer_t *timer)
{
    timer->u.reserved[0] = NULL;
    return 0;
}

/* ---- polls: of eventfds ------------------------------------------------- */

static uv_poll_t *polls[SIM_SLOTS]; /* one a life */
static int poll_fds[SIM_SLOTS];
static uv_poll_cb poll_runs[SIM_SLOTS];

int uv_poll_init(uv_loop_t *loop, uv_poll_t *poll, int fd)
{
    unsigned slot = life_of(loop)->slot;

    poll->loop = loop;
    polls[slot] = poll;
    poll_fds[slot] = fd;
    return 0;
}

int uv_poll_start(uv_poll_t *poll, int events, uv_poll_cb run)
{
    (void)events;
    poll_runs[life_of(poll->loop)->slot] = run;
    return 0;
}

static void on_ready(void *arg)
{
    struct life *life = arg;

    if (life->blocked)
        sim_at(SIM_MS, life, on_ready, life);
    else if (polls[life->slot] && polls[life->slot]->loop == &life->loop)
        poll_runs[life->slot](polls[life->slot], 0, UV_READABLE);
}

void loop_fd_ready(struct life *life, int fd)
{
    if (polls[life->slot] && poll_fds[life->slot] == fd)
        sim_at(sim_between(1, 60) * SIM_US, life, on_ready, life);
}

int uv_prepare_init(uv_loop_t *loop, uv_prepare_t *prepare)
{
    prepare->loop = loop;
    return 0;
}

int uv_prepare_start(uv_prepare_t *prepare, uv_prepare_cb run)
{
    prepare->u.reserved[0] = (void *)(uintptr_t)run;
    life_of(prepare->loop)->prepare = prepare;
    return 0;
}

void loop_turn_ends(struct life *life)
{
    uv_prepare_t *prepare = life->prepare;

    if (prepare && (life->up || life->stopping) && !life->blocked)
        ((uv_prepare_cb)(uintptr_t)prepare->u.reserved[0])(prepare);
}

/* ---- workers ------------------------------------------------------------ */

static void work_done(void *arg)
{
    uv_work_t *work = arg;

    work->after_work_cb(work, 0);
}

static void *work_run(void *arg)
{
    uv_work_t *work = arg;

    work->work_cb(work);
    sim_at(sim_between(1, 100) * SIM_US, sim.life, work_done, work);
    return NULL;
}

int uv_queue_work(uv_loop_t *loop, uv_work_t *work, uv_work_cb run,
                  uv_after_work_cb done)
{
    work->loop = loop;
    work->work_cb = run;
    work->after_work_cb = done;
    task_start(life_of(loop), work_run, work);
    return 0;
}

/* ---- closing ------------------------------------------------------------ */

struct closing {
    uv_handle_t *handle;
    uv_close_cb done;
};

static void closed(void *arg)
{
    struct closing *closing = arg;

    closing->done(closing->handle);
    free(closing);
}

void uv_close(uv_handle_t *handle, uv_close_cb done)
{
    struct life *life = life_of(handle->loop);
    struct closing *closing = mem_alloc(sizeof(*closing));

    *closing = (struct closing){handle, done};
    handle->u.reserved[0] = NULL;
    if (life->prepare == (uv_prepare_t *)handle)
        life->prepare = NULL;
    if (polls[life->slot] == (uv_poll_t *)handle)
        polls[life->slot] = NULL;
    sim_at(0, life, closed, closing);
}
