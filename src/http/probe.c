#include "probe.h"

#include <string.h>

static const struct {
    const char *name;
    bool livez;
} probes[PROBE_COUNT] = {
    [PROBE_DATA_CORRUPTION] = {"data_corruption", false},
    [PROBE_SERIALIZABLE_READ] = {"serializable_read", true},
    [PROBE_LINEARIZABLE_READ] = {"linearizable_read", false},
    [PROBE_NON_LEARNER] = {"non_learner", false},
};

unsigned probe_all(enum probe_type type)
{
    unsigned bits = 0;

    for (int i = 0; i < PROBE_COUNT; i++) {
        if (type == PROBE_READYZ || probes[i].livez)
            bits |= PROBE_BIT(i);
    }
    return bits;
}

const char *probe_type_name(enum probe_type type)
{
    return type == PROBE_LIVEZ ? "livez" : "readyz";
}

const char *probe_name(enum probe probe)
{
    return probes[probe].name;
}

unsigned probe_bit(const char *name)
{
    for (int i = 0; i < PROBE_COUNT; i++) {
        if (strcmp(probes[i].name, name) == 0)
            return PROBE_BIT(i);
    }
    return 0;
}

bool probe_parse_path(const char *path, enum probe_type *type,
                      enum probe *probe)
{
    unsigned bit;

    if (strncmp(path, "/livez/", 7) == 0)
        *type = PROBE_LIVEZ;
    else if (strncmp(path, "/readyz/", 8) == 0)
        *type = PROBE_READYZ;
    else
        return false;
    bit = probe_bit(strchr(path + 1, '/') + 1);
    if ((bit & probe_all(*type)) == 0)
        return false;
    *probe = (enum probe)__builtin_ctz(bit);
    return true;
}

bool probe_failed(const struct probe_results *results)
{
    for (int i = 0; i < PROBE_COUNT; i++) {
        if ((results->ran & PROBE_BIT(i)) != 0 && results->errors[i] != NULL)
            return true;
    }
    return false;
}

void probe_print(struct buf *out, const struct probe_results *results)
{
    for (int i = 0; i < PROBE_COUNT; i++) {
        if ((results->ran & PROBE_BIT(i)) == 0)
            continue;
        if (results->errors[i] == NULL)
            buf_printf(out, "[+]%s ok\n", probes[i].name);
        else
            buf_printf(out, "[-]%s failed: %s\n", probes[i].name,
                       results->errors[i]);
    }
}
