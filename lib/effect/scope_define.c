/* SPDX-License-Identifier: MIT */
/*
 * Atoms that a transaction defines under a scope: see scope_define.h.
 *
 * `state` is 0 until the operation is applied, PENDING while it is, then the handle; an operation
 * that is applied again, after its draft was abandoned, writes another one. Who disposes of the
 * scope before that makes it DISPOSED, and the operation fails. Afterwards the operation cannot be
 * stopped, and its last handle is known once its commit has ended: whatever the one who disposes
 * commits then comes after it.
 */
#include "effect/scope_define.h"

#include <time.h>

#include "base/atomic.h"
#include "reclaim/gate.h"
#include "store/store_internal.h"

#define PENDING UINT64_C(1)
#define DISPOSED UINT64_MAX

struct cop__scoped {
    cop_store *store;
    cop_scope *scope; /* kept */
    cop__scoped *next;
    _Atomic uint64_t state;
    _Atomic uint32_t references; /* the scope's and the transaction's */
};

static void
scoped_unref(cop__scoped *one)
{
    if (cop__sub_acq_rel(&one->references, 1u) != 1)
        return;
    cop_store *store = one->store;
    cop_scope_drop(one->scope);
    free(one);
    if (atomic_load_explicit(store->alive, memory_order_relaxed) != 0)
        cop__gate_end_use(store->gate);
}

/* Other answers than want of memory need nobody: it is gone, or the store is closing. */
void
cop__scope_dispose_atom(cop_store *store, cop_atom atom)
{
    cop_status status = cop_computed_dispose(store, atom);
    for (long pause = 1000000; status == COP_E_MEMORY && pause <= 16000000; pause *= 2) {
        (void)nanosleep(&(struct timespec){0, pause}, NULL);
        status = cop_computed_dispose(store, atom);
    }
    if (status == COP_E_MEMORY)
        cop__log_write(&store->log, COP_LOG_ERROR,
                       "no memory to dispose of atom %u of a scope: it is still there", atom.id);
}

/* An operation that failed leaves PENDING, or the handle of an atom that is gone. */
static void
made_dispose(cop__scoped *one)
{
    uint64_t before, now = cop__load_acquire(&one->state);
    do {
        before = now;
        if (before == PENDING)
            (void)cop_flush(one->store, COP_FOREVER);
        else
            cop__scope_dispose_atom(one->store,
                                    (cop_atom){(uint32_t)before, (uint32_t)(before >> 32)});
        now = cop__load_acquire(&one->state);
    } while (now != before);
}

static void
scoped_dispose(void *object)
{
    cop__scoped *one = object;
    uint64_t none = 0;
    if (!cop__cas_seq_cst(&one->state, &none, DISPOSED))
        made_dispose(one);
    scoped_unref(one);
}

cop_status
cop__scoped_add(cop_scope *scope, cop_store *store, cop__scoped **list)
{
    cop__scoped *one = malloc(sizeof *one);
    if (one == NULL)
        return COP_E_MEMORY;
    *one = (cop__scoped){.store = store, .scope = scope, .next = *list};
    atomic_init(&one->state, 0);
    atomic_init(&one->references, 2);
    cop__gate_use(store->gate);
    cop_scope_keep(scope);
    cop_status status = cop_scope_add(scope, scoped_dispose, one);
    if (status != COP_OK) {
        scoped_unref(one);
        scoped_unref(one);
        return status;
    }
    *list = one;
    return COP_OK;
}

bool
cop__scoped_begin(cop__scoped *one)
{
    uint64_t state = 0;
    return cop__cas_seq_cst(&one->state, &state, PENDING) || state != DISPOSED;
}

void
cop__scoped_made(cop__scoped *one, cop_atom atom)
{
    cop__store_release(&one->state, (uint64_t)atom.generation << 32 | atom.id);
}

void
cop__scoped_end(cop__scoped *list, bool defined)
{
    while (list != NULL) {
        cop__scoped *one = list;
        list = one->next;
        if (!defined && cop_scope_remove(one->scope, scoped_dispose, one))
            scoped_unref(one);
        scoped_unref(one);
    }
}
