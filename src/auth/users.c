/* Users: changes from the log, and looking at them. */
#include "chorad/base/base64.h"
#include "chorad/base/log.h"
#include "internal.h"
#include "tokens.h"

#include <string.h>

static struct bytes copy(struct arena *arena, struct bytes b)
{
    return bytes_of(arena_dup(arena, b.data, b.len), b.len);
}

static struct user *find(const struct auth *auth, struct bytes name)
{
    return named_find(&auth->users, name);
}

static bool is(struct bytes name, struct bytes other)
{
    return bytes_cmp(name, other) == 0;
}

/* ---- writing ---- */

static void store_user(struct auth *auth, const struct user *user)
{
    struct buf record = {0};

    record_put_user(&record, user);
    store_put(auth->store, STORE_AUTH_USERS, user->named.name,
              bytes_of(record.data, record.len));
    buf_close(&record);
}

/* Puts the user into the list, or in the place of the one of its name. The
 * revision stays. */
static void put(struct auth *auth, struct user *user)
{
    bool there;
    size_t at = named_place(&auth->users, user->named.name, &there);

    store_user(auth, user);
    if (there) {
        user_free(auth->users.items[at]);
        auth->users.items[at] = &user->named;
    } else {
        named_insert(&auth->users, at, &user->named);
    }
}

static void change(struct auth *auth, struct user *user)
{
    auth_lock_write(auth);
    put(auth, user);
    auth_bump(auth);
    auth_unlock(auth);
}

/* The same user, to be changed; with room for one role more. */
static struct user *like(const struct user *old)
{
    struct user *user = user_new(old->named.name);
    struct arena *arena = &user->named.arena;

    user->password = copy(arena, old->password);
    user->has_options = old->has_options;
    user->no_password = old->no_password;
    user->roles = arena_alloc(arena, (old->n_roles + 1) * sizeof(struct bytes));
    for (size_t i = 0; i < old->n_roles; i++)
        user->roles[user->n_roles++] = copy(arena, old->roles[i]);
    return user;
}

static void drop_role(struct user *user, struct bytes role)
{
    size_t n = 0;

    for (size_t i = 0; i < user->n_roles; i++)
        if (!is(user->roles[i], role))
            user->roles[n++] = user->roles[i];
    user->n_roles = n;
}

/* ---- passwords ---- */

/* Only logs of etcd before 3.5 have passwords in clear; hashing one here holds
 * up the loop, and gives each member a hash of its own, as it did there. */
static int hash_of(const struct auth *auth, struct auth_password password,
                   struct buf *out)
{
    int rc;

    if (password.clear.len > 0 && password.hashed.len == 0)
        rc = auth_hash_password(password.clear, auth->legacy_cost, out);
    else
        rc = base64_decode(out, BASE64_PADDED, password.hashed);
    return rc < 0 ? ERR_NO_PASSWORD_USER : 0;
}

static int set_hash(const struct auth *auth, struct user *user,
                    struct auth_password password)
{
    struct buf hash = {0};
    int rc = 0;

    user->password = (struct bytes){NULL, 0};
    if (!user->no_password)
        rc = hash_of(auth, password, &hash);
    if (rc == 0 && hash.len > 0)
        user->password =
            copy(&user->named.arena, bytes_of(hash.data, hash.len));
    buf_close(&hash);
    return rc;
}

int auth_password_of(struct auth *auth, struct bytes name, struct buf *hash,
                     uint64_t *rev)
{
    const struct user *user;
    int rc = 0;

    if (!auth_enabled(auth))
        return ERR_AUTH_NOT_ENABLED;
    auth_lock_read(auth);
    user = find(auth, name);
    if (user == NULL) {
        rc = ERR_AUTH_FAILED;
    } else if (user->no_password) {
        rc = ERR_NO_PASSWORD_USER;
    } else {
        buf_append(hash, user->password.data, user->password.len);
        *rev = auth_revision(auth);
    }
    auth_unlock(auth);
    return rc;
}

/* ---- changes ---- */

int auth_user_add(struct auth *auth, struct bytes name, bool no_password,
                  struct auth_password password)
{
    struct user *user;
    int rc;

