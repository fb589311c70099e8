/* The system's resolver of host names. */
#ifndef CHORAD_APP_RESOLVER_H
#define CHORAD_APP_RESOLVER_H

#include "chorad/config.h"

extern const struct config_resolver resolver_system;

#endif
