/* How far long work is: told as a bar on a terminal, as lines in the log or on
 * stderr elsewhere. One thread at a time. */
#ifndef CHORAD_BASE_HEADWAY_H
#define CHORAD_BASE_HEADWAY_H

#include <stddef.h>
#include <stdint.h>

enum headway_way {
    HEADWAY_SILENT,
    HEADWAY_BAR,   /* one line on stderr that is drawn again and again */
    HEADWAY_LOG,   /* log lines */
    HEADWAY_LINES, /* plain lines on stderr */
};

struct headway {
    enum headway_way way;
    const char *what; /* "taking over etcd's data" */
    uint64_t began_ns;
    uint64_t told_ns;
    size_t drawn; /* columns of the bar that stands */
};

/* The bar if stderr is a terminal, else the other way. */
enum headway_way headway_way(enum headway_way otherwise);

/* Begins now; `what` is borrowed. */
void headway_begin(struct headway *headway, enum headway_way way,
                   const char *what);

/* `done` of `total` is through, with so many records. Cheap: looks at the
 * clock, and tells every few seconds (a bar ten times a second). */
void headway_at(struct headway *headway, uint64_t done, uint64_t total,
                uint64_t records);

/* The bar goes; it ended well or not. */
void headway_end(struct headway *headway);

/* Pure: "42 %, 1500000 records, 750000/s, 3 s left" into `out`. */
void headway_text(char *out, size_t size, uint64_t done, uint64_t total,
                  uint64_t records, uint64_t took_ns);

/* Whole percent done, at most 100. */
unsigned headway_percent(uint64_t done, uint64_t total);

#endif
