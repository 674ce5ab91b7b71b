/* SPDX-License-Identifier: MIT */
/*
 * How an effect reads: the version that its executor has pinned, and beside each read the next entry
 * of the list of its last run. While they agree nothing is written down; the first that differs
 * begins a list of its own. What a path leads to is noted with the path's text: the graph's interest
 * in it is made later, under the commit right.
 */
#include "effect/effects.h"
#include "graph/lazy.h"
#include "store/store_internal.h"
#include "tree/directory.h"
#include "tree/path.h"

const uint64_t cop__effect_nothing[1] = {COP_DEPENDENCY_END - 1}; /* what no dependency is */

bool
cop__effect_list_own(cop__executor *e)
{
    size_t n = (size_t)(e->expect - e->had);
    if (e->run.slow)
        return true;
    if (!cop__executor_room(e, &e->list, &e->list_capacity, e->list_count + n + 2, sizeof *e->list)) {
        e->run.stuck = COP_E_MEMORY;
        return false;
    }
    memcpy(e->list + e->list_count, e->had, n * sizeof *e->had);
    e->list_count += n;
    e->plain = true;
    for (size_t i = 0; i < n; i++)
        e->plain &= e->had[i] >> 62 < 2;
    e->run.slow = true;
    e->expect = cop__effect_nothing;
    return true;
}

static __attribute__((noinline)) cop_status
depend_anew(cop__executor *e, uint64_t dependency)
{
    if (!cop__effect_list_own(e))
        return COP_E_MEMORY;
    if (!cop__executor_room(e, &e->list, &e->list_capacity, e->list_count + 1, sizeof *e->list)) {
        e->run.stuck = COP_E_MEMORY;
        return COP_E_MEMORY;
    }
    e->list[e->list_count++] = dependency;
    e->plain &= dependency >> 62 < 2;
    return COP_OK;
}

static inline cop_status
depend(cop__executor *e, uint64_t dependency)
{
    if (cop__likely(*e->expect == dependency)) {
        e->expect++;
        return COP_OK;
    }
    return depend_anew(e, dependency);
}

static uint64_t
pack(cop_atom atom)
{
    return (uint64_t)atom.generation << 32 | atom.id;
}

static const cop__slot *
slot_of(cop__executor *e, uint32_t id)
{
    const cop__space_root *values = &e->run.snapshot->space[COP_SPACE_VALUES];
    uint32_t number = id >> COP_SLOT_BITS;
    if (cop__unlikely(number != e->page_number)) {
        if (number >= values->count)
            return NULL;
        e->page = cop__space_page_dense(values, number);
        e->page_number = number;
    }
    return &e->page[id & (COP_SLOTS - 1)];
}

/* No such atom in this version. One that is yet to come, as far as its generation tells, is noted:
 * the run may be of a version older than the handle. */
static __attribute__((noinline)) cop_status
missing(cop__executor *e, cop_atom atom, const cop__slot *slot)
{
    if (atom.generation > COP_GENERATION_MAX || (slot != NULL && slot->reserved > atom.generation))
        return COP_E_GONE;
    if (depend(e, pack(atom) | COP_DEPENDS_VALUE) != COP_OK)
        return COP_E_MEMORY;
    e->plain = false;
    return COP_E_GONE;
}

/* ---- lazy atoms: evaluated here, and depended on by what they rest on ---- */

static bool note_path(cop__executor *e, const char *path, size_t length, cop_atom atom);

static cop_status
depend_on_input(void *context, uint64_t what, cop_atom atom, const char *path, size_t length)
{
    cop__executor *e = context;
    if (what == COP_DEPENDS_PATH) {
        uint64_t hash = cop__path_hash(e->run.snapshot->hash_seed, 0, path, length);
        return note_path(e, path, length, atom) ? depend(e, COP_DEPENDS_PATH | hash >> 3)
                                                : COP_E_MEMORY;
    }
    const cop__slot *slot = slot_of(e, atom.id);
    if (slot == NULL || slot->reserved != atom.generation || !cop__slot_alive(slot))
        return missing(e, atom, slot) == COP_E_MEMORY ? COP_E_MEMORY : COP_OK;
    if (what == COP_DEPENDS_VALUE && (cop__slot_is_branch(slot) || cop__slot_is_lazy(slot)))
        what = COP_DEPENDS_KIND;
    return depend(e, pack(atom) | what);
}

/* The dependency on the atom itself is of a kind that cop_read does not compare with: its slot is
 * nobody's to see. */
