/* What is said of the directories before they are used. */
#ifndef CHORAD_APP_DIRS_H
#define CHORAD_APP_DIRS_H

#include "chorad/config.h"

/* Warns about directories that are open to others, and names what in the data
 * directory isn't the server's. */
void app_check_dirs(const struct config *config);

#endif
