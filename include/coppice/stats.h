/* SPDX-License-Identifier: MIT */
/* Statistics: one immutable snapshot of a store's counters and gauges. */
#ifndef COPPICE_STATS_H
#define COPPICE_STATS_H

#include <coppice/memory.h>
#include <coppice/store.h>

#ifdef __cplusplus
extern "C" {
#endif

/* X(name, "unit", "help"): counters only grow, gauges are of this moment. */
#define COP_STATS_MAP(X)                                                                \
    X(version, "version", "newest published version")                                  \
    X(atoms, "atoms", "atoms in the newest version, the root not counted")              \
    X(commits, "count", "versions published since open")                               \
    X(transactions, "count", "transactions decided")                                   \
    X(transactions_unchanged, "count", "transactions in batches without a net change") \
    X(transactions_conflict, "count", "transactions refused for a conflict")           \
    X(transactions_failed, "count", "transactions refused for another reason")         \
    X(operations, "count", "operations applied")                                       \
    X(batches, "count", "batches taken by the combiner")                               \
    X(batches_abandoned, "count", "batches abandoned before publication")              \
    X(windows, "count", "windows in which submitted transactions were gathered")       \
    X(window_waited, "ns", "time from opening each window to taking what it gathered") \
    X(window_wait_longest, "ns", "the longest of these")                                \
    X(effects_failed, "count", "runs of effects that failed")                              \
    X(effects_cut, "count", "runs of effects that were cut off")                           \
    X(queued, "transactions", "submitted and not yet decided, about")                  \
    X(readers, "readers", "registered readers")                                        \
    X(pins, "pins", "pins held at the last scan")                                      \
    X(pins_resolved, "count", "pending pins resolved by the committer")                \
    X(pins_leaked, "count", "pins released because their thread exited")               \
    X(snapshots, "snapshots", "snapshots held")                                        \
    X(snapshots_revoked, "count", "snapshots revoked because they were held too long")     \
    X(held_versions, "versions", "versions held besides the newest, at the last scan") \
    X(oldest_held_version, "version", "oldest version held, else the newest")          \
    X(oldest_held_age, "ms", "since that version was published; 0 when it is the newest")   \
    X(watchers, "watchers", "watchers open")                                               \
    X(watch_tellings, "count", "times that watchers were told of changes, or of gaps")     \
    X(watch_gaps, "count", "gaps told for a watcher's bound, or for want of memory")        \
    X(history_versions, "versions", "versions that the history keeps")                     \
    X(history_pinned, "versions", "of these, pinned")                                      \
    X(history_bytes, "bytes", "what only they need, at the last scan")                     \
    X(history_pruned, "count", "versions that the history let go for its bounds")          \
    X(history_lost, "count", "versions that it should have kept and could not for want of memory") \
    X(fragments_hits, "count", "texts asked for that were kept whole")                     \
    X(fragments_writes, "count", "texts asked for of which something was written")         \
    X(fragments_plain, "count", "texts asked for that were written without the cache")     \
    X(fragments_spliced, "count", "fragments of which changed values were written")        \
    X(fragments_formatted, "count", "fragments that were written again whole")             \
    X(fragments_evicted, "count", "branches whose text was given up for the bound")        \
    X(fragments_dropped, "count", "times that all texts were given up for want of memory") \
    X(scans, "count", "scans of the reader slots")                                     \
    X(pages, "pages", "512-byte pages in use, dead ones included")                     \
    X(pages_dead, "pages", "pages waiting for a reader or for the freeing quota")      \
    X(value_bytes, "bytes", "long values and child lists in use, dead ones included")  \
    X(values_dead, "values", "long values waiting for a reader or for the quota")      \
    X(names, "names", "names in the directory, those of erased atoms included")                              \
    X(name_bytes, "bytes", "bytes of names in use, dead ones included")                \
    X(names_dead, "names", "names of erased atoms waiting to leave the directory")         \
    X(chunks, "chunks", "chunks of memory for pages, long values and names")               \
    X(chunk_bytes, "bytes", "bytes of these")                                              \
    X(chunk_free, "bytes", "bytes free in them: what could not be given back, or not yet") \
    X(chunk_given_back, "bytes", "bytes of chunks given back to the system since open")    \
    X(bytes_held, "bytes", "bytes held from the allocator")                            \
    X(bytes_peak, "bytes", "greatest bytes_held")                                      \
    X(bytes_limit, "bytes", "the limit in force")                                      \
    X(bytes_soft, "bytes", "used bytes from which on things give way")                     \
    X(bytes_reserve, "bytes", "what of the limit is left for commits that free memory")    \
    X(memory_level, "level", "0 normal, 1 soft, 2 full")                                   \
    X(memory_soft, "count", "times that the level left normal")                            \
    X(memory_full, "count", "times that the level became full")                            \
    X(memory_waited, "count", "transactions that did not fit and waited for memory")       \
    X(memory_waiting, "transactions", "of these, waiting now")                             \
    X(memory_refused, "count", "transactions refused for memory")                          \
    X(gave_fragments, "bytes", "given way, about: texts")                                  \
    X(gave_lazy, "bytes", "given way, about: values of lazy atoms")                        \
    X(gave_history, "bytes", "given way, about: versions of the history")                  \
    X(gave_pages, "bytes", "given way: free pages, back to the system")                    \
    X(gave_watch, "bytes", "given way, about: the change log, versions of watchers")       \
    X(membarrier, "flag", "1 when pins rely on the membarrier system call")            \
    X(huge_pages, "flag", "1 when chunks are advised to be huge pages")

typedef struct cop_stats {
    size_t size; /* sizeof(cop_stats) */
#define COP_STATS_FIELD(name, unit, help) uint64_t name;
    COP_STATS_MAP(COP_STATS_FIELD)
#undef COP_STATS_FIELD
    uint64_t bytes_by_kind[COP_MEMORY_KINDS];
} cop_stats;

/* C only; in C++ zero the struct and set size. */
#define COP_STATS_INIT {.size = sizeof(cop_stats)}

/* Fills *stats (its size must be set). The figures are each exact at some moment during the call,
 * not all at one. COP_E_INVALID, COP_E_CLOSING, COP_E_FORKED. Thread-safe, lock-free. */
COP_PUBLIC cop_status cop_stats_take(cop_store *store, cop_stats *stats);

#ifdef __cplusplus
}
#endif
#endif
