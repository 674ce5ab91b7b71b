/* SPDX-License-Identifier: MIT */
/*
 * What every room uses: branch hints, three tiers of assertion, planted faults.
 *
 *   COP_ALWAYS(x)    checked in every build: memory would be corrupted otherwise
 *   COP_ASSERT(x)    checked unless NDEBUG: an invariant that is cheap to test
 *   COP_EXPENSIVE_ASSERT(x)  checked with --enable-expensive-checks only
 */
#ifndef COP_BASE_BASE_H
#define COP_BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define cop__likely(x) __builtin_expect(!!(x), 1)
#define cop__unlikely(x) __builtin_expect(!!(x), 0)
#define COP_CACHE_LINE 64

_Noreturn void cop__assert_failed(const char *expression, const char *file, int line);

#define COP_ALWAYS(x) (cop__likely(x) ? (void)0 : cop__assert_failed(#x, __FILE__, __LINE__))
#ifdef NDEBUG
#define COP_ASSERT(x) ((void)0)
#else
#define COP_ASSERT(x) COP_ALWAYS(x)
#endif
#ifdef COP_EXPENSIVE
#define COP_EXPENSIVE_ASSERT(x) COP_ALWAYS(x)
#else
#define COP_EXPENSIVE_ASSERT(x) ((void)0)
#endif

/* Planted faults: X(name). In builds with --enable-planted-faults the one named by the environment
 * variable COP_FAULT is live; in all others COP_FAULT(name) is the constant false. */
#define COP_FAULT_MAP(X) \
    X(page_freed_while_pinned) \
    X(page_freed_early) \
    X(published_page_changed) \
    X(txn_dropped) \
    X(root_before_pages) \
    X(pending_ignored) \
    X(help_without_barrier) \
    X(dependent_not_marked) \
    X(dependency_kept) \
    X(node_before_dependency) \
    X(effect_wake_lost) \
    X(wake_lost) \
    X(deque_item_twice) \
    X(watch_twice) \
    X(watch_edge) \
    X(watch_wake) \
    X(monitor_torn) \
    X(batch_edge) \
    X(diff_page_skipped) \
    X(patch_array_order) \
    X(history_pruned_used) \
    X(fragment_stale) \
    X(count_not_returned) \
    X(reserve_used) \
    X(revoked_early)

enum cop__fault {
#define COP_FAULT_ENUM(name) COP_FAULT_##name,
    COP_FAULT_MAP(COP_FAULT_ENUM)
#undef COP_FAULT_ENUM
        COP_FAULTS
};
#ifdef COP_PLANTED_FAULTS
bool cop__fault_live(enum cop__fault fault);
#define COP_FAULT(name) cop__unlikely(cop__fault_live(COP_FAULT_##name))
#else
#define COP_FAULT(name) false
#endif

/* Set while user code runs that must not come back to the store: an evaluation, or the function of a
 * transact that holds the commit right. */
extern _Thread_local bool cop__evaluating __attribute__((visibility("hidden")));

/* CLOCK_MONOTONIC and CLOCK_REALTIME in nanoseconds. */
uint64_t cop__clock_ns(void);
uint64_t cop__realtime_ns(void); /* of the last timer tick: cheap to read, some ms behind */

/* Waits while *word == value, until an absolute CLOCK_MONOTONIC time (COP_FOREVER: without end) or
 * a wake; spurious returns happen. Blocking. */
void cop__futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t deadline_ns);
void cop__futex_wake(_Atomic uint32_t *word, int threads);

/* A random 64-bit number from the system (never fails: falls back to clock and address bits). */
uint64_t cop__random_seed(void);

#endif
