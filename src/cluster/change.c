/* Changes of the membership that the log brings. */
#include "chorad/base/log.h"
#include "internal.h"
#include <stdlib.h>
#include <string.h>

/* ---- may it be made? (source: etcd's ValidateConfigurationChange) ---- */

/* Another member than `id` has one of these URLs. */
static bool is_taken(const struct cluster *cluster, uint64_t id,
                     char *const *urls)
{
    for (size_t i = 0; i < cluster->len; i++) {
        const struct cluster_member *m = &cluster->members[i];
        for (char *const *mine = m->peer_urls; m->id != id && *mine; mine++)
            for (char *const *url = urls; *url; url++)
                if (strcmp(*mine, *url) == 0)
                    return true;
    }
    return false;
}

static size_t count_learners(const struct cluster *cluster)
{
    size_t n = 0;

    for (size_t i = 0; i < cluster->len; i++)
        n += cluster->members[i].is_learner;
    return n;
}

static bool is_promotion(struct bytes context)
{
    json_object *obj = json_parse_object(context);
    json_object *field;
    bool is = obj && json_object_object_get_ex(obj, "isPromote", &field) &&
              json_object_get_boolean(field);

    json_object_put(obj);
    return is;
}

static int check_promotion(const struct cluster *cluster, uint64_t id)
{
    const struct cluster_member *member = members_find(cluster, id);

    if (!member)
        return ERR_MEMBER_NOT_FOUND;
    return member->is_learner ? 0 : ERR_NOT_LEARNER;
}

static int check_new(const struct cluster *cluster,
                     const struct cluster_change *change,
                     const struct cluster_member *member, size_t max_learners)
{
    if (members_find(cluster, change->id))
        return ERR_MEMBER_EXISTS;
    if (is_taken(cluster, 0, member->peer_urls))
        return ERR_PEER_URL_EXISTS;
    if (member->is_learner && change->type == CLUSTER_ADD_LEARNER &&
        count_learners(cluster) + 1 > max_learners)
        return ERR_TOO_MANY_LEARNERS;
    return 0;
}

static int check_with_member(const struct cluster *cluster,
                             const struct cluster_change *change,
                             size_t max_learners)
{
    struct cluster_member member;
    int rc = member_from_json(change->context, &member);

    if (rc < 0)
        return rc;
    if (member.id != change->id)
        rc = ERR_INVALID;
    else if (change->type != CLUSTER_UPDATE)
        rc = is_promotion(change->context)
                 ? check_promotion(cluster, change->id)
                 : check_new(cluster, change, &member, max_learners);
    else if (!members_find(cluster, change->id))
        rc = ERR_MEMBER_NOT_FOUND;
    else if (is_taken(cluster, change->id, member.peer_urls))
        rc = ERR_PEER_URL_EXISTS;
    cluster_member_close(&member);
    return rc;
}

int cluster_check(const struct cluster *cluster,
                  const struct cluster_change *change, size_t max_learners)
{
    if (change->id == 0 || cluster_is_removed(cluster, change->id))
        return ERR_MEMBER_NOT_FOUND;
    if (change->type == CLUSTER_REMOVE)
        return members_find(cluster, change->id) ? 0 : ERR_MEMBER_NOT_FOUND;
    return check_with_member(cluster, change, max_learners);
}

/* ---- making it ---- */

static void remove_member(struct cluster *cluster, uint64_t id)
{
    char key[17];

    member_print_key(key, id);
    store_delete(cluster->store, STORE_MEMBERS, text_bytes(key));
    store_put(cluster->store, STORE_MEMBERS_REMOVED, text_bytes(key),
              text_bytes("removed"));
    members_remove(cluster, id);
    removed_add(cluster, id);
    log_info("removed member", LOG_HEX("removed-remote-peer-id", id));
}

static void promote(struct cluster *cluster, uint64_t id)
{
    struct cluster_member *member = members_find(cluster, id);

    member->is_learner = false;
    member_persist(cluster, member);
    log_info("promote member", LOG_HEX("promoted-member-id", id));
}

static void add(struct cluster *cluster, struct cluster_member *member)
{
    member_persist(cluster, member);
    log_info("added member", LOG_HEX("added-peer-id", member->id),
             LOG_STR("added-peer-peer-urls",
                     member->peer_urls[0] ? member->peer_urls[0] : ""),
             LOG_BOOL("added-peer-is-learner", member->is_learner));
    members_insert(cluster, *member);
    *member = (struct cluster_member){0};
}

/* Nothing but its peer URLs can be changed. */
static void update(struct cluster *cluster, struct cluster_member *with)
{
    struct cluster_member *member = members_find(cluster, with->id);
    char **urls = member->peer_urls;

    member->peer_urls = with->peer_urls;
    with->peer_urls = urls;
    member_persist(cluster, member);
    log_info("updated member", LOG_HEX("updated-remote-peer-id", member->id),
             LOG_STR("updated-remote-peer-urls",
                     member->peer_urls[0] ? member->peer_urls[0] : ""));
}

void cluster_apply(struct cluster *cluster, const struct cluster_change *change)
{
    struct cluster_member member;

    if (change->type == CLUSTER_REMOVE) {
        remove_member(cluster, change->id);
        return;
    }
    /* It has been looked at by cluster_check. */
    if (member_from_json(change->context, &member) < 0)
        return;
    if (change->type == CLUSTER_UPDATE)
        update(cluster, &member);
    else if (is_promotion(change->context))
        promote(cluster, change->id);
    else
        add(cluster, &member);
    cluster_member_close(&member);
}

void cluster_set_attributes(struct cluster *cluster, uint64_t id,
                            const char *name, char *const *client_urls)
{
    struct cluster_member *member = members_find(cluster, id);

    if (!member) {
        log_warn("skipped attributes update of a member that isn't there",
                 LOG_HEX("updated-peer-id", id));
        return;
    }
    free(member->name);
    strings_free(member->client_urls);
    member->name = mem_strdup(name);
    member->client_urls = strings_copy(client_urls);
    member_persist(cluster, member);
}
