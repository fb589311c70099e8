#include "gates.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "chorad/base/mem.h"
#include "chorad/base/metrics.h"
#include "chorad/base/quote.h"
#include "value.h"

static const struct gate {
    const char *name;
    bool on;
    const char *stage;
    const char *help;
} gate_table[] = {
#define XX(name, on, stage)                                                    \
    {#name, on, stage, #name "=true|false (" stage " - default=" #on ")"},
    CONFIG_GATE_MAP(XX)
#undef XX
};

void gates_default(struct config_gates *gates)
{
    for (size_t i = 0; i < CONFIG_GATE_COUNT; i++) {
        gates->on[i] = gate_table[i].on;
        gates->given[i] = false;
    }
}

const char *gates_help(size_t i)
{
    return i < CONFIG_GATE_COUNT ? gate_table[i].help : NULL;
}

const char *gates_name(size_t i)
{
    return i < CONFIG_GATE_COUNT ? gate_table[i].name : NULL;
}

static void trim(char **text)
{
    size_t len;

    *text += strspn(*text, " \t\r\n\v\f");
    len = strlen(*text);
    while (len > 0 && isspace((unsigned char)(*text)[len - 1]))
        len--;
    (*text)[len] = '\0';
}

/* The index, or negative. */
static int find_gate(const char *name)
{
    for (int i = 0; i < CONFIG_GATE_COUNT; i++) {
        if (strcmp(gate_table[i].name, name) == 0)
            return i;
    }
    return -1;
}

/* One "name=value"; `pair` is written to. */
static int set_one(struct config_gates *gates, char *pair, struct errmsg *msg)
{
    char *name = pair;
    char *value = strchr(pair, '=');
    bool on;
    int gate;

    if (value != NULL)
        *value++ = '\0';
    trim(&name);
    if (value == NULL)
        return err_set(msg, ERR_INVALID, "missing bool value for %s", name);
    trim(&value);
    if (value_bool(value, &on) != 0) {
        char *quoted = quote_text(value);

        err_set(msg, ERR_INVALID,
                "invalid value of %s=%s, err: strconv.ParseBool: parsing %s: "
                "invalid syntax",
                name, value, quoted);
        free(quoted);
        return ERR_INVALID;
    }
    gate = find_gate(name);
    if (gate < 0)
        return err_set(msg, ERR_INVALID, "unrecognized feature gate: %s", name);
    gates->on[gate] = on;
    gates->given[gate] = true;
    return 0;
}

/* AllAlpha or AllBeta, once all gates named beside it are known. */
static void cover_stage(struct config_gates *gates, enum config_gate all)
{
    if (!gates->given[all])
        return;
    for (size_t i = 0; i < CONFIG_GATE_COUNT; i++) {
        if (i != CONFIG_GATE_AllAlpha && i != CONFIG_GATE_AllBeta &&
            !gates->given[i] &&
            strcmp(gate_table[i].stage, gate_table[all].stage) == 0) {
            gates->on[i] = gates->on[all];
            gates->given[i] = true;
        }
    }
}

int gates_set(struct config_gates *gates, const char *text, struct errmsg *msg)
{
    struct config_gates next = *gates;
    struct config_strs pairs = {0};
    int err = 0;

    strs_split(&pairs, text);
    for (size_t i = 0; i < pairs.n && err == 0; i++) {
        if (pairs.items[i][0] != '\0')
            err = set_one(&next, pairs.items[i], msg);
    }
    strs_close(&pairs);
    if (err != 0)
        return err;
    cover_stage(&next, CONFIG_GATE_AllAlpha);
    cover_stage(&next, CONFIG_GATE_AllBeta);
    *gates = next;
    return 0;
}

void config_gates_metrics(const struct config_gates *gates)
{
    for (size_t i = 0; i < CONFIG_GATE_COUNT; i++) {
        struct metric_label labels[] = {{"name", gate_table[i].name},
                                        {"stage", gate_table[i].stage}};

        metric_set(metric_gauge("etcd_server_feature_enabled",
                                "1: that feature gate is open.", labels, 2),
                   gates->on[i]);
    }
}
