/* The same as main.go with chorad's wal module: what the two print and write
 * must be equal. */
#include "chorad/wal.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int failed(const struct errmsg *msg)
{
    (void)fprintf(stderr, "%s\n", msg->text);
    return 1;
}

static void print_ids(const char *name, const struct raft_ids *set)
{
    (void)printf(" %s [", name);
    for (size_t i = 0; i < set->count; i++)
        (void)printf("%s%" PRIx64, i ? " " : "", set->ids[i]);
    (void)printf("]");
}

static int read_log(const char *dir)
{
    struct wal_contents c;
    struct errmsg msg;

    if (wal_read(dir, NULL, &c, &msg) < 0)
        return failed(&msg);
    (void)printf("metadata %" PRIx64 " %" PRIx64 "\n", c.metadata.node_id,
                 c.metadata.cluster_id);
    (void)printf("state %" PRIu64 " %" PRIx64 " %" PRIu64 "\n",
                 c.hard_state.term, c.hard_state.vote, c.hard_state.commit);
    (void)printf("snapshot %" PRIu64 " %" PRIu64, c.snapshot.index,
                 c.snapshot.term);
    print_ids("voters", &c.snapshot.conf_state.voters);
    print_ids("learners", &c.snapshot.conf_state.learners);
    (void)printf("\n");
    for (size_t i = 0; i < c.entry_count; i++) {
        const struct raft_entry *e = &c.entries[i];
        (void)printf("entry %" PRIu64 " %" PRIu64 " %d ", e->term, e->index,
                     (int)e->type);
        for (size_t b = 0; b < e->len; b++)
            (void)printf("%02x", e->data[b]);
        (void)printf("\n");
    }
    wal_contents_close(&c);
    return 0;
}

static int append(struct wal *wal, uint64_t index, struct errmsg *msg)
{
    uint8_t data[1024];
    struct raft_hard_state hs = {2, 0x99, index};
    struct raft_entry entry = {.term = 2, .index = index};
    struct wal_batch batch = {
        .entries = &entry, .entry_count = 1, .hard_state = &hs};

    if (index % 50 != 0) {
        memset(data, (int)index, sizeof(data));
        entry.data = data;
        entry.len = (uint32_t)index * 5;
    }
    return wal_append(wal, &batch, msg);
}

static int write_log(const char *dir)
{
    struct wal_options options = {.segment_bytes = 16 * 1024};
    struct wal_metadata metadata = {0x99, 0xa1};
    struct raft_conf_state cs = {0};
    struct errmsg msg;
    struct wal *wal;

    if (wal_create(&wal, dir, &options, &metadata, &msg) < 0)
        return failed(&msg);
    raft_ids_add(&cs.voters, 0x99);
    raft_ids_add(&cs.voters, 0x100);
    raft_ids_add(&cs.learners, 7);
    struct raft_snapshot *snapshot = raft_snapshot_new(60, 2, &cs, NULL);
    struct wal_batch record = {.snapshot = snapshot};
    int err = 0;
    for (uint64_t i = 1; i <= 200 && err == 0; i++) {
        err = append(wal, i, &msg);
        if (i == 60 && err == 0)
            err = wal_append(wal, &record, &msg);
    }
    raft_snapshot_unref(snapshot);
    raft_conf_state_close(&cs);
    if (err == 0)
        err = wal_close(wal, &msg);
    return err < 0 ? failed(&msg) : 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "read") == 0)
        return read_log(argv[2]);
    if (argc == 3 && strcmp(argv[1], "write") == 0)
        return write_log(argv[2]);
    return 2;
}
