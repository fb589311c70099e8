/* The two places besides a file that settings come from. Pure. */
#ifndef CHORAD_CONFIG_SOURCES_H
#define CHORAD_CONFIG_SOURCES_H

#include "chorad/config.h"

/* Reads the command line as Go's flag package does. CONFIG_RUN, or what else
 * is to be done, with a text where something is wrong. */
enum config_action args_read(int argc, char *const argv[],
                             struct config *config, struct errmsg *msg);

/* Sets every flag whose variable ("ETCD_DATA_DIR") is there and not empty.
 * Fails when a variable's flag was given too, or a value cannot be read.
 * Unknown variables are noted. */
int env_read(char *const env[], struct config *config, struct errmsg *msg);

/* NULL when not set. */
const char *env_value(char *const env[], const char *name);

#endif
