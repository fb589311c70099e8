#include "chorad/codec.h"

static void *arena_alloc_cb(void *arena, size_t size)
{
    return arena_alloc(arena, size);
}

static void arena_free_cb(void *arena, void *ptr)
{
    (void)arena;
    (void)ptr;
}

ProtobufCAllocator codec_allocator(struct arena *arena)
{
    return (ProtobufCAllocator){
        .alloc = arena_alloc_cb,
        .free = arena_free_cb,
        .allocator_data = arena,
    };
}

ProtobufCMessage *codec_unpack(const ProtobufCMessageDescriptor *type,
                               struct arena *arena, struct bytes data)
{
    ProtobufCAllocator allocator = codec_allocator(arena);
    return protobuf_c_message_unpack(type, &allocator, data.len, data.data);
}

void codec_pack(struct buf *out, const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *at = buf_reserve(out, size);

    out->len += protobuf_c_message_pack(message, at);
}

bool codec_utf8_valid(struct bytes s)
{
    const uint8_t *p = s.data;
    const uint8_t *end = s.data + s.len;

    while (p < end) {
        uint32_t c = *p++;
        uint32_t low;
        int more;

        if (c < 0x80)
            continue;
        if (c >= 0xC2 && c <= 0xDF) {
            more = 1;
            c &= 0x1F;
            low = 0x80;
        } else if (c >= 0xE0 && c <= 0xEF) {
            more = 2;
            c &= 0x0F;
            low = 0x800;
        } else if (c >= 0xF0 && c <= 0xF4) {
            more = 3;
            c &= 0x07;
            low = 0x10000;
        } else {
            return false;
        }
        if (end - p < more)
            return false;
        for (; more > 0; more--, p++) {
            if ((*p & 0xC0) != 0x80)
                return false;
            c = c << 6 | (*p & 0x3Fu);
        }
        if (c < low || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF))
            return false;
    }
    return true;
}
