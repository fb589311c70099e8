#include "internal.h"

#include <stdlib.h>
#include <string.h>

size_t named_place(const struct named_list *list, struct bytes name,
                   bool *there)
{
    size_t from = 0;
    size_t to = list->n;

    while (from < to) {
        size_t middle = from + (to - from) / 2;

        if (bytes_cmp(list->items[middle]->name, name) < 0)
            from = middle + 1;
        else
            to = middle;
    }
    *there = from < list->n && bytes_cmp(list->items[from]->name, name) == 0;
    return from;
}

void *named_find(const struct named_list *list, struct bytes name)
{
    bool there;
    size_t at = named_place(list, name, &there);

    return there ? list->items[at] : NULL;
}

void named_insert(struct named_list *list, size_t at, struct named *item)
{
    if (list->n == list->cap) {
        list->cap = list->cap ? list->cap * 2 : 8;
        list->items =
            mem_realloc(list->items, list->cap * sizeof(struct named *));
    }
    memmove(list->items + at + 1, list->items + at,
            (list->n - at) * sizeof(struct named *));
    list->items[at] = item;
    list->n++;
}

void named_remove(struct named_list *list, size_t at)
{
    list->n--;
    memmove(list->items + at, list->items + at + 1,
            (list->n - at) * sizeof(struct named *));
}

void named_list_close(struct named_list *list, void (*drop)(void *item))
{
    for (size_t i = 0; i < list->n; i++)
        drop(list->items[i]);
    free(list->items);
    *list = (struct named_list){0};
}
