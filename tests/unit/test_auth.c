/* Users, roles and permissions: what each change does, and how it is stored. */
#include "test_auth.h"
#include "auth/internal.h"

static void append_name(void *arg, struct bytes name)
{
    struct buf *out = arg;

    buf_append(out, name.data, name.len);
    buf_append(out, " ", 1);
}

static void assert_names(struct buf *got, const char *want)
{
    buf_append(got, "", 1);
    assert_string_equal((const char *)got->data, want);
    buf_close(got);
}

static void assert_users(struct auth_fixture *f, const char *want)
{
    struct buf got = {0};

    auth_users(f->auth, append_name, &got);
    assert_names(&got, want);
}

static void assert_roles(struct auth_fixture *f, const char *want)
{
    struct buf got = {0};

    auth_roles(f->auth, append_name, &got);
    assert_names(&got, want);
}

static void assert_roles_of(struct auth_fixture *f, const char *user,
                            const char *want)
{
    struct buf got = {0};

    assert_int_equal(auth_user_roles(f->auth, text(user), append_name, &got),
                     0);
    assert_names(&got, want);
}

static void append_permission(void *arg, const struct auth_permission *perm)
{
    struct buf *out = arg;

    buf_printf(out, "%d:%.*s", perm->type, (int)perm->key.len, perm->key.data);
    if (perm->end.len == 1 && perm->end.data[0] == 0)
        buf_printf(out, "-* ");
    else
        buf_printf(out, "-%.*s ", (int)perm->end.len, perm->end.data);
}

static void assert_permissions(struct auth_fixture *f, const char *role,
                               const char *want)
{
    struct buf got = {0};

    assert_int_equal(
        auth_role_permissions(f->auth, text(role), append_permission, &got), 0);
    assert_names(&got, want);
}

/* ---- revisions ---- */

static void test_a_new_store_is_at_one(void **state)
{
    struct auth_fixture *f = *state;

    assert_int_equal(auth_revision(f->auth), 1);
    assert_false(auth_enabled(f->auth));
    reopen_auth(f);
    assert_int_equal(auth_revision(f->auth), 1);
}

static void test_only_changes_count(void **state)
{
    struct auth_fixture *f = *state;

    assert_int_equal(add_user(f, "u"), 0);
    assert_int_equal(add_user(f, "u"), ERR_USER_EXISTS);
    assert_int_equal(auth_revision(f->auth), 2);
    assert_int_equal(auth_role_add(f->auth, text("r")), 0);
    assert_int_equal(grant(f, "u", "r"), 0);
    assert_int_equal(grant(f, "u", "r"), 0); /* has it */
    assert_int_equal(auth_revision(f->auth), 4);
    assert_int_equal(permit(f, "r", AUTH_READ, "k", none), 0);
    assert_int_equal(permit(f, "r", AUTH_READ, "k", none),
                     0); /* written again */
    assert_int_equal(auth_revision(f->auth), 6);
    enable(f); /* two changes; switching on isn't one */
    assert_int_equal(auth_enable(f->auth), 0);
    assert_int_equal(auth_revision(f->auth), 8);
    auth_disable(f->auth);
    auth_disable(f->auth);
    assert_int_equal(auth_revision(f->auth), 9);
}

/* ---- users ---- */

static void test_users(void **state)
{
    struct auth_fixture *f = *state;
    uint8_t longest[AUTH_NAME_MAX + 1];

    memset(longest, 'n', sizeof(longest));
    assert_int_equal(add_user(f, ""), ERR_USER_EMPTY);
    assert_int_equal(add_user(f, "b"), 0);
    assert_int_equal(add_user(f, "a"), 0);
    assert_int_equal(add_user(f, "c"), 0);
    assert_users(f, "a b c ");
    assert_int_equal(auth_user_delete(f->auth, text("b")), 0);
    assert_int_equal(auth_user_delete(f->auth, text("b")), ERR_USER_NOT_FOUND);
    assert_int_equal(auth_user_add(f->auth, bytes_of(longest, sizeof(longest)),
                                   false, hashed),
                     ERR_NAME_TOO_LONG);
    assert_users(f, "a c ");
    reopen_auth(f);
    assert_users(f, "a c ");
    assert_int_equal(
        auth_user_add(f->auth, bytes_of(longest, AUTH_NAME_MAX), false, hashed),
        0);
    reopen_auth(f);
    assert_int_equal(
        auth_user_delete(f->auth, bytes_of(longest, AUTH_NAME_MAX)), 0);
}

