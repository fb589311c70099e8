#include <stdlib.h>
#include <string.h>

#include "chorad/base/quote.h"
#include "flags.h"
#include "sources.h"
#include "value.h"

struct args {
    int argc;
    char *const *argv;
    int next;
};

static enum config_action bad_value(const struct flag *flag, const char *value,
                                    struct errmsg *msg, struct errmsg *why)
{
    char *quoted = quote_text(value);

    if (flag_is_bool(flag))
        err_set(msg, ERR_INVALID, "invalid boolean value %s for -%s: %s",
                quoted, flag->name, why->text);
    else
        err_set(msg, ERR_INVALID, "invalid value %s for flag -%s: %s", quoted,
                flag->name, why->text);
    free(quoted);
    return CONFIG_BAD_USAGE;
}

/* The text behind the dashes of a flag, or NULL where the flags end. */
static const char *flag_text(struct args *args)
{
    const char *arg;

    if (args->next >= args->argc)
        return NULL;
    arg = args->argv[args->next];
    if (arg[0] != '-' || arg[1] == '\0')
        return NULL;
    args->next++;
    if (arg[1] != '-')
        return arg + 1;
    return arg[2] == '\0' ? NULL : arg + 2;
}

static enum config_action read_flag(struct args *args, const char *text,
                                    struct config *config, struct errmsg *msg)
{
    size_t len = strcspn(text, "=");
    const char *value = text[len] == '=' ? text + len + 1 : NULL;
    const struct flag *flag;
    struct errmsg why = {0};

    if (text[0] == '-' || text[0] == '=') {
        err_set(msg, ERR_INVALID, "bad flag syntax: %s",
                args->argv[args->next - 1]);
        return CONFIG_BAD_USAGE;
    }
    flag = flag_find(text, len);
    if (flag == NULL) {
        if ((len == 4 && strncmp(text, "help", 4) == 0) ||
            (len == 1 && text[0] == 'h'))
            return CONFIG_PRINT_HELP;
        err_set(msg, ERR_INVALID, "flag provided but not defined: -%.*s",
                (int)len, text);
        return CONFIG_BAD_USAGE;
    }
    if (value == NULL && flag_is_bool(flag))
        value = "true";
    if (value == NULL && args->next < args->argc)
        value = args->argv[args->next++];
    if (value == NULL) {
        err_set(msg, ERR_INVALID, "flag needs an argument: -%s", flag->name);
        return CONFIG_BAD_USAGE;
    }
    if (flag_set(flag, config, value, &why) != 0)
        return bad_value(flag, value, msg, &why);
    config->set[flag_index(flag)] = true;
    return CONFIG_RUN;
}

enum config_action args_read(int argc, char *const argv[],
                             struct config *config, struct errmsg *msg)
{
    struct args args = {argc, argv, 1};
    const char *text;

    if (argc > 1 && (strcmp(argv[1], "gateway") == 0 ||
                     strcmp(argv[1], "grpc-proxy") == 0)) {
        err_set(msg, ERR_UNSUPPORTED, "\"%s\" is not supported", argv[1]);
        return CONFIG_NOT_SUPPORTED;
    }
    while ((text = flag_text(&args)) != NULL) {
        enum config_action action = read_flag(&args, text, config, msg);

        if (action != CONFIG_RUN)
            return action;
    }
    if (args.next < argc) {
        char *quoted = quote_text(argv[args.next]);

        err_set(msg, ERR_INVALID, "%s is not a valid flag", quoted);
        free(quoted);
        return CONFIG_BAD_SETTING;
    }
    return config->version ? CONFIG_PRINT_VERSION : CONFIG_RUN;
}
