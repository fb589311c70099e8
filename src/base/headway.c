#include "chorad/base/headway.h"

#include "chorad/base/clock.h"
#include "chorad/base/log.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BAR_EVERY_NS UINT64_C(100000000)
#define LINE_EVERY_NS UINT64_C(5000000000)
#define BAR_COLUMNS 30

enum headway_way headway_way(enum headway_way otherwise)
{
    return isatty(STDERR_FILENO) ? HEADWAY_BAR : otherwise;
}

void headway_begin(struct headway *p, enum headway_way way, const char *what)
{
    uint64_t now = clock_mono_ns();

    *p = (struct headway){way, what, now, now, 0};
}

unsigned headway_percent(uint64_t done, uint64_t total)
{
    if (done >= total)
        return 100;
    return (unsigned)((double)done / (double)total * 100);
}

/* Seconds that are left if it goes on as it went; 0 where that can't be told.
 */
static uint64_t seconds_left(uint64_t done, uint64_t total, uint64_t took_ns)
{
    if (done == 0 || done >= total)
        return 0;
    return (uint64_t)((double)took_ns / 1e9 * (double)(total - done) /
                      (double)done) +
           1;
}

static uint64_t per_second(uint64_t records, uint64_t took_ns)
{
    return took_ns == 0 ? 0
                        : (uint64_t)((double)records * 1e9 / (double)took_ns);
}

void headway_text(char *out, size_t size, uint64_t done, uint64_t total,
                  uint64_t records, uint64_t took_ns)
{
    (void)snprintf(
        out, size,
        "%u %%, %" PRIu64 " records, %" PRIu64 "/s, %" PRIu64 " s left",
        headway_percent(done, total), records, per_second(records, took_ns),
        seconds_left(done, total, took_ns));
}

/* Drawn over the one before, which may have been longer. */
static void draw(struct headway *p, const char *line)
{
    size_t len = strlen(line);
    int pad = p->drawn > len ? (int)(p->drawn - len) : 0;

    (void)fprintf(stderr, "\r%s%*s", line, pad, "");
    (void)fflush(stderr);
    p->drawn = len;
}

static void draw_bar(struct headway *p, unsigned percent, const char *text)
{
    char bar[BAR_COLUMNS + 1];
    char line[256];

    memset(bar, ' ', BAR_COLUMNS);
    memset(bar, '#', percent * BAR_COLUMNS / 100);
    bar[BAR_COLUMNS] = '\0';
    (void)snprintf(line, sizeof(line), "%s [%s] %s", p->what, bar, text);
    draw(p, line);
}

void headway_at(struct headway *p, uint64_t done, uint64_t total,
                uint64_t records)
{
    uint64_t every = p->way == HEADWAY_BAR ? BAR_EVERY_NS : LINE_EVERY_NS;
    uint64_t now = p->way == HEADWAY_SILENT ? 0 : clock_mono_ns();
    uint64_t took = now - p->began_ns;
    char text[128];

    if (p->way == HEADWAY_SILENT || now - p->told_ns < every)
        return;
    p->told_ns = now;
    headway_text(text, sizeof(text), done, total, records, took);
    if (p->way == HEADWAY_BAR)
        draw_bar(p, headway_percent(done, total), text);
    else if (p->way == HEADWAY_LINES)
        (void)fprintf(stderr, "%s: %s\n", p->what, text);
    else
        log_info(p->what, LOG_U64("percent", headway_percent(done, total)),
                 LOG_U64("records", records),
                 LOG_U64("records-per-second", per_second(records, took)),
                 LOG_NS("took", took),
                 LOG_NS("left", seconds_left(done, total, took) *
                                    UINT64_C(1000000000)));
}

void headway_end(struct headway *p)
{
    if (p->way != HEADWAY_BAR || p->drawn == 0)
        return;
    draw(p, "");
    (void)fputc('\r', stderr);
}
