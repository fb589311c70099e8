/* The log from its first segment on, and whether the store fits to it. */
#include "check.h"

#include "chorad/base/pb.h"
#include "chorad/raft.h"
#include <inttypes.h>

/* What an entry is for can't be told without applying it; that it can be read
 * can. */
static bool is_readable(const struct raft_entry *entry)
{
    struct pb_reader r = {entry->data, entry->data + entry->len};
    struct raft_conf_change cc;
    struct pb_field f;
    int rc;

    if (entry->type != RAFT_ENTRY_NORMAL)
        return raft_conf_change_decode(&cc, entry->type, entry->data,
                                       entry->len) == 0;
    while ((rc = pb_next(&r, &f)) > 0)
        continue;
    return rc == 0;
}

static void check_entries(struct check *c, const struct wal_contents *log)
{
    uint64_t term = log->snapshot.term;

    for (size_t i = 0; i < log->entry_count; i++) {
        const struct raft_entry *entry = &log->entries[i];

        if (entry->term < term)
            check_found(c,
                        "%s: entry %" PRIu64 " is of term %" PRIu64
                        ", the one before of %" PRIu64,
                        c->place.wal_dir, entry->index, entry->term, term);
        term = entry->term;
        if (!is_readable(entry))
            check_found(c, "%s: entry %" PRIu64 " can't be read",
                        c->place.wal_dir, entry->index);
    }
    if (log->hard_state.term < term)
        check_found(c,
                    "%s: entries of term %" PRIu64
                    ", but the member has only heard of %" PRIu64,
                    c->place.wal_dir, term, log->hard_state.term);
    if (log->hard_state.commit > c->last_entry)
        check_found(
            c, "%s: committed up to %" PRIu64 ", but the log ends at %" PRIu64,
            c->place.wal_dir, log->hard_state.commit, c->last_entry);
}

static void check_whole(struct check *c)
{
    struct errmsg msg = {""};
    struct wal_contents log;

    if (wal_read_whole(c->place.wal_dir, &log, &c->segments, &msg) != 0) {
        check_found(c, "%s", msg.text);
        return;
    }
    c->first_entry = log.snapshot.index + 1;
    c->last_entry = log.snapshot.index + log.entry_count;
    c->commit = log.hard_state.commit;
    check_entries(c, &log);
    if (log.repaired && !c->quiet)
        (void)printf("%s: the last write is torn, which the next start cuts "
                     "off\n",
                     c->place.wal_dir);
    wal_contents_close(&log);
}

/* As at a start: from the newest snapshot on. */
static void check_fit(struct check *c)
{
    struct errmsg msg = {""};
    struct wal_contents log;
    uint64_t first;
    uint64_t last;
    uint64_t term;

    if (wal_read(c->place.wal_dir, NULL, &log, &msg) != 0) {
        check_found(c, "%s", msg.text);
        return;
    }
    first = log.snapshot.index;
    last = first + log.entry_count;
    if (c->applied < first || c->applied > last) {
        check_found(c,
                    "the store ends at entry %" PRIu64
                    ", the log has entries %" PRIu64 " to %" PRIu64,
                    c->applied, first + 1, last);
    } else {
        term = c->applied == first ? log.snapshot.term
                                   : log.entries[c->applied - first - 1].term;
        if (term != c->applied_term)
            check_found(c,
                        "entry %" PRIu64 " is of term %" PRIu64
                        " in the log, of %" PRIu64 " in the store",
                        c->applied, term, c->applied_term);
    }
    wal_contents_close(&log);
}

void check_log(struct check *c)
{
    uint64_t before = c->n;

    check_whole(c);
    /* Where the log or the store can't be read there is nothing to fit. */
    if (c->n == before && c->place.store != NULL)
        check_fit(c);
}
