/* Private to src/tool.
 *
 * command.c   the table of commands, and which one is meant
 * flags.c     flags into struct options
 * help.c      help and completion, out of the same tables
 * print.c     results as text, table, JSON
 * place.c     a member's directory, held against a running one
 * file.c      a snapshot's file
 * new_log.c   a fresh log
 * keys.c      a set of keys with what is known of each
 * the others  a command each */
#ifndef CHORAD_TOOL_PRIVATE_H
#define CHORAD_TOOL_PRIVATE_H

#include "chorad/base/err.h"
#include "chorad/base/headway.h"
#include "chorad/snapshot.h"
#include "chorad/store.h"
#include "chorad/tool.h"
#include "chorad/wal.h"

enum exit_code {
    EXIT_OK = 0,
    EXIT_FAILED = 1,
    EXIT_DAMAGED = 3,
    EXIT_BAD_USAGE = 128,
};

/* ---- commands and flags ---- */

/* Every flag of every command; commands name those they take. */
struct options {
    const char *data_dir;
    const char *wal_dir;
    const char *to;
    const char *name;
    const char *initial_cluster;
    const char *initial_cluster_token;
    const char *initial_advertise_peer_urls;
    const char *write_out;
    const char *map_size; /* for etcdutl's sake */
    uint64_t rev;
    uint64_t bump_revision;
    bool skip_hash_check;
    bool mark_compacted;
    bool progress;
    bool help;
    char **args; /* what isn't a flag */
    int n_args;
};

enum flag {
    F_DATA_DIR = 1 << 0,
    F_WAL_DIR = 1 << 1,
    F_TO = 1 << 2,
    F_MEMBER = 1 << 3, /* name, initial cluster, token, peer URLs */
    F_WRITE_OUT = 1 << 4,
    F_REV = 1 << 5,
    F_RESTORE = 1 << 6, /* hash check, revision */
    F_PROGRESS = 1 << 7,
    F_HELP = 1 << 8,
};

struct flag_info {
    enum flag flag;
    const char *name;
    char letter; /* 0: none */
    enum { FLAG_IS_TEXT, FLAG_IS_BOOL, FLAG_IS_NUMBER } type;
    size_t at;         /* in struct options */
    const char *value; /* what stands for it in the help; NULL for bools */
    const char *fallback;
    const char *help;
};
extern const struct flag_info tool_flags[];
extern const size_t tool_flag_count;

struct command {
    const char *name; /* one word or two */
    const char *args; /* "<file>" */
    int min_args;
    int max_args;
    unsigned flags;
    const char *brief;
    const char *help; /* what `brief` leaves unsaid */
    int (*run)(const struct options *options);
};
extern const struct command tool_commands[];
extern const size_t tool_command_count;

/* Reads argv[first] and the following. False after saying what is wrong. */
bool flags_read(const struct command *command, int argc, char *argv[],
                int first, struct options *options);

void help_print(FILE *out, const struct command *command);
int completion_run(const struct options *options);

int status_run(const struct options *options);
int restore_run(const struct options *options);
int hashkv_run(const struct options *options);
int export_run(const struct options *options);
int defrag_run(const struct options *options);
int check_run(const struct options *options);

/* "Error: <text>" on stderr; EXIT_FAILED. */
int tool_fail(const struct errmsg *msg);

/* ---- results ---- */

struct print_field {
    const char *column; /* of the table: "total keys" */
    const char *json;   /* "totalKey" */
    const char *label;  /* of -w fields: "Keys" */
    const char *text;
    const char *json_text; /* NULL: `text`, in quotes */
};

/* Is it a format? Says so if it isn't. To be asked before long work. */
bool print_knows(const char *format);
/* Prints them in that format; EXIT_OK. */
int print_fields(const char *format, const struct print_field *fields,
                 size_t n);

/* The bar on a terminal, else lines if --progress was given. */
void tool_headway(struct headway *headway, const struct options *options,
                  const char *what);
/* A snapshot_progress_cb with that as its argument. */
int tool_tell(void *headway, const struct snapshot_progress *at);

/* ---- a member's directory ---- */

struct place {
    char *data_dir;
    char *kv_dir;
    char *wal_dir;
    struct store *store; /* open, and so nobody else's */
};

/* Names the directories, opens nothing. ERR_NOTFOUND: no member of chorad's is
 * there. Close it in any case. */
int place_name(struct place *place, const struct options *options,
               struct errmsg *msg);
/* Keeps members away until the file is closed. ERR_BUSY: one runs. */
int place_lock(const struct place *place, int *fd, struct errmsg *msg);
/* Names and opens. */
int place_open(struct place *place, const struct options *options,
               struct errmsg *msg);
void place_close(struct place *place);

/* A directory that something new goes to: it has to be empty or not to be
 * there, apart from what a try that was cut off left. It is made, with an
 * empty <dir>/member.tmp in it. */
int place_prepare(const char *dir, struct errmsg *msg);
/* <dir>/member.tmp becomes <dir>/member, for good. */
int place_finish(const char *dir, struct errmsg *msg);

/* ---- a new log ---- */

struct new_log {
    const char *dir;
    struct wal_metadata metadata;
    const struct raft_snapshot *before; /* what the entries go on from */
    const struct raft_entry *entries;
    size_t entry_count;
    struct raft_hard_state hard_state;
    struct raft_snapshot *after; /* of what the entries come to */
};

/* Makes it, durable on return. ERR_EXISTS if there is one. */
int new_log_write(const struct new_log *log, struct errmsg *msg);

/* ---- a snapshot's file ---- */

struct image_file {
    struct snapshot_file file;
    uint64_t size;
    bool has_sum; /* a SHA-256 behind the image */
};

int image_file_open(struct image_file *image, const char *path,
                    struct errmsg *msg);
void image_file_close(struct image_file *image);
/* Exactly `len` bytes, or an error. */
int image_file_read(const struct image_file *image, uint64_t offset,
                    uint8_t *out, size_t len, struct errmsg *msg);
/* ERR_CORRUPT: the sum behind the image isn't that of the image. */
int image_file_check_sum(const struct image_file *image, struct errmsg *msg);

/* ---- keys ---- */

/* What is known of a key from its records so far. Keys are told apart by 128
 * bits of a seeded hash. */
struct key_state {
    uint64_t hash[2];
    int64_t main;
    int64_t created;
    int64_t version;
    int64_t lease;
    uint32_t sub;
    bool live;
};

struct keys {
    struct key_state *slots; /* hash 0/0: free */
    size_t cap;              /* a power of two */
    size_t len;
    uint64_t live;
    uint64_t seed;
};

void keys_open(struct keys *keys);
void keys_close(struct keys *keys);
/* The key's state, a fresh one (main 0) if it wasn't there. Valid until the
 * next call. */
struct key_state *keys_at(struct keys *keys, struct bytes key);

#endif
