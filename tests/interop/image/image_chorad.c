/* chorad's side of the exchange of database images:
 *
 *   list FILE        lists all records as bbolt's side does
 *   copy FILE OUT    writes what FILE holds as an image of its own */
#include "chorad/base/crc32c.h"
#include "chorad/image.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

static void print_hex(struct bytes b)
{
    for (size_t i = 0; i < b.len; i++)
        printf("%02x", b.data[i]);
}

static int list_bucket(void *arg, struct bytes name)
{
    (void)arg;
    printf("bucket ");
    print_hex(name);
    printf("\n");
    return 0;
}

static int list_record(void *arg, struct bytes key, struct bytes value)
{
    (void)arg;
    print_hex(key);
    printf(" %zu %08x\n", value.len, crc32c(0, value.data, value.len));
    return 0;
}

static int put_bucket(void *arg, struct bytes name)
{
    return image_writer_bucket(arg, name);
}

static int put_record(void *arg, struct bytes key, struct bytes value)
{
    return image_writer_put(arg, key, value);
}

static int write_file(void *arg, struct bytes bytes)
{
    return fwrite(bytes.data, 1, bytes.len, arg) == bytes.len ? 0 : ERR_IO;
}

static int copy(const struct image_source *source, const char *path,
                struct errmsg *msg)
{
    struct image_writer *w = image_writer_open();
    struct image_visitor v = {put_bucket, put_record, w};
    FILE *out = fopen(path, "wb");
    int err = out == NULL ? ERR_IO : image_walk(source, &v, msg);

    if (err == 0)
        err = image_writer_plan(w, 2, write_file, out);
    if (err == 0)
        err = image_walk(source, &v, msg);
    if (err == 0)
        err = image_writer_finish(w);
    if (out != NULL && fclose(out) != 0 && err == 0)
        err = ERR_IO;
    image_writer_close(w);
    return err;
}

int main(int argc, char **argv)
{
    struct image_visitor lister = {list_bucket, list_record, NULL};
    struct image_source source = {0};
    struct errmsg msg = {0};
    struct stat st;
    int fd = argc > 2 ? open(argv[2], O_RDONLY | O_CLOEXEC) : -1;
    int err;

    if (fd < 0 || fstat(fd, &st) != 0) {
        fprintf(stderr, "usage: %s list FILE | copy FILE OUT\n", argv[0]);
        return 2;
    }
    source.size = (uint64_t)st.st_size;
    source.map = mmap(NULL, source.size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (source.map == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    err = strcmp(argv[1], "list") == 0 ? image_walk(&source, &lister, &msg)
                                       : copy(&source, argv[3], &msg);
    if (err != 0)
        fprintf(stderr, "%s: %s: %s\n", argv[2], err_name(err), msg.text);
    return err != 0;
}
