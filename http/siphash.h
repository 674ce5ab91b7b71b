/* SPDX-License-Identifier: MIT */
/* SipHash-2-4 (Aumasson, Bernstein): 64 bits of any bytes under a secret key, so that nobody can
 * make two bodies with one ETag. */
#ifndef COP_HTTP_SIPHASH_H
#define COP_HTTP_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t cop__siphash(const uint64_t key[2], const void *bytes, size_t n);

#endif
