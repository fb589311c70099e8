/* The membership: who belongs to the cluster, under which ids and URLs, and
 * the cluster's version. Kept in the buckets members, members_removed and
 * cluster in etcd's JSON. The loop thread only, but for what is marked pure. */
#ifndef CHORAD_CLUSTER_H
#define CHORAD_CLUSTER_H

#include "chorad/base/err.h"
#include "chorad/base/mem.h"
#include "chorad/store.h"
#include <stdbool.h>
#include <stdint.h>

/* The level of etcd's API and storage that chorad speaks. */
#define CLUSTER_API_VERSION "3.7.1"
#define CLUSTER_STORAGE_VERSION "3.7.0"
/* The oldest cluster that it joins (source: etcd). */
#define CLUSTER_MIN_VERSION "3.0.0"

/* ---- members as values: pure ----------------------------------------------
 */

/* A list of strings, each malloc'ed, ended by NULL. */
struct cluster_member {
    uint64_t id;
    char *name; /* "" until the member has published itself */
    char **peer_urls;
    char **client_urls;
    bool is_learner;
};

/* Malloc'ed, sorted by id. */
struct cluster_list {
    struct cluster_member *members;
    size_t n;
};

/* SHA-1 over the sorted peer URLs and the token, first 8 bytes, big endian
 * (source: reference/formats.md, 6). */
uint64_t cluster_member_id(const char *const *peer_urls, const char *token);
/* The same for one that is added to a running cluster: the time stands in for
 * the token. */
uint64_t cluster_added_member_id(const char *const *peer_urls, uint64_t unix_s);
/* SHA-1 over the sorted member ids. `ids` is sorted in place. */
uint64_t cluster_id(uint64_t *ids, size_t n);

/* The context of a configuration change that adds or updates the member, as
 * etcd's JSON; malloc'ed. */
char *cluster_member_json(const struct cluster_member *member);
/* The context of one that promotes it. */
char *cluster_promote_json(uint64_t id);

/* Takes over what the JSON object says: id, name, URLs, learner or not. Fields
 * it hasn't are left as they are, so that zeroed memory is as good as a member
 * known in part. ERR_INVALID: no such JSON; nothing has changed. */
int cluster_member_read(struct bytes json, struct cluster_member *member);
struct cluster_member cluster_member_copy(const struct cluster_member *member);
void cluster_member_close(struct cluster_member *member);

/* What GET /members answers, and back; ERR_INVALID. */
char *cluster_list_json(const struct cluster_member *members, size_t n);
int cluster_list_read(struct bytes json, struct cluster_list *out);
void cluster_list_close(struct cluster_list *list);

/* ---- requests of the v2 API: pure ------------------------------------------
 */

/* Before its version 3.6 etcd put changes of the membership into the log as
 * requests of its old API, an etcdserverpb.Request bare instead of an
 * InternalRaftRequest. */
enum cluster_v2_kind {
    CLUSTER_V2_NONE,       /* it isn't one */
    CLUSTER_V2_ATTRIBUTES, /* the member `id` is what `value`, JSON, says */
    CLUSTER_V2_VERSION,    /* the cluster's version is `value` */
    CLUSTER_V2_OTHER,      /* one that changes keys of that API */
};

struct cluster_v2 {
    enum cluster_v2_kind kind;
    uint64_t id;
    struct bytes value; /* borrowed from the entry */
};

/* What the payload of an entry is. */
struct cluster_v2 cluster_v2_read(struct bytes payload);

/* ---- versions: pure --------------------------------------------------------
 */

struct cluster_semver {
    int64_t major;
    int64_t minor;
    int64_t patch;
};

/* "3.7.1", also with a suffix ("-rc.1", "+git"), which is left out. */
int cluster_semver_read(const char *text, struct cluster_semver *out);
/* Below 0, 0 or above 0. */
int cluster_semver_compare(struct cluster_semver a, struct cluster_semver b);

/* A cluster of that version isn't newer than this server. */
bool cluster_is_supported(const char *version);

struct cluster_version_view {
    const char *cluster; /* the version decided on, or NULL */
    /* That of the member with the lowest; NULL: not all are known. */
    const struct cluster_semver *lowest;
    const char *downgrade; /* the target of a downgrade under way, or NULL */
};

/* What the leader should set the cluster's version to; false: leave it. Only
 * major and minor count (source: etcd's version monitor). */
bool cluster_decide_version(const struct cluster_version_view *view,
                            struct cluster_semver *out);

/* The target of a Downgrade request, "3.6" or "3.6.0"; ERR_DOWNGRADE_FORMAT. */
int cluster_downgrade_read(const char *text, struct cluster_semver *out);
/* One minor version below, and nothing else, can be gone back to. */
bool cluster_downgrade_allowed(const char *cluster,
                               struct cluster_semver target);

/* ---- a start without data: pure -------------------------------------------
 */

/* The cluster a member begins in. */
struct cluster_start {
    struct cluster_list list;
    uint64_t cluster_id;
    uint64_t self; /* the member's own id */
    bool join;     /* the cluster runs already */
};