/* A name may hold anything, a zero byte as well. */
static void test_names_are_bytes(void **state)
{
    struct auth_fixture *f = *state;
    struct auth_who nearly = auth_who_named(f->auth, bytes_of("root\0x", 6));

    enable(f);
    assert_int_equal(auth_user_add(f->auth, auth_name(&nearly), false, hashed),
                     0);
    nearly.rev = auth_revision(f->auth);
    assert_int_equal(auth_may_manage(f->auth, &nearly), ERR_PERMISSION_DENIED);
    assert_int_equal(auth_may_read(f->auth, &nearly, text("k"), none),
                     ERR_PERMISSION_DENIED);
}

static void test_the_roles_of_a_user(void **state)
{
    struct auth_fixture *f = *state;
    struct buf got = {0};

    add_user(f, "u");
    assert_int_equal(grant(f, "v", "r"), ERR_USER_NOT_FOUND);
    assert_int_equal(grant(f, "u", "r"), ERR_ROLE_NOT_FOUND);
    assert_int_equal(grant(f, "u", "root"), 0); /* there is no such role */
    auth_role_add(f->auth, text("r"));
    auth_role_add(f->auth, text("z"));
    auth_role_add(f->auth, text("a"));
    assert_int_equal(grant(f, "u", "z"), 0);
    assert_int_equal(grant(f, "u", "a"), 0);
    assert_int_equal(grant(f, "u", "r"), 0);
    assert_roles_of(f, "u", "a r root z ");
    assert_true(auth_user_has(f->auth, text("u"), text("r")));
    assert_int_equal(auth_user_revoke(f->auth, text("u"), text("r")), 0);
    assert_int_equal(auth_user_revoke(f->auth, text("u"), text("r")),
                     ERR_ROLE_NOT_GRANTED);
    assert_int_equal(auth_user_revoke(f->auth, text("v"), text("r")),
                     ERR_USER_NOT_FOUND);
    reopen_auth(f);
    assert_roles_of(f, "u", "a root z ");
    assert_false(auth_user_has(f->auth, text("u"), text("r")));
    assert_int_equal(auth_user_roles(f->auth, text("v"), append_name, &got),
                     ERR_USER_NOT_FOUND);
}

static void test_deleting_a_role_takes_it_from_users(void **state)
{
    struct auth_fixture *f = *state;

    add_user(f, "u");
    add_user(f, "v");
    auth_role_add(f->auth, text("r"));
    auth_role_add(f->auth, text("s"));
    grant(f, "u", "r");
    grant(f, "u", "s");
    grant(f, "v", "s");
    assert_int_equal(auth_role_delete(f->auth, text("r")), 0);
    assert_int_equal(auth_role_delete(f->auth, text("r")), ERR_ROLE_NOT_FOUND);
    assert_int_equal(auth_revision(f->auth), 9);
    reopen_auth(f);
    assert_roles(f, "s ");
    assert_roles_of(f, "u", "s ");
    assert_roles_of(f, "v", "s ");
}

/* ---- passwords ---- */

static void assert_hash(struct auth_fixture *f, const char *user,
                        const char *want)
{
    const struct user *u = named_find(&f->auth->users, text(user));

    assert_non_null(u);
    assert_int_equal(u->password.len, strlen(want));
    if (*want)
        assert_memory_equal(u->password.data, want, strlen(want));
}

static void test_passwords(void **state)
{
    struct auth_fixture *f = *state;
    struct auth_password other = {{NULL, 0}, text("b3RoZXI=")};
    struct auth_password empty = {{NULL, 0}, {NULL, 0}};
    struct auth_password damaged = {{NULL, 0}, text("*")};

    assert_int_equal(add_user(f, "u"), 0);
    assert_hash(f, "u", "hash");
    assert_int_equal(auth_user_set_password(f->auth, text("u"), other), 0);
    assert_hash(f, "u", "other");
    assert_int_equal(auth_user_set_password(f->auth, text("u"), damaged),
                     ERR_NO_PASSWORD_USER);
    assert_int_equal(auth_user_add(f->auth, text("w"), false, damaged),
                     ERR_NO_PASSWORD_USER);
    assert_int_equal(auth_user_set_password(f->auth, text("v"), other),
                     ERR_USER_NOT_FOUND);
    reopen_auth(f);
    assert_hash(f, "u", "other");
    assert_int_equal(auth_user_set_password(f->auth, text("u"), empty), 0);
    assert_hash(f, "u", "");
    assert_int_equal(auth_user_add(f->auth, text("n"), true, damaged), 0);
    assert_int_equal(auth_user_set_password(f->auth, text("n"), other), 0);
    assert_hash(f, "n", "");
}

