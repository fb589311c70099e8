/* Word to the init system: over a path, over an abstract name, to nobody. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "chorad/app.h"

/* Listens under `name` ("@x" for the abstract namespace), has a state sent
 * there and checks that it arrives. */
static void check_arrives(const char *name)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    char got[64] = {0};
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

    assert_true(fd >= 0);
    memcpy(addr.sun_path, name, strlen(name));
    if (name[0] == '@')
        addr.sun_path[0] = '\0';
    assert_int_equal(bind(fd, (struct sockaddr *)&addr,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
                                      strlen(name))),
                     0);
    assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
    assert_int_equal(app_notify("READY=1"), 0);
    assert_int_equal(recv(fd, got, sizeof(got) - 1, MSG_DONTWAIT), 7);
    assert_string_equal(got, "READY=1");
    close(fd);
}

static void test_arrives(void **state)
{
    char name[64];

    (void)state;
    (void)snprintf(name, sizeof(name), "/tmp/chorad-notify-%d", (int)getpid());
    check_arrives(name);
    assert_int_equal(unlink(name), 0);
    (void)snprintf(name, sizeof(name), "@chorad-notify-%d", (int)getpid());
    check_arrives(name);
}

static void test_nobody_listens(void **state)
{
    char name[200];

    (void)state;
    assert_int_equal(unsetenv("NOTIFY_SOCKET"), 0);
    assert_int_equal(app_notify("READY=1"), 0);
    assert_int_equal(setenv("NOTIFY_SOCKET", "", 1), 0);
    assert_int_equal(app_notify("READY=1"), 0);
    assert_int_equal(setenv("NOTIFY_SOCKET", "/no/such/socket", 1), 0);
    assert_true(app_notify("READY=1") < 0);
    assert_int_equal(setenv("NOTIFY_SOCKET", "relative", 1), 0);
    assert_int_equal(app_notify("READY=1"), ERR_INVALID);
    memset(name, 'x', sizeof(name));
    name[0] = '/';
    name[sizeof(name) - 1] = '\0';
    assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
    assert_int_equal(app_notify("READY=1"), ERR_INVALID);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arrives),
        cmocka_unit_test(test_nobody_listens),
    };

    return cmocka_run_group_tests_name("config_notify", tests, NULL, NULL);
}
