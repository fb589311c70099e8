/* The path of machines without a CRC instruction, where a test on a machine
 * with one can reach it. Private to base. */
#ifndef CHORAD_BASE_CRC32C_TABLES_H
#define CHORAD_BASE_CRC32C_TABLES_H

#include <stddef.h>
#include <stdint.h>

/* Goes on over the data without the inversions of crc32c(). */
uint32_t crc32c_tables(uint32_t crc, const uint8_t *p, size_t len);

#endif
