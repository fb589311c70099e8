/* The requests of the Auth service, decoded by hand: protobuf-c ends a string
 * at its first zero byte, and "root\0x" must not be taken for root. */
#include "chorad/apply.h"
#include "chorad/base/pb.h"
#include "chorad/codec.h"

enum slot {
    NONE,
    /* Strings. */
    NAME,
    PASSWORD,
    HASHED,
    ROLE,
    TOKEN,
    /* Bytes. */
    KEY,
    END,
    /* Messages. */
    OPTIONS,
    PERMISSION,
};

#define FIELDS 4

struct shape {
    uint32_t kind;
    enum slot fields[FIELDS]; /* number 1 first (proto/rpc_auth.proto) */
};

static const struct shape shapes[] = {
    {APPLY_AUTH_ENABLE, {NONE}},
    {APPLY_AUTH_DISABLE, {NONE}},
    {APPLY_AUTH_STATUS, {NONE}},
    {APPLY_AUTHENTICATE, {NAME, PASSWORD, TOKEN}},
    {APPLY_ASKED_TO_AUTHENTICATE, {NAME, PASSWORD}},
    {APPLY_USER_ADD, {NAME, PASSWORD, OPTIONS, HASHED}},
    {APPLY_USER_DELETE, {NAME}},
    {APPLY_USER_GET, {NAME}},
    {APPLY_USER_CHANGE_PASSWORD, {NAME, PASSWORD, HASHED}},
    {APPLY_USER_GRANT_ROLE, {NAME, ROLE}},
    {APPLY_USER_REVOKE_ROLE, {NAME, ROLE}},
    {APPLY_USER_LIST, {NONE}},
    {APPLY_ROLE_LIST, {NONE}},
    {APPLY_ROLE_ADD, {NAME}},
    {APPLY_ROLE_DELETE, {NAME}},
    {APPLY_ROLE_GET, {NAME}},
    {APPLY_ROLE_GRANT_PERMISSION, {NAME, PERMISSION}},
    {APPLY_ROLE_REVOKE_PERMISSION, {NAME, KEY, END}},
};

static const struct shape *shape_of(uint32_t kind)
{
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        if (shapes[i].kind == kind)
            return &shapes[i];
    return NULL;
}

/* A message that comes twice is merged: what the second one has counts. */
static int read_options(struct bytes data, struct apply_auth_request *out)
{
    struct pb_reader r = {data.data, data.data + data.len};
    struct pb_field field;
    int rc;

    while ((rc = pb_next(&r, &field)) > 0)
        if (field.number == 1 && field.wire == PB_VARINT)
            out->no_password = field.value != 0;
    return rc;
}

static int read_permission(struct bytes data, struct apply_auth_request *out)
{
    struct pb_reader r = {data.data, data.data + data.len};
    struct pb_field field;
    int rc;

    out->has_permission = true;
    while ((rc = pb_next(&r, &field)) > 0) {
        if (field.number == 1 && field.wire == PB_VARINT)
            out->permission.type = (int32_t)field.value;
        else if (field.number == 2 && field.wire == PB_LEN)
            out->permission.key = field.bytes;
        else if (field.number == 3 && field.wire == PB_LEN)
            out->permission.end = field.bytes;
    }
    return rc;
}

static struct bytes *place(enum slot slot, struct apply_auth_request *out)
{
    switch (slot) {
    case NAME:
        return &out->name;
    case PASSWORD:
        return &out->password;
    case HASHED:
        return &out->hashed;
    case ROLE:
        return &out->role;
    case TOKEN:
        return &out->token;
    case KEY:
        return &out->permission.key;
    case END:
        return &out->permission.end;
    default:
        return NULL;
    }
}

static int read_field(const struct shape *shape, const struct pb_field *field,
                      struct apply_auth_request *out)
{
    enum slot slot;

    if (field->wire != PB_LEN || field->number < 1 || field->number > FIELDS)
        return 0;
    slot = shape->fields[field->number - 1];
    if (slot == NONE)
        return 0;
    if (slot == OPTIONS)
        return read_options(field->bytes, out);
    if (slot == PERMISSION)
        return read_permission(field->bytes, out);
    if (slot != KEY && slot != END && !codec_utf8_valid(field->bytes))
        return ERR_INVALID;
    *place(slot, out) = field->bytes;
    return 0;
}

int apply_read_auth(uint32_t kind, struct bytes data,
                    struct apply_auth_request *out)
{
    const struct shape *shape = shape_of(kind);
    struct pb_reader r = {data.data, data.data + data.len};
    struct pb_field field;
    int rc;

    *out = (struct apply_auth_request){0};
    if (shape == NULL)
        return ERR_MALFORMED;
    while ((rc = pb_next(&r, &field)) > 0) {
        rc = read_field(shape, &field, out);
        if (rc < 0)
            break;
    }
    return rc;
}
