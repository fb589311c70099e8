/* The checks behind /livez and /readyz: names, paths, text of the answer.
 * Pure. */
#ifndef CHORAD_HTTP_PROBE_H
#define CHORAD_HTTP_PROBE_H

#include "chorad/base/mem.h"

enum probe_type { PROBE_LIVEZ, PROBE_READYZ };

enum probe {
    PROBE_DATA_CORRUPTION,
    PROBE_SERIALIZABLE_READ,
    PROBE_LINEARIZABLE_READ,
    PROBE_NON_LEARNER,
    PROBE_COUNT
};

#define PROBE_BIT(probe) (1U << (probe))

/* All probes of that type, as bits. */
unsigned probe_all(enum probe_type type);

/* "livez", "readyz" */
const char *probe_type_name(enum probe_type type);
const char *probe_name(enum probe probe);

/* The bit of the probe with that name, 0 if there is none. */
unsigned probe_bit(const char *name);

/* "/livez/<check>", "/readyz/<check>"; false for all else, also for a probe
 * that isn't one of that type. */
bool probe_parse_path(const char *path, enum probe_type *type,
                      enum probe *probe);

/* What became of a set of probes. */
struct probe_results {
    unsigned ran;                    /* bits */
    const char *errors[PROBE_COUNT]; /* NULL: fine */
};

bool probe_failed(const struct probe_results *results);

/* "[+]name ok\n" or "[-]name failed: why\n" for each that ran. */
void probe_print(struct buf *out, const struct probe_results *results);

#endif
