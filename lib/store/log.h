/* SPDX-License-Identifier: MIT */
/* One line to the host's log callback; nothing without one. */
#ifndef COP_STORE_LOG_H
#define COP_STORE_LOG_H

#include <coppice/options.h>

typedef struct cop__log {
    cop_log_function function;
    void *context;
    cop_destructor destroy;
} cop__log;

void cop__log_write(const cop__log *log, cop_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Fills *error (NULL is legal) and returns status. */
cop_status cop__fail(cop_error *error, cop_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same with a byte position, and with a line and column. */
cop_status cop__fail_at(cop_error *error, cop_status status, size_t position, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
cop_status cop__fail_line(cop_error *error, cop_status status, uint32_t line, uint32_t column,
                          const char *format, ...) __attribute__((format(printf, 5, 6)));

#endif
