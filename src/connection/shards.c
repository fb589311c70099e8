/* The shards: their threads, and the way of a socket to one of them. */
#include "internal.h"

#include "chorad/base/check.h"
#include "chorad/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SHARDS_MAX 8

unsigned shards_default_n(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);

    if (n < 1)
        return 1;
    return n > SHARDS_MAX ? SHARDS_MAX : (unsigned)n;
}

static void *run(void *arg)
{
    struct shard *shard = arg;
    const struct shards_config *config = &shard->shards->config;

    if (config->open != NULL)
        config->open(config->arg, shard);
    shard_loop_run(shard);
    if (config->close != NULL)
        config->close(config->arg, shard);
    return NULL;
}

/* Signals are the business of the thread that asked for them. */
static void start_thread(struct shard *shard)
{
    sigset_t all;
    sigset_t before;
    int rv;

    (void)sigfillset(&all);
    rv = pthread_sigmask(SIG_BLOCK, &all, &before);
    CHECK(rv == 0);
    rv = pthread_create(&shard->thread, NULL, run, shard);
    CHECK(rv == 0);
    rv = pthread_sigmask(SIG_SETMASK, &before, NULL);
    CHECK(rv == 0);
    (void)snprintf(shard->name, sizeof(shard->name), "%.8s-%u",
                   shard->shards->config.name, shard->index);
    (void)pthread_setname_np(shard->thread, shard->name);
}

struct shards *shards_open(const struct shards_config *config)
{
    struct shards *shards = mem_zalloc(sizeof(*shards));

    shards->config = *config;
    shards->n = config->n > 0 ? config->n : shards_default_n();
    shards->list = mem_zalloc(shards->n * sizeof(shards->list[0]));
    for (unsigned i = 0; i < shards->n; i++) {
        struct shard *shard = &shards->list[i];

        shard->shards = shards;
        shard->index = i;
        shard_loop_open(shard);
    }
    return shards;
}

void shards_start(struct shards *shards)
{
    for (unsigned i = 0; i < shards->n; i++)
        start_thread(&shards->list[i]);
}

static void stop_task(struct shard_task *task)
{
    shard_loop_stop(container_of(task, struct shard, stop));
}

void shards_close(struct shards *shards)
{
    for (unsigned i = 0; i < shards->n; i++) {
        shards->list[i].stop.run = stop_task;
        shard_post(&shards->list[i], &shards->list[i].stop);
    }
    for (unsigned i = 0; i < shards->n; i++) {
        int rv = pthread_join(shards->list[i].thread, NULL);

        CHECK(rv == 0);
        shard_loop_close(&shards->list[i]);
    }
    free(shards->list);
    free(shards);
}

unsigned shards_n(const struct shards *shards)
{
    return shards->n;
}

struct shard *shards_at(struct shards *shards, unsigned index)
{
    CHECK(index < shards->n);
    return &shards->list[index];
}

unsigned shard_index(const struct shard *shard)
{
    return shard->index;
}

void shard_set_local(struct shard *shard, void *local)
{
    shard->local = local;
}

void *shard_local(const struct shard *shard)
{
    return shard->local;
}

uint64_t shard_now_ns(const struct shard *shard)
{
    return shard->now_ns;
}

/* ---- a socket's way in ----------------------------------------------- */

struct arrival {
    struct shard_task task;
    struct shard *shard;
    const struct connection_protocol *protocol;
    void *arg;
    int fd;
};

static void arrive(struct shard_task *task)
{
    struct arrival *arrival = container_of(task, struct arrival, task);
    struct shard *shard = arrival->shard;

    if (shard->draining)
        (void)close(arrival->fd);
    else
        connection_open(shard, arrival->fd, arrival->protocol, arrival->arg);
    free(arrival);
}

void shards_take(struct shards *shards, int fd,
                 const struct connection_protocol *protocol, void *arg)
{
    unsigned turn =
        atomic_fetch_add_explicit(&shards->next, 1, memory_order_relaxed);
    struct arrival *arrival;
    int flags = fcntl(fd, F_GETFL);
    int on = 1;

    /* Fails on a unix socket, where there is no delay to switch off. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) {
        log_warn("failed to make a connection non-blocking",
                 LOG_I64("errno", errno));
        (void)close(fd);
        return;
    }
    arrival = mem_zalloc(sizeof(*arrival));
    arrival->task.run = arrive;
    arrival->shard = &shards->list[turn % shards->n];
    arrival->protocol = protocol;
    arrival->arg = arg;
    arrival->fd = fd;
    shard_post(arrival->shard, &arrival->task);
}
