/* Lines: their guests, and when these are told. */
#include "line.h"

#include "chorad/base/check.h"
#include "chorad/base/clock.h"

#include <stdlib.h>

/* ---- guests of a line ---- */

static void put(struct recipe_waiter **list, struct recipe_waiter *link)
{
    link->next = *list;
    link->prev = list;
    if (link->next)
        link->next->prev = &link->next;
    *list = link;
}

static void take_out(struct recipe_waiter *link)
{
    *link->prev = link->next;
    if (link->next)
        link->next->prev = link->prev;
    link->next = NULL;
    link->prev = NULL;
}

static void move_all(struct recipe_waiter **from, struct recipe_waiter **to)
{
    while (*from) {
        struct recipe_waiter *link = *from;
        take_out(link);
        put(to, link);
    }
}

static void depart(struct line_guest *guest)
{
    take_out(&guest->link);
    guest->line->guests--;
    guest->line = NULL;
}

static bool is_waiter(const struct line_guest *guest)
{
    return guest->key.len > 0;
}

/* ---- a line's life ---- */

static void on_batch(struct changes_follower *follower,
                     struct watch_batch *batch, int64_t from);
static void on_gap(struct changes_follower *follower, int64_t from);

static struct lines *lines_of(const struct rpc_call *call,
                              const struct access *access)
{
    struct service_local *local = local_of(call);

    if (!local->lines) {
        struct lines *lines = mem_zalloc(sizeof(*lines));
        lines->changes = changes_of(call);
        lines->follower.batch = on_batch;
        lines->follower.gap = on_gap;
        lines->access = *access;
        lines->index = watch_index_new(random_u64());
        local->lines = lines;
    }
    return local->lines;
}

void lines_close(struct lines *lines)
{
    if (!lines)
        return;
    CHECK(!lines->all);
    watch_index_free(lines->index);
    free(lines);
}

struct find {
    struct bytes prefix;
    struct line *found;
};

static void visit_find(void *arg, struct watch_link *link)
{
    struct find *find = arg;
    struct bytes prefix;
    struct bytes end;

    watch_link_range(link, &prefix, &end);
    if (bytes_cmp(prefix, find->prefix) == 0)
        find->found = container_of(link, struct line, link);
}

/* A line's range holds its prefix itself. */
static struct line *find_line(const struct lines *lines, struct bytes prefix)
{
    struct find find = {.prefix = prefix};

    watch_index_match(lines->index, prefix, visit_find, &find);
    return find.found;
}

static struct line *new_line(struct lines *lines, struct bytes prefix,
                             struct bytes end)
{
    struct line *line = mem_zalloc(sizeof(*line));

    if (!lines->all)
        changes_follow(lines->changes, &lines->follower);
    line->lines = lines;
    line->keys.seed = (uint32_t)random_u64();
    line->next = lines->all;
    line->prev = &lines->all;
    if (line->next)
        line->next->prev = &line->next;
    lines->all = line;
    watch_index_add(lines->index, prefix, end, &line->link);
    return line;
}

static void settled(struct line *line)
{
    if (!line->unsettled_prev)
        return;
    *line->unsettled_prev = line->unsettled_next;
    if (line->unsettled_next)
        line->unsettled_next->unsettled_prev = line->unsettled_prev;
    line->unsettled_next = NULL;
    line->unsettled_prev = NULL;
}

static void free_if_empty(struct line *line)
{
    struct lines *lines = line->lines;

    if (line->guests > 0 || line->busy || line->job)
        return;
    settled(line);
    watch_index_remove(lines->index, &line->link);
    *line->prev = line->next;
    if (line->next)
        line->next->prev = line->prev;
    recipe_line_clear(&line->keys);
    free(line);
    if (!lines->all)
        changes_unfollow(lines->changes, &lines->follower);
}

/* ---- telling the guests ---- */

void line_unsettle(struct line *line)
{
    struct lines *lines = line->lines;

    if (line->unsettled_prev)
        return;
    line->unsettled_next = lines->unsettled;
    line->unsettled_prev = &lines->unsettled;
    if (line->unsettled_next)
        line->unsettled_next->unsettled_prev = &line->unsettled_next;
    lines->unsettled = line;
}

static int64_t known(const struct line *line)
{
    int64_t seen = line->lines->changes->seen;

    return line->scanned_rev > seen ? line->scanned_rev : seen;
}

