/* Building nested protobuf messages in one buffer. */
#ifndef CHORAD_APPLY_ENCODE_H
#define CHORAD_APPLY_ENCODE_H

#include "chorad/base/mem.h"
#include "chorad/base/pb.h"

/* Opens a nested message: `mark` goes to encode_end. One byte is left for its
 * length; a longer length moves the content. */
size_t encode_begin(struct buf *out, uint32_t field);
void encode_end(struct buf *out, size_t mark);

void encode_u64(struct buf *out, uint32_t field, uint64_t value);
void encode_bytes(struct buf *out, uint32_t field, struct bytes value);

/* Makes room for `len` bytes at `at`, moving what is behind. */
uint8_t *encode_insert(struct buf *out, size_t at, size_t len);

#endif
