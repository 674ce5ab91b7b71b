/* SPDX-License-Identifier: MIT */
/* Being told that a pool has threads again. */
#ifndef COP_WORKERS_LISTEN_H
#define COP_WORKERS_LISTEN_H

#include <coppice/pool.h>

typedef struct cop__pool_listener {
    struct cop__pool_listener *next;
    void (*has_threads)(void *context); /* must not open or close regions, nor resize */
    void *context;
} cop__pool_listener;

/* From now on has_threads is called after each resize from 0, by the thread that resizes. After
 * unlisten it is not, nor is it running. Do nothing in a forked child. */
void cop__pool_listen(cop_pool *pool, cop__pool_listener *listener);
void cop__pool_unlisten(cop_pool *pool, cop__pool_listener *listener);

#endif
