/* SPDX-License-Identifier: MIT */
/*
 * What `coppice serve` tells of itself while it runs: one live line on a terminal, else a line
 * every 10 seconds.
 */
#ifndef COP_TOOLS_STATUS_H
#define COP_TOOLS_STATUS_H

#include <coppice/store.h>

/* How often status_show is to be called, in milliseconds. */
unsigned status_open(cop_store *store);
void status_show(void);
/* Ends the live line, so that what is printed next has a line of its own. From any thread; does
 * nothing where there is no live line. */
void status_clear(void);

#endif
