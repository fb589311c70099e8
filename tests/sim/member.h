/* The members: which there are, who runs, and their lives. */
#ifndef SIM_MEMBER_H
#define SIM_MEMBER_H

#include "chorad/cluster.h"
#include "sim.h"

struct member {
    unsigned slot;
    struct life *life; /* NULL: down */
    uint64_t id;       /* 0: none in this slot */
    bool started;      /* has booted once */
    bool flipped;      /* a bit of its disk was */
    bool lost;         /* it can't start any more: its disk is damaged */
    bool removed;
    bool learner;
    struct cluster_list joins; /* the cluster it joins; else the first one */
    uint64_t restarts_at;      /* 0: not down, or not by itself */
};

struct member_settings {
    unsigned first_members;
    uint64_t snapshot_count;
    uint64_t catchup_entries;
    uint64_t segment_bytes;
    uint64_t message_bytes; /* of entries in one message; 0: one entry */
    size_t messages;        /* under way to a member */
    bool pre_vote;
    bool lease_checkpoint;
    bool strict_reconfig;
};
extern struct member_settings member_settings;

struct member *member_at(unsigned slot);
void member_start_cluster(void);
void member_start(struct member *m);
/* Power failure, or only the process ends. */
void member_crash(struct member *m, bool power);
/* In order. */
void member_stop(struct member *m);

/* The slot's, if it runs; else NULL. */
struct life *member_life(unsigned slot);
/* One that runs; NULL if none does. */
struct life *member_random_life(void);
struct life *member_leader(void);
/* Of those who have joined, the last one that runs; or NULL. */
struct member *member_newest(void);
/* Belongs to the cluster as far as we know, and could run. */
bool member_counts(const struct member *m);
unsigned member_count(void);

/* A slot for a new one; NULL: all are used. */
struct member *member_free_slot(void);
const char *const *member_urls(unsigned slot);
/* The cluster has taken it in: it starts. */
void member_join(struct member *m, uint64_t id, bool learner,
                 const struct cluster_list *list);

#endif
