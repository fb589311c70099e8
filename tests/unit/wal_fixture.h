/* A log in a directory of its own, for the tests of the wal module. */
#ifndef CHORAD_TESTS_WAL_FIXTURE_H
#define CHORAD_TESTS_WAL_FIXTURE_H

#include "chorad/base/clock.h"
#include "chorad/wal.h"
#include "wal/dir.h"

struct wal_fixture {
    char root[64];
    char dir[80];
    struct wal_options options;
    struct wal *wal;
    struct wal_contents contents;
    struct errmsg msg;
};

#define FIXTURE_NODE UINT64_C(0x99debefdbb4ed593)
#define FIXTURE_CLUSTER UINT64_C(0xa10e20a2639400db)

/* Makes an empty directory; no log yet. */
void wal_fixture_init(struct wal_fixture *f, uint64_t segment_bytes);
/* Closes what is open and removes the directory. */
void wal_fixture_close(struct wal_fixture *f);

void wal_fixture_create(struct wal_fixture *f);
/* Closes and opens again, into f->contents; returns wal_open's result. */
int wal_fixture_reopen(struct wal_fixture *f);
void wal_fixture_shut(struct wal_fixture *f);

/* An entry whose payload of `len` bytes tells term and index. */
struct raft_entry wal_fixture_entry(uint64_t term, uint64_t index, size_t len);
/* Is it the one that wal_fixture_entry makes? */
bool wal_fixture_is(const struct raft_entry *entry, uint64_t term,
                    uint64_t index, size_t len);

/* Appends entries first..last of `len` bytes each and, if commit isn't 0,
 * a hard state; synced. */
void wal_fixture_append(struct wal_fixture *f, uint64_t term, uint64_t first,
                        uint64_t last, size_t len, uint64_t commit);

/* The segments; the caller frees. */
size_t wal_fixture_list(const struct wal_fixture *f, struct wal_name **names);
/* Path of the nth segment, in a static buffer. */
const char *wal_fixture_path(const struct wal_fixture *f, size_t n);

/* Whole files; the content is malloc'ed. */
struct bytes wal_fixture_read(const char *path);
void wal_fixture_write(const char *path, struct bytes content);

#endif
