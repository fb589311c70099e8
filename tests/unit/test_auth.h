/* What the tests of auth share: an auth store over a store of its own, and
 * short names for what is done most. */
#ifndef CHORAD_TEST_AUTH_H
#define CHORAD_TEST_AUTH_H

#include "chorad/auth.h"
#include "test_store.h"

struct auth_fixture {
    struct fixture *store;
    struct auth *auth;
};

static inline void open_auth(struct auth_fixture *f)
{
    struct auth_tokens *tokens;
    struct errmsg msg;

    assert_int_equal(auth_tokens_open("simple", 0, &tokens, &msg), 0);
    assert_int_equal(auth_open(f->store->store, tokens, 4, &f->auth, &msg), 0);
}

static inline int setup_auth(void **state)
{
    struct auth_fixture *f = calloc(1, sizeof(*f));
    void *store;

    if (f == NULL || setup(&store) != 0)
        return -1;
    f->store = store;
    open_auth(f);
    *state = f;
    return 0;
}

static inline int teardown_auth(void **state)
{
    struct auth_fixture *f = *state;
    void *store = f->store;

    auth_close(f->auth);
    free(f);
    return teardown(&store);
}

static inline void reopen_auth(struct auth_fixture *f)
{
    auth_close(f->auth);
    mark(f->store);
    reopen_store(f->store);
    open_auth(f);
}

/* ---- shorthands ---- */

/* A base64 text that is some hash. */
static const struct auth_password hashed = {{NULL, 0},
                                            {(const uint8_t *)"aGFzaA==", 8}};

static inline int add_user(struct auth_fixture *f, const char *name)
{
    return auth_user_add(f->auth, text(name), false, hashed);
}

static inline int grant(struct auth_fixture *f, const char *user,
                        const char *role)
{
    return auth_user_grant(f->auth, text(user), text(role));
}

static inline int permit(struct auth_fixture *f, const char *role, int32_t type,
                         const char *key, struct bytes end)
{
    return auth_role_grant(f->auth, text(role),
                           (struct auth_permission){type, text(key), end});
}

static const struct bytes none = {(const uint8_t *)"", 0};
static const struct bytes endless = {(const uint8_t *)"", 1};

static inline void enable(struct auth_fixture *f)
{
    assert_int_equal(add_user(f, "root"), 0);
    assert_int_equal(grant(f, "root", "root"), 0);
    assert_int_equal(auth_enable(f->auth), 0);
}

static inline struct auth_who who(struct auth_fixture *f, const char *name)
{
    return auth_who_named(f->auth, text(name));
}

static inline int may_read(struct auth_fixture *f, const char *user,
                           const char *key, struct bytes end)
{
    struct auth_who w = who(f, user);

    return auth_may_read(f->auth, &w, text(key), end);
}

static inline int may_write(struct auth_fixture *f, const char *user,
                            const char *key, struct bytes end)
{
    struct auth_who w = who(f, user);

    return auth_may_write(f->auth, &w, text(key), end);
}

static inline int may_manage(struct auth_fixture *f, const char *user)
{
    struct auth_who w = who(f, user);

    return auth_may_manage(f->auth, &w);
}

#define AUTH_TEST(name)                                                        \
    cmocka_unit_test_setup_teardown(name, setup_auth, teardown_auth)

#endif