/* Logs of etcd before 3.5. */
static void test_a_password_in_clear(void **state)
{
    struct auth_fixture *f = *state;
    struct auth_password clear = {text("secret"), {NULL, 0}};
    struct buf hash = {0};
    uint64_t rev;

    assert_int_equal(auth_user_add(f->auth, text("u"), false, clear), 0);
    enable(f);
    assert_int_equal(auth_password_of(f->auth, text("u"), &hash, &rev), 0);
    assert_true(
        auth_password_matches(bytes_of(hash.data, hash.len), text("secret")));
    buf_close(&hash);
}

static void test_whose_password_is_asked_for(void **state)
{
    struct auth_fixture *f = *state;
    struct buf hash = {0};
    uint64_t rev = 0;

    assert_int_equal(auth_password_of(f->auth, text("u"), &hash, &rev),
                     ERR_AUTH_NOT_ENABLED);
    enable(f);
    add_user(f, "u");
    auth_user_add(f->auth, text("n"), true, hashed);
    assert_int_equal(auth_password_of(f->auth, text("x"), &hash, &rev),
                     ERR_AUTH_FAILED);
    assert_int_equal(auth_password_of(f->auth, text("n"), &hash, &rev),
                     ERR_NO_PASSWORD_USER);
    assert_int_equal(auth_password_of(f->auth, text("u"), &hash, &rev), 0);
    assert_int_equal(hash.len, 4);
    assert_int_equal(rev, auth_revision(f->auth));
    buf_close(&hash);
}

/* ---- roles ---- */

static void test_permissions_of_a_role(void **state)
{
    struct auth_fixture *f = *state;
    struct buf got = {0};

    assert_int_equal(auth_role_add(f->auth, none), ERR_ROLE_EMPTY);
    assert_int_equal(auth_role_add(f->auth, text("r")), 0);
    assert_int_equal(auth_role_add(f->auth, text("r")), ERR_ROLE_EXISTS);
    assert_int_equal(permit(f, "r", AUTH_READ, "", none), ERR_AUTH_MGMT);
    assert_int_equal(permit(f, "r", AUTH_READ, "b", text("a")), ERR_AUTH_MGMT);
    assert_int_equal(permit(f, "r", AUTH_READ, "b", text("b")), ERR_AUTH_MGMT);
    assert_int_equal(permit(f, "s", AUTH_READ, "a", none), ERR_ROLE_NOT_FOUND);
    assert_int_equal(permit(f, "r", AUTH_WRITE, "b", text("d")), 0);
    assert_int_equal(permit(f, "r", AUTH_READ, "a", none), 0);
    assert_int_equal(permit(f, "r", AUTH_READWRITE, "x", endless), 0);
    assert_int_equal(permit(f, "r", 77, "m", none), 0);
    assert_permissions(f, "r", "0:a- 1:b-d 77:m- 2:x-* ");
    assert_int_equal(permit(f, "r", AUTH_READWRITE, "b", text("d")), 0);
    assert_permissions(f, "r", "0:a- 2:b-d 77:m- 2:x-* ");
    assert_int_equal(auth_role_revoke(f->auth, text("r"), text("b"), text("c")),
                     ERR_PERMISSION_NOT_GRANTED);
    assert_int_equal(auth_role_revoke(f->auth, text("r"), text("b"), text("d")),
                     0);
    assert_int_equal(auth_role_revoke(f->auth, text("s"), text("b"), text("d")),
                     ERR_ROLE_NOT_FOUND);
    reopen_auth(f);
    assert_permissions(f, "r", "0:a- 77:m- 2:x-* ");
    assert_int_equal(
        auth_role_permissions(f->auth, text("s"), append_permission, &got),
        ERR_ROLE_NOT_FOUND);
}

/* Only the first permission of a key is looked at when it is granted again:
 * etcd's members do so. */
static void test_two_ranges_of_one_key(void **state)
{
    struct auth_fixture *f = *state;

    auth_role_add(f->auth, text("r"));
    permit(f, "r", AUTH_READ, "a", text("b"));
    permit(f, "r", AUTH_READ, "a", text("c"));
    permit(f, "r", AUTH_WRITE, "a", text("c"));
    assert_permissions(f, "r", "0:a-b 0:a-c 1:a-c ");
    permit(f, "r", AUTH_WRITE, "a", text("b"));
    assert_permissions(f, "r", "1:a-b 0:a-c 1:a-c ");
    assert_int_equal(auth_role_revoke(f->auth, text("r"), text("a"), text("c")),
                     0);
    assert_permissions(f, "r", "1:a-b ");
}

