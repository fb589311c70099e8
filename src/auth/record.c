/* Users and roles as etcd stores them: the same bytes for the same content. */
#include "chorad/base/pb.h"
#include "internal.h"

#include <stdlib.h>

/* authpb (proto/auth.proto). */
enum { USER_NAME = 1, USER_PASSWORD = 2, USER_ROLES = 3, USER_OPTIONS = 4 };
enum { OPTIONS_NO_PASSWORD = 1 };
enum { ROLE_NAME = 1, ROLE_PERMISSION = 2 };
enum { PERMISSION_TYPE = 1, PERMISSION_KEY = 2, PERMISSION_END = 3 };

/* ---- memory ---- */

static struct bytes copy(struct arena *arena, struct bytes b)
{
    uint8_t *out = arena_alloc(arena, b.len + 1);

    if (b.len > 0)
        memcpy(out, b.data, b.len);
    out[b.len] = 0; /* see struct role */
    return bytes_of(out, b.len);
}

struct user *user_new(struct bytes name)
{
    struct user *user = mem_zalloc(sizeof(*user));

    user->named.name = copy(&user->named.arena, name);
    return user;
}

struct role *role_new(struct bytes name)
{
    struct role *role = mem_zalloc(sizeof(*role));

    role->named.name = copy(&role->named.arena, name);
    return role;
}

void user_free(void *arg)
{
    struct user *user = arg;

    perms_free(atomic_load(&user->perms));
    arena_close(&user->named.arena);
    free(user);
}

void role_free(void *arg)
{
    struct role *role = arg;

    arena_close(&role->named.arena);
    free(role);
}

/* ---- writing ---- */

static void put_bytes(struct buf *out, uint32_t field, struct bytes b)
{
    uint8_t *at = buf_reserve(out, pb_bytes_size(field, b));

    out->len += (size_t)(pb_put_bytes(at, field, b) - at);
}

/* A string of a list is there even if it is empty. */
static void put_item(struct buf *out, uint32_t field, struct bytes b)
{
    uint8_t *at = buf_reserve(out, pb_len_size(field, b.len));

    out->len += (size_t)(pb_put_len(at, field, b.len) - at);
    buf_append(out, b.data, b.len);
}

void record_put_user(struct buf *out, const struct user *user)
{
    static const uint8_t no_password[] = {OPTIONS_NO_PASSWORD << 3 | PB_VARINT,
                                          1};

    put_bytes(out, USER_NAME, user->named.name);
    put_bytes(out, USER_PASSWORD, user->password);
    for (size_t i = 0; i < user->n_roles; i++)
        put_item(out, USER_ROLES, user->roles[i]);
    if (user->has_options)
        put_item(
            out, USER_OPTIONS,
            bytes_of(no_password, user->no_password ? sizeof(no_password) : 0));
}

static void put_permission(struct buf *out, const struct auth_permission *perm)
{
    /* A negative number of an enum takes ten bytes. */
    uint64_t type = (uint64_t)(int64_t)perm->type;
    size_t len = pb_u64_size(PERMISSION_TYPE, type) +
                 pb_bytes_size(PERMISSION_KEY, perm->key) +
                 pb_bytes_size(PERMISSION_END, perm->end);
    uint8_t *at = buf_reserve(out, pb_len_size(ROLE_PERMISSION, len) + len);
    uint8_t *begin = at;

    at = pb_put_len(at, ROLE_PERMISSION, len);
    at = pb_put_u64(at, PERMISSION_TYPE, type);
    at = pb_put_bytes(at, PERMISSION_KEY, perm->key);
    at = pb_put_bytes(at, PERMISSION_END, perm->end);
    out->len += (size_t)(at - begin);
}

void record_put_role(struct buf *out, const struct role *role)
{
    put_bytes(out, ROLE_NAME, role->named.name);
    for (size_t i = 0; i < role->n_perms; i++)
        put_permission(out, &role->perms[i]);
}

