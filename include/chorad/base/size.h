/* Sizes as people read them. */
#ifndef CHORAD_BASE_SIZE_H
#define CHORAD_BASE_SIZE_H

#include <stdint.h>

/* "1.5 MB", "934 kB": decimal units, one digit behind the point below 10, as
 * etcd logs them. Fresh memory. */
char *size_text(uint64_t bytes);

#endif
