/* The program around the modules: settings into the log, start and stop of
 * the parts in order, word to the init system. */
#ifndef CHORAD_APP_H
#define CHORAD_APP_H

#include <stddef.h>

#include "chorad/config.h"

/* Runs the member until SIGTERM or SIGINT and returns the exit code: 0, as it
 * has stopped in order, because it was asked to. docs/operations.md says which
 * signals do what, and why it doesn't end itself by the signal. The settings
 * have been loaded, settled and checked, the log is set up. */
int app_run(const struct config *config);

/* Sets level, format and outputs of the log; ERR_* with a text when an output
 * cannot be opened. */
int app_log_setup(const struct config *config, struct errmsg *msg);

/* Logs what was noted while the settings were read. */
void app_log_notes(const struct config *config);

/* The address this machine talks to the world with, by its default route, as
 * text in `out`; ERR_NOTFOUND where there is none. Sends nothing. */
int app_default_host(char *out, size_t size);

/* Tells the init system a state ("READY=1", "STOPPING=1") over
 * NOTIFY_SOCKET. 0 also when no init system listens.
 * Source: sd_notify(3). */
int app_notify(const char *state);

#endif
