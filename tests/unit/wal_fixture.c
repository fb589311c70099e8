#include "wal_fixture.h"
#include "chorad/base/check.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void wal_fixture_init(struct wal_fixture *f, uint64_t segment_bytes)
{
    *f = (struct wal_fixture){.options.segment_bytes = segment_bytes};
    (void)snprintf(f->root, sizeof(f->root), "/tmp/chorad-wal-XXXXXX");
    CHECK(mkdtemp(f->root));
    (void)snprintf(f->dir, sizeof(f->dir), "%s/wal", f->root);
}

static void remove_files(const char *dir)
{
    char path[512];
    DIR *d = opendir(dir);
    const struct dirent *entry;

    while (d && (entry = readdir(d)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
        (void)unlink(path);
    }
    if (d)
        (void)closedir(d);
    (void)rmdir(dir);
}

void wal_fixture_close(struct wal_fixture *f)
{
    wal_fixture_shut(f);
    remove_files(f->dir);
    remove_files(f->root);
}

void wal_fixture_create(struct wal_fixture *f)
{
    struct wal_metadata metadata = {FIXTURE_NODE, FIXTURE_CLUSTER};
    CHECK(wal_create(&f->wal, f->dir, &f->options, &metadata, &f->msg) == 0);
}

void wal_fixture_shut(struct wal_fixture *f)
{
    (void)wal_close(f->wal, NULL);
    f->wal = NULL;
    wal_contents_close(&f->contents);
}

int wal_fixture_reopen(struct wal_fixture *f)
{
    wal_fixture_shut(f);
    int err = wal_open(&f->wal, f->dir, &f->options, &f->contents, &f->msg);
    if (err < 0)
        f->wal = NULL;
    return err;
}

static uint8_t byte_at(uint64_t term, uint64_t index, size_t i)
{
    return (uint8_t)(1 + (term * 31 + index * 7 + i) % 255);
}

struct raft_entry wal_fixture_entry(uint64_t term, uint64_t index, size_t len)
{
    uint8_t *data = malloc(len + 1);
    CHECK(data);
    for (size_t i = 0; i < len; i++)
        data[i] = byte_at(term, index, i);
    struct raft_entry entry = raft_entry_new(RAFT_ENTRY_NORMAL, data, len);
    free(data);
    entry.term = term;
    entry.index = index;
    return entry;
}

bool wal_fixture_is(const struct raft_entry *entry, uint64_t term,
                    uint64_t index, size_t len)
{
    if (entry->term != term || entry->index != index || entry->len != len ||
        entry->type != RAFT_ENTRY_NORMAL)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (entry->data[i] != byte_at(term, index, i))
            return false;
    }
    return true;
}

void wal_fixture_append(struct wal_fixture *f, uint64_t term, uint64_t first,
                        uint64_t last, size_t len, uint64_t commit)
{
    size_t count = (size_t)(last - first + 1);
    struct raft_entry *entries = calloc(count + 1, sizeof(*entries));
    struct raft_hard_state hs = {term, FIXTURE_NODE, commit};

    CHECK(entries);
    for (size_t i = 0; i < count; i++)
        entries[i] = wal_fixture_entry(term, first + i, len);
    struct wal_batch batch = {
        .entries = entries,
        .entry_count = count,
        .hard_state = commit ? &hs : NULL,
    };
    CHECK(wal_append(f->wal, &batch, &f->msg) == 0);
    CHECK(wal_sync(f->wal, &f->msg) == 0);
    for (size_t i = 0; i < count; i++)
        raft_entry_unref(&entries[i]);
    free(entries);
}

size_t wal_fixture_list(const struct wal_fixture *f, struct wal_name **names)
{
    size_t count = 0;
    CHECK(wal_dir_list(f->dir, names, &count, NULL) == 0);
    return count;
}

const char *wal_fixture_path(const struct wal_fixture *f, size_t n)
{
    static char path[256];
    char text[WAL_NAME_SIZE];
    struct wal_name *names;

    CHECK(n < wal_fixture_list(f, &names));
    wal_name_print(text, names[n]);
    free(names);
    (void)snprintf(path, sizeof(path), "%s/%s", f->dir, text);
    return path;
}

struct bytes wal_fixture_read(const char *path)
{
    FILE *file = fopen(path, "rb");
    CHECK(file && fseek(file, 0, SEEK_END) == 0);
    size_t len = (size_t)ftell(file);
    rewind(file);
    uint8_t *data = malloc(len + 1);
    CHECK(data && fread(data, 1, len, file) == len);
    (void)fclose(file);
    return bytes_of(data, len);
}

void wal_fixture_write(const char *path, struct bytes content)
{
    FILE *file = fopen(path, "wb");
    CHECK(file && fwrite(content.data, 1, content.len, file) == content.len);
    CHECK(fclose(file) == 0);
}
