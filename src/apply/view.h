/* What a request reads from: a reader at one revision, or the transaction
 * that is being applied. Pieces of requests that work on either. */
#ifndef CHORAD_APPLY_VIEW_H
#define CHORAD_APPLY_VIEW_H

#include "chorad/apply.h"

struct view {
    int (*range)(void *source, const struct mvcc_range *range,
                 mvcc_visit_cb visit, void *arg,
                 struct mvcc_range_result *result);
    void *source;
};

/* A reader as it is: each range sees the newest revision. */
struct view view_of_reader(struct mvcc_reader *reader);

/* The transaction in progress. */
struct view view_of_txn(struct mvcc *mvcc);

/* A reader held at one revision. */
struct view_pinned {
    struct mvcc_reader *reader;
    int64_t rev;
};
struct view view_of_pinned(struct view_pinned *pinned);

/* A field that isn't there is NULL; comparing takes an address always. */
static inline struct bytes view_bytes(ProtobufCBinaryData data)
{
    return bytes_of(data.data ? data.data : (const uint8_t *)"", data.len);
}

/* Appends a RangeResponse's content. */
int range_respond(const struct view *view,
                  const Etcdserverpb__RangeRequest *req,
                  struct apply_header header, struct arena *arena,
                  struct buf *out);

/* The one record of a key at the current revision, copied to the arena;
 * ERR_NOTFOUND. */
int view_get(const struct view *view, struct bytes key, struct arena *arena,
             struct bytes *record);

/* txn.c */
struct txn_paths {
    bool *taken;
    size_t len;
    size_t cap;
    size_t at;
};

/* Which branch each transaction of the tree takes, all seen before any
 * write. What reading may come to: ERR_CORRUPT, ERR_COMPACTED. */
int txn_decide(const struct view *view, const Etcdserverpb__TxnRequest *req,
               struct arena *arena, struct txn_paths *paths);

/* What executes the writes of a transaction; NULL for a read-only one. */
struct apply;
int txn_execute(struct apply *apply, const struct view *view,
                const Etcdserverpb__TxnRequest *req, struct txn_paths *paths,
                const struct apply_header *header, struct arena *arena,
                struct buf *out);

/* checks before execution: revisions that can be read, leases and keys that
 * are there. */
int txn_precheck(const struct lessor *lessor, const struct view *view,
                 const Etcdserverpb__TxnRequest *req, struct txn_paths *paths,
                 int64_t rev, int64_t compacted, struct arena *arena);

#endif
