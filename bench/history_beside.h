/* SPDX-License-Identifier: MIT */
/* What a writer feels of a thread that goes back, compares and shows again beside it. */
#ifndef COPPICE_BENCH_HISTORY_BESIDE_H
#define COPPICE_BENCH_HISTORY_BESIDE_H

#include <stdbool.h>

/* Prints its rows. Of a store of its own. */
void history_beside(unsigned long rounds, bool json);

#endif
