/* Inside of auth: what is in memory.
 *
 * Users and roles are immutable: a change puts a new one in the old one's
 * place. Only the loop changes anything, with the lock held for writing;
 * others read with the lock held for reading, the loop may read without. */
#ifndef CHORAD_AUTH_INTERNAL_H
#define CHORAD_AUTH_INTERNAL_H

#include "chorad/auth.h"
#include "intervals.h"
#include <pthread.h>

/* What a user and a role begin with. */
struct named {
    struct bytes name;
    struct arena arena; /* all that it points to */
};

/* By name. */
struct named_list {
    struct named **items;
    size_t n;
    size_t cap;
};

/* What a user's roles permit together; borrows from the roles. */
struct perms {
    struct intervals read;
    struct intervals write;
};

/* authpb.User (proto/auth.proto). */
struct user {
    struct named named;
    struct bytes password; /* the bcrypt text; may be empty */
    struct bytes *roles;   /* sorted */
    size_t n_roles;
    bool has_options; /* as stored: users of old versions have none */
    bool no_password;
    /* Made by whoever asks first, dropped when a role changes. */
    _Atomic(struct perms *) perms;
};

/* authpb.Role. */
struct role {
    struct named named;
    struct auth_permission *perms; /* a zero byte is behind each key */
    size_t n_perms;
};

struct auth {
    struct store *store;
    struct auth_tokens *tokens;
    unsigned legacy_cost;
    atomic_bool enabled;
    _Atomic uint64_t revision;
    pthread_rwlock_t lock; /* users and roles */
    struct named_list users;
    struct named_list roles;
};

/* ---- named.c ---- */

/* Where the name is, or belongs. */
size_t named_place(const struct named_list *list, struct bytes name,
                   bool *there);
/* NULL. */
void *named_find(const struct named_list *list, struct bytes name);
void named_insert(struct named_list *list, size_t at, struct named *item);
void named_remove(struct named_list *list, size_t at);
void named_list_close(struct named_list *list, void (*drop)(void *item));

/* ---- record.c: as they are stored; pure ---- */

void record_put_user(struct buf *out, const struct user *user);
void record_put_role(struct buf *out, const struct role *role);
/* NULL for what is damaged; the name has to be the key. */
struct user *record_get_user(struct bytes key, struct bytes value);
struct role *record_get_role(struct bytes key, struct bytes value);

struct user *user_new(struct bytes name);
struct role *role_new(struct bytes name);
void user_free(void *user);
void role_free(void *role);

/* ---- perms.c ---- */

bool user_has_role(const struct user *user, struct bytes role);
bool user_is_root(const struct user *user);
void perms_free(struct perms *perms);
/* The permissions of all who have the role, or of all (empty): to be made
 * again. With the lock held for writing. */
void perms_forget(struct auth *auth, struct bytes role);

/* ---- users.c ---- */

/* Takes the role from all users; with the lock held for writing. */
void users_drop_role(struct auth *auth, struct bytes role);

/* ---- store.c ---- */

struct bytes auth_root(void);
void auth_lock_read(struct auth *auth);
void auth_lock_write(struct auth *auth);
void auth_unlock(struct auth *auth);
/* Counts the revision up and stores it; with the lock held for writing. */
void auth_bump(struct auth *auth);

#endif
