#include "apply.h"
#include "chorad/base/log.h"
#include "encode.h"
#include <inttypes.h>
#include <stdio.h>

/* etcdserverpb.AlarmResponse and AlarmMember (proto/). */
enum { RESPONSE_ALARMS = 2, ALARM_MEMBER_ID = 1, ALARM_TYPE = 2 };

#define ALARMS_ANSWERED 1024

static void put_alarm(struct buf *out, struct alarm alarm)
{
    size_t mark = encode_begin(out, RESPONSE_ALARMS);

    encode_u64(out, ALARM_MEMBER_ID, alarm.member_id);
    encode_u64(out, ALARM_TYPE, (uint64_t)(int64_t)alarm.type);
    encode_end(out, mark);
}

static void count_alarm(struct alarm alarm, double by)
{
    static const char *const names[] = {"NONE", "NOSPACE", "CORRUPT"};
    char id[24];

    if (alarm.type < 0 || alarm.type > ALARM_CORRUPT)
        return;
    snprintf(id, sizeof(id), "%" PRIx64, alarm.member_id);
    struct metric_label labels[] = {{"alarm_type", names[alarm.type]},
                                    {"server_id", id}};
    metric_add(metric_gauge("etcd_debugging_server_alarms",
                            "Alarms for every member in cluster. 1 for "
                            "'server_id' label with current ID. 2 for "
                            "'alarm_type' label with type of this alarm",
                            labels, 2),
               by);
}

static void note_alarm(struct alarm alarm)
{
    log_warn("alarm raised",
             LOG_STR("alarm", alarm.type == ALARM_NOSPACE   ? "NOSPACE"
                              : alarm.type == ALARM_CORRUPT ? "CORRUPT"
                                                            : "UNKNOWN"),
             LOG_HEX("from", alarm.member_id));
    count_alarm(alarm, 1);
}

static void list_alarms(struct alarms *alarms, int32_t type, struct buf *out)
{
    struct alarm list[ALARMS_ANSWERED];
    size_t n = alarms_list(alarms, type, list, ALARMS_ANSWERED);

    for (size_t i = 0; i < n && i < ALARMS_ANSWERED; i++)
        put_alarm(out, list[i]);
}

int apply_alarm(struct apply_context *ctx,
                const Etcdserverpb__AlarmRequest *req)
{
    struct apply_header header = apply_header_now(ctx->apply);
    struct alarms *alarms = ctx->apply->config.alarms;
    struct alarm alarm = {req->memberid, (int32_t)req->alarm};
    struct buf *out = &ctx->result->body;

    apply_put_header(out, &header);
    switch (req->action) {
    case ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__GET:
        list_alarms(alarms, alarm.type, out);
        break;
    case ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__ACTIVATE:
        if (alarm.type == ALARM_NONE)
            break;
        if (alarms_activate(alarms, alarm))
            note_alarm(alarm);
        put_alarm(out, alarm);
        break;
    case ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__DEACTIVATE:
        if (!alarms_deactivate(alarms, alarm))
            break;
        put_alarm(out, alarm);
        count_alarm(alarm, -1);
        break;
    default:
        break;
    }
    return 0;
}
