/* A snapshot's file: an image, and mostly a SHA-256 behind it. */
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SUM_BYTES 32
#define CHUNK_BYTES ((size_t)1 << 20)

int image_file_open(struct image_file *image, const char *path,
                    struct errmsg *msg)
{
    struct stat st;

    *image = (struct image_file){.file = {-1, path}};
    image->file.fd = open(path, O_RDONLY | O_CLOEXEC);
    if (image->file.fd < 0)
        return err_errno(msg, errno, "%s", path);
    if (fstat(image->file.fd, &st) != 0)
        return err_errno(msg, errno, "%s", path);
    if (!S_ISREG(st.st_mode))
        return err_set(msg, ERR_INVALID, "%s: not a regular file", path);
    image->size = (uint64_t)st.st_size;
    /* Pages are multiples of a sector (source: etcd). */
    image->has_sum = image->size % 512 == SUM_BYTES;
    return 0;
}

void image_file_close(struct image_file *image)
{
    if (image->file.fd >= 0)
        (void)close(image->file.fd);
    image->file.fd = -1;
}

int image_file_read(const struct image_file *image, uint64_t offset,
                    uint8_t *out, size_t len, struct errmsg *msg)
{
    while (len > 0) {
        ssize_t n = pread(image->file.fd, out, len, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_errno(msg, n < 0 ? errno : EIO, "%s: read",
                             image->file.name);
        out += n;
        offset += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

static int sum_up(const struct image_file *image, uint64_t len, EVP_MD_CTX *ctx,
                  struct errmsg *msg)
{
    uint8_t *chunk = mem_alloc(CHUNK_BYTES);
    int err = 0;

    for (uint64_t at = 0; at < len && err == 0;) {
        size_t n = len - at < CHUNK_BYTES ? (size_t)(len - at) : CHUNK_BYTES;

        err = image_file_read(image, at, chunk, n, msg);
        if (err == 0 && EVP_DigestUpdate(ctx, chunk, n) != 1)
            err = err_set(msg, ERR_NOMEM, "computing a SHA-256 failed");
        at += n;
    }
    free(chunk);
    return err;
}

int image_file_check_sum(const struct image_file *image, struct errmsg *msg)
{
    uint64_t len = image->size - SUM_BYTES;
    uint8_t there[SUM_BYTES];
    uint8_t is[SUM_BYTES];
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int err = image_file_read(image, len, there, SUM_BYTES, msg);

    if (err == 0 &&
        (ctx == NULL || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1))
        err = err_set(msg, ERR_NOMEM, "computing a SHA-256 failed");
    if (err == 0)
        err = sum_up(image, len, ctx, msg);
    if (err == 0 && EVP_DigestFinal_ex(ctx, is, NULL) != 1)
        err = err_set(msg, ERR_NOMEM, "computing a SHA-256 failed");
    EVP_MD_CTX_free(ctx);
    if (err == 0 && memcmp(there, is, SUM_BYTES) != 0)
        err = err_set(msg, ERR_CORRUPT,
                      "%s: the SHA-256 at its end is of other data: the file "
                      "is damaged",
                      image->file.name);
    return err;
}
