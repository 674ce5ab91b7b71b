/* SPDX-License-Identifier: MIT */
/* Text to a sink, through a buffer. */
#ifndef COP_MONITOR_TEXT_H
#define COP_MONITOR_TEXT_H

#include <coppice/json.h>

#include <stdbool.h>

#define COP_TEXT_LINE 512u /* the most that one put may write */

typedef struct cop__text {
    cop_sink_function sink;
    void *context;
    bool stopped; /* the sink wants no more */
    size_t used;
    char buffer[4096];
} cop__text;

void cop__text_begin(cop__text *text, cop_sink_function sink, void *context);
void cop__text_put(cop__text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* COP_E_IO when the sink stopped. */
cop_status cop__text_end(cop__text *text);

#endif
