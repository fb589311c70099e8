/* Who may do what: root, and the permissions of roles together. */
#include "test_auth.h"

/* ---- root ---- */

static void test_what_it_takes_to_switch_on(void **state)
{
    struct auth_fixture *f = *state;

    assert_int_equal(auth_enable(f->auth), ERR_ROOT_USER_MISSING);
    add_user(f, "root");
    assert_int_equal(auth_enable(f->auth), ERR_ROOT_ROLE_MISSING);
    grant(f, "root", "root");
    assert_int_equal(auth_enable(f->auth), 0);
    assert_true(auth_enabled(f->auth));
    assert_true(atomic_load(auth_switch(f->auth)));
    reopen_auth(f);
    assert_true(auth_enabled(f->auth));
    auth_disable(f->auth);
    reopen_auth(f);
    assert_false(auth_enabled(f->auth));
}

static void test_root_stays_while_it_is_on(void **state)
{
    struct auth_fixture *f = *state;

    enable(f);
    auth_role_add(f->auth, text("root"));
    assert_int_equal(auth_user_delete(f->auth, text("root")), ERR_AUTH_MGMT);
    assert_int_equal(auth_role_delete(f->auth, text("root")), ERR_AUTH_MGMT);
    assert_int_equal(auth_user_revoke(f->auth, text("root"), text("root")),
                     ERR_AUTH_MGMT);
    auth_disable(f->auth);
    assert_int_equal(auth_user_revoke(f->auth, text("root"), text("root")), 0);
    assert_int_equal(auth_role_delete(f->auth, text("root")), 0);
    assert_int_equal(auth_user_delete(f->auth, text("root")), 0);
}

/* ---- who may ---- */

static void test_everybody_may_while_it_is_off(void **state)
{
    struct auth_fixture *f = *state;
    struct auth_who nobody = {.rev = 0};

    assert_int_equal(auth_may_read(f->auth, &nobody, text("k"), none), 0);
    assert_int_equal(auth_may_write(f->auth, &nobody, text("k"), none), 0);
    assert_int_equal(auth_may_manage(f->auth, &nobody), 0);
    assert_int_equal(auth_is_somebody(f->auth, &nobody), 0);
}

static void test_nobody_and_yesterday(void **state)
{
    struct auth_fixture *f = *state;
    struct auth_who nobody = {.rev = 0};
    struct auth_who root;

    enable(f);
    assert_int_equal(auth_may_read(f->auth, &nobody, text("k"), none),
                     ERR_USER_EMPTY);
    assert_int_equal(auth_may_manage(f->auth, &nobody), ERR_USER_EMPTY);
    assert_int_equal(auth_is_somebody(f->auth, &nobody), ERR_USER_EMPTY);
    assert_int_equal(may_read(f, "x", "k", none), ERR_PERMISSION_DENIED);
    assert_int_equal(may_manage(f, "x"), ERR_USER_NOT_FOUND);
    root = who(f, "root");
    assert_int_equal(auth_may_write(f->auth, &root, text("k"), none), 0);
    add_user(f, "u");
    assert_int_equal(auth_may_write(f->auth, &root, text("k"), none),
                     ERR_AUTH_OLD_REVISION);
    assert_int_equal(auth_may_manage(f->auth, &root), 0);
    assert_int_equal(may_manage(f, "u"), ERR_PERMISSION_DENIED);
    assert_int_equal(may_read(f, "u", "k", none), ERR_PERMISSION_DENIED);
}

static void test_roles_add_up(void **state)
{
    struct auth_fixture *f = *state;

    enable(f);
    add_user(f, "u");
    auth_role_add(f->auth, text("r"));
    auth_role_add(f->auth, text("w"));
    permit(f, "r", AUTH_READ, "a", text("c"));
    permit(f, "w", AUTH_READWRITE, "c", text("e"));
    permit(f, "w", AUTH_WRITE, "k", none);
    grant(f, "u", "r");
    assert_int_equal(may_read(f, "u", "a", text("c")), 0);
    assert_int_equal(may_read(f, "u", "a", text("e")), ERR_PERMISSION_DENIED);
    grant(f, "u", "w");
    assert_int_equal(may_read(f, "u", "a", text("e")), 0);
    assert_int_equal(may_read(f, "u", "a", endless), ERR_PERMISSION_DENIED);
    assert_int_equal(may_write(f, "u", "a", none), ERR_PERMISSION_DENIED);
    assert_int_equal(may_write(f, "u", "c", text("d")), 0);
    assert_int_equal(may_write(f, "u", "k", none), 0);
    assert_int_equal(may_write(f, "u", "k", text("kk")), ERR_PERMISSION_DENIED);
    assert_int_equal(may_read(f, "u", "k", none), ERR_PERMISSION_DENIED);
    permit(f, "r", AUTH_READWRITE, "x", endless);
    assert_int_equal(may_write(f, "u", "x", endless), 0);
    assert_int_equal(may_write(f, "u", "z", text("zz")), 0);
}

