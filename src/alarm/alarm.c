#include "chorad/alarm.h"
#include "chorad/base/pb.h"
#include <stdatomic.h>
#include <stdlib.h>

/* etcdserverpb.AlarmMember (proto/rpc_maintenance.proto). */
enum { MEMBER_ID = 1, ALARM_FIELD = 2 };

struct alarms {
    struct store *store;
    struct alarm *list;
    size_t len;
    size_t cap;
    atomic_uint mask;
};

static void add(struct alarms *alarms, struct alarm alarm)
{
    if (alarms->len == alarms->cap) {
        alarms->cap = alarms->cap ? alarms->cap * 2 : 8;
        alarms->list =
            mem_realloc(alarms->list, alarms->cap * sizeof(struct alarm));
    }
    alarms->list[alarms->len++] = alarm;
}

static void update_mask(struct alarms *alarms)
{
    unsigned mask = 0;

    for (size_t i = 0; i < alarms->len; i++)
        if (alarms->list[i].type > 0 && alarms->list[i].type < 32)
            mask |= 1u << alarms->list[i].type;
    atomic_store(&alarms->mask, mask);
}

static struct bytes encode(struct alarm alarm, uint8_t out[22])
{
    uint8_t *end = pb_put_u64(out, MEMBER_ID, alarm.member_id);

    end = pb_put_u64(end, ALARM_FIELD, (uint64_t)(int64_t)alarm.type);
    return bytes_of(out, (size_t)(end - out));
}

static int load_alarm(void *arg, struct bytes key, struct bytes value)
{
    struct pb_reader r = {key.data, key.data + key.len};
    struct alarm alarm = {0};
    uint8_t canonical[22];
    struct pb_field field;
    int rc;

    (void)value;
    while ((rc = pb_next(&r, &field)) > 0) {
        if (field.wire == PB_VARINT && field.number == MEMBER_ID)
            alarm.member_id = field.value;
        else if (field.wire == PB_VARINT && field.number == ALARM_FIELD)
            alarm.type = (int32_t)field.value;
    }
    /* Another key for it could never be deleted again. */
    if (rc < 0 || bytes_cmp(encode(alarm, canonical), key) != 0)
        return ERR_CORRUPT;
    add(arg, alarm);
    return 0;
}

int alarms_open(struct store *store, struct alarms **out, struct errmsg *msg)
{
    struct alarms *alarms = mem_zalloc(sizeof(*alarms));
    int rc;

    alarms->store = store;
    rc = store_load(store, STORE_ALARM, load_alarm, alarms);
    if (rc < 0) {
        alarms_close(alarms);
        return err_set(msg, rc, "reading the alarm bucket: %s", err_text(rc));
    }
    update_mask(alarms);
    *out = alarms;
    return 0;
}

void alarms_close(struct alarms *alarms)
{
    if (!alarms)
        return;
    free(alarms->list);
    free(alarms);
}

void alarms_swap(struct alarms *alarms, struct alarms *with)
{
    struct alarm *list = alarms->list;
    size_t len = alarms->len;
    size_t cap = alarms->cap;

    alarms->list = with->list;
    alarms->len = with->len;
    alarms->cap = with->cap;
    with->list = list;
    with->len = len;
    with->cap = cap;
    update_mask(alarms);
    update_mask(with);
}

static size_t find(const struct alarms *alarms, struct alarm alarm)
{
    size_t i = 0;

    while (i < alarms->len && (alarms->list[i].member_id != alarm.member_id ||
                               alarms->list[i].type != alarm.type))
        i++;
    return i;
}

bool alarms_activate(struct alarms *alarms, struct alarm alarm)
{
    uint8_t key[22];

    if (find(alarms, alarm) < alarms->len)
        return false;
    add(alarms, alarm);
    store_put(alarms->store, STORE_ALARM, encode(alarm, key), bytes_of("", 0));
    update_mask(alarms);
    return true;
}

bool alarms_deactivate(struct alarms *alarms, struct alarm alarm)
{
    size_t at = find(alarms, alarm);
    uint8_t key[22];

    if (at == alarms->len)
        return false;
    alarms->list[at] = alarms->list[--alarms->len];
    store_delete(alarms->store, STORE_ALARM, encode(alarm, key));
    update_mask(alarms);
    return true;
}

size_t alarms_list(const struct alarms *alarms, int32_t type, struct alarm *out,
                   size_t max)
{
    size_t n = 0;

    for (size_t i = 0; i < alarms->len; i++) {
        if (type != ALARM_NONE && alarms->list[i].type != type)
            continue;
        if (n < max)
            out[n] = alarms->list[i];
        n++;
    }
    return n;
}

bool alarms_active(const struct alarms *alarms, enum alarm_type type)
{
    return (atomic_load(&alarms->mask) & 1u << type) != 0;
}