static void test_the_role_root_has_all(void **state)
{
    struct auth_fixture *f = *state;

    auth_role_add(f->auth, text("root"));
    permit(f, "root", AUTH_READ, "a", none);
    assert_permissions(f, "root", "2:-* ");
}

/* ---- the bytes ---- */

static void assert_record(struct auth_fixture *f, enum store_bucket bucket,
                          const char *key, const void *want, size_t len)
{
    struct bytes got;

    mark(f->store);
    reopen_auth(f);
    assert_int_equal(store_read_begin(f->store->reader), 0);
    assert_int_equal(store_get(f->store->reader, bucket, text(key), &got), 0);
    assert_int_equal(got.len, len);
    assert_memory_equal(got.data, want, len);
    store_read_end(f->store->reader);
}
#define ASSERT_RECORD(f, bucket, key, literal)                                 \
    assert_record((f), (bucket), (key), (literal), sizeof(literal) - 1)

static void test_the_bytes_are_those_of_etcd(void **state)
{
    struct auth_fixture *f = *state;

    enable(f);
    auth_user_add(f->auth, text("n"), true, hashed);
    auth_role_add(f->auth, text("r"));
    permit(f, "r", AUTH_READ, "a", none);
    permit(f, "r", AUTH_READWRITE, "b", endless);
    permit(f, "r", -1, "c", none);
    grant(f, "root", "r");
    ASSERT_RECORD(f, STORE_AUTH, "authEnabled", "\x01");
    ASSERT_RECORD(f, STORE_AUTH, "authRevision", "\0\0\0\0\0\0\0\x09");
    ASSERT_RECORD(f, STORE_AUTH_USERS, "root",
                  "\x0a\x04root\x12\x04hash\x1a\x01r\x1a\x04root\x22\x00");
    ASSERT_RECORD(f, STORE_AUTH_USERS, "n", "\x0a\x01n\x22\x02\x08\x01");
    ASSERT_RECORD(f, STORE_AUTH_ROLES, "r",
                  "\x0a\x01r"
                  "\x12\x03\x12\x01"
                  "a"
                  "\x12\x08\x08\x02\x12\x01"
                  "b\x1a\x01\x00"
                  "\x12\x0e\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x12\x01"
                  "c");
}

static void test_damaged_records(void **state)
{
    static const struct {
        enum store_bucket bucket;
        const char *key;
        const char *value;
    } damaged[] = {
        {STORE_AUTH, "authEnabled", "\x01\x01"},
        {STORE_AUTH, "authRevision", "\x01"},
        {STORE_AUTH_USERS, "u", "\x0a\x01"},
        {STORE_AUTH_USERS, "u", "\x0a\x01v"},
        {STORE_AUTH_USERS, "u", "\x0a\x01u\x22\x01\x08"},
        {STORE_AUTH_ROLES, "r", "\x0a\x01r\x12\x01\x12"},
        {STORE_AUTH_ROLES, "r", ""},
    };
    struct auth_fixture *f = *state;
    struct auth_tokens *tokens;
    struct errmsg msg;

    for (size_t i = 0; i < sizeof(damaged) / sizeof(damaged[0]); i++) {
        auth_close(f->auth);
        store_put(f->store->store, damaged[i].bucket, text(damaged[i].key),
                  text(damaged[i].value));
        mark(f->store);
        reopen_store(f->store);
        assert_int_equal(auth_tokens_open("", 0, &tokens, &msg), 0);
        assert_int_equal(auth_open(f->store->store, tokens, 4, &f->auth, &msg),
                         ERR_CORRUPT);
        assert_non_null(strstr(msg.text, store_bucket_name(damaged[i].bucket)));
        auth_tokens_close(tokens);
        store_delete(f->store->store, damaged[i].bucket, text(damaged[i].key));
        mark(f->store);
        reopen_store(f->store);
        open_auth(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        AUTH_TEST(test_a_new_store_is_at_one),
        AUTH_TEST(test_only_changes_count),
        AUTH_TEST(test_users),
        AUTH_TEST(test_names_are_bytes),
        AUTH_TEST(test_the_roles_of_a_user),
        AUTH_TEST(test_deleting_a_role_takes_it_from_users),
        AUTH_TEST(test_passwords),
        AUTH_TEST(test_a_password_in_clear),
        AUTH_TEST(test_whose_password_is_asked_for),
        AUTH_TEST(test_permissions_of_a_role),
        AUTH_TEST(test_two_ranges_of_one_key),
        AUTH_TEST(test_the_role_root_has_all),
        AUTH_TEST(test_the_bytes_are_those_of_etcd),
        AUTH_TEST(test_damaged_records),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
