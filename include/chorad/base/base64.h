/* Base64 (RFC 4648) in the two forms that etcd and its clients use. */
#ifndef CHORAD_BASE_BASE64_H
#define CHORAD_BASE_BASE64_H

#include "chorad/base/err.h"
#include "chorad/base/mem.h"

enum base64_form {
    BASE64_PADDED, /* section 4: + and /, with = at the end */
    BASE64_URL,    /* section 5: - and _, without padding */
};

/* Appends the text. */
void base64_encode(struct buf *out, enum base64_form form, struct bytes in);

/* Appends the bytes; line breaks are passed over, and bits behind the last
 * byte may be anything, as in Go's encoding/base64. ERR_MALFORMED: `out` holds
 * what it held before. */
int base64_decode(struct buf *out, enum base64_form form, struct bytes in);

#endif
