/* Users, roles, permissions and tokens: who a request comes from, and whether
 * it may do what it asks for.
 *
 * Changes come through the log, on the loop thread, and are deterministic: the
 * same requests leave the same bytes in the store and the same revision.
 * Everything else may be asked on any thread; a lock that nobody holds for long
 * lies around it. Time is handed in.
 *
 * Off until it is enabled: then everything is permitted to everybody. */
#ifndef CHORAD_AUTH_H
#define CHORAD_AUTH_H

#include "chorad/base/err.h"
#include "chorad/base/mem.h"
#include "chorad/store.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Names are keys of the store. */
#define AUTH_NAME_MAX 511

struct auth;

/* ---- the kind of tokens: from the settings ------------------------------- */

struct auth_tokens;

/* Reads --auth-token: "simple", "jwt,sign-method=M,pub-key=F,priv-key=F,ttl=D"
 * or "" for no tokens at all, and the key files named there. `simple_ttl_s`: 0
 * for the default of 300. ERR_INVALID, ERR_IO, ERR_NOTFOUND; `msg` names the
 * option. */
int auth_tokens_open(const char *options, uint64_t simple_ttl_s,
                     struct auth_tokens **out, struct errmsg *msg);
void auth_tokens_close(struct auth_tokens *tokens);

/* ---- the store ----------------------------------------------------------- */

/* Reads the buckets; a new store gets revision 1. Takes `tokens` over on
 * success; NULL: it is made to be swapped in. `legacy_cost` is for passwords in
 * logs written by etcd before 3.5, which holds them in clear. The store must
 * outlive it. ERR_CORRUPT. */
int auth_open(struct store *store, struct auth_tokens *tokens,
              unsigned legacy_cost, struct auth **out, struct errmsg *msg);
void auth_close(struct auth *auth);
/* The loop: goes on with what `with` knows, which another member's snapshot
 * brought, and `with` has what was known before. Tokens stay. */
void auth_swap(struct auth *auth, struct auth *with);

/* Whether auth is on, for those who ask at every request. */
const atomic_bool *auth_switch(const struct auth *auth);
bool auth_enabled(const struct auth *auth);
/* Counts changes of users, roles and permissions. */
uint64_t auth_revision(const struct auth *auth);

/* ---- who ----------------------------------------------------------------- */

/* An authenticated user, as of a revision: 0 for nobody. The user need not
 * exist any more. */
struct auth_who {
    uint64_t rev;
    size_t len;
    uint8_t name[AUTH_NAME_MAX];
};

static inline struct bytes auth_name(const struct auth_who *who)
{
    return bytes_of(who->name, who->len);
}

/* A name with the current revision; one that is too long is nobody's. */
struct auth_who auth_who_named(const struct auth *auth, struct bytes name);

/* The token in a header's value, which may have "Bearer " before it. Borrowed.
 */
struct bytes auth_bare_token(struct bytes value);

/* The user that the token was given to; a simple one lives on from now.
 * ERR_AUTH_TOKEN. */
int auth_identify(struct auth *auth, struct bytes token, uint64_t mono_ns,
                  uint64_t wall_ns, struct auth_who *who);

/* The token isn't known, but may be once the log is applied up to *index. */
bool auth_token_pending(struct auth *auth, struct bytes token, uint64_t applied,
                        uint64_t mono_ns, uint64_t *index);

/* ---- may they? -----------------------------------------------------------
 *
 * 0, also while auth is off; ERR_USER_EMPTY for nobody, ERR_AUTH_OLD_REVISION
 * for what was established before the last change, ERR_PERMISSION_DENIED. */

/* `end` as in requests: empty for the one key, "\0" for all keys from `key`
 * on. The whole range has to be permitted. */
int auth_may_read(struct auth *auth, const struct auth_who *who,
                  struct bytes key, struct bytes end);
int auth_may_write(struct auth *auth, const struct auth_who *who,
                   struct bytes key, struct bytes end);

/* What only those with the root role may; any revision will do. Also
 * ERR_USER_NOT_FOUND. */
int auth_may_manage(struct auth *auth, const struct auth_who *who);

/* Some user, whoever it is: 0 or ERR_USER_EMPTY. */
int auth_is_somebody(const struct auth *auth, const struct auth_who *who);

/* ---- passwords ----------------------------------------------------------- */

/* Go's bcrypt package's text for the password, in either direction. Takes
 * 2^cost steps, on purpose: not on the loop or a shard. Appends.
 * ERR_PASSWORD_TOO_LONG (72 bytes), ERR_PASSWORD_ZERO: bcrypt here takes C
 * strings. */
#define AUTH_COST_MIN 4
#define AUTH_COST_MAX 31
#define AUTH_COST_DEFAULT 10
int auth_hash_password(struct bytes password, unsigned cost, struct buf *out);
bool auth_password_matches(struct bytes hash, struct bytes password);

