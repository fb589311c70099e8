/* What Lock and Election take from clients, and what they read out of answers
 * and events. The first byte says what. */
#include "chorad/base/check.h"
#include "chorad/codec.h"
#include "chorad/recipe.h"
#include "chorad/watch.h"
#include "election.pb-c.h"
#include "lock.pb-c.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool inside(struct bytes part, struct bytes whole)
{
    return part.len == 0 || (part.data >= whole.data &&
                             part.data + part.len <= whole.data + whole.len);
}

static void name(struct bytes name, int64_t lease, struct arena *arena)
{
    struct bytes prefix;
    struct bytes end;
    struct bytes key;

    recipe_range(arena, name, &prefix, &end);
    key = recipe_key(arena, prefix, lease);
    CHECK(bytes_cmp(prefix, key) < 0);
    CHECK(bytes_cmp(key, end) < 0);
    CHECK(key.len > prefix.len && key.len <= prefix.len + 17);
}

static void lock(struct bytes in, struct arena *arena)
{
    V3lockpb__LockRequest *req =
        (void *)codec_unpack(&v3lockpb__lock_request__descriptor, arena, in);

    if (req)
        name(bytes_of(req->name.data, req->name.len), req->lease, arena);
}

static void campaign(struct bytes in, struct arena *arena)
{
    V3electionpb__CampaignRequest *req = (void *)codec_unpack(
        &v3electionpb__campaign_request__descriptor, arena, in);

    if (req)
        name(bytes_of(req->name.data, req->name.len), req->lease, arena);
}

static void claimed(struct bytes in, struct arena *arena)
{
    struct recipe_claimed what;
    int rc = recipe_read_claim(arena, in, &what);

    CHECK(rc == 0 || rc == ERR_MALFORMED);
    if (rc == 0)
        CHECK(what.header && (!what.created || what.value.len == 0));
    (void)recipe_held(in);
}

static void event(struct bytes in)
{
    struct bytes record = watch_event_record(in);
    struct mvcc_fields fields;

    CHECK(inside(record, in));
    if (mvcc_decode(record, &fields) == 0)
        CHECK(inside(fields.key, record) && inside(fields.value, record));
}

static const ProtobufCMessageDescriptor *const types[] = {
    &v3lockpb__unlock_request__descriptor,
    &v3electionpb__proclaim_request__descriptor,
    &v3electionpb__leader_request__descriptor,
    &v3electionpb__resign_request__descriptor,
};
#define TYPES (sizeof(types) / sizeof(types[0]))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};

    if (size == 0)
        return 0;
    struct bytes in = bytes_of(data + 1, size - 1);
    size_t what = data[0] % (TYPES + 4);
    if (what == TYPES)
        lock(in, &arena);
    else if (what == TYPES + 1)
        campaign(in, &arena);
    else if (what == TYPES + 2)
        claimed(in, &arena);
    else if (what == TYPES + 3)
        event(in);
    else
        (void)codec_unpack(types[what], &arena, in);
    arena_close(&arena);
    return 0;
}
