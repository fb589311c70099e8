/* Socket addresses as people read them. */
#include "chorad/base/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* After the standard ones it needs. */
#include <cmocka.h>

static void assert_text6(const char *host, const char *want)
{
    struct sockaddr_storage storage = {.ss_family = AF_INET6};
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&storage;
    char text[ADDRESS_TEXT_MAX];

    assert_int_equal(inet_pton(AF_INET6, host, &in6->sin6_addr), 1);
    in6->sin6_port = htons(65535);
    assert_string_equal(address_text(&storage, text, sizeof(text)), want);
}

static void addresses_look_as_go_prints_them(void **state)
{
    struct sockaddr_storage storage = {.ss_family = AF_INET};
    struct sockaddr_in *in = (struct sockaddr_in *)&storage;
    char text[ADDRESS_TEXT_MAX];

    (void)state;
    in->sin_addr.s_addr = htonl(0x0a000001);
    in->sin_port = htons(2379);
    assert_string_equal(address_text(&storage, text, sizeof(text)),
                        "10.0.0.1:2379");
    assert_text6("::1", "[::1]:65535");
    assert_text6("::ffff:10.0.0.1", "10.0.0.1:65535");
    assert_text6("::10.0.0.1", "[::10.0.0.1]:65535");
    assert_text6("fd00:1111:2222:3333:4444:5555:6666:7777",
                 "[fd00:1111:2222:3333:4444:5555:6666:7777]:65535");
    storage.ss_family = AF_UNIX;
    assert_string_equal(address_text(&storage, text, sizeof(text)), "@");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_look_as_go_prints_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
