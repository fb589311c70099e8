#include "apply.h"
#include "chorad/base/log.h"

#include <string.h>

static int set_version(struct cluster *cluster, const char *text)
{
    struct cluster_semver version;

    if (cluster_semver_read(text, &version) < 0)
        return ERR_INVALID;
    if (!cluster_is_supported(text)) {
        log_error("invalid downgrade; server version is lower than determined "
                  "cluster version",
                  LOG_STR("current-server-version", CLUSTER_API_VERSION),
                  LOG_STR("determined-cluster-version", text));
        return ERR_NOT_CAPABLE;
    }
    cluster_set_version(cluster, text);
    (void)cluster_follow_version(cluster);
    return 0;
}

int apply_cluster_version(struct apply *apply,
                          const Membershippb__ClusterVersionSetRequest *req)
{
    return set_version(apply->config.cluster, req->ver);
}

void apply_downgrade_info(struct apply *apply,
                          const Membershippb__DowngradeInfoSetRequest *req)
{
    cluster_set_downgrade(apply->config.cluster,
                          req->enabled ? req->ver : NULL);
}

void apply_member_attributes(
    struct apply *apply, const Membershippb__ClusterMemberAttrSetRequest *req)
{
    const Membershippb__Attributes *attr = req->member_attributes;
    size_t n = attr ? attr->n_client_urls : 0;
    char **urls = arena_zalloc(&apply->arena, (n + 1) * sizeof(char *));

    if (!attr)
        return;
    for (size_t i = 0; i < n; i++)
        urls[i] = attr->client_urls[i];
    cluster_set_attributes(apply->config.cluster, req->member_id, attr->name,
                           urls);
}

static char *text_in(struct arena *arena, struct bytes b)
{
    char *text = arena_zalloc(arena, b.len + 1);

    if (b.len > 0)
        memcpy(text, b.data, b.len);
    return text;
}

static int apply_v2_attributes(struct apply *apply, const struct cluster_v2 *v2)
{
    struct cluster_member member = {0};
    int rc = cluster_member_read(v2->value, &member);

    if (rc == 0)
        cluster_set_attributes(apply->config.cluster, v2->id,
                               member.name ? member.name : "",
                               member.client_urls);
    cluster_member_close(&member);
    return rc < 0 ? ERR_CORRUPT : 0;
}

int apply_v2(struct apply *apply, const struct raft_entry *entry)
{
    struct cluster_v2 v2 = cluster_v2_read(bytes_of(entry->data, entry->len));

    switch (v2.kind) {
    case CLUSTER_V2_ATTRIBUTES:
        return apply_v2_attributes(apply, &v2);
    case CLUSTER_V2_VERSION:
        return set_version(apply->config.cluster,
                           text_in(&apply->arena, v2.value));
    case CLUSTER_V2_OTHER:
        log_warn("a request of the v2 API was passed over",
                 LOG_U64("index", entry->index));
        return 0;
    case CLUSTER_V2_NONE:
        break;
    }
    return ERR_UNSUPPORTED;
}
