/* How messages are framed in the two streams. Pure: bytes in, messages out,
 * and the reverse.
 *
 *   message   u64 BE length, raftpb.Message
 *   msgappv2  0                                  the link is alive
 *             1, u64 BE n, n x (u64 BE length, raftpb.Entry), u64 BE commit
 *                                                an append that goes on where
 *                                                the one before ended
 *             2, u64 BE length, raftpb.Message   any append
 *
 * Frame 1 says neither term nor index: sender and reader remember them. It is
 * used when the entry before has the message's term and is the last that was
 * sent. The message stream shows that it is alive by a heartbeat of no member
 * to no member. Source: etcd's rafthttp, msgappv2_codec.go, msg_codec.go. */
#ifndef CHORAD_PEER_FRAME_H
#define CHORAD_PEER_FRAME_H

#include "chorad/raft.h"
#include "out.h"

enum frame_kind { FRAME_MSGAPP, FRAME_MESSAGE };

/* As etcd has it for one message. */
#define FRAME_MAX (UINT64_C(512) << 20)
/* The part of a request with a snapshot that comes before the image. */
#define FRAME_SNAPSHOT_MAX (UINT64_C(64) << 20)

/* ---- writing ------------------------------------------------------------- */

struct frame_writer {
    enum frame_kind kind;
    uint64_t term;
    uint64_t index;
    uint64_t message_bytes; /* of raftpb written since the start */
};

void frame_writer_init(struct frame_writer *w, enum frame_kind kind);
/* Payloads that aren't copied are referred to by `out`. */
void frame_write(struct frame_writer *w, struct out *out,
                 const struct raft_message *message);
void frame_write_alive(const struct frame_writer *w, struct out *out);

/* ---- reading ------------------------------------------------------------- */

/* Where a frame that isn't whole yet is looked at next. */
struct frame_scan {
    uint64_t at;
    uint64_t entries_left;
    uint64_t need; /* bytes from the frame's begin, to get on or to be whole */
    bool whole;    /* `need` is the frame's length */
    bool started;
};

struct frame_reader {
    enum frame_kind kind;
    uint64_t max;
    uint64_t local;
    uint64_t remote;
    uint64_t term;
    uint64_t index;
    uint64_t message_bytes; /* of raftpb read since the start */
    struct frame_scan scan;
    struct shared *held; /* the begin of a frame */
    size_t held_len;
    struct raft_entry *entries;
    size_t entry_cap;
};

/* `local` and `remote` are to and from of what doesn't say it. */
void frame_reader_init(struct frame_reader *r, enum frame_kind kind,
                       uint64_t local, uint64_t remote);
void frame_reader_close(struct frame_reader *r);

/* A message, borrowed; entries have owners and may be kept by references.
 * Anything but 0 ends frame_read with it. */
typedef int (*frame_cb)(void *arg, const struct raft_message *message);

/* Takes the next bytes of the stream, whatever their borders, and calls
 * `message` for each message that is whole with them. ERR_CORRUPT, ERR_TOOBIG:
 * the stream can't go on. Messages of a type that we don't know are skipped.
 * With `used` (may be NULL) set to what was taken: less than all when the
 * callback has ended it. */
int frame_read(struct frame_reader *r, struct bytes in, size_t *used,
               frame_cb message, void *arg);

/* Gives entries whose payloads lie in `owner` references on it; without one
 * (NULL) copies the range in which all payloads lie, at once, and gives
 * references on that. */
void frame_adopt(struct raft_entry *entries, size_t count,
                 struct shared *owner);

#endif
