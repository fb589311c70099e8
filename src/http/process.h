/* The process in numbers, as the kernel tells them. */
#ifndef CHORAD_HTTP_PROCESS_H
#define CHORAD_HTTP_PROCESS_H

#include "chorad/base/mem.h"

#include <stdint.h>

/* Appends a file of /proc and a NUL; just the NUL where it can't be read. */
void process_read(const char *path, struct buf *out);

/* The soft limit of open files. */
uint64_t process_fd_limit(void);

/* Registers process_* and os_fd_*. */
void process_metrics_open(void);
/* Brings them up to date; a few system calls. */
void process_metrics_update(void);

#endif
