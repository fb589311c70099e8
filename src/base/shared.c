/* Reference-counted bytes. */
#include "chorad/base/mem.h"

#include "chorad/base/check.h"

#include <stdlib.h>

struct shared *shared_new(size_t len)
{
    struct shared *s;

    CHECK(len <= UINT32_MAX);
    s = mem_alloc(sizeof(*s) + len);
    atomic_init(&s->refs, 1);
    s->len = (uint32_t)len;
    return s;
}

struct shared *shared_ref(struct shared *s)
{
    unsigned before =
        atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);

    /* Half the range is the distance at which an overflow is noticed. */
    CHECK(before > 0 && before < UINT32_MAX / 2);
    return s;
}

void shared_unref(struct shared *s)
{
    unsigned before;

    if (s == NULL)
        return;
    before = atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel);
    CHECK(before > 0);
    if (before == 1)
        free(s);
}
