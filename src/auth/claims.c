/* What a signed token says. Members and their tools take each other's tokens,
 * so what is refused here is what Go's jwt package refuses. */
#include "jwt.h"

#include <json-c/json.h>
#include <string.h>

#define NS_PER_S UINT64_C(1000000000)
/* Doubles from here on are no int64, uint64. */
#define TWO_63 9223372036854775808.0
#define TWO_64 18446744073709551616.0

/* ---- writing ---- */

static void put_json(struct buf *out, struct json_object *object)
{
    size_t len;
    const char *text = json_object_to_json_string_length(
        object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &len);

    buf_append(out, text, len);
    json_object_put(object);
}

void jwt_put_header(struct buf *out, const char *method)
{
    struct json_object *object = json_object_new_object();

    json_object_object_add(object, "alg", json_object_new_string(method));
    json_object_object_add(object, "typ", json_object_new_string("JWT"));
    put_json(out, object);
}

void jwt_put_claims(struct buf *out, struct bytes name, uint64_t rev,
                    int64_t expiry_s)
{
    struct json_object *object = json_object_new_object();

    json_object_object_add(object, "exp", json_object_new_int64(expiry_s));
    json_object_object_add(object, "revision", json_object_new_uint64(rev));
    json_object_object_add(
        object, "username",
        json_object_new_string_len((const char *)name.data, (int)name.len));
    put_json(out, object);
}

/* ---- reading ---- */

/* The object that is the whole text; NULL. */
static struct json_object *parse(struct bytes json)
{
    struct json_tokener *tokener = json_tokener_new();
    struct json_object *object = NULL;

    while (json.len > 0 && strchr(" \t\r\n", json.data[json.len - 1]) &&
           json.data[json.len - 1] != '\0')
        json.len--;
    if (tokener == NULL || json.len > INT32_MAX)
        goto out;
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    object =
        json_tokener_parse_ex(tokener, (const char *)json.data, (int)json.len);
    if (json_tokener_get_error(tokener) != json_tokener_success ||
        json_tokener_get_parse_end(tokener) != json.len ||
        !json_object_is_type(object, json_type_object)) {
        json_object_put(object);
        object = NULL;
    }
out:
    if (tokener != NULL)
        json_tokener_free(tokener);
    return object;
}

int jwt_read_header(struct bytes json, const char *method)
{
    struct json_object *object = parse(json);
    struct json_object *alg;
    bool same = false;

    if (object != NULL && json_object_object_get_ex(object, "alg", &alg) &&
        json_object_is_type(alg, json_type_string))
        same = strlen(method) == (size_t)json_object_get_string_len(alg) &&
               strcmp(method, json_object_get_string(alg)) == 0;
    json_object_put(object);
    return same ? 0 : ERR_AUTH_TOKEN;
}

static bool is_number(struct json_object *value)
{
    return json_object_is_type(value, json_type_int) ||
           json_object_is_type(value, json_type_double);
}

static int read_name(struct json_object *object, struct auth_who *who)
{
    struct json_object *value;

    if (!json_object_object_get_ex(object, "username", &value) ||
        !json_object_is_type(value, json_type_string))
        return ERR_AUTH_TOKEN;
    who->len = (size_t)json_object_get_string_len(value);
    if (who->len > AUTH_NAME_MAX)
        return ERR_AUTH_TOKEN;
    memcpy(who->name, json_object_get_string(value), who->len);
    return 0;
}

static int read_revision(struct json_object *object, struct auth_who *who)
{
    struct json_object *value;
    double rev;

    if (!json_object_object_get_ex(object, "revision", &value) ||
        !is_number(value))
        return ERR_AUTH_TOKEN;
    rev = json_object_get_double(value);
    if (!(rev >= 0 && rev < TWO_64))
        return ERR_AUTH_TOKEN;
    who->rev = (uint64_t)rev;
    return 0;
}

/* Whole seconds; none and 0 are the same. */
static int read_time(struct json_object *object, const char *name, bool *given,
                     int64_t *s)
{
    struct json_object *value;
    double number;

    *given = false;
    if (!json_object_object_get_ex(object, name, &value))
        return 0;
    if (!is_number(value))
        return ERR_AUTH_TOKEN;
    number = json_object_get_double(value);
    if (!(number > -TWO_63 && number < TWO_63))
        return ERR_AUTH_TOKEN;
    *given = number != 0;
    *s = (int64_t)number;
    return 0;
}

int jwt_read_claims(struct bytes json, struct jwt_claims *claims)
{
    struct json_object *object = parse(json);
    int rc = object == NULL ? ERR_AUTH_TOKEN : 0;

    if (rc == 0)
        rc = read_name(object, &claims->who);
    if (rc == 0)
        rc = read_revision(object, &claims->who);
    if (rc == 0)
        rc = read_time(object, "exp", &claims->expires, &claims->expiry_s);
    if (rc == 0)
        rc = read_time(object, "nbf", &claims->begins, &claims->begin_s);
    json_object_put(object);
    return rc;
}

bool jwt_claims_hold(const struct jwt_claims *claims, uint64_t wall_ns)
{
    int64_t now_s = (int64_t)(wall_ns / NS_PER_S);

    return (!claims->expires || now_s < claims->expiry_s) &&
           (!claims->begins || now_s >= claims->begin_s);
}
