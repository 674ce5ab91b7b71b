/* SPDX-License-Identifier: MIT */
/*
 * Where a store's memory comes from, and how it is counted.
 *
 * Every allocation of a store names its kind, goes through one function that counts it against
 * memory.limit_bytes and may refuse, and is given back with its size.
 */
#ifndef COPPICE_MEMORY_H
#define COPPICE_MEMORY_H

#include <coppice/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * An allocator. allocate returns memory aligned to `alignment` (a power of two, at least 16) or
 * NULL; release gets the same size and alignment. Both are called from any thread and must be
 * thread-safe. context is passed through. The table is copied at open; context must outlive the
 * store. destroy (may be NULL) runs once, when the store's last byte has been released.
 */
typedef struct cop_allocator {
    void *(*allocate)(void *context, size_t size, size_t alignment);
    void (*release)(void *context, void *memory, size_t size, size_t alignment);
    void (*destroy)(void *context);
    void *context;
} cop_allocator;

/* aligned_alloc and free. Thread-safe, wait-free. */
COP_PUBLIC cop_allocator cop_allocator_libc(void);

/* An arena of jemalloc's of its own, when jemalloc is linked into the process (found at run time,
 * never forced on the host); destroyed with the store. COP_E_UNSUPPORTED otherwise.
 * Thread-safe, blocking. The caller passes the result to exactly one store. */
COP_PUBLIC cop_status cop_allocator_jemalloc(cop_allocator *allocator);

/* X(name, text): what memory is for. */
#define COP_MEMORY_MAP(X)                                            \
    X(PAGES, "pages of the tree")                                    \
    X(VALUES, "bytes of long values and small child lists")          \
    X(NAMES, "names")                                                \
    X(TABLES, "page tables, dead lists and free lists")              \
    X(TXN, "transactions and their tickets")                         \
    X(READERS, "reader slots and snapshots")                         \
    X(GRAPH, "computed atoms")                                       \
    X(FRAGMENTS, "cached JSON fragments")                            \
    X(HISTORY, "history")                                            \
    X(WATCH, "watch queues")                                         \
    X(MODULE, "modules: HTTP, devtools")                             \
    X(MONITOR, "the performance monitor")                            \
    X(OTHER, "the store itself")

typedef enum cop_memory_kind {
#define COP_MEMORY_ENUM(name, text) COP_MEMORY_##name,
    COP_MEMORY_MAP(COP_MEMORY_ENUM)
#undef COP_MEMORY_ENUM
        COP_MEMORY_KINDS
} cop_memory_kind;

/* "pages", ... lower case; static storage. Thread-safe, wait-free. */
COP_PUBLIC const char *cop_memory_kind_name(cop_memory_kind kind);

#ifdef __cplusplus
}
#endif
#endif
