/* Text in quotes. */
#ifndef CHORAD_BASE_QUOTE_H
#define CHORAD_BASE_QUOTE_H

/* As Go's strconv.Quote, into fresh memory that the caller frees. */
char *quote_text(const char *text);

#endif
