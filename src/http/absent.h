/* Families of metrics that nothing in this program feeds. */
#ifndef CHORAD_HTTP_ABSENT_H
#define CHORAD_HTTP_ABSENT_H

void absent_metrics_open(void);

#endif
