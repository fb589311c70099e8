/* The Host header. Pure. */
#ifndef CHORAD_HTTP_HOST_H
#define CHORAD_HTTP_HOST_H

/* "a", "a:1" -> "a"; "[::1]:1" -> "::1"; what has no port or isn't of that
 * form is given back as it is. malloc'ed. Source: Go's net.SplitHostPort. */
char *host_without_port(const char *host);

#endif
