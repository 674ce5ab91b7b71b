/* SPDX-License-Identifier: MIT */
/*
 * What a store does when its memory becomes short.
 *
 * All bytes that a store holds are counted before they are allocated, and are never more than
 * memory.limit_bytes. USED are those that are not lying free in its pools.
 *
 *   level    from                                      what happens
 *   normal
 *   soft     used > memory.soft_percent of the limit   what can be made again, or is kept for convenience, gives way:
 *   full     a commit does not fit                     commits wait or fail; what can be lost gives way
 *
 * Soft ends when used bytes are a thirty-second of the limit below its mark, full when they are less by a
 * thirty-second than they were. Another limit means another level at once (cop_store_reconfigure): full, too,
 * if more is used than it allows. GIVING WAY, in this order,
 * each for what is still missing: cached JSON fragments and values of lazy atoms, those not asked for
 * longest first; versions that the history keeps, those not used for longest first; free pages, back to the
 * system; the change log of watchers, and the versions of weak ones that are behind (they are told a gap).
 * When full, also: pinned versions of the history, the versions of all watchers that are behind.
 *
 * WHEN FULL a commit that does not fit is abandoned before it is published, whole. Its transactions are
 * then taken one by one: those that fit are committed. One that does not fit waits up to memory.wait_ms
 * for memory, others of its thread that were submitted after it behind it (memory.on_limit=wait), or is
 * refused at once (fail): COP_E_MEMORY, with a message that says what holds the memory. Reads go on.
 *
 * THE RESERVE: the last sixty-fourth of the limit, 4 MiB at the most, is left free by all but
 *   - transactions while they are built, and reader slots: its first half;
 *   - commits that free more than they take, or erase and take no more than they free: all of it.
 * So erasures pass as long as it lasts. What they free comes back when no reader holds the versions before.
 */
#ifndef COPPICE_PRESSURE_H
#define COPPICE_PRESSURE_H

#include <coppice/store.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum cop_memory_level {
    COP_MEMORY_NORMAL = 0,
    COP_MEMORY_SOFT = 1,
    COP_MEMORY_FULL = 2
} cop_memory_level;

/* X(name, text): what gives way, in order. */
#define COP_GAVE_MAP(X)                                    \
    X(FRAGMENTS, "cached JSON fragments")                  \
    X(LAZY, "values of lazy atoms")                        \
    X(HISTORY, "versions that the history kept")           \
    X(PAGES, "free pages, back to the system")             \
    X(WATCH, "the change log, and versions of watchers")

typedef enum cop_gave_step {
#define COP_GAVE_ENUM(name, text) COP_GAVE_##name,
    COP_GAVE_MAP(COP_GAVE_ENUM)
#undef COP_GAVE_ENUM
        COP_GAVE_STEPS
} cop_gave_step;

/* The level of this moment. Thread-safe, wait-free. */
COP_PUBLIC cop_memory_level cop_memory_level_now(cop_store *store);
/* "normal", "soft", "full"; static storage. */
COP_PUBLIC const char *cop_memory_level_name(cop_memory_level level);

/* Called after the level has changed, by the thread that found out (it committed, polled, waited or changed
 * options), which holds nothing of the store: all calls are allowed. Calls never overlap; one that would is
 * not made, and the level of the moment is told after the one under way. A commit from inside may have to wait
 * for memory as any other. used and limit in bytes. */
typedef void (*cop_memory_function)(void *context, cop_store *store, cop_memory_level level,
                                    uint64_t used, uint64_t limit);
/* Who is told of levels from here on, in the place of who was before; function NULL: nobody. destroy (may
 * be NULL) runs once on the context, when it will not be called again: here for the one before, or with
 * the store. Waits for a call under way, unless made from inside it. COP_E_CLOSING, COP_E_FORKED,
 * COP_E_IN_EVALUATION: destroy does not run. Thread-safe, blocking. */
COP_PUBLIC cop_status cop_memory_tell(cop_store *store, cop_memory_function function, void *context,
                                      cop_destructor destroy);

/* What holds the memory, in one line for people: used and limit, the kinds that have most, what old versions
 * keep and who holds the oldest. Into buffer (terminated); *length receives the bytes needed without the
 * terminator. COP_E_RANGE when capacity is too small: the text is cut. Thread-safe; takes short locks. */
COP_PUBLIC cop_status cop_memory_explain(cop_store *store, char *buffer, size_t capacity, size_t *length);

#ifdef __cplusplus
}
#endif
#endif
