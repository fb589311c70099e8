/* The error table's texts, and messages that gain context. */
#include "chorad/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *err_text(int err)
{
    switch (err) {
    case 0:
        return "ok";
#define XX(name, value, grpc, text)                                            \
    case (value):                                                              \
        return (text);
        CHORAD_ERR_MAP(XX)
#undef XX
    default:
        return "unknown error";
    }
}

const char *err_name(int err)
{
    switch (err) {
    case 0:
        return "OK";
#define XX(name, value, grpc, text)                                            \
    case (value):                                                              \
        return "ERR_" #name;
        CHORAD_ERR_MAP(XX)
#undef XX
    default:
        return "ERR_UNKNOWN";
    }
}

int err_grpc_status(int err)
{
    switch (err) {
    case 0:
        return 0;
#define XX(name, value, grpc, text)                                            \
    case (value):                                                              \
        return (grpc);
        CHORAD_ERR_MAP(XX)
#undef XX
    default:
        return 2;
    }
}

/* Formats into `msg`, followed by ": " and `tail` unless `tail` is NULL. The
 * arguments and the tail may point into `msg` itself, so the text is built
 * aside. */
__attribute__((format(printf, 2, 0))) static void set_text(struct errmsg *msg,
                                                           const char *fmt,
                                                           va_list args,
                                                           const char *tail)
{
    char text[sizeof(msg->text)];
    int n = vsnprintf(text, sizeof(text), fmt, args);
    size_t len = n < 0 ? 0 : strnlen(text, sizeof(text) - 1);

    text[len] = '\0';
    if (tail != NULL)
        (void)snprintf(text + len, sizeof(text) - len, ": %s", tail);
    memcpy(msg->text, text, sizeof(text));
}

int err_set(struct errmsg *msg, int err, const char *fmt, ...)
{
    va_list args;

    if (msg == NULL)
        return err;
    va_start(args, fmt);
    set_text(msg, fmt, args, NULL);
    va_end(args);
    return err;
}

int err_wrap(struct errmsg *msg, int err, const char *fmt, ...)
{
    va_list args;

    if (msg == NULL)
        return err;
    va_start(args, fmt);
    set_text(msg, fmt, args, msg->text[0] != '\0' ? msg->text : err_text(err));
    va_end(args);
    return err;
}

static int from_errno(int errnum)
{
    switch (errnum) {
    case ENOSPC:
    case EDQUOT:
        return ERR_NOSPC;
    case ENOMEM:
        return ERR_NOMEM;
    case ENOENT:
        return ERR_NOTFOUND;
    case EEXIST:
        return ERR_EXISTS;
    case EAGAIN:
    case EBUSY:
        return ERR_BUSY;
    default:
        return ERR_IO;
    }
}

int err_errno(struct errmsg *msg, int errnum, const char *fmt, ...)
{
    int err = from_errno(errnum);
    char room[128];
    va_list args;

    if (msg == NULL)
        return err;
    va_start(args, fmt);
    set_text(msg, fmt, args, strerror_r(errnum, room, sizeof(room)));
    va_end(args);
    return err;
}
