/* Assertions that stay on in production: for our own invariants, never for
 * what comes from a client, the network or a disk. */
#ifndef CHORAD_BASE_CHECK_H
#define CHORAD_BASE_CHECK_H

/* Logs the condition with its place and aborts the member: a dead member is
 * safe, a lying one isn't. */
_Noreturn void check_failed(const char *cond, const char *file, int line);

#define CHECK(cond)                                                            \
    do {                                                                       \
        if (__builtin_expect(!(cond), 0))                                      \
            check_failed(#cond, __FILE__, __LINE__);                           \
    } while (0)

#endif
