/* Buckets' names, and the CRC that follows each value on disk. */
#include "internal.h"

#include "chorad/base/be.h"
#include "chorad/base/check.h"
#include "chorad/base/crc32c.h"

static const char *const names[STORE_BUCKETS] = {
    [STORE_ALARM] = "alarm",
    [STORE_AUTH] = "auth",
    [STORE_AUTH_ROLES] = "authRoles",
    [STORE_AUTH_USERS] = "authUsers",
    [STORE_CLUSTER] = "cluster",
    [STORE_KEY] = "key",
    [STORE_LEASE] = "lease",
    [STORE_MEMBERS] = "members",
    [STORE_MEMBERS_REMOVED] = "members_removed",
    [STORE_META] = "meta",
};

const char *store_bucket_name(enum store_bucket bucket)
{
    CHECK(bucket < STORE_BUCKETS);
    return names[bucket];
}

uint32_t store_record_crc(enum store_bucket bucket, struct bytes key,
                          struct bytes value)
{
    uint32_t crc = crc32c(0, names[bucket], strlen(names[bucket]));

    crc = crc32c(crc, key.data, key.len);
    return crc32c(crc, value.data, value.len);
}

bool store_record_check(enum store_bucket bucket, struct bytes key,
                        struct bytes disk, struct bytes *value)
{
    if (disk.len < STORE_CRC_LEN)
        return false;
    *value = bytes_of(disk.data, disk.len - STORE_CRC_LEN);
    return le_get_u32(disk.data + value->len) ==
           store_record_crc(bucket, key, *value);
}
