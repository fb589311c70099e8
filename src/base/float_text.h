/* Doubles as Go's strconv prints them: the fewest digits that read back as
 * the same number. */
#ifndef CHORAD_BASE_FLOAT_TEXT_H
#define CHORAD_BASE_FLOAT_TEXT_H

#include <stddef.h>

/* Room for either format; -1.7e308 in full takes 310 characters, 5e-324
 * takes 327. */
#define FLOAT_TEXT_SIZE 344

/* Format 'g': "0.001", "1.048576e+06", "NaN", "+Inf". Returns the length. */
size_t float_text_g(char out[FLOAT_TEXT_SIZE], double v);

/* Format 'f', without an exponent: "1048576". */
size_t float_text_f(char out[FLOAT_TEXT_SIZE], double v);

#endif
