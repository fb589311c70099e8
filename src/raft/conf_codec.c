/* raftpb.ConfChange and raftpb.ConfChangeV2, which are the payload of log
 * entries:
 *
 *   ConfChange       { id = 1, type = 2, node_id = 3, context = 4 }
 *   ConfChangeV2     { transition = 1, changes = 2 (repeated), context = 3 }
 *   ConfChangeSingle { type = 1, node_id = 2 }
 *
 * etcd writes all number fields, zero or not, and so does this. */
#include "conf_codec.h"
#include "chorad/base/check.h"
#include "chorad/base/pb.h"
#include <inttypes.h>
#include <string.h>

static int decode_v1(struct raft_conf_change *cc, struct pb_reader r)
{
    struct pb_field f;
    int rc;
    cc->v1 = true;
    cc->change_count = 1;
    while ((rc = pb_next(&r, &f)) > 0) {
        if (f.number == 1 && f.wire == PB_VARINT)
            cc->id = f.value;
        else if (f.number == 2 && f.wire == PB_VARINT)
            cc->changes[0].type = (enum raft_conf_change_type)f.value;
        else if (f.number == 3 && f.wire == PB_VARINT)
            cc->changes[0].node_id = f.value;
        else if (f.number == 4 && f.wire == PB_LEN)
            cc->context = f.bytes;
    }
    return rc;
}

static int decode_single(struct raft_conf_single *single, struct bytes bytes)
{
    struct pb_reader r = {bytes.data, bytes.data + bytes.len};
    struct pb_field f;
    int rc;
    while ((rc = pb_next(&r, &f)) > 0) {
        if (f.number == 1 && f.wire == PB_VARINT)
            single->type = (enum raft_conf_change_type)f.value;
        else if (f.number == 2 && f.wire == PB_VARINT)
            single->node_id = f.value;
    }
    return rc;
}

static int decode_v2(struct raft_conf_change *cc, struct pb_reader r)
{
    struct pb_field f;
    int rc;
    while ((rc = pb_next(&r, &f)) > 0) {
        if (f.number == 1 && f.wire == PB_VARINT) {
            cc->transition = (enum raft_conf_transition)f.value;
        } else if (f.number == 2 && f.wire == PB_LEN) {
            if (cc->change_count == RAFT_CONF_CHANGES_MAX)
                return ERR_CORRUPT;
            rc = decode_single(&cc->changes[cc->change_count++], f.bytes);
            if (rc < 0)
                return rc;
        } else if (f.number == 3 && f.wire == PB_LEN) {
            cc->context = f.bytes;
        }
    }
    return rc;
}

int raft_conf_change_decode(struct raft_conf_change *cc,
                            enum raft_entry_type type, const uint8_t *data,
                            size_t len)
{
    CHECK(type != RAFT_ENTRY_NORMAL);
    memset(cc, 0, sizeof(*cc));
    if (!data)
        data = (const uint8_t *)"";
    struct pb_reader r = {data, data + len};
    int rc =
        type == RAFT_ENTRY_CONF_CHANGE ? decode_v1(cc, r) : decode_v2(cc, r);
    if (rc < 0 || cc->transition > RAFT_CONF_JOINT_EXPLICIT)
        return ERR_CORRUPT;
    for (size_t i = 0; i < cc->change_count; i++)
        if (cc->changes[i].type > RAFT_CONF_ADD_LEARNER)
            return ERR_CORRUPT;
    return 0;
}

/* A number field that is written even when it is 0. */
static uint8_t *put_number(uint8_t *p, uint32_t field, uint64_t v)
{
    p = pb_put_varint(p, pb_key(field, PB_VARINT));
    return pb_put_varint(p, v);
}

/* No number field with its one-byte key is longer. */
#define NUMBER_MAX 11

static uint8_t *put_single(uint8_t *p, const struct raft_conf_single *single)
{
    uint8_t inner[2 * NUMBER_MAX];
    uint8_t *end = put_number(inner, 1, (uint64_t)single->type);
    end = put_number(end, 2, single->node_id);
    size_t len = (size_t)(end - inner);
    p = pb_put_len(p, 2, len);
    memcpy(p, inner, len);
    return p + len;
}

struct raft_entry raft_conf_change_entry(const struct raft_conf_change *cc)
{
    CHECK(cc->change_count <= RAFT_CONF_CHANGES_MAX);
    size_t max =
        4 * NUMBER_MAX + cc->context.len + cc->change_count * 3 * NUMBER_MAX;
    struct buf buf = {0};
    uint8_t *p = buf_reserve(&buf, max);
    uint8_t *start = p;
    uint32_t context_field = 3;
    if (cc->v1) {
        CHECK(cc->change_count == 1);
        p = put_number(p, 1, cc->id);
        p = put_number(p, 2, (uint64_t)cc->changes[0].type);
        p = put_number(p, 3, cc->changes[0].node_id);
        context_field = 4;
    } else {
        p = put_number(p, 1, (uint64_t)cc->transition);
        for (size_t i = 0; i < cc->change_count; i++)
            p = put_single(p, &cc->changes[i]);
    }
    if (cc->context.data) {
        p = pb_put_len(p, context_field, cc->context.len);
        memcpy(p, cc->context.data, cc->context.len);
        p += cc->context.len;
    }
    struct raft_entry entry = raft_entry_new(cc->v1 ? RAFT_ENTRY_CONF_CHANGE
                                                    : RAFT_ENTRY_CONF_CHANGE_V2,
                                             start, (size_t)(p - start));
    buf_close(&buf);
    return entry;
}

static const char *type_name(enum raft_conf_change_type type)
{
    static const char *const names[] = {
        "ConfChangeAddNode", "ConfChangeRemoveNode", "ConfChangeUpdateNode",
        "ConfChangeAddLearnerNode"};
    return names[type];
}

static const char *transition_name(enum raft_conf_transition transition)
{
    static const char *const names[] = {"ConfChangeTransitionAuto",
                                        "ConfChangeTransitionJointImplicit",
                                        "ConfChangeTransitionJointExplicit"};
    return names[transition];
}

static void put_bytes_text(struct bytes bytes, struct buf *out)
{
    buf_append(out, "[", 1);
    for (size_t i = 0; i < bytes.len; i++)
        buf_printf(out, "%s%u", i > 0 ? " " : "", bytes.data[i]);
    buf_append(out, "]", 1);
}

const char *conf_change_text(const struct raft_conf_change *cc, struct buf *out)
{
    if (cc->v1) {
        buf_printf(out, "{%s %" PRIu64 " ", type_name(cc->changes[0].type),
                   cc->changes[0].node_id);
        put_bytes_text(cc->context, out);
        buf_printf(out, " %" PRIu64 "}", cc->id);
    } else {
        buf_printf(out, "{%s [", transition_name(cc->transition));
        for (size_t i = 0; i < cc->change_count; i++)
            buf_printf(out, "%s{%s %" PRIu64 "}", i > 0 ? " " : "",
                       type_name(cc->changes[i].type), cc->changes[i].node_id);
        buf_printf(out, "] ");
        put_bytes_text(cc->context, out);
        buf_printf(out, "}");
    }
    buf_append(out, "", 1);
    return (const char *)out->data;
}
