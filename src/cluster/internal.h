/* Inside of the membership. */
#ifndef CHORAD_CLUSTER_INTERNAL_H
#define CHORAD_CLUSTER_INTERNAL_H

#include "member.h"
#include <string.h>

struct cluster {
    struct store *store;
    struct cluster_member *members; /* sorted by id */
    size_t len;
    uint64_t *removed; /* sorted */
    size_t removed_len;
    char *version;
    char *storage_version;
    char *downgrade; /* the target; NULL: none */
};

static inline struct bytes text_bytes(const char *s)
{
    return bytes_of(s, strlen(s));
}

/* NULL if there is none of that id. */
struct cluster_member *members_find(const struct cluster *cluster, uint64_t id);
/* Takes over what the member owns. */
void members_insert(struct cluster *cluster, struct cluster_member member);
/* No effect if there is none. */
void members_remove(struct cluster *cluster, uint64_t id);
void removed_add(struct cluster *cluster, uint64_t id);

/* The key a member's record has: its id. */
void member_print_key(char out[17], uint64_t id);
/* Writes the member's record. */
void member_persist(struct cluster *cluster,
                    const struct cluster_member *member);

#endif
