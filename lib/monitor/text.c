/* SPDX-License-Identifier: MIT */
#include "monitor/text.h"

#include <stdarg.h>

#include "base/base.h"

void
cop__text_begin(cop__text *text, cop_sink_function sink, void *context)
{
    text->sink = sink;
    text->context = context;
    text->stopped = false;
    text->used = 0;
}

static void
flush(cop__text *text)
{
    if (text->used > 0 && !text->stopped)
        text->stopped = text->sink(text->context, text->buffer, text->used) != 0;
    text->used = 0;
}

void
cop__text_put(cop__text *text, const char *format, ...)
{
    va_list list;
    if (sizeof text->buffer - text->used < COP_TEXT_LINE)
        flush(text);
    va_start(list, format);
    int n = vsnprintf(text->buffer + text->used, sizeof text->buffer - text->used, format, list);
    va_end(list);
    COP_ALWAYS(n >= 0 && (unsigned)n < COP_TEXT_LINE);
    text->used += (size_t)n;
}

cop_status
cop__text_end(cop__text *text)
{
    flush(text);
    return text->stopped ? COP_E_IO : COP_OK;
}
