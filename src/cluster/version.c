/* The versions of the cluster and of its storage. */
#include "chorad/base/log.h"
#include "internal.h"
#include <stdlib.h>
#include <string.h>

void cluster_set_version(struct cluster *cluster, const char *version)
{
    if (cluster->version)
        log_info("updated cluster version", LOG_STR("from", cluster->version),
                 LOG_STR("to", version));
    else
        log_info("set initial cluster version",
                 LOG_STR("cluster-version", version));
    free(cluster->version);
    cluster->version = mem_strdup(version);
    store_put(cluster->store, STORE_CLUSTER, text_bytes("clusterVersion"),
              text_bytes(version));
}

void cluster_set_downgrade(struct cluster *cluster, const char *target)
{
    struct buf json = {0};

    buf_printf(&json, "{\"target-version\":");
    json_append_string(&json, target ? target : "");
    buf_printf(&json, ",\"enabled\":%s}", target ? "true" : "false");
    store_put(cluster->store, STORE_CLUSTER, text_bytes("downgrade"),
              bytes_of(json.data, json.len));
    buf_close(&json);
    free(cluster->downgrade);
    cluster->downgrade = target ? mem_strdup(target) : NULL;
}

/* What the storage is at: before 3.6 no version was kept. */
static struct cluster_semver stored(const struct cluster *cluster)
{
    struct cluster_semver v = {3, 5, 0};

    if (cluster->storage_version)
        (void)cluster_semver_read(cluster->storage_version, &v);
    return v;
}

static bool is_known(struct cluster_semver v)
{
    struct cluster_semver own;

    (void)cluster_semver_read(CLUSTER_STORAGE_VERSION, &own);
    return v.major == own.major && v.minor >= 5 && v.minor <= own.minor;
}

/* The versions differ in nothing but the version itself (source: etcd's
 * storage schema). */
bool cluster_follow_version(struct cluster *cluster)
{
    struct cluster_semver want;
    struct cluster_semver have = stored(cluster);

    if (!cluster->version || strcmp(cluster->version, CLUSTER_MIN_VERSION) == 0)
        return false;
    if (cluster_semver_read(cluster->version, &want) < 0 || !is_known(want) ||
        (want.major == have.major && want.minor == have.minor))
        return false;
    free(cluster->storage_version);
    if (want.minor < 6) {
        cluster->storage_version = NULL;
        store_delete(cluster->store, STORE_META, text_bytes("storageVersion"));
    } else {
        cluster->storage_version =
            mem_printf("%d.%d.0", (int)want.major, (int)want.minor);
        store_put(cluster->store, STORE_META, text_bytes("storageVersion"),
                  text_bytes(cluster->storage_version));
    }
    log_info("updated storage version",
             LOG_STR("new-storage-version", cluster->version));
    if (cluster->downgrade)
        log_info("The server is ready to downgrade",
                 LOG_STR("target-version", cluster->downgrade),
                 LOG_STR("server-version", CLUSTER_API_VERSION));
    return true;
}
