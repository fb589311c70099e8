/* The text of --initial-cluster. Pure. */
#include "chorad/config.h"

#include <stdlib.h>
#include <string.h>

#include "chorad/base/mem.h"
#include "chorad/base/url.h"
#include "value.h"

static struct config_member *member_named(struct config_member **members,
                                          size_t *n, const char *name,
                                          size_t len)
{
    struct config_member *member;

    for (size_t i = 0; i < *n; i++) {
        member = &(*members)[i];
        if (strncmp(member->name, name, len) == 0 && member->name[len] == '\0')
            return member;
    }
    *members = mem_realloc(*members, (*n + 1) * sizeof(**members));
    member = &(*members)[(*n)++];
    *member =
        (struct config_member){.name = mem_printf("%.*s", (int)len, name)};
    return member;
}

static int compare_members(const void *a, const void *b)
{
    return strcmp(((const struct config_member *)a)->name,
                  ((const struct config_member *)b)->name);
}

int config_initial_parse(const char *text, struct config_member **members,
                         size_t *n, struct errmsg *msg)
{
    struct config_strs pairs = {0};
    int err = 0;

    *members = NULL;
    *n = 0;
    strs_split(&pairs, text);
    for (size_t i = 0; i < pairs.n && err == 0; i++) {
        const char *pair = pairs.items[i];
        size_t len = strcspn(pair, "=");
        struct url url;

        if (pair[0] == '\0')
            continue;
        err = url_parse(&url, pair[len] == '=' ? pair + len + 1 : "", msg);
        if (err == 0) {
            urls_add(&member_named(members, n, pair, len)->peer_urls, &url);
            url_close(&url);
        }
    }
    strs_close(&pairs);
    if (err != 0) {
        config_initial_free(*members, *n);
        *members = NULL;
        *n = 0;
        return err_wrap(msg, err, "error setting up initial cluster");
    }
    for (size_t i = 0; i < *n; i++)
        urls_sort(&(*members)[i].peer_urls);
    if (*n > 1)
        qsort(*members, *n, sizeof(**members), compare_members);
    return 0;
}

void config_initial_free(struct config_member *members, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(members[i].name);
        urls_close(&members[i].peer_urls);
    }
    free(members);
}

const struct config_member *config_initial_find(
    const struct config_member *members, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(members[i].name, name) == 0)
            return &members[i];
    }
    return NULL;
}
