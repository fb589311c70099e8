#include "member.h"
#include <inttypes.h>
#include <json-c/json.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "chorad/base/be.h"
#include "chorad/base/check.h"

void strings_free(char **list)
{
    for (char **s = list; s && *s; s++)
        free(*s);
    free(list);
}

char **strings_copy(char *const *list)
{
    size_t n = 0;

    while (list && list[n])
        n++;
    char **copy = mem_zalloc((n + 1) * sizeof(char *));
    for (size_t i = 0; i < n; i++)
        copy[i] = mem_strdup(list[i]);
    return copy;
}

void cluster_member_close(struct cluster_member *member)
{
    free(member->name);
    strings_free(member->peer_urls);
    strings_free(member->client_urls);
    *member = (struct cluster_member){0};
}

static uint64_t sha1_head(const void *data, size_t len)
{
    uint8_t digest[EVP_MAX_MD_SIZE];

    CHECK(EVP_Digest(data, len, digest, NULL, EVP_sha1(), NULL) == 1);
    return be_get_u64(digest);
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

struct cluster_member cluster_member_copy(const struct cluster_member *member)
{
    return (struct cluster_member){
        .id = member->id,
        .name = mem_strdup(member->name ? member->name : ""),
        .peer_urls = strings_copy(member->peer_urls),
        .client_urls = strings_copy(member->client_urls),
        .is_learner = member->is_learner,
    };
}

uint64_t cluster_member_id(const char *const *peer_urls, const char *token)
{
    struct buf text = {0};
    size_t n = 0;

    while (peer_urls[n])
        n++;
    const char **sorted = mem_alloc((n + 1) * sizeof(char *));
    memcpy(sorted, peer_urls, n * sizeof(char *));
    qsort(sorted, n, sizeof(char *), compare_strings);
    for (size_t i = 0; i < n; i++)
        buf_append(&text, sorted[i], strlen(sorted[i]));
    buf_append(&text, token, strlen(token));
    uint64_t id = sha1_head(text.data, text.len);
    free(sorted);
    buf_close(&text);
    return id;
}

uint64_t cluster_added_member_id(const char *const *peer_urls, uint64_t unix_s)
{
    char *token = mem_printf("%" PRIu64, unix_s);
    uint64_t id = cluster_member_id(peer_urls, token);

    free(token);
    return id;
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

uint64_t cluster_id(uint64_t *ids, size_t n)
{
    uint8_t *bytes = mem_alloc(n * 8 + 1);

    qsort(ids, n, sizeof(uint64_t), compare_ids);
    for (size_t i = 0; i < n; i++)
        be_put_u64(bytes + i * 8, ids[i]);
    uint64_t id = sha1_head(bytes, n * 8);
    free(bytes);
    return id;
}

/* ---- JSON: the fields in the order, and left out as, Go's encoding has it
 * ----
 */

static void append_strings(struct buf *out, char *const *list)
{
    buf_printf(out, "[");
    for (size_t i = 0; list && list[i]; i++) {
        if (i > 0)
            buf_printf(out, ",");
        json_append_string(out, list[i]);
    }
    buf_printf(out, "]");
}

static void append_raft_fields(struct buf *out,
                               const struct cluster_member *member)
{
    buf_printf(out, "\"peerURLs\":");
    append_strings(out, member->peer_urls);
    if (member->is_learner)
        buf_printf(out, ",\"isLearner\":true");
}

static void append_fields(struct buf *out, const struct cluster_member *member,
                          const char *before)
{
    if (member->name && member->name[0]) {
        buf_printf(out, "%s\"name\":", before);
        json_append_string(out, member->name);
        before = ",";
    }
    if (member->client_urls && member->client_urls[0]) {
        buf_printf(out, "%s\"clientURLs\":", before);
        append_strings(out, member->client_urls);
    }
}

void json_append_raft_attributes(struct buf *out,
                                 const struct cluster_member *member)
{
    buf_printf(out, "{");
    append_raft_fields(out, member);
    buf_printf(out, "}");
}

void json_append_attributes(struct buf *out,
                            const struct cluster_member *member)
{
    buf_printf(out, "{");
    append_fields(out, member, "");
    buf_printf(out, "}");
}

static void append_member(struct buf *out, const struct cluster_member *member)
{
    buf_printf(out, "{\"id\":%" PRIu64 ",", member->id);
    append_raft_fields(out, member);
    append_fields(out, member, ",");
    buf_printf(out, "}");
}

/* The buffer's bytes, which become the caller's, as a string. */
static char *text_of(struct buf *buf)
{
    buf_append(buf, "", 1);
    return (char *)buf->data;
}

char *cluster_member_json(const struct cluster_member *member)
{
    struct buf out = {0};

    append_member(&out, member);
    return text_of(&out);
}

char *cluster_promote_json(uint64_t id)
{
    return mem_printf(
        "{\"id\":%" PRIu64 ",\"peerURLs\":null,\"isPromote\":true}", id);
}

char *cluster_list_json(const struct cluster_member *members, size_t n)
{
    struct buf out = {0};

    buf_printf(&out, n == 0 ? "null" : "[");
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            buf_printf(&out, ",");
        append_member(&out, &members[i]);
    }
    buf_printf(&out, n == 0 ? "\n" : "]\n");
    return text_of(&out);
}

/* ---- and back ---- */

static char **strings_from_json(json_object *array)
{
    size_t n = json_object_is_type(array, json_type_array)
                   ? json_object_array_length(array)
                   : 0;
    char **list = mem_zalloc((n + 1) * sizeof(char *));

    for (size_t i = 0; i < n; i++) {
        /* NULL for a JSON null, which Go takes for an empty string. */
        const char *s =
            json_object_get_string(json_object_array_get_idx(array, i));
        list[i] = mem_strdup(s ? s : "");
    }
    return list;
}

static json_object *parse(struct bytes json, json_type type)
{
    json_tokener *tok = json_tokener_new();
    json_object *obj = NULL;

    if (json.len <= INT_MAX)
        obj =
            json_tokener_parse_ex(tok, (const char *)json.data, (int)json.len);
    json_tokener_free(tok);
    if (json_object_is_type(obj, type))
        return obj;
    json_object_put(obj);
    return NULL;
}

json_object *json_parse_object(struct bytes json)
{
    return parse(json, json_type_object);
}

static void read_urls(json_object *obj, const char *name, char ***urls)
{
    json_object *field;

    if (!json_object_object_get_ex(obj, name, &field))
        return;
    strings_free(*urls);
    *urls = strings_from_json(field);
}

static int read_object(json_object *obj, struct cluster_member *member)
{
    json_object *field = NULL;

    if (json_object_object_get_ex(obj, "id", &field)) {
        if (!json_object_is_type(field, json_type_int))
            return ERR_INVALID;
        member->id = json_object_get_uint64(field);
    }
    read_urls(obj, "peerURLs", &member->peer_urls);
    read_urls(obj, "clientURLs", &member->client_urls);
    if (json_object_object_get_ex(obj, "isLearner", &field))
        member->is_learner = json_object_get_boolean(field);
    if (json_object_object_get_ex(obj, "name", &field)) {
        const char *name = json_object_get_string(field);
        free(member->name);
        member->name = mem_strdup(name ? name : "");
    }
    return 0;
}

int cluster_member_read(struct bytes json, struct cluster_member *member)
{
    json_object *obj = json_parse_object(json);
    int rc = obj ? read_object(obj, member) : ERR_INVALID;

    json_object_put(obj);
    return rc;
}

/* Closes it unless it is a whole member. */
static int complete(struct cluster_member *member, int rc)
{
    if (rc == 0 && member->id == 0)
        rc = ERR_INVALID;
    if (rc < 0) {
        cluster_member_close(member);
        return rc;
    }
    if (!member->name)
        member->name = mem_strdup("");
    if (!member->peer_urls)
        member->peer_urls = strings_copy(NULL);
    if (!member->client_urls)
        member->client_urls = strings_copy(NULL);
    return 0;
}

int member_from_json(struct bytes json, struct cluster_member *member)
{
    *member = (struct cluster_member){0};
    return complete(member, cluster_member_read(json, member));
}

static int compare_members(const void *a, const void *b)
{
    return compare_ids(&((const struct cluster_member *)a)->id,
                       &((const struct cluster_member *)b)->id);
}

/* Bounds what a peer can make us take. */
#define LIST_MAX 4096

int cluster_list_read(struct bytes json, struct cluster_list *out)
{
    json_object *array = parse(json, json_type_array);
    size_t n = array ? json_object_array_length(array) : 0;
    int rc = array && n <= LIST_MAX ? 0 : ERR_INVALID;

    *out = (struct cluster_list){0};
    if (rc == 0)
        out->members = mem_zalloc((n + 1) * sizeof(*out->members));
    for (size_t i = 0; i < n && rc == 0; i++) {
        struct cluster_member *member = &out->members[i];
        json_object *obj = json_object_array_get_idx(array, i);
        rc = json_object_is_type(obj, json_type_object)
                 ? complete(member, read_object(obj, member))
                 : ERR_INVALID;
        out->n += rc == 0;
    }
    json_object_put(array);
    if (rc < 0)
        cluster_list_close(out);
    else if (out->n > 1)
        qsort(out->members, out->n, sizeof(*out->members), compare_members);
    return rc;
}

void cluster_list_close(struct cluster_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        cluster_member_close(&list->members[i]);
    free(list->members);
    *list = (struct cluster_list){0};
}
