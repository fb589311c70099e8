#include "disk.h"
#include "chorad/base/check.h"
#include "db.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct name {
    char *path;
    struct file *file;
};

static struct name *names; /* sorted by path */
static size_t name_count;
static size_t name_cap;

/* What was done to names and isn't durable, oldest first. */
struct undo {
    enum { UNDO_MAKE, UNDO_UNLINK, UNDO_RENAME } kind;
    unsigned slot;
    char *path; /* the new one, for UNDO_RENAME */
    char *from;
    struct file *file; /* what stood there before */
};

static struct undo *undos;
static size_t undo_count;
static size_t undo_cap;

static struct disk_faults faults[SIM_SLOTS];

struct disk_faults *disk_faults(unsigned slot)
{
    return &faults[slot];
}

bool disk_is_path(const char *path)
{
    return strncmp(path, "/sim/", 5) == 0;
}

static unsigned slot_of(const char *path)
{
    return (unsigned)(path[5] - '0');
}

/* ---- files -------------------------------------------------------------- */

static void grow(struct file *file, uint64_t size)
{
    size_t need = (size_t)((size + DISK_PAGE - 1) / DISK_PAGE);

    if (need <= file->page_count)
        return;
    file->pages = mem_realloc(file->pages, need * sizeof(*file->pages));
    file->stable = mem_realloc(file->stable, need * sizeof(*file->stable));
    for (size_t i = file->page_count; i < need; i++)
        file->pages[i] = file->stable[i] = NULL;
    file->page_count = need;
}

static void free_page(struct file *file, size_t i)
{
    if (file->pages[i] != file->stable[i])
        free(file->pages[i]);
    file->pages[i] = file->stable[i];
}

static void free_file(struct file *file)
{
    for (size_t i = 0; i < file->page_count; i++) {
        free_page(file, i);
        free(file->stable[i]);
    }
    free(file->pages);
    free(file->stable);
    free(file);
}

void file_unref(struct file *file)
{
    if (--file->refs == 0)
        free_file(file);
}

void file_read_at(const struct file *file, void *out, size_t len,
                  uint64_t offset)
{
    uint8_t *at = out;

    while (len > 0) {
        size_t page = (size_t)(offset / DISK_PAGE);
        size_t in = (size_t)(offset % DISK_PAGE);
        size_t n = DISK_PAGE - in < len ? DISK_PAGE - in : len;
        const uint8_t *from =
            page < file->page_count ? file->pages[page] : NULL;
        if (from)
            memcpy(at, from + in, n);
        else
            memset(at, 0, n);
        at += n;
        offset += n;
        len -= n;
    }
}

