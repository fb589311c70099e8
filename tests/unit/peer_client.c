#include "peer_client.h"
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
/* After the standard ones it needs. */
#include <cmocka.h>

void client_open(struct client *c, struct bed *bed)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    const char *port = strrchr(bed->members[0].url, ':') + 1;

    c->bed = bed;
    c->len = 0;
    c->ended = false;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((uint16_t)strtoul(port, NULL, 10));
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(c->fd >= 0);
    assert_int_equal(connect(c->fd, (void *)&address, sizeof(address)), 0);
}

void client_close(struct client *c)
{
    (void)close(c->fd);
}

void client_send(struct client *c, const void *data, size_t len)
{
    const uint8_t *p = data;

    while (len > 0) {
        ssize_t n = send(c->fd, p, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN)
                return;
            bed_run(c->bed, 2);
            continue;
        }
        p += n;
        len -= (size_t)n;
    }
}

void client_read(struct client *c)
{
    ssize_t n =
        recv(c->fd, c->got + c->len, sizeof(c->got) - 1 - c->len, MSG_DONTWAIT);

    if (n > 0)
        c->len += (size_t)n;
    else if (n == 0 || errno != EAGAIN)
        c->ended = true;
    c->got[c->len] = '\0';
}

void client_until(struct client *c, const char *text)
{
    for (int i = 0; i < 1500; i++) {
        client_read(c);
        if (text ? strstr(c->got, text) != NULL : c->ended)
            return;
        bed_run(c->bed, 2);
    }
    print_error("waited for: %s\ngot: %s\n", text ? text : "the end", c->got);
    fail();
}

void ask(struct bed *bed, const char *request, const char *begin,
         const char *end)
{
    static struct client c;

    client_open(&c, bed);
    client_send(&c, request, strlen(request));
    client_until(&c, end);
    if (strncmp(c.got, begin, strlen(begin)) != 0) {
        print_error("asked: %s\nwanted: %s\ngot: %s\n", request, begin, c.got);
        fail();
    }
    client_close(&c);
}
