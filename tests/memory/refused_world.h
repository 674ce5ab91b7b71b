/* SPDX-License-Identifier: MIT */
/* The world of the tables: a store with something of everything, and all that can be seen of it as
 * text. */
#ifndef COP_TESTS_REFUSED_WORLD_H
#define COP_TESTS_REFUSED_WORLD_H

#include "tests/memory/refused.h"

void world_open(world *w);
/* Closes what is open; the store gives back every byte, or asserts. */
void world_close(world *w);
#define WORLD_COUNTS "\n== counts\n" /* ends what is said of atoms */
/* All that there is to see, to be freed. exact: with handles and what grows with each commit. */
char *world_text(const world *w, bool exact);

#endif
