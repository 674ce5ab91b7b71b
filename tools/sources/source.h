/* SPDX-License-Identifier: MIT */
/*
 * What feeds the store of `coppice serve`. A source that goes on runs on a thread of its own until
 * it is closed.
 */
#ifndef COP_TOOLS_SOURCE_H
#define COP_TOOLS_SOURCE_H

#include <coppice/store.h>

/* load.c: the whole state from a JSON file, once. False: it has been complained of. */
bool source_load(cop_store *store, const char *file);

/* feed.c: newline-delimited JSON from standard input. */
struct feed;
struct feed *feed_open(cop_store *store);
void feed_close(struct feed *feed);

/* host.c: this machine's /proc, `rate` sweeps a second. */
struct host;
struct host *host_open(cop_store *store, double rate);
void host_close(struct host *host);

#endif
