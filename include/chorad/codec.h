/* What protobuf-c lacks for messages from outside: memory from an arena, a
 * bound on nesting, and UTF-8 checks. */
#ifndef CHORAD_CODEC_H
#define CHORAD_CODEC_H

#include "chorad/base/err.h"
#include "chorad/base/mem.h"
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

/* protobuf-c's allocator on an arena: what is unpacked with it needs no
 * freeing and lives as long as the arena does. */
ProtobufCAllocator codec_allocator(struct arena *arena);

/* Unpacks into the arena; NULL for malformed bytes. Types that can contain
 * themselves must have passed codec_txn_depth first. */
ProtobufCMessage *codec_unpack(const ProtobufCMessageDescriptor *type,
                               struct arena *arena, struct bytes data);

/* Appends the packed message. */
void codec_pack(struct buf *out, const ProtobufCMessage *message);

/* The deepest nesting that is unpacked, whatever --max-txn-ops says: each
 * level costs stack in protobuf-c, which knows no limit of its own. */
#define CODEC_TXN_DEPTH_MAX 512

/* How deep TxnRequests are nested in an encoded TxnRequest (1: not at all), or
 * ERR_MALFORMED, or ERR_TOO_MANY_OPS from CODEC_TXN_DEPTH_MAX on. */
int codec_txn_depth(struct bytes txn);

bool codec_utf8_valid(struct bytes s);

#endif
