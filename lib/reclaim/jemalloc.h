/* SPDX-License-Identifier: MIT */
/* The part of jemalloc's interface that an arena needs, so that tests can put another in its place.
 */
#ifndef COP_RECLAIM_JEMALLOC_H
#define COP_RECLAIM_JEMALLOC_H

#include <coppice/memory.h>

typedef struct cop__jemalloc {
    void *(*allocate)(size_t size, int flags);             /* mallocx */
    void (*release)(void *memory, size_t size, int flags); /* sdallocx */
    int (*control)(const char *name, void *old_value, size_t *old_size, void *new_value,
                   size_t new_size); /* mallctl */
} cop__jemalloc;

/* cop_allocator_jemalloc with given functions; any NULL among them is COP_E_UNSUPPORTED. */
cop_status cop__allocator_arena(const cop__jemalloc *jemalloc, cop_allocator *allocator);

#endif