static cop_status
read_lazy(cop__executor *e, cop_atom atom, const cop__slot *slot, cop_value *value)
{
    cop__lazy_head *lazy = cop__slot_lazy(slot);
    if (depend(e, pack(atom) | COP_DEPENDS_KIND) != COP_OK)
        return COP_E_MEMORY;
    cop_status status = lazy->get(lazy, e->run.snapshot, value, NULL);
    if (status == COP_OK)
        status = cop__lazy_each_input(lazy, e->run.snapshot, depend_on_input, e);
    if (status != COP_OK) {
        memset(value, 0, sizeof *value);
        return status;
    }
    if (value->type == COP_ERROR)
        e->run.failed = *value;
    return COP_OK;
}

static __attribute__((noinline)) cop_status
read_rare(cop__executor *e, cop_atom atom, const cop__slot *slot, cop_value *value)
{
    memset(value, 0, sizeof *value);
    if (slot == NULL || slot->reserved != atom.generation || !cop__slot_alive(slot))
        return missing(e, atom, slot);
    if (cop__slot_is_lazy(slot))
        return read_lazy(e, atom, slot, value);
    uint64_t kind = cop__slot_is_branch(slot) ? COP_DEPENDS_KIND : COP_DEPENDS_VALUE;
    if (depend(e, pack(atom) | kind) != COP_OK)
        return COP_E_MEMORY;
    cop__slot_read(slot, value);
    if (value->type == COP_ERROR)
        e->run.failed = *value;
    return COP_OK;
}

cop_status
cop__effect_read(cop__executor *e, cop_atom atom, cop_value *value)
{
    uint64_t word[2];
    cop__effect_position(e);
    if (cop__unlikely(e->run.stuck != COP_OK)) {
        memset(value, 0, sizeof *value);
        return e->run.stuck;
    }
    const cop__slot *slot = slot_of(e, atom.id);
    if (cop__unlikely(slot == NULL))
        return read_rare(e, atom, slot, value);
    memcpy(word, slot, sizeof word);
    unsigned type = (unsigned)(word[0] & COP_SLOT_TYPE);
    if (cop__unlikely((word[0] >> 16 & UINT16_MAX) != atom.generation ||
                      type - COP_NULL >= COP_ERROR - COP_NULL))
        return read_rare(e, atom, slot, value);
    word[0] = cop__slot_public_word(word[0]);
    memcpy(value, word, sizeof word);
    return depend(e, pack(atom));
}

/* ---- by path ---- */

static bool
note_path(cop__executor *e, const char *path, size_t length, cop_atom atom)
{
    cop__effect_note note = {length, atom};
    size_t bytes = sizeof note + ((length + 7) & ~(size_t)7);
    if (!cop__executor_room(e, &e->notes, &e->notes_capacity, e->notes_count + bytes, 1)) {
        e->run.stuck = COP_E_MEMORY;
        return false;
    }
    memcpy(e->notes + e->notes_count, &note, sizeof note);
    memcpy(e->notes + e->notes_count + sizeof note, path, length);
    e->notes_count += bytes;
    return true;
}

cop_status
cop__effect_find(cop__executor *e, const char *path, size_t length, cop_atom *atom)
{
    const cop_snapshot *snapshot = e->run.snapshot;
    *atom = (cop_atom){0, 0};
    cop__effect_position(e);
    if (e->run.stuck != COP_OK)
        return e->run.stuck;
    cop_status status = cop_path_check(path, length, NULL);
    if (status != COP_OK)
        return status;
    cop__found found = cop__path_resolve((cop__view){snapshot, NULL}, path, length);
    if (found.found)
        *atom = (cop_atom){found.id, cop__root_slot(snapshot, found.id)->reserved};
    uint64_t hash = cop__path_hash(snapshot->hash_seed, 0, path, length);
    if (!note_path(e, path, length, *atom) ||
        depend(e, COP_DEPENDS_PATH | hash >> 3) != COP_OK) /* never like the end mark: a bit is 0 */
        return COP_E_MEMORY;
    return found.found ? COP_OK : COP_E_ABSENT;
}

/* ---- lists of children ---- */

cop_status
cop__effect_branch(cop__executor *e, cop_atom branch, const cop__slot **slot)
{
    cop__effect_position(e);
    if (e->run.stuck != COP_OK)
        return e->run.stuck;
    *slot = slot_of(e, branch.id);
    if (*slot == NULL || (*slot)->reserved != branch.generation || !cop__slot_alive(*slot))
        return missing(e, branch, *slot);
    if (depend(e, pack(branch) | COP_DEPENDS_KIND) != COP_OK)
        return COP_E_MEMORY;
    if (!cop__slot_is_branch(*slot))
        return cop__slot_type(*slot) == COP_ERROR ? COP_E_FAILED : COP_E_NOT_BRANCH;
    return depend(e, pack(branch) | COP_DEPENDS_LIST);
}