/* The hash to compare with, appended, and the revision at which it was the
 * user's. ERR_AUTH_NOT_ENABLED, ERR_AUTH_FAILED, ERR_NO_PASSWORD_USER. */
int auth_password_of(struct auth *auth, struct bytes name, struct buf *hash,
                     uint64_t *rev);

/* ---- tokens -------------------------------------------------------------- */

/* Tokens are signed by the member that is asked, not given out by the log. */
bool auth_signs(const struct auth *auth);
/* The token for a user that has been authenticated at that revision; a worker.
 * Appends. ERR_VERIFY_ONLY. */
int auth_sign(const struct auth *auth, struct bytes name, uint64_t rev,
              uint64_t wall_ns, struct buf *out);

/* What goes into the log to make a simple token of, in `out`; its length: 0
 * where tokens are of another kind. */
#define AUTH_PREFIX_LEN 16
size_t auth_new_prefix(const struct auth *auth, char out[AUTH_PREFIX_LEN]);

/* The loop, every so often: forgets simple tokens that are too old. */
void auth_expire_tokens(struct auth *auth, uint64_t mono_ns);

/* ---- changes: the loop, from the log --------------------------------------
 *
 * Each leaves everything as it was when it fails, and counts the revision up
 * when it changes something. ERR_NAME_TOO_LONG: etcd would have taken it. */

/* ERR_ROOT_USER_MISSING, ERR_ROOT_ROLE_MISSING; fine if it is on. */
int auth_enable(struct auth *auth);
/* Forgets all simple tokens. */
void auth_disable(struct auth *auth);

/* Gives the user a token, appended unless it is to be signed by the asker.
 * `prefix` and `index` make a simple one. ERR_AUTH_NOT_ENABLED,
 * ERR_AUTH_FAILED. */
int auth_assign(struct auth *auth, struct bytes name, struct bytes prefix,
                uint64_t index, uint64_t mono_ns, struct buf *token);

/* A password as a request has it: the base64 of its hash, or (legacy) clear. */
struct auth_password {
    struct bytes clear;
    struct bytes hashed;
};

/* ERR_USER_EMPTY, ERR_USER_EXISTS, ERR_NO_PASSWORD_USER: not base64. */
int auth_user_add(struct auth *auth, struct bytes name, bool no_password,
                  struct auth_password password);
/* Both forget the user's tokens. ERR_USER_NOT_FOUND; ERR_AUTH_MGMT for root
 * while auth is on. */
int auth_user_delete(struct auth *auth, struct bytes name);
int auth_user_set_password(struct auth *auth, struct bytes name,
                           struct auth_password password);
/* Fine if it has it. ERR_USER_NOT_FOUND, ERR_ROLE_NOT_FOUND: the role root need
 * not be there. */
int auth_user_grant(struct auth *auth, struct bytes name, struct bytes role);
/* ERR_USER_NOT_FOUND, ERR_ROLE_NOT_GRANTED, ERR_AUTH_MGMT. */
int auth_user_revoke(struct auth *auth, struct bytes name, struct bytes role);

/* ERR_ROLE_EMPTY, ERR_ROLE_EXISTS. */
int auth_role_add(struct auth *auth, struct bytes name);
/* Takes it from all users, too. ERR_ROLE_NOT_FOUND, ERR_AUTH_MGMT. */
int auth_role_delete(struct auth *auth, struct bytes name);

/* authpb.Permission. */
enum auth_permission_type { AUTH_READ = 0, AUTH_WRITE = 1, AUTH_READWRITE = 2 };
struct auth_permission {
    int32_t type; /* a newer cluster may know types that we don't */
    struct bytes key;
    struct bytes end;
};
/* ERR_AUTH_MGMT: an empty key, or an end not behind it. ERR_ROLE_NOT_FOUND. */
int auth_role_grant(struct auth *auth, struct bytes name,
                    struct auth_permission permission);
/* ERR_ROLE_NOT_FOUND, ERR_PERMISSION_NOT_GRANTED. */
int auth_role_revoke(struct auth *auth, struct bytes name, struct bytes key,
                     struct bytes end);

/* ---- looking: the loop ----------------------------------------------------
 */

typedef void (*auth_name_cb)(void *arg, struct bytes name);

/* In the order of their names. */
void auth_users(const struct auth *auth, auth_name_cb visit, void *arg);
void auth_roles(const struct auth *auth, auth_name_cb visit, void *arg);
/* The user's roles. ERR_USER_NOT_FOUND. */
int auth_user_roles(const struct auth *auth, struct bytes name,
                    auth_name_cb visit, void *arg);
bool auth_user_has(const struct auth *auth, struct bytes name,
                   struct bytes role);
/* The role's permissions as they are stored; the role root has all of them.
 * ERR_ROLE_NOT_FOUND. */
int auth_role_permissions(
    const struct auth *auth, struct bytes name,
    void (*visit)(void *arg, const struct auth_permission *permission),
    void *arg);

#endif
