#include "view.h"

static int range_reader(void *source, const struct mvcc_range *range,
                        mvcc_visit_cb visit, void *arg,
                        struct mvcc_range_result *result)
{
    return mvcc_range(source, range, visit, arg, result);
}

struct view view_of_reader(struct mvcc_reader *reader)
{
    return (struct view){range_reader, reader};
}

static int range_txn(void *source, const struct mvcc_range *range,
                     mvcc_visit_cb visit, void *arg,
                     struct mvcc_range_result *result)
{
    return mvcc_txn_range(source, range, visit, arg, result);
}

struct view view_of_txn(struct mvcc *mvcc)
{
    return (struct view){range_txn, mvcc};
}

static int range_pinned(void *source, const struct mvcc_range *range,
                        mvcc_visit_cb visit, void *arg,
                        struct mvcc_range_result *result)
{
    struct view_pinned *pinned = source;
    struct mvcc_range at = *range;
    int rc;

    if (at.rev > pinned->rev)
        return ERR_FUTURE_REV;
    if (at.rev <= 0)
        at.rev = pinned->rev;
    rc = mvcc_range(pinned->reader, &at, visit, arg, result);
    result->rev = pinned->rev;
    return rc;
}

struct view view_of_pinned(struct view_pinned *pinned)
{
    return (struct view){range_pinned, pinned};
}

struct get {
    struct arena *arena;
    struct bytes record;
};

static int visit_get(void *arg, const struct mvcc_kv *kv)
{
    struct get *get = arg;

    get->record = bytes_of(
        arena_dup(get->arena, kv->record.data, kv->record.len), kv->record.len);
    return 0;
}

int view_get(const struct view *view, struct bytes key, struct arena *arena,
             struct bytes *record)
{
    struct mvcc_range range = {.key = key, .want = MVCC_RECORDS};
    struct mvcc_range_result result;
    struct get get = {.arena = arena};
    int rc = view->range(view->source, &range, visit_get, &get, &result);

    if (rc < 0)
        return rc;
    if (get.record.data == NULL)
        return ERR_NOTFOUND;
    *record = get.record;
    return 0;
}
