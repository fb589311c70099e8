/* Socket addresses as people read them. */
#ifndef CHORAD_BASE_ADDRESS_H
#define CHORAD_BASE_ADDRESS_H

#include <stddef.h>
#include <sys/socket.h>

/* The longest text, with its zero byte. */
#define ADDRESS_TEXT_MAX 64

/* "10.0.0.1:2379", "[fe80::1]:2379"; "@" for what has no port. An IPv4 address
 * that comes by a socket of both families is told as what it is, as Go has
 * it. Returns `out`. */
const char *address_text(const struct sockaddr_storage *address, char *out,
                         size_t size);

#endif
