/* The lines of a shard: who waits until all keys of a prefix that were created
 * before its own are gone, and who wants to know which key is the first.
 *
 * A line is what the shard knows of the keys of one prefix. It is made by a
 * scan of the store when the first guest comes, kept true by the changes,
 * shared by all guests, and gone with the last one. So a guest costs memory
 * only, and a change costs what it means to somebody: who waits behind others
 * doesn't hear of it.
 *
 *   line_join --> pending --known up to the guest's revision--> in line
 *                    ^                                          |  |  |
 *                    '------------- changes were left out ------'  |  |
 *   a waiter's key is the first: `first` <-------------------------'  |
 *   a waiter's key is gone: `lost` <----------------------------------'
 *
 * A line is known up to the revision that it was scanned at, or what the shard
 * has seen since (changes.h). */
#ifndef CHORAD_SERVICES_LINE_H
#define CHORAD_SERVICES_LINE_H

#include "access.h"
#include "changes.h"

#include "chorad/recipe.h"
#include "chorad/rpc.h"

struct line;

/* What the first key of a line holds. */
struct line_news {
    struct bytes key; /* lent */
    int64_t create_rev;
    int64_t mod_rev;
    uint32_t key_hash;      /* tells keys of one transaction apart */
    struct shared *message; /* an encoded v3electionpb.LeaderResponse */
};

/* Embedded in what a call waits with; its call lives at least until it has
 * left. Set by the caller: the callbacks, `rev` and, for a waiter, `key`. */
struct line_guest {
    struct rpc_call *call;
    /* A waiter's key, created at `rev`; borrowed. Empty: an onlooker, who
     * wants to know the state of `rev` or later. */
    struct bytes key;
    int64_t rev;
    /* Waiters: the key is the first, or is gone. The guest has left by then. */
    void (*first)(struct line_guest *guest);
    void (*lost)(struct line_guest *guest);
    /* Onlookers: what the first key holds, once the line is known and
     * whenever it may have changed; NULL: there is no key. The same may come
     * twice. The guest may leave inside. */
    void (*news)(struct line_guest *guest, const struct line_news *news);
    /* The store can't be read. The guest has left by then. */
    void (*failed)(struct line_guest *guest, int err);

    struct access access; /* as of when it joined */
    struct line *line;    /* NULL: has left */
    bool pending;
    bool waited; /* other keys stood before the waiter's when it came in */
    struct recipe_waiter link; /* of one of the line's lists */
};

/* For a guest whose caller may read [prefix, end), which is copied: else an
 * error as access_range's, and the guest isn't in. Asked once: who is told
 * later on that it matters asks again. The callbacks may come before this
 * returns. */
int line_join(struct line_guest *guest, struct bytes prefix, struct bytes end);
void line_leave(struct line_guest *guest);
/* Gives an onlooker the news once more. */
void line_ask(struct line_guest *guest);

/* The shard's lines; NULL is fine. No guest is left. */
struct lines;
void lines_close(struct lines *lines);

/* ---- inside: the lines of a shard --------------------------------------- */

struct lines {
    struct changes *changes;
    struct changes_follower follower; /* while there are lines */
    struct access access; /* of the first guest: all have been asked */
    struct watch_index *index;
    struct line *all;
    struct line *unsettled;
};

struct line {
    struct lines *lines;
    struct line *next; /* of all */
    struct line **prev;
    struct line *unsettled_next;  /* something came that guests may wait for */
    struct line **unsettled_prev; /* NULL: nothing */
    struct watch_link link;
    /* Where guests are: with the place of their key, or here. */
    struct recipe_line keys;
    struct recipe_waiter *pending;
    struct recipe_waiter *onlookers;
    struct recipe_waiter *gone; /* waiters whose key is */
    size_t guests;
    int64_t scanned_rev;
    bool first_changed; /* and the onlookers haven't been told */
    bool busy;          /* guests are being told: it stays, also without any */
    struct line_job *job; /* reads the keys; until then nothing is known */
};

static inline struct line_guest *line_guest_of(struct recipe_waiter *link)
{
    return container_of(link, struct line_guest, link);
}

/* ---- line.c ---- */

/* Every waiter is pending again, no key is known. */
void line_forget(struct line *line);
void line_fail(struct line *line, int err);
/* The place and its waiters lose their key. */
void line_remove(struct line *line, struct recipe_place *place);
/* Something may have come that guests wait for. */
void line_unsettle(struct line *line);
/* Tells the guests what they wait for. The line may be gone after it. */
void line_settle(struct line *line);

/* ---- line_keys.c: what is known of the keys ---- */

/* Reads them; at once where they are few, else by a worker. */
void line_read(struct line *line);
/* To be settled after it: the line may be without guests. */
void line_take_event(struct line *line, const struct watch_batch *batch,
                     const struct watch_event *event);
/* While a worker reads: what it may not see. */
void line_keep_batch(struct line *line, struct watch_batch *batch);

/* ---- line_news.c: what the first key holds ---- */

/* Tells this onlooker, or all of them for NULL. */
void line_tell(struct line *line, struct line_guest *only);
/* Tells all of an event that has put the first key. */
void line_tell_event(struct line *line, const struct watch_batch *batch,
                     const struct watch_event *event);

#endif