/* ---- reading ---- */

/* How often the field comes; ERR_MALFORMED. */
static int count(struct bytes message, uint32_t number)
{
    struct pb_reader r = {message.data, message.data + message.len};
    struct pb_field field;
    int n = 0;
    int rc;

    while ((rc = pb_next(&r, &field)) > 0)
        n += field.number == number && field.wire == PB_LEN;
    return rc < 0 ? rc : n;
}

static int read_options(struct bytes message, struct user *user)
{
    struct pb_reader r = {message.data, message.data + message.len};
    struct pb_field field;
    int rc;

    user->has_options = true;
    while ((rc = pb_next(&r, &field)) > 0)
        if (field.number == OPTIONS_NO_PASSWORD && field.wire == PB_VARINT)
            user->no_password = field.value != 0;
    return rc;
}

static int read_user(struct bytes value, struct user *user, struct bytes *name)
{
    struct pb_reader r = {value.data, value.data + value.len};
    struct arena *arena = &user->named.arena;
    struct pb_field field;
    int rc = count(value, USER_ROLES);

    if (rc < 0)
        return rc;
    user->roles = arena_alloc(arena, ((size_t)rc + 1) * sizeof(struct bytes));
    while ((rc = pb_next(&r, &field)) > 0) {
        if (field.wire != PB_LEN)
            continue;
        if (field.number == USER_NAME)
            *name = field.bytes;
        else if (field.number == USER_PASSWORD)
            user->password = copy(arena, field.bytes);
        else if (field.number == USER_ROLES)
            user->roles[user->n_roles++] = copy(arena, field.bytes);
        else if (field.number == USER_OPTIONS &&
                 (rc = read_options(field.bytes, user)) < 0)
            break;
    }
    return rc;
}

struct user *record_get_user(struct bytes key, struct bytes value)
{
    struct user *user = user_new(key);
    struct bytes name = {NULL, 0};

    if (read_user(value, user, &name) == 0 && bytes_cmp(name, key) == 0)
        return user;
    user_free(user);
    return NULL;
}

static int read_permission(struct bytes message, struct arena *arena,
                           struct auth_permission *perm)
{
    struct pb_reader r = {message.data, message.data + message.len};
    struct pb_field field;
    int rc;

    *perm = (struct auth_permission){0};
    while ((rc = pb_next(&r, &field)) > 0) {
        if (field.number == PERMISSION_TYPE && field.wire == PB_VARINT)
            perm->type = (int32_t)field.value;
        else if (field.number == PERMISSION_KEY && field.wire == PB_LEN)
            perm->key = field.bytes;
        else if (field.number == PERMISSION_END && field.wire == PB_LEN)
            perm->end = field.bytes;
    }
    perm->key = copy(arena, perm->key);
    perm->end = copy(arena, perm->end);
    return rc;
}

static int read_role(struct bytes value, struct role *role, struct bytes *name)
{
    struct pb_reader r = {value.data, value.data + value.len};
    struct arena *arena = &role->named.arena;
    struct pb_field field;
    int rc = count(value, ROLE_PERMISSION);

    if (rc < 0)
        return rc;
    role->perms = arena_alloc(arena, ((size_t)rc + 1) * sizeof(*role->perms));
    while ((rc = pb_next(&r, &field)) > 0) {
        if (field.wire != PB_LEN)
            continue;
        if (field.number == ROLE_NAME)
            *name = field.bytes;
        else if (field.number == ROLE_PERMISSION &&
                 (rc = read_permission(field.bytes, arena,
                                       &role->perms[role->n_perms++])) < 0)
            break;
    }
    return rc;
}

struct role *record_get_role(struct bytes key, struct bytes value)
{
    struct role *role = role_new(key);
    struct bytes name = {NULL, 0};

    if (read_role(value, role, &name) == 0 && bytes_cmp(name, key) == 0)
        return role;
    role_free(role);
    return NULL;
}
