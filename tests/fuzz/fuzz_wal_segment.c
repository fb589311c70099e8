/* Whole segments from memory. The first byte says in how many the rest is
 * divided, and whether the checksums are made right first, so that the fuzzer
 * gets behind them. */
#include "chorad/base/be.h"
#include "chorad/base/check.h"
#include "chorad/base/crc32c.h"
#include "wal/replay.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Writes each record's right checksum into it, where five bytes are kept for
 * it. */
static void fix_checksums(uint8_t *p, size_t size)
{
    uint32_t crc = 0;

    for (size_t at = 0; at + WAL_FRAME_BYTES <= size;) {
        uint64_t frame = le_get_u64(p + at);
        uint64_t len = wal_frame_record_bytes(frame);
        struct wal_record record;
        uint8_t *body = p + at + WAL_FRAME_BYTES;
        at += WAL_FRAME_BYTES;
        if (len > size - at || wal_record_get(&record, bytes_of(body, len)) < 0)
            return;
        if (record.type == WAL_CRC)
            crc = record.crc;
        else
            crc = crc32c(crc, record.data.data, record.data.len);
        if (record.type != WAL_CRC && len > 8 && body[2] == 0x10 &&
            (body[3] & body[4] & body[5] & body[6] & 0x80) && body[7] < 16) {
            for (unsigned i = 0; i < 4; i++)
                body[3 + i] = (uint8_t)(crc >> 7 * i | 0x80);
            body[7] = (uint8_t)(crc >> 28);
        }
        at += len + wal_frame_pad_bytes(frame);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wal_replay replay = {.dir = "memory"};
    struct wal_contents contents = {0};
    struct wal_replay_run run;
    struct errmsg msg;

    if (size == 0)
        return 0;
    size_t count = (data[0] & 3) + 1U;
    uint8_t *copy = malloc(size);
    CHECK(copy);
    memcpy(copy, data + 1, size - 1);
    if (data[0] & 4)
        fix_checksums(copy, size - 1);
    size_t part = (size - 1) / count;
    wal_replay_run_init(&run, &replay, &contents);
    for (size_t i = 0; i < count; i++) {
        size_t len = i + 1 == count ? size - 1 - part * i : part;
        struct wal_source source =
            wal_source_memory("segment", bytes_of(copy + part * i, len));
        if (wal_replay_run_segment(&run, &source, i + 1 == count, &msg) < 0)
            break;
        CHECK(replay.offset <= len);
    }
    wal_replay_run_close(&run);
    for (size_t i = 0; i < contents.entry_count; i++)
        CHECK(contents.entries[i].index == i + 1);
    wal_contents_close(&contents);
    wal_replay_close(&replay);
    free(copy);
    return 0;
}
