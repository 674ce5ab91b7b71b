/* SPDX-License-Identifier: MIT */
/*
 * Where a store's memory comes from, and how it is counted.
 *
 * Every allocation of a store names its kind, goes through one function that counts it against
 * memory.limit_bytes and may refuse, and is given back with its size.
 */
#ifndef COPPICE_MEMORY_H
#define COPPICE_MEMORY_H

#include <stdint.h>

#include <coppice/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * An allocator. allocate returns memory aligned to `alignment` (a power of two, at least 16) or
 * NULL; release gets the same size and alignment. Both are called from any thread and must be
 * thread-safe. context is passed through. The table is copied at open; context must outlive the
 * store. destroy (may be NULL) runs once, when the store's last byte has been released. purge (may be
 * NULL) gives back to the system what is free in the allocator; it is called by cop_memory_trim and behind
 * commits that freed many large values, and may take some time.
 */
typedef struct cop_allocator {
    void *(*allocate)(void *context, size_t size, size_t alignment);
    void (*release)(void *context, void *memory, size_t size, size_t alignment);
    void (*destroy)(void *context);
    void *context;
    void (*purge)(void *context);
} cop_allocator;

/* aligned_alloc and free; a store that has it maps its chunks itself. Thread-safe, wait-free. */
COP_PUBLIC cop_allocator cop_allocator_libc(void);

/* An arena of jemalloc's of its own, when jemalloc is linked into the process (found at run time,
 * never forced on the host); purged by cop_memory_trim, destroyed with the store. COP_E_UNSUPPORTED
 * otherwise.
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

struct cop_store;

/*
 * Gives memory back to the system: frees what no version needs, gives back what is free in chunks, moves
 * what is live in sparse chunks into others to give those back, too, and purges the allocator. Values,
 * handles, pins and snapshots are not touched by it: what moves is published as the same version again.
 * It works in steps of about a millisecond, and commits of other threads come between them; it needs up
 * to a few MiB for a while. Commits and cop_store_poll do the same by themselves, a step at a time,
 * once a third of the memory is free; this is for who wants it at once, or also the last of it. What a
 * held version sees stays, as do names in sparse chunks.
 *
 * given_back (may be NULL): bytes of chunks given back meanwhile. COP_E_CLOSING, COP_E_FORKED,
 * COP_E_IN_EVALUATION. Thread-safe, blocking.
 */
COP_PUBLIC cop_status cop_memory_trim(struct cop_store *store, uint64_t *given_back);

#ifdef __cplusplus
}
#endif
#endif
