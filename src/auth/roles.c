/* Roles: changes from the log, and looking at them. */
#include "chorad/base/log.h"
#include "internal.h"
#include "perm_order.h"

#include <string.h>

static struct role *find(const struct auth *auth, struct bytes name)
{
    return named_find(&auth->roles, name);
}

static struct bytes copy(struct arena *arena, struct bytes b)
{
    uint8_t *out = arena_zalloc(arena, b.len + 1);

    if (b.len > 0)
        memcpy(out, b.data, b.len);
    return bytes_of(out, b.len);
}

static bool equal(struct bytes a, struct bytes b)
{
    return bytes_cmp(a, b) == 0;
}

/* Puts the role into the list, or in the place of the one of its name. */
static void change(struct auth *auth, struct role *role)
{
    struct bytes name = role->named.name;
    struct buf record = {0};
    bool there;
    size_t at = named_place(&auth->roles, name, &there);

    record_put_role(&record, role);
    auth_lock_write(auth);
    store_put(auth->store, STORE_AUTH_ROLES, name,
              bytes_of(record.data, record.len));
    if (there) {
        perms_forget(auth, name);
        role_free(auth->roles.items[at]);
        auth->roles.items[at] = &role->named;
    } else {
        named_insert(&auth->roles, at, &role->named);
    }
    auth_bump(auth);
    auth_unlock(auth);
    buf_close(&record);
}

int auth_role_add(struct auth *auth, struct bytes name)
{
    if (name.len == 0)
        return ERR_ROLE_EMPTY;
    if (find(auth, name) != NULL)
        return ERR_ROLE_EXISTS;
    if (name.len > AUTH_NAME_MAX)
        return ERR_NAME_TOO_LONG;
    change(auth, role_new(name));
    log_info("added a role", LOG_BYTES("role-name", name.data, name.len));
    return 0;
}

int auth_role_delete(struct auth *auth, struct bytes name)
{
    bool there;
    size_t at = named_place(&auth->roles, name, &there);

    if (auth_enabled(auth) && equal(name, auth_root()))
        return ERR_AUTH_MGMT;
    if (!there)
        return ERR_ROLE_NOT_FOUND;
    auth_lock_write(auth);
    store_delete(auth->store, STORE_AUTH_ROLES, name);
    users_drop_role(auth, name);
    role_free(auth->roles.items[at]);
    named_remove(&auth->roles, at);
    auth_bump(auth);
    auth_unlock(auth);
    log_info("deleted a role", LOG_BYTES("role-name", name.data, name.len));
    return 0;
}

/* ---- permissions ---- */

/* The same role, to be changed; with room for one permission more. */
static struct role *like(const struct role *old)
{
    struct role *role = role_new(old->named.name);
    struct arena *arena = &role->named.arena;

    role->perms = arena_alloc(arena, (old->n_perms + 1) * sizeof(*role->perms));
    for (size_t i = 0; i < old->n_perms; i++)
        role->perms[role->n_perms++] = (struct auth_permission){
            old->perms[i].type, copy(arena, old->perms[i].key),
            copy(arena, old->perms[i].end)};
    return role;
}

static bool is_range(struct bytes key, struct bytes end)
{
    if (key.len == 0)
        return false;
    return end.len == 0 || bytes_cmp(key, end) < 0 ||
           (end.len == 1 && end.data[0] == 0);
}

/* The permission to change: only the first one of its key is looked at, as in
 * etcd. NULL: it is a new one. */
static struct auth_permission *granted(const struct role *role,
                                       const struct auth_permission *perm)
{
    size_t at = 0;

    while (at < role->n_perms && bytes_cmp(role->perms[at].key, perm->key) < 0)
        at++;
    if (at < role->n_perms && equal(role->perms[at].key, perm->key) &&
        equal(role->perms[at].end, perm->end))
        return &role->perms[at];
    return NULL;
}

int auth_role_grant(struct auth *auth, struct bytes name,
                    struct auth_permission permission)
{
    const struct role *old = find(auth, name);
    struct auth_permission *there;
    struct role *role;

    if (!is_range(permission.key, permission.end))
        return ERR_AUTH_MGMT;
    if (old == NULL)
        return ERR_ROLE_NOT_FOUND;
    role = like(old);
    there = granted(role, &permission);
    if (there != NULL) {
        there->type = permission.type;
    } else {
        struct arena *arena = &role->named.arena;

        role->perms[role->n_perms++] = (struct auth_permission){
            permission.type, copy(arena, permission.key),
            copy(arena, permission.end)};
        perm_order(role->perms, role->n_perms);
    }
    change(auth, role);
    log_info("granted a permission to a role",
             LOG_BYTES("role-name", name.data, name.len),
             LOG_I64("type", permission.type),
             LOG_BYTES("key", permission.key.data, permission.key.len),
             LOG_BYTES("range-end", permission.end.data, permission.end.len));
    return 0;
}

int auth_role_revoke(struct auth *auth, struct bytes name, struct bytes key,
                     struct bytes end)
{
    const struct role *old = find(auth, name);
    struct role *role;
    size_t n = 0;

    if (old == NULL)
        return ERR_ROLE_NOT_FOUND;
    role = like(old);
    for (size_t i = 0; i < role->n_perms; i++)
        if (!equal(role->perms[i].key, key) || !equal(role->perms[i].end, end))
            role->perms[n++] = role->perms[i];
    role->n_perms = n;
    if (n == old->n_perms) {
        role_free(role);
        return ERR_PERMISSION_NOT_GRANTED;
    }
    change(auth, role);
    log_info("revoked a permission from a role",
             LOG_BYTES("role-name", name.data, name.len),
             LOG_BYTES("key", key.data, key.len),
             LOG_BYTES("range-end", end.data, end.len));
    return 0;
}

/* ---- looking ---- */

void auth_roles(const struct auth *auth, auth_name_cb visit, void *arg)
{
    for (size_t i = 0; i < auth->roles.n; i++)
        visit(arg, auth->roles.items[i]->name);
}

int auth_role_permissions(
    const struct auth *auth, struct bytes name,
    void (*visit)(void *arg, const struct auth_permission *permission),
    void *arg)
{
    const struct auth_permission everything = {AUTH_READWRITE, bytes_of("", 0),
                                               bytes_of("", 1)};
    const struct role *role = find(auth, name);

    if (role == NULL)
        return ERR_ROLE_NOT_FOUND;
    if (equal(name, auth_root())) {
        visit(arg, &everything);
        return 0;
    }
    for (size_t i = 0; i < role->n_perms; i++)
        visit(arg, &role->perms[i]);
    return 0;
}
