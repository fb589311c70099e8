/* Whether a change would leave enough started voters for a quorum (source:
 * etcd's RaftCluster.IsReadyTo...). */
#include "chorad/base/log.h"
#include "internal.h"

struct count {
    size_t voters;
    size_t started;
};

/* Voters but for `without`. */
static struct count count_voters(const struct cluster *cluster,
                                 uint64_t without)
{
    struct count count = {0};

    for (size_t i = 0; i < cluster->len; i++) {
        const struct cluster_member *m = &cluster->members[i];
        if (m->is_learner || m->id == without)
            continue;
        count.voters++;
        count.started += m->name[0] != '\0';
    }
    return count;
}

static bool has_quorum(struct count count, const char *refused)
{
    size_t quorum = count.voters / 2 + 1;

    if (count.started >= quorum)
        return true;
    log_warn(refused, LOG_U64("number-of-started-member", count.started),
             LOG_U64("quorum", quorum));
    return false;
}

bool cluster_may_add_voter(const struct cluster *cluster)
{
    struct count count = count_voters(cluster, 0);

    count.voters++;
    /* One member that was restored from a backup has to begin somehow. */
    if (count.started == 1 && count.voters == 2)
        return true;
    return has_quorum(count, "rejecting member add; started member will be "
                             "less than quorum");
}

bool cluster_may_remove_voter(const struct cluster *cluster, uint64_t id)
{
    return has_quorum(count_voters(cluster, id),
                      "rejecting member remove; started member will be less "
                      "than quorum");
}

bool cluster_may_promote(const struct cluster *cluster)
{
    struct count count = count_voters(cluster, 0);

    count.voters++;
    count.started++;
    return has_quorum(count, "rejecting member promote; started member will "
                             "be less than quorum");
}
