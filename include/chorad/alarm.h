/* Alarms: which member has raised NOSPACE or CORRUPT. Changed on the loop
 * thread through the log; the mask may be read on any thread. */
#ifndef CHORAD_ALARM_H
#define CHORAD_ALARM_H

#include "chorad/base/err.h"
#include "chorad/store.h"
#include <stdbool.h>
#include <stdint.h>

/* Numbers as on the wire (etcdserverpb.AlarmType). */
enum alarm_type { ALARM_NONE = 0, ALARM_NOSPACE = 1, ALARM_CORRUPT = 2 };

struct alarm {
    uint64_t member_id;
    int32_t type; /* a newer cluster may know types that we don't */
};

struct alarms;

/* Reads the alarm bucket; the store must outlive it. */
int alarms_open(struct store *store, struct alarms **out, struct errmsg *msg);
void alarms_close(struct alarms *alarms);
/* Takes over those of `with`, which has what was here before. */
void alarms_swap(struct alarms *alarms, struct alarms *with);

/* False if it was there. */
bool alarms_activate(struct alarms *alarms, struct alarm alarm);
/* False if it wasn't there. */
bool alarms_deactivate(struct alarms *alarms, struct alarm alarm);

/* Those of a type, or all for ALARM_NONE; fills at most max, returns how many
 * there are. */
size_t alarms_list(const struct alarms *alarms, int32_t type, struct alarm *out,
                   size_t max);

/* Any member has raised it. Any thread. */
bool alarms_active(const struct alarms *alarms, enum alarm_type type);

#endif
