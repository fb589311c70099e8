/* Reads one segment, record by record, checking frames and checksums. Does
 * no I/O of its own: bytes come from a source, a file or memory. */
#ifndef CHORAD_WAL_READER_H
#define CHORAD_WAL_READER_H

#include "record.h"

struct wal_source {
    /* The path, for messages. */
    const char *name;
    uint64_t size;
    /* Fills `out` with the `len` bytes at `offset`, which lie within size. */
    int (*read)(const struct wal_source *source, uint64_t offset, void *out,
                size_t len, struct errmsg *msg);
    const uint8_t *memory; /* wal_source_memory */
    int fd;                /* wal_source_file */
};

struct wal_source wal_source_memory(const char *name, struct bytes content);
/* `fd` and `name` stay the caller's. ERR_IO if the size can't be had. */
int wal_source_file(struct wal_source *source, const char *name, int fd,
                    struct errmsg *msg);

struct wal_reader {
    const struct wal_source *source;
    /* The log's last segment, the only one whose end may be torn. */
    bool last;
    /* The running checksum is known: a crc record must agree with it. */
    bool seeded;
    /* Out: the log ends here because a record wasn't written completely. */
    bool torn;
    uint32_t crc;
    /* Behind the last good record. */
    uint64_t offset;
    /* Of the record last returned. */
    uint64_t record_offset;
    /* The bytes read ahead; records point into it, entries share it. */
    struct shared *window;
    uint64_t window_offset;
};

/* The first segment of a chain; zeroed crc, not seeded. */
void wal_reader_init(struct wal_reader *r, const struct wal_source *source,
                     bool last);
/* Goes on with the next segment, which must continue the checksum. */
void wal_reader_next_segment(struct wal_reader *r,
                             const struct wal_source *source, bool last);
void wal_reader_close(struct wal_reader *r);

/* 1: a record, valid until the next call (its data lies in r->window; crc
 * records are checked and returned too); 0: the end, `r->torn` says which;
 * ERR_CORRUPT, ERR_IO: `msg` names file, byte and what can be done. */
int wal_reader_next(struct wal_reader *r, struct wal_record *record,
                    struct errmsg *msg);

/* Sets "<file>: byte <offset>: <text>; <what to do>" for the record last
 * returned and returns ERR_CORRUPT. */
int wal_reader_damaged(const struct wal_reader *r, struct errmsg *msg,
                       const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define WAL_ADVICE                                                             \
    "the log is damaged: remove this member from the cluster and add it "      \
    "again with an empty data directory, or restore a snapshot"

#endif
