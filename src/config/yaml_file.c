/* Settings from YAML text. The rules are those of etcd's config file: keys it
 * doesn't know are left alone, durations are integer nanoseconds, and a value
 * of the wrong kind is an error rather than guessed at. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

#include "chorad/base/mem.h"
#include "chorad/base/url.h"
#include "flags.h"
#include "value.h"

/* What a plain scalar means in YAML 1.1. */
enum kind {
    KIND_NULL,
    KIND_BOOL,
    KIND_NUMBER,
    KIND_FRACTION,
    KIND_STRING,
    KIND_LIST,
    KIND_MAP,
};

static const char *const kind_names[] = {
    [KIND_NULL] = "nothing",    [KIND_BOOL] = "a boolean",
    [KIND_NUMBER] = "a number", [KIND_FRACTION] = "a fraction",
    [KIND_STRING] = "a string", [KIND_LIST] = "a list",
    [KIND_MAP] = "a section",
};

struct source {
    yaml_document_t doc;
    struct config *config;
    struct errmsg *msg;
};

static const char *scalar(const yaml_node_t *node)
{
    return (const char *)node->data.scalar.value;
}

static bool is_one_of(const char *text, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (strcmp(text, *words) == 0)
            return true;
    }
    return false;
}

static const char *const true_words[] = {"true", "True", "TRUE", "yes",
                                         "Yes",  "YES",  "on",   "On",
                                         "ON",   "y",    "Y",    NULL};
static const char *const false_words[] = {"false", "False", "FALSE", "no",
                                          "No",    "NO",    "off",   "Off",
                                          "OFF",   "n",     "N",     NULL};
static const char *const null_words[] = {"", "~", "null", "Null", "NULL", NULL};

static enum kind kind_of(const yaml_node_t *node)
{
    const char *text;
    int64_t signed_n;
    uint64_t n;
    char *end;

