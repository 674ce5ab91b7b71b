/* SPDX-License-Identifier: MIT */
/* What the readers of options (text, environment, file) share. */
#ifndef COP_STORE_OPTIONS_INTERNAL_H
#define COP_STORE_OPTIONS_INTERNAL_H

#include <coppice/options.h>

/* The row of an option, or cop_options_count() when no option has this name. */
size_t cop__option_find(const char *name);

/* Parses text as the option of a row into its field. A complaint begins with `subject`, which says
 * who is speaking of what: "batch.window_ms", "COPPICE_BATCH_WINDOW_MS", "file:3: batch.window_ms".
 * *options is untouched on failure. */
cop_status cop__option_parse(cop_options *options, size_t row, const char *text,
                             const char *subject, cop_error *error);

/* The first row that differs and is not live, or cop_options_count(). */
size_t cop__options_fixed(const cop_options *now, const cop_options *next);
void cop__options_copy_live(cop_options *to, const cop_options *from);

/* COP_OK when the struct is one this library knows by its size. */
cop_status cop__options_known(const cop_options *options, cop_error *error);

#endif