static void admit(struct line *line, struct line_guest *guest)
{
    struct recipe_place *place = recipe_line_find(&line->keys, guest->key);

    take_out(&guest->link);
    guest->pending = false;
    if (!is_waiter(guest)) {
        put(&line->onlookers, &guest->link);
        line_tell(line, guest);
    } else if (place && place->rev == guest->rev) {
        guest->waited = guest->waited || place != line->keys.first;
        put(&place->waiters, &guest->link);
    } else {
        put(&line->gone, &guest->link);
    }
}

static void admit_pending(struct line *line)
{
    int64_t rev = known(line);
    struct recipe_waiter *next;

    for (struct recipe_waiter *link = line->pending; link; link = next) {
        struct line_guest *guest = line_guest_of(link);
        next = link->next;
        if (guest->rev <= rev)
            admit(line, guest);
    }
}

void line_settle(struct line *line)
{
    line->busy = true;
    if (line->first_changed) {
        line->first_changed = false;
        line_tell(line, NULL);
    }
    if (!line->job)
        admit_pending(line);
    while (line->gone) {
        struct line_guest *guest = line_guest_of(line->gone);
        depart(guest);
        guest->lost(guest);
    }
    while (line->keys.first && line->keys.first->waiters) {
        struct line_guest *guest = line_guest_of(line->keys.first->waiters);
        depart(guest);
        guest->first(guest);
    }
    line->busy = false;
    settled(line);
    if (line->pending)
        line_unsettle(line);
    free_if_empty(line);
}

/* Those that still wait for something put themselves before the others again:
 * each is looked at once. */
static void settle_all(struct lines *lines)
{
    struct line *next;

    for (struct line *line = lines->unsettled; line; line = next) {
        next = line->unsettled_next;
        line_settle(line);
    }
}

void line_forget(struct line *line)
{
    for (struct recipe_place *p = line->keys.first; p; p = p->next) {
        for (struct recipe_waiter *link = p->waiters; link; link = link->next)
            line_guest_of(link)->pending = true;
        move_all(&p->waiters, &line->pending);
    }
    recipe_line_clear(&line->keys);
}

void line_remove(struct line *line, struct recipe_place *place)
{
    if (place == line->keys.first)
        line->first_changed = true;
    move_all(&place->waiters, &line->gone);
    recipe_line_remove(&line->keys, place);
}

static void fail_list(struct recipe_waiter **list, int err)
{
    while (*list) {
        struct line_guest *guest = line_guest_of(*list);
        depart(guest);
        guest->failed(guest, err);
    }
}

void line_fail(struct line *line, int err)
{
    line->busy = true;
    fail_list(&line->pending, err);
    fail_list(&line->onlookers, err);
    line->busy = false;
}

/* ---- the changes ---- */

struct match {
    struct watch_batch *batch;
    const struct watch_event *event;
};

static void visit_match(void *arg, struct watch_link *link)
{
    struct match *match = arg;
    struct line *line = container_of(link, struct line, link);

    if (line->job)
        line_keep_batch(line, match->batch);
    else
        line_take_event(line, match->batch, match->event);
    line_unsettle(line);
}

static void on_batch(struct changes_follower *follower,
                     struct watch_batch *batch, int64_t from)
{
    struct lines *lines = container_of(follower, struct lines, follower);

    for (size_t i = 0; i < batch->n; i++) {
        const struct watch_event *event = &batch->events[i];
        struct match match = {batch, event};
        if (event->rev >= from)
            watch_index_match(lines->index, watch_event_key(batch, event),
                              visit_match, &match);
    }
    settle_all(lines);
}

static void on_gap(struct changes_follower *follower, int64_t from)
{
    struct lines *lines = container_of(follower, struct lines, follower);

    (void)from;
    for (struct line *line = lines->all; line; line = line->next) {
        line_read(line);
        line_unsettle(line);
    }
    settle_all(lines);
}

/* ---- joining and leaving ---- */

int line_join(struct line_guest *guest, struct bytes prefix, struct bytes end)
{
    int err = access_range(guest->call, prefix, end, &guest->access);
    struct lines *lines;
    struct line *line;
    bool fresh;

    if (err != 0)
        return err;
    lines = lines_of(guest->call, &guest->access);
    line = find_line(lines, prefix);
    fresh = line == NULL;
    if (fresh)
        line = new_line(lines, prefix, end);
    guest->line = line;
    guest->pending = true;
    line->guests++;
    put(&line->pending, &guest->link);
    if (fresh)
        line_read(line);
    line_settle(line);
    return 0;
}

void line_leave(struct line_guest *guest)
{
    struct line *line = guest->line;

    depart(guest);
    free_if_empty(line);
}

void line_ask(struct line_guest *guest)
{
    if (!guest->pending)
        line_tell(guest->line, guest);
}
