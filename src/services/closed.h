/* What leads to the content of the store without asking who calls. In this
 * module only a file that says so may name it, each for the reason that stands
 * there; everybody else comes in through access.h, or doesn't compile. */
#ifndef CHORAD_SERVICES_CLOSED_H
#define CHORAD_SERVICES_CLOSED_H

/* All that declare them, before the names are taken away. */
#include "chorad/apply.h"
#include "chorad/auth.h"
#include "chorad/mvcc.h"
#include "chorad/node.h"
#include "chorad/store.h"
#include "chorad/watch.h"

#ifndef SERVICES_ASK_NOBODY
#pragma GCC poison mvcc_reader_open mvcc_txn_range mvcc_hash_kv
#pragma GCC poison store_reader_open
#pragma GCC poison node_watch_feed watch_feed_subscribe
#pragma GCC poison auth_may_read auth_may_write
#pragma GCC poison apply_permit_txn apply_permit_lease
#endif

#endif
