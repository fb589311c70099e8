/* The end of streams.
 *
 *   opened --rpc_finish--> finishing --all sent--> closed: on_done
 *      |                       |                     ^
 *      `---- client gone ------+---------------------' */
#include "internal.h"

#include "chorad/base/clock.h"
#include "chorad/base/err.h"

bool stream_is_open(const struct call *call)
{
    return call->stream != NULL && !call->cancelled && !call->finishing;
}

void rpc_finish_text(struct rpc_call *pub, int grpc_code, const char *text)
{
    struct call *call = call_of(pub);

    if (!stream_is_open(call))
        return;
    call->finishing = true;
    call_handled(call, grpc_code);
    http2_expect(call->stream, 0);
    http2_settle(call->stream);
    answer_end(call->stream, call->responded, grpc_code, text);
}

void rpc_finish(struct rpc_call *pub, int err)
{
    if (err == 0)
        rpc_finish_text(pub, GRPC_OK, NULL);
    else
        rpc_finish_text(pub, err_grpc_status(err), err_text(err));
}

size_t rpc_queued_bytes(const struct rpc_call *pub)
{
    const struct call *call = call_of(pub);

    return call->stream != NULL ? http2_queued_bytes(call->stream) : 0;
}

size_t rpc_queued_messages(const struct rpc_call *pub)
{
    const struct call *call = call_of(pub);

    return call->stream != NULL ? http2_queued_messages(call->stream) : 0;
}

void stream_closed(struct call *call, bool clean)
{
    call->stream = NULL;
    if (!clean || !call->finishing)
        call->cancelled = true;
    if (!call->finishing)
        call_handled(call, clock_mono_ns() >= call->pub.deadline_ns
                               ? GRPC_DEADLINE_EXCEEDED
                               : GRPC_CANCELLED);
    if (call->started)
        call->pub.method->on_done(&call->pub);
    call_end(call);
}
