/* What may come into the log by another member's hand. */
#include "apply.h"
#include <string.h>

static int check_version(struct arena *scratch, struct bytes text)
{
    char *version = arena_zalloc(scratch, text.len + 1);
    struct cluster_semver semver;

    if (text.len > 0)
        memcpy(version, text.data, text.len);
    /* One that isn't one changes nothing. */
    return cluster_semver_read(version, &semver) == 0 &&
                   !cluster_is_supported(version)
               ? ERR_NOT_CAPABLE
               : 0;
}

static int check_v2(const struct raft_entry *entry, struct arena *scratch)
{
    struct cluster_v2 v2 = cluster_v2_read(bytes_of(entry->data, entry->len));
    struct cluster_member member = {0};
    int err;

    if (v2.kind == CLUSTER_V2_VERSION)
        return check_version(scratch, v2.value);
    if (v2.kind != CLUSTER_V2_ATTRIBUTES)
        return 0;
    err = cluster_member_read(v2.value, &member);
    cluster_member_close(&member);
    return err < 0 ? ERR_MALFORMED : 0;
}

static int check_request(uint32_t kind, const void *req, struct arena *scratch)
{
    const Membershippb__ClusterVersionSetRequest *version = req;
    const struct apply_auth_request *auth = req;

    switch (kind) {
    case APPLY_CLUSTER_VERSION:
        return check_version(scratch,
                             bytes_of(version->ver, strlen(version->ver)));
    case APPLY_USER_ADD:
    case APPLY_ROLE_ADD:
        return auth->name.len > AUTH_NAME_MAX ? ERR_NAME_TOO_LONG : 0;
    default:
        return 0;
    }
}

int apply_check_entry(const struct raft_entry *entry, struct arena *scratch)
{
    struct pb_field found;
    const struct kind *kind;
    const void *req;

    if (entry->len == 0)
        return 0;
    if (apply_find_request(entry, &found) < 0)
        return ERR_MALFORMED;
    if (found.number == APPLY_REQUEST_V2)
        return check_v2(entry, scratch);
    /* One of a version to come, which is passed over here. */
    kind = found.number != 0 ? kind_of(found.number) : NULL;
    if (kind == NULL)
        return 0;
    req = kind_unpack(kind, scratch, found.bytes);
    return req != NULL ? check_request(found.number, req, scratch)
                       : ERR_MALFORMED;
}
