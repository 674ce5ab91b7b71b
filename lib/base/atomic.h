/* SPDX-License-Identifier: MIT */
/*
 * Atomic helpers with the memory order in their names, each a perturbation point.
 *
 * COP_PERTURB builds call cop__step() before every shared access: it yields or delays at random, or
 * hands the access to a deterministic scheduler that a test has installed. Release builds compile
 * it to nothing.
 */
#ifndef COP_BASE_ATOMIC_H
#define COP_BASE_ATOMIC_H

#include <stdatomic.h>
#include <stdint.h>

#ifdef COP_PERTURB
void cop__step(const char *where);
/* Installs a scheduler: called in place of the random delays; NULL restores them. */
void cop__step_install(void (*scheduler)(const char *where));
#define COP_STEP(where) cop__step(where)
#else
#define COP_STEP(where) ((void)0)
#endif

#define cop__load_relaxed(p) (COP_STEP("load"), atomic_load_explicit((p), memory_order_relaxed))
#define cop__load_acquire(p) (COP_STEP("load"), atomic_load_explicit((p), memory_order_acquire))
#define cop__load_seq_cst(p) (COP_STEP("load"), atomic_load_explicit((p), memory_order_seq_cst))
#define cop__store_relaxed(p, v) (COP_STEP("store"), atomic_store_explicit((p), (v), memory_order_relaxed))
#define cop__store_release(p, v) (COP_STEP("store"), atomic_store_explicit((p), (v), memory_order_release))
#define cop__store_seq_cst(p, v) (COP_STEP("store"), atomic_store_explicit((p), (v), memory_order_seq_cst))
#define cop__swap_seq_cst(p, v) (COP_STEP("swap"), atomic_exchange_explicit((p), (v), memory_order_seq_cst))
#define cop__swap_acq_rel(p, v) (COP_STEP("swap"), atomic_exchange_explicit((p), (v), memory_order_acq_rel))
#define cop__add_relaxed(p, v) (COP_STEP("add"), atomic_fetch_add_explicit((p), (v), memory_order_relaxed))
#define cop__add_acq_rel(p, v) (COP_STEP("add"), atomic_fetch_add_explicit((p), (v), memory_order_acq_rel))
#define cop__add_seq_cst(p, v) (COP_STEP("add"), atomic_fetch_add_explicit((p), (v), memory_order_seq_cst))
#define cop__sub_relaxed(p, v) (COP_STEP("sub"), atomic_fetch_sub_explicit((p), (v), memory_order_relaxed))
#define cop__sub_acq_rel(p, v) (COP_STEP("sub"), atomic_fetch_sub_explicit((p), (v), memory_order_acq_rel))
#define cop__sub_seq_cst(p, v) (COP_STEP("sub"), atomic_fetch_sub_explicit((p), (v), memory_order_seq_cst))
#define cop__or_seq_cst(p, v) (COP_STEP("or"), atomic_fetch_or_explicit((p), (v), memory_order_seq_cst))
#define cop__and_seq_cst(p, v) (COP_STEP("and"), atomic_fetch_and_explicit((p), (v), memory_order_seq_cst))
#define cop__cas_seq_cst(p, expected, v)                                                        \
    (COP_STEP("cas"), atomic_compare_exchange_strong_explicit((p), (expected), (v),             \
                                                              memory_order_seq_cst, memory_order_acquire))

/* Keeps the compiler, not the processor, from reordering: the light side of an asymmetric barrier
 * whose heavy side is the membarrier system call. */
#define cop__light_barrier() atomic_signal_fence(memory_order_seq_cst)

#endif
