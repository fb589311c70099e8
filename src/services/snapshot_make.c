/* The maker's work: the image's bytes in pieces, and their sum. */
#include "snapshot.h"

#include "chorad/base/clock.h"
#include "chorad/base/log.h"
#include "chorad/base/size.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#define SUM_BYTES 32

struct maker {
    struct snapshot *s;
    EVP_MD_CTX *sum;
    struct shared *blob; /* the piece that fills */
    size_t filled;
    uint64_t sent;
};

/* ---- the image's bytes in pieces ------------------------------------------
 */

static int give_blob(struct maker *m)
{
    struct shared *blob = m->blob;

    m->blob = NULL;
    m->sent += blob->len;
    if (EVP_DigestUpdate(m->sum, blob->data, blob->len) != 1) {
        shared_unref(blob);
        return ERR_NOMEM;
    }
    return snapshot_give(m->s, blob, m->s->total - m->sent);
}

static void begin_blob(struct maker *m)
{
    uint64_t left = m->s->total - m->sent;

    m->blob = shared_new(left < SNAPSHOT_PIECE ? (size_t)left : SNAPSHOT_PIECE);
    m->filled = 0;
}

/* The writer never gives more than it has promised, unless its two passes
 * differ. */
static int add_bytes(void *arg, struct bytes bytes)
{
    struct maker *m = arg;

    while (bytes.len > 0) {
        size_t n;
        int err;

        if (m->blob == NULL && m->sent == m->s->total)
            return ERR_CORRUPT;
        if (m->blob == NULL)
            begin_blob(m);
        n = m->blob->len - m->filled;
        if (n > bytes.len)
            n = bytes.len;
        memcpy(m->blob->data + m->filled, bytes.data, n);
        m->filled += n;
        bytes = bytes_of(bytes.data + n, bytes.len - n);
        if (m->filled < m->blob->len)
            continue;
        err = give_blob(m);
        if (err != 0)
            return err;
    }
    return 0;
}

static int give_sum(struct maker *m)
{
    struct shared *blob = shared_new(SUM_BYTES);

    if (EVP_DigestFinal_ex(m->sum, blob->data, NULL) != 1) {
        shared_unref(blob);
        return ERR_NOMEM;
    }
    log_info("sending database sha256 checksum to client",
             LOG_U64("total-bytes", m->s->total),
             LOG_I64("checksum-size", SUM_BYTES));
    return snapshot_give(m->s, blob, 0);
}

/* ---- the image ------------------------------------------------------------
 */

static int begin_image(void *arg, const struct snapshot_info *info)
{
    struct maker *m = arg;
    char *size = size_text(info->bytes);

    m->s->total = info->bytes;
    memcpy(m->s->version, info->version, sizeof(m->s->version));
    m->s->began_ns = clock_mono_ns();
    log_info("sending database snapshot to client",
             LOG_U64("total-bytes", m->s->total), LOG_STR("size", size),
             LOG_STR("storage-version", m->s->version));
    free(size);
    return 0;
}

/* Also while nothing is written yet, and so nothing waits for the client. */
static int look_up(void *arg, const struct snapshot_progress *progress)
{
    const struct maker *m = arg;

    (void)progress;
    return atomic_load_explicit(&m->s->over, memory_order_relaxed)
               ? ERR_CANCELED
               : 0;
}

static int read_store(struct maker *m)
{
    struct snapshot_sink sink = {begin_image, add_bytes, look_up, m};
    struct store_reader *reader;
    int err = access_open_store(&m->s->access, &reader);

    if (err != 0)
        return err;
    err = store_read_begin(reader);
    if (err == 0) {
        err = snapshot_write(reader, &sink, NULL);
        store_read_end(reader);
    }
    store_reader_close(reader);
    return err;
}

int snapshot_make(struct snapshot *s)
{
    struct maker m = {.s = s};
    int err = snapshot_wait_flush(s);

    if (err != 0)
        return err;
    m.sum = EVP_MD_CTX_new();
    if (m.sum == NULL || EVP_DigestInit_ex(m.sum, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(m.sum);
        return ERR_NOMEM;
    }
    err = read_store(&m);
    if (err == 0)
        err = give_sum(&m);
    shared_unref(m.blob);
    EVP_MD_CTX_free(m.sum);
    return err;
}
