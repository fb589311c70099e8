/* Members and their JSON. */
#ifndef CHORAD_CLUSTER_MEMBER_H
#define CHORAD_CLUSTER_MEMBER_H

#include "chorad/cluster.h"
#include <json-c/json.h>

char **strings_copy(char *const *list);
void strings_free(char **list);

/* Appends the text as a JSON string, quotes included. */
void json_append_string(struct buf *out, const char *text);
/* {"name":...,"clientURLs":[...]}, without what is empty; and with peerURLs
 * and isLearner: the two halves of a member. */
void json_append_attributes(struct buf *out,
                            const struct cluster_member *member);
void json_append_raft_attributes(struct buf *out,
                                 const struct cluster_member *member);
/* NULL: it isn't an object. */
json_object *json_parse_object(struct bytes json);

/* A whole member into fresh memory. ERR_INVALID: not such JSON, or no id. */
int member_from_json(struct bytes json, struct cluster_member *member);

#endif
