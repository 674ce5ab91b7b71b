/* SPDX-License-Identifier: MIT */
/* What a run found, for people and as JSON. */
#ifndef COPPICE_BENCH_MEMORY_TABLE_H
#define COPPICE_BENCH_MEMORY_TABLE_H

#include "bench/memory_run.h"

void memory_table_head(const memory_case *c);
/* ended: how the process did, when it did not end well; else NULL. True when all that is promised
 * was kept: of a peer nothing is. */
bool memory_table_row(const memory_case *c, const memory_figures *f, const char *ended, bool json);

#endif
