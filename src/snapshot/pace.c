/* Progress in steps that cost nothing. */
#include "internal.h"

#define STEP_RECORDS 1000
#define STEP_BYTES (1 << 20)

int pace_record(struct pace *pace, size_t bytes)
{
    pace->bytes += bytes;
    if (++pace->at.records < pace->next_records && pace->bytes < STEP_BYTES)
        return 0;
    pace->next_records = pace->at.records + STEP_RECORDS;
    pace->bytes = 0;
    return pace->progress != NULL ? pace->progress(pace->arg, &pace->at) : 0;
}

int pace_end(struct pace *pace)
{
    pace->at.done = pace->at.total;
    return pace->progress != NULL ? pace->progress(pace->arg, &pace->at) : 0;
}
