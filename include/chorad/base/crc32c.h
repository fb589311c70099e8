/* CRC-32C (Castagnoli, reflected), as etcd's WAL and hashes use it. */
#ifndef CHORAD_BASE_CRC32C_H
#define CHORAD_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continues `crc` (0 at the start) over the data; initial and final xor are
 * inside, so crc32c(crc32c(0, a), b) is the CRC of a then b. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);

#endif