static bool all_zero(const uint8_t *p, size_t len)
{
    return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

/* A page of its own for what is about to be written. */
static uint8_t *dirty_page(struct file *file, size_t i)
{
    if (file->pages[i] == file->stable[i]) {
        uint8_t *page = mem_zalloc(DISK_PAGE);
        if (file->stable[i])
            memcpy(page, file->stable[i], DISK_PAGE);
        file->pages[i] = page;
    }
    return file->pages[i];
}

void file_write_at(struct file *file, const void *data, size_t len,
                   uint64_t offset)
{
    const uint8_t *at = data;

    grow(file, offset + len);
    if (file->size < offset + len)
        file->size = offset + len;
    while (len > 0) {
        size_t page = (size_t)(offset / DISK_PAGE);
        size_t in = (size_t)(offset % DISK_PAGE);
        size_t n = DISK_PAGE - in < len ? DISK_PAGE - in : len;
        if (file->pages[page] || !all_zero(at, n))
            memcpy(dirty_page(file, page) + in, at, n);
        at += n;
        offset += n;
        len -= n;
    }
}

void file_set_size(struct file *file, uint64_t size)
{
    grow(file, size);
    for (size_t i = (size_t)(size / DISK_PAGE);
         size < file->size && i < file->page_count; i++) {
        size_t in = i == size / DISK_PAGE ? (size_t)(size % DISK_PAGE) : 0;
        if (file->pages[i])
            memset(dirty_page(file, i) + in, 0, DISK_PAGE - in);
    }
    file->size = size;
}

static void forget_undos(unsigned slot)
{
    size_t kept = 0;

    for (size_t i = 0; i < undo_count; i++) {
        if (undos[i].slot != slot) {
            undos[kept++] = undos[i];
            continue;
        }
        free(undos[i].path);
        free(undos[i].from);
        if (undos[i].file)
            file_unref(undos[i].file);
    }
    undo_count = kept;
}

void file_sync(struct file *file)
{
    if (file->is_dir) {
        forget_undos(file->slot);
        return;
    }
    for (size_t i = 0; i < file->page_count; i++) {
        if (file->pages[i] == file->stable[i])
            continue;
        free(file->stable[i]);
        file->stable[i] = file->pages[i];
    }
    file->stable_size = file->size;
}

void file_lose(struct file *file)
{
    bool sizes_differ = file->size != file->stable_size;

    for (size_t i = 0; i < file->page_count; i++) {
        uint8_t *page = file->pages[i];
        const uint8_t *old = file->stable[i];
        if (page == old)
            continue;
        for (size_t at = 0; at < DISK_PAGE; at += DISK_SECTOR) {
            if (sim_chance(500))
                continue;
            if (old)
                memcpy(page + at, old + at, DISK_SECTOR);
            else
                memset(page + at, 0, DISK_SECTOR);
        }
        free(file->stable[i]);
        file->stable[i] = page;
    }
    if (sizes_differ && sim_chance(500))
        file_set_size(file, file->stable_size);
    file_sync(file);
}

/* ---- names -------------------------------------------------------------- */

static size_t lower_bound(const char *path)
{
    size_t lo = 0;
    size_t hi = name_count;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (strcmp(names[mid].path, path) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static struct name *find_name(const char *path)
{
    size_t at = lower_bound(path);

    return at < name_count && strcmp(names[at].path, path) == 0 ? &names[at]
                                                                : NULL;
}

struct file *disk_find(const char *path)
{
    struct name *name = find_name(path);

    return name ? name->file : NULL;
}

/* Takes the path; adds a reference. */
static void add_name(char *path, struct file *file)
{
    size_t at = lower_bound(path);

    if (name_count == name_cap) {
        name_cap = name_cap ? name_cap * 2 : 64;
        names = mem_realloc(names, name_cap * sizeof(*names));
    }
    memmove(names + at + 1, names + at, (name_count - at) * sizeof(*names));
    names[at] = (struct name){path, file};
    name_count++;
    file->refs++;
}

/* Gives the reference back to the caller. */
static struct file *take_name(const char *path)
{
    struct name *name = find_name(path);
    struct file *file;

    if (!name)
        return NULL;
    file = name->file;
    free(name->path);
    size_t at = (size_t)(name - names);
    memmove(names + at, names + at + 1, (name_count - at - 1) * sizeof(*names));
    name_count--;
    return file;
}

static void note_undo(struct undo undo)
{
    if (undo_count == undo_cap) {
        undo_cap = undo_cap ? undo_cap * 2 : 64;
        undos = mem_realloc(undos, undo_cap * sizeof(*undos));
    }
    undos[undo_count++] = undo;
}

struct file *disk_make(const char *path, bool is_dir)
{
    struct file *file = mem_zalloc(sizeof(*file));

    file->slot = slot_of(path);
    file->is_dir = is_dir;
    add_name(mem_strdup(path), file);
    note_undo(
        (struct undo){UNDO_MAKE, file->slot, mem_strdup(path), NULL, NULL});
    return file;
}

static bool is_below(const char *path, const char *dir)
{
    size_t len = strlen(dir);

    return strncmp(path, dir, len) == 0 && path[len] == '/';
}

/* Renames what is below a directory along with it; the names stay sorted
 * because they are taken out and put in one by one. */
static void move_below(const char *from, const char *to)
{
    for (size_t i = 0; i < name_count;) {
        if (!is_below(names[i].path, from)) {
            i++;
            continue;
        }
        char *path = mem_printf("%s%s", to, names[i].path + strlen(from));
        char *old = mem_strdup(names[i].path);
        struct file *file = take_name(old);
        add_name(path, file);
        file->refs--;
        free(old);
        i = 0;
    }
}

int disk_rename(const char *from, const char *to)
{
    struct file *file = take_name(from);
    struct file *before;

    if (!file)
        return ENOENT;
    before = take_name(to);
    add_name(mem_strdup(to), file);
    file->refs--;
    if (file->is_dir)
        move_below(from, to);
    note_undo((struct undo){UNDO_RENAME, file->slot, mem_strdup(to),
                            mem_strdup(from), before});
    return 0;
}

int disk_unlink(const char *path)
{
    struct file *file = take_name(path);

    if (!file)
        return ENOENT;
    note_undo(
        (struct undo){UNDO_UNLINK, file->slot, mem_strdup(path), NULL, file});
    return 0;
}

const char *disk_list(const char *dir, size_t n)
{
    char *prefix = mem_printf("%s/", dir);
    size_t len = strlen(prefix);
    const char *found = NULL;

    for (size_t i = lower_bound(prefix); i < name_count; i++) {
        if (strncmp(names[i].path, prefix, len) != 0)
            break;
        if (strchr(names[i].path + len, '/'))
            continue;
        if (n-- == 0) {
            found = names[i].path + len;
            break;
        }
    }
    free(prefix);
    return found;
}

/* ---- crashes ------------------------------------------------------------ */

static void undo_one(const struct undo *u)
{
    struct file *file;

    switch (u->kind) {
    case UNDO_MAKE:
        file = take_name(u->path);
        if (file)
            file_unref(file);
        break;
    case UNDO_UNLINK:
        add_name(mem_strdup(u->path), u->file);
        break;
    case UNDO_RENAME:
        file = take_name(u->path);
        CHECK(file != NULL);
        add_name(mem_strdup(u->from), file);
        file->refs--;
        if (file->is_dir)
            move_below(u->path, u->from);
        if (u->file)
            add_name(mem_strdup(u->path), u->file);
        break;
    }
}

static void lose_names(unsigned slot)
{
    size_t count = 0;
    size_t keep;

    for (size_t i = 0; i < undo_count; i++)
        count += undos[i].slot == slot;
    keep = (size_t)sim_between(0, count);
    for (size_t i = undo_count; i-- > 0 && count > keep;) {
        if (undos[i].slot != slot)
            continue;
        undo_one(&undos[i]);
        count--;
    }
    forget_undos(slot);
}

void disk_crash(unsigned slot)
{
    lose_names(slot);
    for (size_t i = 0; i < name_count; i++)
        if (names[i].file->slot == slot && !names[i].file->is_dir)
            file_lose(names[i].file);
}

void disk_wipe(unsigned slot)
{
    forget_undos(slot);
    for (size_t i = name_count; i-- > 0;) {
        if (names[i].file->slot != slot)
            continue;
        char *path = mem_strdup(names[i].path);
        file_unref(take_name(path));
        free(path);
    }
}

static bool is_log(const struct name *name, unsigned slot)
{
    size_t len = strlen(name->path);

    return name->file->slot == slot && len > 4 &&
           strcmp(name->path + len - 4, ".wal") == 0;
}

/* Behind the last byte that isn't zero. */
static uint64_t end_of_data(const struct file *file)
{
    for (size_t i = file->page_count; i-- > 0;)
        for (size_t at = DISK_PAGE; file->stable[i] && at-- > 0;)
            if (file->stable[i][at] != 0)
                return i * DISK_PAGE + at + 1;
    return 0;
}

/* Anywhere, or close to the end. */
static bool flip_in(struct file *file)
{
    uint64_t end = end_of_data(file);
    uint64_t from = sim_chance(500) && end > 300 ? end - 300 : 0;

    for (unsigned tries = 0; tries < 20 && end > 0; tries++) {
        uint64_t at = sim_between(from, end - 1);
        uint8_t *page = file->stable[at / DISK_PAGE];
        if (!page || page[at % DISK_PAGE] == 0)
            continue;
        page[at % DISK_PAGE] ^= (uint8_t)(1U << sim_below(8));
        return true;
    }
    return false;
}

bool disk_flip(unsigned slot)
{
    size_t logs = 0;

    for (size_t i = 0; i < name_count; i++)
        logs += is_log(&names[i], slot);
    if (logs == 0)
        return false;
    size_t n = (size_t)sim_below(logs);
    for (size_t i = 0; i < name_count; i++)
        if (is_log(&names[i], slot) && n-- == 0)
            return flip_in(names[i].file);
    return false;
}

/* ---- databases ---------------------------------------------------------- */

struct db *disk_db(const char *path)
{
    const struct file *file = disk_find(path);

    return file ? file->db : NULL;
}

struct db *disk_make_db(const char *path)
{
    struct file *file = disk_make(path, false);

    file->db = mem_zalloc(sizeof(*file->db));
    return file->db;
}

void disk_rename_db(const char *from, const char *to)
{
    unsigned slot = slot_of(from);

    CHECK(disk_rename(from, to) == 0);
    forget_undos(slot);
}
