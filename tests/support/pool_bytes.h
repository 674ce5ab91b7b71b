/* SPDX-License-Identifier: MIT */
/* What a block of so many bytes takes of the pool, reckoned step by step. */
#ifndef COP_TESTS_POOL_BYTES_H
#define COP_TESTS_POOL_BYTES_H

#include "reclaim/pool.h"

static inline uint64_t
pool_block_bytes(size_t bytes)
{
    uint64_t class = 8, step = 8, total = bytes + sizeof(uint64_t);

    if (bytes > COP_MIDDLE_MAX)
        return total < 65536 ? total : (total + 4095) / 4096 * 4096;
    for (; class < bytes; class += step)
        if (class >= 1024 && (class & (class - 1)) == 0)
            step = class / 8;
    return class;
}

#endif
