#include "secret.h"

#include "chorad/base/crc32c.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

static struct secret_job *job_of(struct slow_job *slow)
{
    return container_of(slow, struct secret_job, slow);
}

/* What was in it isn't left lying about. */
static void wipe(struct buf *buf)
{
    if (buf->len > 0)
        OPENSSL_cleanse(buf->data, buf->len);
    buf_close(buf);
}

static void drop(struct slow_job *slow)
{
    struct secret_job *job = job_of(slow);

    wipe(&job->password);
    wipe(&job->hash);
    free(job);
}

static void back(struct slow_job *slow, int err)
{
    struct secret_job *job = job_of(slow);

    job->call->state = NULL;
    job->then(job, err != 0 ? err : job->err);
}

static struct bytes bytes_in(const struct buf *buf)
{
    return bytes_of(buf->data, buf->len);
}

/* ---- on a thread of its own ---- */

static void run_hash(struct slow_job *slow)
{
    struct secret_job *job = job_of(slow);

    job->err =
        auth_hash_password(bytes_in(&job->password), job->cost, &job->hash);
}

static void run_compare(struct slow_job *slow)
{
    struct secret_job *job = job_of(slow);

    job->matches =
        auth_password_matches(bytes_in(&job->hash), bytes_in(&job->password));
}

/* ---- on the shard ---- */

/* One user at one host: neither one host that tries many passwords nor many
 * hosts of one user shall keep the others from logging in. */
static uint64_t caller_of(struct rpc_call *call, struct bytes user)
{
    const char *peer = rpc_peer(call);
    const char *port = strrchr(peer, ':');
    size_t len = port != NULL ? (size_t)(port - peer) : strlen(peer);

    return (uint64_t)crc32c(0, peer, len) << 32 |
           crc32c(0, user.data, user.len);
}

static struct secret_job *new_job(struct rpc_call *call, struct bytes user,
                                  struct bytes password,
                                  void (*then)(struct secret_job *job, int err),
                                  void *arg)
{
    struct secret_job *job = mem_zalloc(sizeof(*job));

    job->slow.caller = caller_of(call, user);
    job->slow.shard = call->shard;
    job->slow.done = back;
    job->slow.drop = drop;
    job->call = call;
    job->then = then;
    job->arg = arg;
    buf_append(&job->password, password.data, password.len);
    call->state = job;
    return job;
}

void secret_hash(struct rpc_call *call, struct bytes user,
                 struct bytes password,
                 void (*then)(struct secret_job *job, int err), void *arg)
{
    struct secret_job *job = new_job(call, user, password, then, arg);

    job->cost = services_of(call)->config.bcrypt_cost;
    job->slow.run = run_hash;
    slow_start(services_of(call)->slow, &job->slow);
}

void secret_compare(struct rpc_call *call, struct bytes user,
                    struct bytes password, struct buf *hash,
                    void (*then)(struct secret_job *job, int err), void *arg)
{
    struct secret_job *job = new_job(call, user, password, then, arg);

    job->hash = *hash;
    *hash = (struct buf){0};
    job->slow.run = run_compare;
    slow_start(services_of(call)->slow, &job->slow);
}

void secret_cancel(struct rpc_call *call)
{
    struct secret_job *job = call->state;

    if (job != NULL)
        slow_cancel(&job->slow);
}
