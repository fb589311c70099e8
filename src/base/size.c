/* Sizes as people read them. */
#include "chorad/base/size.h"

#include "chorad/base/mem.h"

char *size_text(uint64_t bytes)
{
    static const char *const units[] = {"B",  "kB", "MB", "GB",
                                        "TB", "PB", "EB"};
    double value = (double)bytes;
    size_t unit = 0;

    while (value >= 1000) {
        value /= 1000;
        unit++;
    }
    if (unit > 0 && value < 10)
        return mem_printf("%.1f %s", value, units[unit]);
    return mem_printf("%.0f %s", value, units[unit]);
}
