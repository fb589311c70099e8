/* Simple tokens: their texts, their time, and when they are forgotten. */
#include "auth/tokens.h"
#include "test_auth.h"
#include <stdio.h>

#define S UINT64_C(1000000000)

/* ---- the table alone ---- */

static bool finds(struct simple_tokens *tokens, const char *text_,
                  uint64_t now_ns, const char *user)
{
    struct auth_who w = {.rev = 7};

    if (!simple_tokens_find(tokens, text(text_), now_ns, &w))
        return false;
    assert_int_equal(w.rev, 7);
    assert_int_equal(w.len, strlen(user));
    assert_memory_equal(w.name, user, w.len);
    return true;
}

static void give(struct simple_tokens *tokens, const char *text_,
                 const char *user, uint64_t now_ns)
{
    simple_tokens_give(tokens, text(text_), text(user), now_ns);
}

static void test_time_begins_again_with_each_use(void **state)
{
    struct simple_tokens *tokens = simple_tokens_new(10 * S);

    (void)state;
    give(tokens, "a.1", "u", 100 * S);
    give(tokens, "b.2", "v", 100 * S);
    assert_true(finds(tokens, "a.1", 109 * S, "u"));
    assert_true(finds(tokens, "a.1", 118 * S, "u"));
    assert_false(finds(tokens, "b.2", 110 * S, "v"));
    simple_tokens_expire(tokens, 118 * S);
    assert_int_equal(simple_tokens_count(tokens), 1);
    assert_true(finds(tokens, "a.1", 127 * S, "u"));
    simple_tokens_expire(tokens, 136 * S);
    assert_int_equal(simple_tokens_count(tokens), 1);
    assert_false(finds(tokens, "a.1", 137 * S, "u"));
    simple_tokens_expire(tokens, 137 * S);
    assert_int_equal(simple_tokens_count(tokens), 0);
    simple_tokens_free(tokens);
}

static void test_a_user_is_forgotten(void **state)
{
    struct simple_tokens *tokens = simple_tokens_new(10 * S);
    char name[16];

    (void)state;
    for (int i = 0; i < 1000; i++) {
        (void)snprintf(name, sizeof(name), "t.%d", i);
        give(tokens, name, i % 3 == 0 ? "u" : "v", S);
    }
    give(tokens, "t.5", "v", S); /* again */
    assert_int_equal(simple_tokens_count(tokens), 1000);
    simple_tokens_forget(tokens, text("u"));
    assert_int_equal(simple_tokens_count(tokens), 666);
    assert_false(finds(tokens, "t.3", S, "u"));
    assert_true(finds(tokens, "t.4", S, "v"));
    assert_true(finds(tokens, "t.998", S, "v"));
    simple_tokens_forget_all(tokens);
    assert_false(finds(tokens, "t.4", S, "v"));
    give(tokens, "t.4", "w", S);
    assert_true(finds(tokens, "t.4", S, "w"));
    simple_tokens_free(tokens);
}

static void test_the_index_in_a_text(void **state)
{
    static const char *const none_[] = {
        "",
        ".",
        "a",
        "a.",
        "a.b",
        "1",
        "a.1.2",
        "a.-1",
        "a.+1",
        "a. 1",
        "a.18446744073709551616",
        "..1",
        "a.1 ",
    };
    uint64_t index = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(none_) / sizeof(none_[0]); i++)
        assert_false(simple_token_index(text(none_[i]), &index));
    assert_true(simple_token_index(text("abc.42"), &index));
    assert_int_equal(index, 42);
    assert_true(simple_token_index(text(".007"), &index));
    assert_int_equal(index, 7);
    assert_true(simple_token_index(text("x.18446744073709551615"), &index));
    assert_int_equal(index, UINT64_MAX);
}

/* ---- given out by the log ---- */

static int assign(struct auth_fixture *f, const char *user, uint64_t index,
                  struct buf *token)
{
    token->len = 0;
    return auth_assign(f->auth, text(user), text("prefix"), index, S, token);
}

static int identify(struct auth_fixture *f, const struct buf *token,
                    struct auth_who *w)
{
    return auth_identify(f->auth, bytes_of(token->data, token->len), S, 0, w);
}

