/* SPDX-License-Identifier: MIT */
/* Numbers as JSON text: shortest digits that read back as the same number, whatever the locale. */
#ifndef COP_SERIALIZE_JSON_NUMBER_H
#define COP_SERIALIZE_JSON_NUMBER_H

#include <stddef.h>
#include <stdint.h>

#define COP__JSON_NUMBER_MAX 32 /* bytes that any number fits in */

/* Both write without a terminator and return the bytes written. Pure, thread-safe, O(1). */
size_t cop__json_i64(char out[COP__JSON_NUMBER_MAX], int64_t i);
/* f is finite. As Python's repr(): 1.0, 1e+16, -0.0; never to be mistaken for an integer. */
size_t cop__json_f64(char out[COP__JSON_NUMBER_MAX], double f);

#endif
