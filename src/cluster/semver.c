/* Versions of servers and clusters, and what follows from them. Pure. */
#include "chorad/cluster.h"
#include <stdlib.h>

/* A number without sign or leading zeros, as semver has it. */
static bool read_number(const char **at, int64_t *out)
{
    const char *s = *at;
    int64_t n = 0;

    if (*s < '0' || *s > '9' || (s[0] == '0' && s[1] >= '0' && s[1] <= '9'))
        return false;
    while (*s >= '0' && *s <= '9') {
        n = n * 10 + (*s++ - '0');
        if (n > INT32_MAX)
            return false;
    }
    *at = s;
    *out = n;
    return true;
}

int cluster_semver_read(const char *text, struct cluster_semver *out)
{
    struct cluster_semver v;

    if (!read_number(&text, &v.major) || *text++ != '.' ||
        !read_number(&text, &v.minor) || *text++ != '.' ||
        !read_number(&text, &v.patch))
        return ERR_INVALID;
    if (*text != '\0' && *text != '-' && *text != '+')
        return ERR_INVALID;
    *out = v;
    return 0;
}

static int compare(int64_t a, int64_t b)
{
    return a < b ? -1 : a > b;
}

int cluster_semver_compare(struct cluster_semver a, struct cluster_semver b)
{
    if (a.major != b.major)
        return compare(a.major, b.major);
    if (a.minor != b.minor)
        return compare(a.minor, b.minor);
    return compare(a.patch, b.patch);
}

static struct cluster_semver to_minor(struct cluster_semver v)
{
    v.patch = 0;
    return v;
}

bool cluster_is_supported(const char *version)
{
    struct cluster_semver own;
    struct cluster_semver v;

    (void)cluster_semver_read(CLUSTER_STORAGE_VERSION, &own);
    return cluster_semver_read(version, &v) == 0 &&
           cluster_semver_compare(to_minor(v), own) <= 0;
}

static bool is_one_below(struct cluster_semver from, struct cluster_semver to)
{
    return to.major == from.major && to.minor == from.minor - 1;
}

static bool decide_downgrade(struct cluster_semver now,
                             struct cluster_semver lowest, const char *target,
                             struct cluster_semver *out)
{
    struct cluster_semver to;

    if (cluster_semver_read(target, &to) < 0 ||
        cluster_semver_compare(to, now) == 0 || !is_one_below(now, to) ||
        !is_one_below(lowest, to))
        return false;
    *out = to_minor(to);
    return true;
}

bool cluster_decide_version(const struct cluster_version_view *view,
                            struct cluster_semver *out)
{
    struct cluster_semver now;

    if (!view->cluster || cluster_semver_read(view->cluster, &now) < 0) {
        if (view->lowest)
            *out = to_minor(*view->lowest);
        else
            (void)cluster_semver_read(CLUSTER_MIN_VERSION, out);
        return true;
    }
    if (!view->lowest)
        return false;
    if (view->downgrade)
        return decide_downgrade(now, *view->lowest, view->downgrade, out);
    *out = to_minor(*view->lowest);
    return out->major == now.major && out->minor > now.minor;
}

int cluster_downgrade_read(const char *text, struct cluster_semver *out)
{
    int rc = cluster_semver_read(text, out);

    if (rc < 0) {
        char *full = mem_printf("%s.0", text);
        rc = cluster_semver_read(full, out);
        free(full);
    }
    *out = to_minor(*out);
    return rc < 0 ? ERR_DOWNGRADE_FORMAT : 0;
}

bool cluster_downgrade_allowed(const char *cluster,
                               struct cluster_semver target)
{
    struct cluster_semver now;

    return cluster_semver_read(cluster, &now) == 0 &&
           is_one_below(to_minor(now), target);
}
