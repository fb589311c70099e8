/* The cluster that a member without data begins in: of --initial-cluster, or
 * one that runs already. */
#include "member.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static struct cluster_member *find(const struct cluster_list *list, uint64_t id)
{
    for (size_t i = 0; i < list->n; i++)
        if (list->members[i].id == id)
            return &list->members[i];
    return NULL;
}

int cluster_start_add(struct cluster_start *start, const char *name,
                      const char *const *peer_urls, const char *token,
                      struct errmsg *msg)
{
    struct cluster_list *list = &start->list;
    uint64_t id = cluster_member_id(peer_urls, token);
    size_t at = list->n;

    if (find(list, id))
        return err_set(msg, ERR_EXISTS,
                       "member exists with identical ID %" PRIx64 " (\"%s\")",
                       id, name);
    list->members =
        mem_realloc(list->members, (list->n + 1) * sizeof(*list->members));
    while (at > 0 && list->members[at - 1].id > id) {
        list->members[at] = list->members[at - 1];
        at--;
    }
    list->members[at] = (struct cluster_member){
        .id = id,
        .name = mem_strdup(name),
        .peer_urls = strings_copy((char *const *)(uintptr_t)peer_urls),
        .client_urls = strings_copy(NULL),
    };
    list->n++;
    return 0;
}

int cluster_start_finish(struct cluster_start *start, const char *self)
{
    const struct cluster_list *list = &start->list;
    uint64_t *ids = mem_alloc((list->n + 1) * sizeof(uint64_t));

    start->self = 0;
    for (size_t i = 0; i < list->n; i++) {
        ids[i] = list->members[i].id;
        if (strcmp(list->members[i].name, self) == 0)
            start->self = ids[i];
    }
    start->cluster_id = cluster_id(ids, list->n);
    free(ids);
    return start->self != 0 ? 0 : ERR_NOTFOUND;
}

/* "[http://a:1 http://b:1]", as Go prints a list. */
static char *list_text(char *const *urls)
{
    struct buf text = {0};

    buf_printf(&text, "[");
    for (size_t i = 0; urls[i]; i++)
        buf_printf(&text, "%s%s", i ? " " : "", urls[i]);
    buf_append(&text, "]", 2);
    return (char *)text.data;
}

static int compare_members(const void *a, const void *b)
{
    uint64_t x = ((const struct cluster_member *)a)->id;
    uint64_t y = ((const struct cluster_member *)b)->id;

    return x < y ? -1 : x > y;
}

static int no_match(const struct cluster_member *running,
                    const struct errmsg *why, struct errmsg *msg)
{
    char *urls = list_text(running->peer_urls);

    err_set(msg, ERR_INVALID,
            "PeerURLs: no match found for existing member (%" PRIx64
            ", %s), last resolver error (%s)",
            running->id, urls, why->text);
    free(urls);
    return ERR_INVALID;
}

int cluster_start_join(struct cluster_start *start,
                       const struct cluster_list *running, uint64_t cluster_id,
                       cluster_same_urls_cb same_urls, void *arg,
                       struct errmsg *msg)
{
    struct cluster_list *own = &start->list;
    uint64_t self = start->self;

    if (running->n != own->n)
        return err_set(msg, ERR_INVALID, "member count is unequal");
    for (size_t i = 0; i < running->n; i++) {
        const struct cluster_member *member = &running->members[i];
        struct errmsg why = {""};
        size_t j = 0;

        while (j < own->n && !same_urls(arg, member->peer_urls,
                                        own->members[j].peer_urls, &why))
            j++;
        if (j == own->n)
            return no_match(member, &why, msg);
        if (own->members[j].id == self)
            start->self = member->id;
        own->members[j].id = member->id;
    }
    qsort(own->members, own->n, sizeof(*own->members), compare_members);
    start->cluster_id = cluster_id;
    start->join = true;
    return 0;
}

void cluster_start_close(struct cluster_start *start)
{
    cluster_list_close(&start->list);
    *start = (struct cluster_start){0};
}
