/* SPDX-License-Identifier: MIT */
/* Folding one histogram into another. */
#include "monitor/histogram.h"

void
cop__histogram_fold(cop__histogram *total, cop__histogram *from)
{
    for (unsigned i = 0; i < COP_HISTOGRAM_BUCKETS; i++) {
        uint64_t n = atomic_load_explicit(&from->bucket[i], memory_order_relaxed);
        if (cop__likely(n == 0))
            continue;
        cop__owned_add(&total->bucket[i], n);
        cop__store_relaxed(&from->bucket[i], UINT64_C(0));
    }
    cop__owned_add(&total->sum, cop__load_relaxed(&from->sum));
    cop__store_relaxed(&from->sum, UINT64_C(0));
    uint64_t greatest = cop__load_relaxed(&from->greatest);
    if (greatest > cop__load_relaxed(&total->greatest))
        cop__store_relaxed(&total->greatest, greatest);
    cop__store_relaxed(&from->greatest, UINT64_C(0));
}
