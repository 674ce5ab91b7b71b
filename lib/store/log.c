/* SPDX-License-Identifier: MIT */
/*
 * Messages: to the host's log callback, and into a cop_error.
 *
 * Both often quote what came from outside (a path, a line of a file). What leaves here is one line
 * of valid UTF-8 without control characters, so that a quoted key can neither forge a log line nor
 * spoil the JSON of a problem document.
 */
#include "store/log.h"

#include <stdarg.h>
#include <stdbool.h>

#include "tree/path.h"

#define LOG_LINE_MAX 512

static void
replace_controls(char *text)
{
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = ' ';
}

/* A cut in the middle of a character takes its beginning away too; other faults become '?'. */
static void
make_valid(char *text, size_t length, bool cut)
{
    size_t start = 0, fault;
    while (!cop__utf8_valid(text + start, length - start, &fault)) {
        start += fault;
        if (cut && length - start < 4 && ((unsigned char)text[start] & 0xc0) == 0xc0) {
            text[start] = '\0';
            return;
        }
        text[start++] = '?';
    }
}

/* The message in buffer, cut to its size, cleaned. */
static void
compose(char *buffer, size_t capacity, const char *format, va_list arguments)
{
    int n = vsnprintf(buffer, capacity, format, arguments);
    if (n < 0) {
        buffer[0] = '\0';
        return;
    }
    bool cut = (size_t)n >= capacity;
    make_valid(buffer, cut ? capacity - 1 : (size_t)n, cut);
    replace_controls(buffer);
}

void
cop__log_write(const cop__log *log, cop_log_level level, const char *format, ...)
{
    char line[LOG_LINE_MAX];
    va_list arguments;
    if (!log || !log->function)
        return;
    va_start(arguments, format);
    compose(line, sizeof line, format, arguments);
    va_end(arguments);
    log->function(log->context, level, line);
}

static void
fill(cop_error *error, cop_status status, const char *format, va_list arguments)
{
    if (!error)
        return;
    error->status = status;
    error->line = 0;
    error->column = 0;
    error->position = SIZE_MAX;
    compose(error->message, sizeof error->message, format, arguments);
    if (!error->message[0])
        snprintf(error->message, sizeof error->message, "%s", cop_status_message(status));
}

cop_status
cop__fail(cop_error *error, cop_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fill(error, status, format, arguments);
    va_end(arguments);
    return status;
}

cop_status
cop__fail_at(cop_error *error, cop_status status, size_t position, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fill(error, status, format, arguments);
    va_end(arguments);
    if (error)
        error->position = position;
    return status;
}

cop_status
cop__fail_line(cop_error *error, cop_status status, uint32_t line, uint32_t column,
               const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fill(error, status, format, arguments);
    va_end(arguments);
    if (error) {
        error->line = line;
        error->column = column;
    }
    return status;
}
