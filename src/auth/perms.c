/* What a user may do. */
#include "internal.h"

#include <stdlib.h>

bool user_has_role(const struct user *user, struct bytes role)
{
    for (size_t i = 0; i < user->n_roles; i++)
        if (bytes_cmp(user->roles[i], role) == 0)
            return true;
    return false;
}

bool user_is_root(const struct user *user)
{
    return user_has_role(user, auth_root());
}

/* ---- the roles' permissions together ---- */

static bool is_endless(struct bytes end)
{
    return end.len == 1 && end.data[0] == 0;
}

static void add_role(struct perms *perms, const struct role *role)
{
    for (size_t i = 0; i < role->n_perms; i++) {
        const struct auth_permission *perm = &role->perms[i];
        struct interval interval = {perm->key, perm->end};

        /* Just the key: up to the very next one, the key and a zero byte. */
        if (perm->end.len == 0)
            interval.end = bytes_of(perm->key.data, perm->key.len + 1);
        else if (is_endless(perm->end))
            interval.end.len = 0;
        if (perm->type == AUTH_READ || perm->type == AUTH_READWRITE)
            intervals_add(&perms->read, interval);
        if (perm->type == AUTH_WRITE || perm->type == AUTH_READWRITE)
            intervals_add(&perms->write, interval);
    }
}

void perms_free(struct perms *perms)
{
    if (perms == NULL)
        return;
    intervals_close(&perms->read);
    intervals_close(&perms->write);
    free(perms);
}

/* Two who ask at once both make it; one of the two is kept. */
static const struct perms *perms_of(struct auth *auth, struct user *user)
{
    struct perms *there =
        atomic_load_explicit(&user->perms, memory_order_acquire);
    struct perms *made;

    if (there != NULL)
        return there;
    made = mem_zalloc(sizeof(*made));
    for (size_t i = 0; i < user->n_roles; i++) {
        const struct role *role = named_find(&auth->roles, user->roles[i]);

        if (role != NULL)
            add_role(made, role);
    }
    if (atomic_compare_exchange_strong(&user->perms, &there, made))
        return made;
    perms_free(made);
    return there;
}

void perms_forget(struct auth *auth, struct bytes role)
{
    for (size_t i = 0; i < auth->users.n; i++) {
        struct user *user = (struct user *)(void *)auth->users.items[i];

        if (user_has_role(user, role)) {
            perms_free(atomic_load(&user->perms));
            atomic_store(&user->perms, NULL);
        }
    }
}

/* ---- questions ---- */

static bool permits(const struct intervals *set, struct bytes key,
                    struct bytes end)
{
    if (end.len == 0)
        return intervals_hit(set, key);
    if (is_endless(end))
        end.len = 0;
    return intervals_cover(set, (struct interval){key, end});
}

/* With the lock held. */
static int may(struct auth *auth, const struct auth_who *who, bool write,
               struct bytes key, struct bytes end)
{
    const struct perms *perms;
    struct user *user;

    if (who->rev == 0)
        return ERR_USER_EMPTY;
    if (who->rev < auth_revision(auth))
        return ERR_AUTH_OLD_REVISION;
    user = named_find(&auth->users, auth_name(who));
    if (user == NULL)
        return ERR_PERMISSION_DENIED;
    if (user_is_root(user))
        return 0;
    perms = perms_of(auth, user);
    return permits(write ? &perms->write : &perms->read, key, end)
               ? 0
               : ERR_PERMISSION_DENIED;
}

static int ask(struct auth *auth, const struct auth_who *who, bool write,
               struct bytes key, struct bytes end)
{
    int err;

    if (!auth_enabled(auth))
        return 0;
    auth_lock_read(auth);
    err = may(auth, who, write, key, end);
    auth_unlock(auth);
    return err;
}

int auth_may_read(struct auth *auth, const struct auth_who *who,
                  struct bytes key, struct bytes end)
{
    return ask(auth, who, false, key, end);
}

int auth_may_write(struct auth *auth, const struct auth_who *who,
                   struct bytes key, struct bytes end)
{
    return ask(auth, who, true, key, end);
}

int auth_may_manage(struct auth *auth, const struct auth_who *who)
{
    const struct user *user;
    int err = 0;

    if (!auth_enabled(auth))
        return 0;
    if (who->len == 0)
        return ERR_USER_EMPTY;
    auth_lock_read(auth);
    user = named_find(&auth->users, auth_name(who));
    if (user == NULL)
        err = ERR_USER_NOT_FOUND;
    else if (!user_is_root(user))
        err = ERR_PERMISSION_DENIED;
    auth_unlock(auth);
    return err;
}

int auth_is_somebody(const struct auth *auth, const struct auth_who *who)
{
    return auth_enabled(auth) && who->rev == 0 ? ERR_USER_EMPTY : 0;
}