    if (node->type == YAML_SEQUENCE_NODE)
        return KIND_LIST;
    if (node->type != YAML_SCALAR_NODE)
        return KIND_MAP;
    if (node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return KIND_STRING;
    text = scalar(node);
    if (is_one_of(text, null_words))
        return KIND_NULL;
    if (is_one_of(text, true_words) || is_one_of(text, false_words))
        return KIND_BOOL;
    if (value_uint(text, 64, &n) != ERR_INVALID ||
        value_int(text, &signed_n) != ERR_INVALID)
        return KIND_NUMBER;
    if (strchr("0123456789.+-", text[0]) != NULL) {
        (void)strtod(text, &end);
        if (*end == '\0')
            return KIND_FRACTION;
    }
    return KIND_STRING;
}

/* The kind that a flag's value has in the file. */
static enum kind kind_wanted(const struct flag *flag)
{
    switch (flag->type) {
    case FLAG_BOOL:
        return KIND_BOOL;
    case FLAG_INT:
    case FLAG_I64:
    case FLAG_UINT:
    case FLAG_U64:
    case FLAG_U32:
    case FLAG_DURATION:
        return KIND_NUMBER;
    case FLAG_STRS:
        return KIND_LIST;
    case FLAG_USTRS:
        /* The list of allowed hosts alone is a string with commas. */
        return strcmp(flag->name, "host-whitelist") == 0 ? KIND_STRING
                                                         : KIND_LIST;
    default:
        return KIND_STRING;
    }
}

static int bad_kind(const struct source *source, const char *key,
                    const yaml_node_t *node, enum kind wanted)
{
    return err_set(source->msg, ERR_INVALID,
                   "config file line %zu: \"%s\" must be %s, not %s",
                   node->start_mark.line + 1, key, kind_names[wanted],
                   kind_names[kind_of(node)]);
}

static int bad_value(const struct source *source, const char *key,
                     const yaml_node_t *node, const char *why)
{
    return err_set(source->msg, ERR_INVALID,
                   "config file line %zu: invalid value for \"%s\": %s",
                   node->start_mark.line + 1, key, why);
}

/* The value behind `key` of `len` bytes; etcd takes keys in any case. */
static yaml_node_t *find_key(struct source *source, const yaml_node_t *map,
                             const char *key, size_t len)
{
    yaml_node_t *found = NULL;

    for (yaml_node_pair_t *pair = map->data.mapping.pairs.start;
         pair < map->data.mapping.pairs.top; pair++) {
        yaml_node_t *name = yaml_document_get_node(&source->doc, pair->key);

        if (name != NULL && name->type == YAML_SCALAR_NODE &&
            name->data.scalar.length == len &&
            strncasecmp(scalar(name), key, len) == 0)
            found = yaml_document_get_node(&source->doc, pair->value);
    }
    return found;
}

/* Walks down "section.section.key". 0 with *found NULL where it is absent. */
static int find_path(struct source *source, const char *path,
                     yaml_node_t **found)
{
    yaml_node_t *node = yaml_document_get_root_node(&source->doc);

    for (;;) {
        size_t len = strcspn(path, ".");

        node = find_key(source, node, path, len);
        *found = node;
        if (node == NULL || path[len] == '\0')
            return 0;
        if (kind_of(node) == KIND_NULL) {
            *found = NULL;
            return 0;
        }
        if (node->type != YAML_MAPPING_NODE) {
            char *key = mem_printf("%.*s", (int)len, path);
            int err = bad_kind(source, key, node, KIND_MAP);

            free(key);
            return err;
        }
        path += len + 1;
    }
}

static int take_list(struct source *source, const struct flag *flag,
                     const char *key, const yaml_node_t *node)
{
    struct config_strs list = {0};
    struct config_strs *field = flag_field(flag, source->config);
    int err = 0;

    for (yaml_node_item_t *item = node->data.sequence.items.start;
         item < node->data.sequence.items.top && err == 0; item++) {
        yaml_node_t *entry = yaml_document_get_node(&source->doc, *item);

        if (entry == NULL || kind_of(entry) != KIND_STRING)
            err = bad_kind(source, key, entry == NULL ? node : entry,
                           KIND_STRING);
        else
            strs_add(&list, scalar(entry), strlen(scalar(entry)));
    }
    if (err != 0) {
        strs_close(&list);
        return err;
    }
    if (flag->type == FLAG_USTRS)
        strs_unique(&list);
    strs_close(field);
    *field = list;
    return 0;
}

static int take_text(struct source *source, const struct flag *flag,
                     const char *key, const yaml_node_t *node)
{
    struct errmsg why = {0};
    const char *text = scalar(node);

    /* etcd keeps its defaults where one of these is empty. */
    if (text[0] == '\0' &&
        (flag->type == FLAG_URLS || flag->type == FLAG_ORIGINS ||
         flag->type == FLAG_USTRS || flag->type == FLAG_STATE))
        return 0;
    if (flag->type == FLAG_STATE || flag->type == FLAG_V2DEPR) {
        value_str(flag_field(flag, source->config), text);
        return 0;
    }
    if (flag_set(flag, source->config, text, &why) != 0)
        return bad_value(source, key, node, why.text);
    return 0;
}

static int take_number(struct source *source, const struct flag *flag,
                       const char *key, const yaml_node_t *node)
{
    const char *text = scalar(node);
    struct errmsg why = {0};
    int64_t ns;

    if (text[0] == '+')
        text++;
    if (flag->type == FLAG_DURATION) {
        if (value_int(text, &ns) != 0)
            return bad_value(source, key, node, "value out of range");
        *(int64_t *)flag_field(flag, source->config) = ns;
        return 0;
    }
    if (flag_set(flag, source->config, text, &why) != 0)
        return bad_value(source, key, node, why.text);
    return 0;
}

static int take_bool(struct source *source, const struct flag *flag,
                     const yaml_node_t *node)
{
    *(bool *)flag_field(flag, source->config) =
        is_one_of(scalar(node), true_words);
    return 0;
}

static int take_value(struct source *source, const struct flag *flag,
                      const char *key, const yaml_node_t *node)
{
    enum kind wanted = kind_wanted(flag);
    enum kind kind = kind_of(node);

    if (kind == KIND_NULL)
        return 0;
    if (kind != wanted)
        return bad_kind(source, key, node, wanted);
    switch (kind) {
    case KIND_LIST:
        return take_list(source, flag, key, node);
    case KIND_BOOL:
        return take_bool(source, flag, node);
    case KIND_NUMBER:
        return take_number(source, flag, key, node);
    default:
        return take_text(source, flag, key, node);
    }
}

static int read_flag(struct source *source, const struct flag *flag)
{
    const char *path = flag->yaml[0] == '\0' ? flag->name : flag->yaml;
    yaml_node_t *node;
    int err = find_path(source, path, &node);

    if (err != 0 || node == NULL)
        return err;
    source->config->set[flag_index(flag)] = true;
    return take_value(source, flag, path, node);
}

/* A merge would bring in keys that find_key doesn't see. */
static int refuse_merges(struct source *source)
{
    for (yaml_node_t *node = source->doc.nodes.start;
         node < source->doc.nodes.top; node++) {
        if (node->type == YAML_MAPPING_NODE &&
            find_key(source, node, "<<", 2) != NULL)
            return err_set(source->msg, ERR_INVALID,
                           "config file line %zu: merge keys (<<) are not "
                           "supported",
                           node->start_mark.line + 1);
    }
    return 0;
}

static int read_document(struct source *source)
{
    yaml_node_t *root = yaml_document_get_root_node(&source->doc);
    int err = 0;

    if (root == NULL || kind_of(root) == KIND_NULL)
        return 0;
    if (root->type != YAML_MAPPING_NODE)
        return bad_kind(source, "the file", root, KIND_MAP);
    err = refuse_merges(source);
    for (size_t i = 0; i < flag_count && err == 0; i++) {
        if (flag_table[i].yaml != NULL)
            err = read_flag(source, &flag_table[i]);
    }
    return err;
}

int config_read_yaml(struct config *config, const char *yaml, size_t len,
                     struct errmsg *msg)
{
    struct source source = {.config = config, .msg = msg};
    yaml_parser_t parser;
    int err;

    if (!yaml_parser_initialize(&parser))
        return err_set(msg, ERR_NOMEM, "out of memory");
    yaml_parser_set_input_string(&parser, (const unsigned char *)yaml, len);
    if (!yaml_parser_load(&parser, &source.doc)) {
        err = err_set(msg, ERR_INVALID, "config file line %zu: %s",
                      parser.problem_mark.line + 1,
                      parser.problem == NULL ? "not YAML" : parser.problem);
        yaml_parser_delete(&parser);
        return err;
    }
    err = read_document(&source);
    if (err == 0 &&
        (config->discovery.srv[0] != '\0' ||
         config->discovery.endpoints.n > 0) &&
        strcmp(config->initial_cluster, "default=http://localhost:2380") == 0)
        value_str(&config->initial_cluster, "");
    if (err == 0 && config->self_signed_cert_validity_years == 0)
        config->self_signed_cert_validity_years = 1;
    yaml_document_delete(&source.doc);
    yaml_parser_delete(&parser);
    return err;
}
