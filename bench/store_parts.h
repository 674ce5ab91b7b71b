/* SPDX-License-Identifier: MIT */
/* What coppice's memory is after the load. */
#ifndef COPPICE_BENCH_STORE_PARTS_H
#define COPPICE_BENCH_STORE_PARTS_H

#include <coppice/store.h>

#include "bench/store_case.h"

#define BENCH_NAMING "naming" /* the part: names, directory, and info words, which lead to names */

/* Nobody else uses the store. Fills out[BENCH_KINDS_MAX] and returns how many parts there are; all but
 * BENCH_NAMING add up to what is held. */
unsigned bench_parts(cop_store *store, bench_kind *out);

#endif
