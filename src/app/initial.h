/* --initial-cluster: "name=url,name=url2,other=url3". Pure. */
#ifndef CHORAD_APP_INITIAL_H
#define CHORAD_APP_INITIAL_H

#include "chorad/config.h"

/* Reads the text into fresh memory, sorted by name; nothing on an error. */
int initial_parse(const char *text, struct config_member **members, size_t *n,
                  struct errmsg *msg);
void initial_free(struct config_member *members, size_t n);

/* "a=url,b=url", sorted, in fresh memory. */
char *initial_text(const struct config_member *members, size_t n);

/* NULL when absent. */
const struct config_member *initial_find(const struct config_member *members,
                                         size_t n, const char *name);

#endif
