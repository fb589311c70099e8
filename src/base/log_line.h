/* A log line while it is built, and its two encodings. Private to base. */
#ifndef CHORAD_BASE_LOG_LINE_H
#define CHORAD_BASE_LOG_LINE_H

#include "chorad/base/log.h"

/* Begins in `room`; a longer line moves to the heap. */
struct log_text {
    char *data;
    size_t len;
    size_t cap;
    char room[2048];
};

void log_text_init(struct log_text *text);
void log_text_close(struct log_text *text);
void log_text_put(struct log_text *text, const char *data, size_t len);
void log_text_puts(struct log_text *text, const char *s);

struct log_line {
    enum log_level level;
    const char *ts;
    const char *caller;
    const char *msg;
    const struct log_field *fields;
    size_t n_fields;
};

/* Both append the whole line with its newline. */
void log_json_line(struct log_text *out, const struct log_line *line);
void log_console_line(struct log_text *out, const struct log_line *line);

/* `separator` stands between key and value after the colon and between
 * fields after the comma: "" or " ". The braces are the caller's. */
void log_json_fields(struct log_text *out, const struct log_field *fields,
                     size_t n, const char *separator);

const char *log_level_name(enum log_level level);

#endif
