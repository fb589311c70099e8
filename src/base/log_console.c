/* The console encoding of log lines: tabs between the parts, fields as a
 * spaced JSON object, as zap's. */
#include "log_line.h"

void log_console_line(struct log_text *out, const struct log_line *line)
{
    log_text_puts(out, line->ts);
    log_text_puts(out, "\t");
    log_text_puts(out, log_level_name(line->level));
    log_text_puts(out, "\t");
    log_text_puts(out, line->caller);
    log_text_puts(out, "\t");
    log_text_puts(out, line->msg);
    if (line->n_fields > 0) {
        log_text_puts(out, "\t{");
        log_json_fields(out, line->fields, line->n_fields, " ");
        log_text_puts(out, "}");
    }
    log_text_puts(out, "\n");
}
