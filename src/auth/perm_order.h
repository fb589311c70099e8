/* The order of a role's permissions. Pure. */
#ifndef CHORAD_AUTH_PERM_ORDER_H
#define CHORAD_AUTH_PERM_ORDER_H

#include "chorad/auth.h"

/* Sorts by key. Those with equal keys come to lie as in etcd, which sorts with
 * Go's sort.Sort (since Go 1.19): not stable, but always the same. Their order
 * is stored, is what RoleGet answers, and decides which one is changed when it
 * is granted again. */
void perm_order(struct auth_permission *perms, size_t n);

#endif
