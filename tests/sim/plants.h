/* Faults that can be planted into the members' code, to see whether they are
 * found. */
#ifndef SIM_PLANTS_H
#define SIM_PLANTS_H

#include <stdbool.h>

/* False: there is none of that name. */
bool plant_choose(const char *name);
const char *plant_name(void);
void plant_list(void);

#endif