    if (name.len == 0)
        return ERR_USER_EMPTY;
    if (find(auth, name) != NULL)
        return ERR_USER_EXISTS;
    if (name.len > AUTH_NAME_MAX)
        return ERR_NAME_TOO_LONG;
    user = user_new(name);
    user->has_options = true;
    user->no_password = no_password;
    rc = set_hash(auth, user, password);
    if (rc < 0) {
        user_free(user);
        return rc;
    }
    change(auth, user);
    log_info("added a user", LOG_BYTES("user-name", name.data, name.len));
    return 0;
}

int auth_user_delete(struct auth *auth, struct bytes name)
{
    bool there;
    size_t at = named_place(&auth->users, name, &there);

    if (auth_enabled(auth) && is(name, auth_root()))
        return ERR_AUTH_MGMT;
    if (!there)
        return ERR_USER_NOT_FOUND;
    auth_lock_write(auth);
    store_delete(auth->store, STORE_AUTH_USERS, name);
    user_free(auth->users.items[at]);
    named_remove(&auth->users, at);
    auth_bump(auth);
    auth_unlock(auth);
    tokens_forget_user(auth->tokens, name);
    log_info("deleted a user", LOG_BYTES("user-name", name.data, name.len));
    return 0;
}

int auth_user_set_password(struct auth *auth, struct bytes name,
                           struct auth_password password)
{
    const struct user *old = find(auth, name);
    struct user *user;
    int rc;

    if (old == NULL)
        return ERR_USER_NOT_FOUND;
    user = like(old);
    rc = set_hash(auth, user, password);
    if (rc < 0) {
        user_free(user);
        return rc;
    }
    change(auth, user);
    tokens_forget_user(auth->tokens, name);
    log_info("changed the password of a user",
             LOG_BYTES("user-name", name.data, name.len));
    return 0;
}

int auth_user_grant(struct auth *auth, struct bytes name, struct bytes role)
{
    const struct user *old = find(auth, name);
    struct user *user;
    size_t at;

    if (old == NULL)
        return ERR_USER_NOT_FOUND;
    if (!is(role, auth_root()) && named_find(&auth->roles, role) == NULL)
        return ERR_ROLE_NOT_FOUND;
    if (user_has_role(old, role))
        return 0;
    user = like(old);
    for (at = user->n_roles; at > 0; at--) {
        if (bytes_cmp(user->roles[at - 1], role) < 0)
            break;
        user->roles[at] = user->roles[at - 1];
    }
    user->roles[at] = copy(&user->named.arena, role);
    user->n_roles++;
    change(auth, user);
    log_info("granted a role to a user",
             LOG_BYTES("user-name", name.data, name.len),
             LOG_BYTES("role-name", role.data, role.len));
    return 0;
}

int auth_user_revoke(struct auth *auth, struct bytes name, struct bytes role)
{
    const struct user *old = find(auth, name);
    struct user *user;

    if (auth_enabled(auth) && is(name, auth_root()) && is(role, auth_root()))
        return ERR_AUTH_MGMT;
    if (old == NULL)
        return ERR_USER_NOT_FOUND;
    if (!user_has_role(old, role))
        return ERR_ROLE_NOT_GRANTED;
    user = like(old);
    drop_role(user, role);
    change(auth, user);
    log_info("revoked a role from a user",
             LOG_BYTES("user-name", name.data, name.len),
             LOG_BYTES("role-name", role.data, role.len));
    return 0;
}

/* Part of the deletion of a role: with the lock held for writing. */
void users_drop_role(struct auth *auth, struct bytes role)
{
    for (size_t i = 0; i < auth->users.n; i++) {
        const struct user *old =
            (const struct user *)(const void *)auth->users.items[i];
        struct user *user;

        if (!user_has_role(old, role))
            continue;
        user = like(old);
        drop_role(user, role);
        put(auth, user);
    }
}

/* ---- looking ---- */

void auth_users(const struct auth *auth, auth_name_cb visit, void *arg)
{
    for (size_t i = 0; i < auth->users.n; i++)
        visit(arg, auth->users.items[i]->name);
}

int auth_user_roles(const struct auth *auth, struct bytes name,
                    auth_name_cb visit, void *arg)
{
    const struct user *user = find(auth, name);

    if (user == NULL)
        return ERR_USER_NOT_FOUND;
    for (size_t i = 0; i < user->n_roles; i++)
        visit(arg, user->roles[i]);
    return 0;
}

bool auth_user_has(const struct auth *auth, struct bytes name,
                   struct bytes role)
{
    const struct user *user = find(auth, name);

    return user != NULL && user_has_role(user, role);
}
