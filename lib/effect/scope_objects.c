/* SPDX-License-Identifier: MIT */
/*
 * Atoms and effects under a scope: a small record each, that disposes of it by its handle.
 *
 * Handles are weak, so an atom or effect that has ended by itself costs nothing but its record. The
 * store is not weak: the record counts as a use of it, so that its memory is there when the scope
 * is disposed of after the store was closed; the calls then answer COP_E_CLOSING, or do nothing. In
 * a forked child the record alone is freed: the store is the parent's.
 */
#include <coppice/effect.h>

#include "effect/scope_define.h"
#include "reclaim/gate.h"

typedef struct record {
    cop_store *store;
    uint32_t id, generation;
} record;

static void
record_end(record *one)
{
    cop_store *store = one->store;
    free(one);
    if (atomic_load_explicit(store->alive, memory_order_relaxed) != 0)
        cop__gate_end_use(store->gate);
}

static void
atom_dispose(void *object)
{
    record *one = object;
    cop__scope_dispose_atom(one->store, (cop_atom){one->id, one->generation});
    record_end(one);
}

static void
effect_dispose(void *object)
{
    record *one = object;
    cop_effect_close(one->store, (cop_effect){one->id, one->generation});
    record_end(one);
}

static cop_status
record_add(cop_scope *scope, cop_destructor dispose, cop_store *store, uint32_t id,
           uint32_t generation)
{
    cop_status status = cop__store_usable(store);
    if (status != COP_OK)
        return status;
    record *one = malloc(sizeof *one);
    if (one == NULL)
        return COP_E_MEMORY;
    *one = (record){store, id, generation};
    cop__gate_use(store->gate);
    status = cop_scope_add(scope, dispose, one);
    if (status != COP_OK)
        record_end(one);
    return status;
}

cop_status
cop_scope_add_atom(cop_scope *scope, cop_store *store, cop_atom atom)
{
    return record_add(scope, atom_dispose, store, atom.id, atom.generation);
}

cop_status
cop_scope_add_effect(cop_scope *scope, cop_store *store, cop_effect effect)
{
    return record_add(scope, effect_dispose, store, effect.id, effect.generation);
}
