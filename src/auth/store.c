/* The whole: what is read at a start, on and off, the revision. */
#include "chorad/base/be.h"
#include "chorad/base/check.h"
#include "chorad/base/log.h"
#include "chorad/base/metrics.h"
#include "internal.h"
#include "tokens.h"

#include <stdlib.h>
#include <string.h>

static const char key_enabled[] = "authEnabled";
static const char key_revision[] = "authRevision";

static struct bytes text(const char *s)
{
    return bytes_of(s, strlen(s));
}

/* The user and the role of that name. */
struct bytes auth_root(void)
{
    return text("root");
}

void auth_lock_read(struct auth *auth)
{
    CHECK(pthread_rwlock_rdlock(&auth->lock) == 0);
}

void auth_lock_write(struct auth *auth)
{
    CHECK(pthread_rwlock_wrlock(&auth->lock) == 0);
}

void auth_unlock(struct auth *auth)
{
    CHECK(pthread_rwlock_unlock(&auth->lock) == 0);
}

const atomic_bool *auth_switch(const struct auth *auth)
{
    return &auth->enabled;
}

bool auth_enabled(const struct auth *auth)
{
    return atomic_load_explicit(&auth->enabled, memory_order_relaxed);
}

uint64_t auth_revision(const struct auth *auth)
{
    return atomic_load(&auth->revision);
}

void auth_bump(struct auth *auth)
{
    uint64_t rev = auth_revision(auth) + 1;
    uint8_t value[8];

    be_put_u64(value, rev);
    store_put(auth->store, STORE_AUTH, text(key_revision),
              bytes_of(value, sizeof(value)));
    atomic_store(&auth->revision, rev);
}

/* ---- a start ---- */

static int load_setting(void *arg, struct bytes key, struct bytes value)
{
    struct auth *auth = arg;

    if (bytes_cmp(key, text(key_enabled)) == 0) {
        if (value.len != 1)
            return ERR_CORRUPT;
        atomic_store(&auth->enabled, value.data[0] == 1);
    } else if (bytes_cmp(key, text(key_revision)) == 0) {
        if (value.len != 8)
            return ERR_CORRUPT;
        atomic_store(&auth->revision, be_get_u64(value.data));
    }
    return 0;
}

/* Records come in the order of their keys. */
static int load_user(void *arg, struct bytes key, struct bytes value)
{
    struct auth *auth = arg;
    struct user *user = record_get_user(key, value);

    if (user == NULL)
        return ERR_CORRUPT;
    named_insert(&auth->users, auth->users.n, &user->named);
    return 0;
}

static int load_role(void *arg, struct bytes key, struct bytes value)
{
    struct auth *auth = arg;
    struct role *role = record_get_role(key, value);

    if (role == NULL)
        return ERR_CORRUPT;
    named_insert(&auth->roles, auth->roles.n, &role->named);
    return 0;
}

static int load(struct auth *auth, struct errmsg *msg)
{
    static const struct {
        enum store_bucket bucket;
        int (*visit)(void *arg, struct bytes key, struct bytes value);
    } buckets[] = {{STORE_AUTH, load_setting},
                   {STORE_AUTH_USERS, load_user},
                   {STORE_AUTH_ROLES, load_role}};

    for (size_t i = 0; i < sizeof(buckets) / sizeof(buckets[0]); i++) {
        int rc =
            store_load(auth->store, buckets[i].bucket, buckets[i].visit, auth);

        if (rc < 0)
            return err_set(msg, rc, "reading the bucket %s: %s",
                           store_bucket_name(buckets[i].bucket), err_text(rc));
    }
    return 0;
}

static double read_revision(void *arg)
{
    return (double)auth_revision(arg);
}

int auth_open(struct store *store, struct auth_tokens *tokens,
              unsigned legacy_cost, struct auth **out, struct errmsg *msg)
{
    struct auth *auth = mem_zalloc(sizeof(*auth));
    int rc;

    auth->store = store;
    auth->legacy_cost = legacy_cost;
    CHECK(pthread_rwlock_init(&auth->lock, NULL) == 0);
    rc = load(auth, msg);
    if (rc < 0) {
        auth_close(auth);
        return rc;
    }
    *out = auth;
    if (tokens == NULL)
        return 0;
    if (auth_revision(auth) == 0)
        auth_bump(auth);
    auth->tokens = tokens;
    metric_read(METRIC_GAUGE, "etcd_debugging_auth_revision",
                "The current revision of auth store.", NULL, 0, read_revision,
                auth);
    return 0;
}

void auth_close(struct auth *auth)
{
    if (auth == NULL)
        return;
    metric_forget(auth);
    named_list_close(&auth->users, user_free);
    named_list_close(&auth->roles, role_free);
    auth_tokens_close(auth->tokens);
    pthread_rwlock_destroy(&auth->lock);
    free(auth);
}

static void swap_lists(struct named_list *a, struct named_list *b)
{
    struct named_list list = *a;

    *a = *b;
    *b = list;
}

void auth_swap(struct auth *auth, struct auth *with)
{
    auth_lock_write(auth);
    swap_lists(&auth->users, &with->users);
    swap_lists(&auth->roles, &with->roles);
    atomic_store(&auth->revision, auth_revision(with));
    atomic_store(&auth->enabled, auth_enabled(with));
    if (auth_revision(auth) == 0)
        auth_bump(auth);
    auth_unlock(auth);
    if (!auth_enabled(auth))
        tokens_forget_all(auth->tokens);
}

/* ---- on and off ---- */

static void store_enabled(struct auth *auth, uint8_t value)
{
    store_put(auth->store, STORE_AUTH, text(key_enabled),
              bytes_of(&value, sizeof(value)));
}

int auth_enable(struct auth *auth)
{
    const struct user *root = named_find(&auth->users, auth_root());

    if (auth_enabled(auth)) {
        log_info("authentication is already enabled");
        return 0;
    }
    if (root == NULL)
        return ERR_ROOT_USER_MISSING;
    if (!user_is_root(root))
        return ERR_ROOT_ROLE_MISSING;
    store_enabled(auth, 1);
    atomic_store(&auth->enabled, true);
    log_info("enabled authentication");
    return 0;
}

void auth_disable(struct auth *auth)
{
    if (!auth_enabled(auth))
        return;
    auth_lock_write(auth);
    store_enabled(auth, 0);
    auth_bump(auth);
    atomic_store(&auth->enabled, false);
    auth_unlock(auth);
    tokens_forget_all(auth->tokens);
    log_info("disabled authentication");
}
