#include "quorum_cmds.h"
#include "quorum.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX VALUES_MAX

/* What is known of the members: an index, or a vote (1 no, 2 yes); 0 for
 * nothing. */
struct known {
    uint64_t ids[2 * MAX];
    uint64_t values[2 * MAX];
    size_t count;
};

struct quorum_case {
    struct raft_ids a;
    struct raft_ids b;
    bool joint;
    struct known known;
};

static uint64_t value_of(const void *arg, uint64_t id)
{
    const struct known *known = arg;
    for (size_t i = 0; i < known->count; i++)
        if (known->ids[i] == id)
            return known->values[i];
    return 0;
}

static void add_member(struct known *known, uint64_t id)
{
    for (size_t i = 0; i < known->count; i++)
        if (known->ids[i] == id)
            return;
    known->ids[known->count++] = id;
}

static void read_config(const struct directive *d, const char *key,
                        struct raft_ids *ids, struct known *known)
{
    const struct arg *arg = directive_arg(d, key);
    if (!arg || strcmp(arg->values[0], "zero") == 0)
        return;
    for (size_t i = 0; i < arg->value_count; i++) {
        if (*arg->values[i] == '\0')
            continue;
        uint64_t id = directive_number(d, arg->values[i]);
        raft_ids_add(ids, id);
        add_member(known, id);
    }
}

static uint64_t read_value(const struct directive *d, const char *text)
{
    if (strcmp(text, "_") == 0)
        return 0;
    if (strcmp(text, "n") == 0)
        return 1;
    if (strcmp(text, "y") == 0)
        return 2;
    return directive_number(d, text);
}

/* Values stand in the order in which members are named, once each. */
static void read_case(const struct directive *d, struct quorum_case *c)
{
    memset(c, 0, sizeof(*c));
    c->joint = directive_arg(d, "cfgj") != NULL;
    read_config(d, "cfg", &c->a, &c->known);
    read_config(d, "cfgj", &c->b, &c->known);
    const struct arg *values = directive_arg(d, "idx");
    if (!values)
        values = directive_arg(d, "votes");
    size_t count = values ? values->value_count : 0;
    if (count != c->known.count)
        directive_fatal(d, "values don't fit the members");
    for (size_t i = 0; i < count; i++)
        c->known.values[i] = read_value(d, values->values[i]);
}

/* How many members have less; among equals only the first id gets a bar. */
static size_t bar_of(const struct known *known, uint64_t id)
{
    uint64_t index = value_of(known, id);
    size_t less = 0;
    for (size_t i = 0; i < known->count; i++) {
        if (known->values[i] == index && known->ids[i] < id)
            return 0;
        less += known->values[i] < index;
    }
    return less;
}

static void draw(const struct quorum_case *c, struct buf *out)
{
    struct raft_ids all = {0};
    for (size_t i = 0; i < c->known.count; i++)
        raft_ids_add(&all, c->known.ids[i]);
    int n = (int)all.count;
    if (n == 0) {
        buf_printf(out, "<empty majority quorum>");
        return;
    }
    buf_printf(out, "%*s    idx\n", n, "");
    for (size_t i = 0; i < all.count; i++) {
        uint64_t index = value_of(&c->known, all.ids[i]);
        int bar = (int)bar_of(&c->known, all.ids[i]);
        if (index == 0) {
            buf_printf(out, "?%*s", n, "");
        } else {
            for (int j = 0; j < bar; j++)
                buf_printf(out, "x");
            buf_printf(out, ">%*s", n - bar, "");
        }
        buf_printf(out, " %5" PRIu64 "    (id=%" PRIu64 ")\n", index,
                   all.ids[i]);
    }
    raft_ids_close(&all);
}

static void put_index(uint64_t index, const char *after, struct buf *out)
{
    if (index == UINT64_MAX)
        buf_printf(out, "∞%s\n", after);
    else
        buf_printf(out, "%" PRIu64 "%s\n", index, after);
}

/* Counted the plain way: the highest index that enough members have. */
static uint64_t counted(const struct raft_ids *ids, const struct known *known)
{
    uint64_t best = 0;
    if (ids->count == 0)
        return UINT64_MAX;
    for (size_t i = 0; i < ids->count; i++) {
        uint64_t index = value_of(known, ids->ids[i]);
        size_t have = 0;
        for (size_t j = 0; j < ids->count; j++)
            have += value_of(known, ids->ids[j]) >= index;
        if (have >= ids->count / 2 + 1 && index > best)
            best = index;
    }
    return best;
}

/* Who is below the committed index may be even lower without changing it. */
static void check_lower(const struct quorum_case *c, uint64_t index,
                        struct buf *out)
{
    for (size_t i = 0; i < c->known.count; i++) {
        uint64_t own = c->known.values[i];
        if (own == 0 || own >= index)
            continue;
        struct known lower = c->known;
        lower.values[i] = 0;
        uint64_t other = quorum_committed(&c->a, value_of, &lower);
        if (other != index)
            put_index(other, " <-- overlaying with 0", out);
    }
}

static void committed(const struct quorum_case *c, struct buf *out)
{
    const struct known *known = &c->known;
    struct raft_ids none = {0};
    uint64_t index;
    uint64_t other;
    draw(c, out);
    if (c->joint) {
        index = quorum_joint_committed(&c->a, &c->b, value_of, known);
        other = quorum_joint_committed(&c->b, &c->a, value_of, known);
        if (other != index)
            put_index(other, " <-- via symmetry", out);
    } else {
        index = quorum_committed(&c->a, value_of, known);
        other = counted(&c->a, known);
        if (other != index)
            put_index(other, " <-- via alternative computation", out);
        other = quorum_joint_committed(&c->a, &none, value_of, known);
        if (other != index)
            put_index(other, " <-- via zero-joint quorum", out);
        other = quorum_joint_committed(&c->a, &c->a, value_of, known);
        if (other != index)
            put_index(other, " <-- via self-joint quorum", out);
        check_lower(c, index, out);
    }
    put_index(index, "", out);
}

static void vote(const struct quorum_case *c, struct buf *out)
{
    static const char *const names[] = {"VotePending", "VoteLost", "VoteWon"};
    struct votes votes = {0};
    for (size_t i = 0; i < c->known.count; i++)
        if (c->known.values[i] != 0)
            votes_record(&votes, c->known.ids[i], c->known.values[i] == 2);
    enum vote_result result = c->joint ? quorum_joint_vote(&c->a, &c->b, &votes)
                                       : quorum_vote(&c->a, &votes);
    enum vote_result other = quorum_joint_vote(&c->b, &c->a, &votes);
    if (other != result)
        buf_printf(out, "%s <-- via symmetry\n", names[other]);
    buf_printf(out, "%s\n", names[result]);
    votes_close(&votes);
}

void quorum_command(void *unused, const struct directive *d, struct buf *out)
{
    (void)unused;
    struct quorum_case c;
    read_case(d, &c);
    if (strcmp(d->command, "committed") == 0)
        committed(&c, out);
    else if (strcmp(d->command, "vote") == 0)
        vote(&c, out);
    else
        directive_fatal(d, "unknown command");
    raft_ids_close(&c.a);
    raft_ids_close(&c.b);
}
