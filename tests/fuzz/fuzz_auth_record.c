/* Stored users and roles: what is read is written again the same way, and what
 * a role permits can be worked out. The first byte says which of the two. */
#include "auth/internal.h"
#include "auth/perm_order.h"
#include "chorad/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool equal(const struct buf *a, const struct buf *b)
{
    return bytes_cmp(bytes_of(a->data, a->len), bytes_of(b->data, b->len)) == 0;
}

static void try_user(struct bytes key, struct bytes value)
{
    struct user *user = record_get_user(key, value);
    struct buf once = {0};
    struct buf twice = {0};

    if (user == NULL)
        return;
    record_put_user(&once, user);
    user_free(user);
    user = record_get_user(key, bytes_of(once.data, once.len));
    CHECK(user != NULL);
    record_put_user(&twice, user);
    CHECK(equal(&once, &twice));
    (void)user_is_root(user);
    user_free(user);
    buf_close(&once);
    buf_close(&twice);
}

static void try_sets(struct role *role)
{
    struct intervals set = {0};

    perm_order(role->perms, role->n_perms);
    for (size_t i = 0; i < role->n_perms; i++) {
        struct auth_permission *p = &role->perms[i];

        CHECK(i == 0 || bytes_cmp(p[-1].key, p->key) <= 0);
        intervals_add(&set, (struct interval){p->key, p->end});
    }
    for (size_t i = 0; i < role->n_perms; i++) {
        struct auth_permission *p = &role->perms[i];

        (void)intervals_hit(&set, p->key);
        (void)intervals_cover(&set, (struct interval){p->end, p->key});
        /* What was put in is covered. */
        if (p->key.len > 0 &&
            (p->end.len == 0 || bytes_cmp(p->key, p->end) < 0))
            CHECK(intervals_cover(&set, (struct interval){p->key, p->end}));
    }
    intervals_close(&set);
}

static void try_role(struct bytes key, struct bytes value)
{
    struct role *role = record_get_role(key, value);
    struct buf once = {0};
    struct buf twice = {0};

    if (role == NULL)
        return;
    record_put_role(&once, role);
    role_free(role);
    role = record_get_role(key, bytes_of(once.data, once.len));
    CHECK(role != NULL);
    record_put_role(&twice, role);
    CHECK(equal(&once, &twice));
    try_sets(role);
    role_free(role);
    buf_close(&once);
    buf_close(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t name[] = "name";
    struct bytes key = {name, 4};

    if (size == 0)
        return 0;
    if (data[0] % 2 == 0)
        try_user(key, bytes_of(data + 1, size - 1));
    else
        try_role(key, bytes_of(data + 1, size - 1));
    return 0;
}
