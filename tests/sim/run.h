#ifndef SIM_RUN_H
#define SIM_RUN_H

#include "sim.h"

struct run_result {
    uint64_t trace;
    uint64_t steps;
    uint64_t answers;
    uint64_t elections;
    uint64_t entries;
    int64_t revision;
};

/* One run; ends the process if it shows a fault. */
struct run_result run(uint64_t seed, bool verbose);

#endif