/* What was worked out for a user must not outlive a change. */
static void test_changes_are_felt_at_once(void **state)
{
    struct auth_fixture *f = *state;

    enable(f);
    add_user(f, "u");
    auth_role_add(f->auth, text("r"));
    permit(f, "r", AUTH_READ, "k", none);
    grant(f, "u", "r");
    assert_int_equal(may_read(f, "u", "k", none), 0);
    permit(f, "r", AUTH_WRITE, "k", none);
    assert_int_equal(may_read(f, "u", "k", none), ERR_PERMISSION_DENIED);
    assert_int_equal(may_write(f, "u", "k", none), 0);
    auth_role_revoke(f->auth, text("r"), text("k"), none);
    assert_int_equal(may_write(f, "u", "k", none), ERR_PERMISSION_DENIED);
    permit(f, "r", AUTH_READ, "k", none);
    assert_int_equal(may_read(f, "u", "k", none), 0);
    auth_role_delete(f->auth, text("r"));
    assert_int_equal(may_read(f, "u", "k", none), ERR_PERMISSION_DENIED);
    grant(f, "u", "root");
    assert_int_equal(may_write(f, "u", "k", endless), 0);
    auth_user_revoke(f->auth, text("u"), text("root"));
    assert_int_equal(may_write(f, "u", "k", endless), ERR_PERMISSION_DENIED);
}

/* ---- many ask while things change ---- */

struct asker {
    struct auth_fixture *f;
    atomic_bool *stop;
    pthread_t thread;
    uint64_t asked;
};

static void *keep_asking(void *arg)
{
    struct asker *asker = arg;
    struct auth *auth = asker->f->auth;

    while (!atomic_load(asker->stop)) {
        struct auth_who w = auth_who_named(auth, text("u"));
        struct buf hash = {0};
        uint64_t rev;
        int rc = auth_may_read(auth, &w, text("k"), text("l"));

        assert_true(rc == 0 || rc == ERR_AUTH_OLD_REVISION ||
                    rc == ERR_PERMISSION_DENIED);
        assert_int_equal(auth_password_of(auth, text("u"), &hash, &rev), 0);
        assert_true(rev >= w.rev);
        buf_close(&hash);
        asker->asked++;
    }
    return NULL;
}

static void test_asking_while_things_change(void **state)
{
    struct auth_fixture *f = *state;
    struct asker askers[3];
    atomic_bool stop = false;

    enable(f);
    add_user(f, "u");
    for (size_t i = 0; i < 3; i++) {
        askers[i] = (struct asker){.f = f, .stop = &stop};
        assert_int_equal(
            pthread_create(&askers[i].thread, NULL, keep_asking, &askers[i]),
            0);
    }
    for (int i = 0; i < 300; i++) {
        auth_role_add(f->auth, text("r"));
        permit(f, "r", AUTH_READ, "k", text("l"));
        grant(f, "u", "r");
        permit(f, "r", AUTH_READ, "m", none);
        auth_user_set_password(f->auth, text("u"), hashed);
        auth_role_delete(f->auth, text("r"));
    }
    atomic_store(&stop, true);
    for (size_t i = 0; i < 3; i++)
        pthread_join(askers[i].thread, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        AUTH_TEST(test_what_it_takes_to_switch_on),
        AUTH_TEST(test_root_stays_while_it_is_on),
        AUTH_TEST(test_everybody_may_while_it_is_off),
        AUTH_TEST(test_nobody_and_yesterday),
        AUTH_TEST(test_roles_add_up),
        AUTH_TEST(test_changes_are_felt_at_once),
        AUTH_TEST(test_asking_while_things_change),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