/* Adds a member of --initial-cluster: its id comes from URLs and token. Copies.
 * ERR_EXISTS: there is one with that id. */
int cluster_start_add(struct cluster_start *start, const char *name,
                      const char *const *peer_urls, const char *token,
                      struct errmsg *msg);
/* All are added; ERR_NOTFOUND: none has that name. */
int cluster_start_finish(struct cluster_start *start, const char *self);
/* The cluster runs already, with these members: takes over their ids.
 * `same_urls` says whether two lists mean the same addresses, or why not.
 * ERR_INVALID with etcd's text where they don't match. */
typedef bool (*cluster_same_urls_cb)(void *arg, char *const *a, char *const *b,
                                     struct errmsg *why);
int cluster_start_join(struct cluster_start *start,
                       const struct cluster_list *running, uint64_t cluster_id,
                       cluster_same_urls_cb same_urls, void *arg,
                       struct errmsg *msg);
void cluster_start_close(struct cluster_start *start);

/* ---- the membership --------------------------------------------------------
 */

struct cluster;

/* Reads what the store holds; a new store gives an empty membership. */
int cluster_open(struct store *store, struct cluster **out, struct errmsg *msg);
/* The same from a transaction that the reader is inside of: only to look at. */
int cluster_view(struct store_reader *reader, struct cluster **out,
                 struct errmsg *msg);
void cluster_close(struct cluster *cluster);
/* What it keeps goes to this store from now on. */
void cluster_use_store(struct cluster *cluster, struct store *store);

/* ---- through the log ---- */

/* Numbers as raftpb.ConfChangeType has them. */
enum cluster_change_type {
    CLUSTER_ADD = 0, /* also: promote a learner, as the context says */
    CLUSTER_REMOVE = 1,
    CLUSTER_UPDATE = 2,
    CLUSTER_ADD_LEARNER = 3,
};

struct cluster_change {
    enum cluster_change_type type;
    uint64_t id;
    struct bytes context; /* JSON; none for a removal */
};

/* May it be made? ERR_INVALID: the context is no such JSON;
 * ERR_MEMBER_NOT_FOUND (also: was removed before), ERR_MEMBER_EXISTS,
 * ERR_PEER_URL_EXISTS, ERR_NOT_LEARNER, ERR_TOO_MANY_LEARNERS. */
int cluster_check(const struct cluster *cluster,
                  const struct cluster_change *change, size_t max_learners);
/* Makes a change that was found to be possible. */
void cluster_apply(struct cluster *cluster,
                   const struct cluster_change *change);

/* A member has published its name and client URLs (lists ended by NULL).
 * Unknown ids are ignored. */
void cluster_set_attributes(struct cluster *cluster, uint64_t id,
                            const char *name, char *const *client_urls);

/* "3.7.0" */
void cluster_set_version(struct cluster *cluster, const char *version);

/* NULL: none is under way (any more). */
void cluster_set_downgrade(struct cluster *cluster, const char *target);

/* Brings the storage version in line with the cluster's, as far as it can be;
 * true: it has changed. Not through the log: each member for itself. */
bool cluster_follow_version(struct cluster *cluster);

/* Writes raft's configuration to the meta bucket; ids sorted. */
void cluster_save_conf_state(struct cluster *cluster, const uint64_t *voters,
                             size_t n_voters, const uint64_t *learners,
                             size_t n_learners);

/* Reads it back, malloc'ed; nothing where there is none yet. ERR_CORRUPT. */
int cluster_load_conf_state(const struct cluster *cluster, uint64_t **voters,
                            size_t *n_voters, uint64_t **learners,
                            size_t *n_learners);
/* The same from the record's value. */
int cluster_conf_state_read(struct bytes json, uint64_t **voters,
                            size_t *n_voters, uint64_t **learners,
                            size_t *n_learners);

/* ---- looking --------------------------------------------------------------
 */

/* Sorted by id; borrowed until the next change. */
const struct cluster_member *cluster_members(const struct cluster *cluster,
                                             size_t *n);
/* NULL if there is none of that id. */
const struct cluster_member *cluster_find(const struct cluster *cluster,
                                          uint64_t id);
bool cluster_is_removed(const struct cluster *cluster, uint64_t id);
/* NULL until decided. */
const char *cluster_version(const struct cluster *cluster);
/* NULL until known. */
const char *cluster_storage_version(const struct cluster *cluster);
/* The target, or NULL. */
const char *cluster_downgrade(const struct cluster *cluster);

/* Enough voters have started (published a name) for a change not to lose the
 * quorum (source: etcd's strict reconfiguration check). */
bool cluster_may_add_voter(const struct cluster *cluster);
bool cluster_may_remove_voter(const struct cluster *cluster, uint64_t id);
bool cluster_may_promote(const struct cluster *cluster);

/* The membership as the old store of etcd's v2 API, in its JSON: what a
 * snapshot message carries besides the database; malloc'ed. */
char *cluster_v2_store(const struct cluster *cluster);

#endif
