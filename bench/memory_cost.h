/* SPDX-License-Identifier: MIT */
/* What the memory manager costs where there is room, and how soon bytes come back. */
#ifndef COPPICE_BENCH_MEMORY_COST_H
#define COPPICE_BENCH_MEMORY_COST_H

#include <stdbool.h>
#include <stdint.h>

struct memory_load;

/* One writer of two stores in turns, the limit of one 30 % above what is held, of the other never
 * near; `pairs` times, in two processes of its own. Prints what the first takes more, with the 95
 * % interval. False: a run failed. */
bool memory_cost(unsigned pairs, uint32_t transactions, bool json);

/* The same each time, on one thread, for callgrind: --toggle-collect=memory_cost_counted. */
bool memory_cost_instructions(uint32_t transactions, bool near);
void memory_cost_counted(struct memory_load *load, uint32_t transactions);

/* A snapshot that keeps a whole tree of dead pages is dropped on a store that nobody writes to. */
bool memory_drop(uint32_t atoms, bool json);

#endif
