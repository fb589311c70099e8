/* A client of a member's peer port that may do whatever it likes. */
#ifndef CHORAD_TESTS_PEER_CLIENT_H
#define CHORAD_TESTS_PEER_CLIENT_H

#include "peer_fixture.h"

struct client {
    struct bed *bed;
    int fd;
    char got[65536];
    size_t len;
    bool ended;
};

void client_open(struct client *c, struct bed *bed);
void client_close(struct client *c);
/* Runs the bed while the member doesn't take it. */
void client_send(struct client *c, const void *data, size_t len);
/* Takes what has come. */
void client_read(struct client *c);
/* Until the text is in what has come, or, with NULL, nothing more comes. */
void client_until(struct client *c, const char *text);

/* One request on a connection of its own; the answer has to begin and to end
 * so. */
void ask(struct bed *bed, const char *request, const char *begin,
         const char *end);

#endif