static void test_given_out_and_taken_back(void **state)
{
    struct auth_fixture *f = *state;
    struct buf token = {0};
    struct auth_who w;

    assert_int_equal(assign(f, "root", 1, &token), ERR_AUTH_NOT_ENABLED);
    enable(f);
    add_user(f, "u");
    auth_user_add(f->auth, text("n"), true, hashed);
    assert_int_equal(assign(f, "x", 1, &token), ERR_AUTH_FAILED);
    assert_int_equal(assign(f, "n", 1, &token), ERR_AUTH_FAILED);
    assert_int_equal(assign(f, "u", 41, &token), 0);
    assert_int_equal(token.len, 9);
    assert_memory_equal(token.data, "prefix.41", 9);
    assert_int_equal(identify(f, &token, &w), 0);
    assert_int_equal(w.rev, auth_revision(f->auth));
    assert_memory_equal(w.name, "u", w.len);
    add_user(f, "v"); /* another revision: the token goes on */
    assert_int_equal(identify(f, &token, &w), 0);
    assert_int_equal(w.rev, auth_revision(f->auth));

    auth_user_set_password(f->auth, text("v"), hashed);
    assert_int_equal(identify(f, &token, &w), 0);
    auth_user_set_password(f->auth, text("u"), hashed);
    assert_int_equal(identify(f, &token, &w), ERR_AUTH_TOKEN);
    assert_int_equal(w.rev, 0);

    assign(f, "u", 42, &token);
    auth_user_delete(f->auth, text("u"));
    assert_int_equal(identify(f, &token, &w), ERR_AUTH_TOKEN);
    assign(f, "v", 43, &token);
    auth_disable(f->auth);
    assert_int_equal(auth_enable(f->auth), 0);
    assert_int_equal(identify(f, &token, &w), ERR_AUTH_TOKEN);
    buf_close(&token);
}

static void test_a_start_forgets_them(void **state)
{
    struct auth_fixture *f = *state;
    struct buf token = {0};
    struct auth_who w;

    enable(f);
    assign(f, "root", 1, &token);
    assert_int_equal(identify(f, &token, &w), 0);
    reopen_auth(f);
    assert_int_equal(identify(f, &token, &w), ERR_AUTH_TOKEN);
    buf_close(&token);
}

static void test_a_token_may_be_on_its_way(void **state)
{
    struct auth_fixture *f = *state;
    struct buf token = {0};
    uint64_t index;

    enable(f);
    assert_false(auth_token_pending(f->auth, text("a.b"), 10, S, &index));
    assert_false(auth_token_pending(f->auth, text("a.9"), 10, S, &index));
    assert_true(auth_token_pending(f->auth, text("a.10"), 10, S, &index));
    assert_int_equal(index, 11);
    assert_false(auth_token_pending(f->auth, text("a.18446744073709551615"), 10,
                                    S, &index));
    assign(f, "root", 10, &token);
    assert_false(auth_token_pending(f->auth, text("prefix.10"), 10, S, &index));
    buf_close(&token);
}

static void test_prefixes(void **state)
{
    struct auth_fixture *f = *state;
    char a[AUTH_PREFIX_LEN];
    char b[AUTH_PREFIX_LEN];

    assert_false(auth_signs(f->auth));
    assert_int_equal(auth_new_prefix(f->auth, a), 16);
    assert_int_equal(auth_new_prefix(f->auth, b), 16);
    assert_memory_not_equal(a, b, 16);
    for (size_t i = 0; i < 16; i++)
        assert_true((a[i] >= 'a' && a[i] <= 'z') ||
                    (a[i] >= 'A' && a[i] <= 'Z'));
}

/* ---- no tokens at all ---- */

static void test_without_tokens(void **state)
{
    struct auth_fixture *f = *state;
    struct auth_tokens *tokens;
    struct buf token = {0};
    struct auth_who w;
    struct errmsg msg;

    auth_close(f->auth);
    assert_int_equal(auth_tokens_open("", 0, &tokens, &msg), 0);
    assert_int_equal(auth_open(f->store->store, tokens, 4, &f->auth, &msg), 0);
    enable(f);
    assert_int_equal(assign(f, "root", 1, &token), ERR_AUTH_FAILED);
    assert_int_equal(auth_identify(f->auth, text("prefix.1"), S, 0, &w),
                     ERR_AUTH_TOKEN);
    assert_false(
        auth_token_pending(f->auth, text("a.10"), 1, S, &(uint64_t){0}));
    buf_close(&token);
}

static void test_unknown_kinds(void **state)
{
    static const char *const kinds[] = {"bogus", "Simple", " simple", ",a=b,",
                                        "jwt2"};
    struct auth_tokens *tokens = NULL;
    struct errmsg msg;

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        int rc = auth_tokens_open(kinds[i], 0, &tokens, &msg);

        /* Nothing before the first comma: no tokens. */
        assert_int_equal(rc, kinds[i][0] == ',' ? 0 : ERR_INVALID);
        if (rc == 0)
            auth_tokens_close(tokens);
        else
            assert_non_null(strstr(msg.text, kinds[i]));
    }
    assert_int_equal(auth_tokens_open("simple,what=ever", 0, &tokens, &msg), 0);
    auth_tokens_close(tokens);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_time_begins_again_with_each_use),
        cmocka_unit_test(test_a_user_is_forgotten),
        cmocka_unit_test(test_the_index_in_a_text),
        AUTH_TEST(test_given_out_and_taken_back),
        AUTH_TEST(test_a_start_forgets_them),
        AUTH_TEST(test_a_token_may_be_on_its_way),
        AUTH_TEST(test_prefixes),
        AUTH_TEST(test_without_tokens),
        cmocka_unit_test(test_unknown_kinds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
