/* SPDX-License-Identifier: MIT */
/*
 * The structured difference of two versions: edits that, applied one after the other to a document
 * that equals the older one, make it equal the newer one, the order of children included.
 *
 * Only the top-most atoms that went or came are told: what is below an erased or a new branch is not,
 * and a branch that became a value (or the reverse, or a branch of the other kind) is one
 * COP_EDIT_REPLACE. An atom that went while another one took its name is told as a removal and an
 * addition. Anonymous atoms are no part of a document and are left out, as is a lazy atom whose value
 * is another one: values that are not in the tree are not compared.
 *
 * ORDER. First the lists of children, by rising depth of their branch; then values. So the path of a
 * branch whose list is edited, and of an atom whose value is replaced, is the one that it has in
 * `now`. Of one list: first removals from the back to the front, then moves, then additions from the
 * front to the back. The positions of an edit are those at its turn.
 *
 * MOVES. Of the atoms that stay, a longest run that is in order stays where it is, among those of the
 * list's pages that are not the same; the others are moved, by rising position in `now`. What is on
 * pages that both versions share never moves.
 *
 * COST. What cop__tree_diff costs, and for each changed list O(c log c) of the c ids on its pages that
 * the two versions do not share (up to COP_LIST_LEAF_IDS a change): a change in the middle of a list
 * of a million looks at two pages of it. O(depth) for each told edit.
 *
 * Both versions are held by the caller and read with plain loads (tree.h). Thread-safe.
 */
#ifndef COP_TREE_DIFFERENCE_H
#define COP_TREE_DIFFERENCE_H

#include "tree/diff.h"

typedef enum cop__edit_kind {
    COP_EDIT_REMOVE,
    COP_EDIT_MOVE,
    COP_EDIT_ADD, /* with all that is below it in `now` */
    COP_EDIT_REPLACE
} cop__edit_kind;

typedef struct cop__edit {
    cop__edit_kind kind;
    cop_atom branch; /* whose list is edited; of a replacement, the atom itself */
    cop_atom atom;   /* a removed one is of `before`, all others are of `now` */
    uint32_t from;   /* where a removed or moved child is at this edit's turn */
    uint32_t position; /* where an added child goes; a moved one, when it has been taken out */
    const cop__slot *before, *now; /* the atom's; NULL where it is not */
} cop__edit;

/* Such an atom has no value in the tree: a document may leave it out. */
static inline bool
cop__edit_is_lazy(const cop__slot *slot)
{
    return slot != NULL && cop__slot_is_lazy(slot);
}

/* The atom is computed, or lives in a branch that a computed atom owns, in a version that has it. Of
 * what is below an added branch, every atom's own slot tells. */
static inline bool
cop__edit_is_computed(const cop__edit *edit)
{
    const cop__slot *slot = edit->now != NULL ? edit->now : edit->before;
    return (slot->type & COP_SLOT_COMPUTED) != 0;
}

/* COP_OK goes on; anything else ends the walk, and is what it answers. */
typedef cop_status (*cop__edit_function)(void *context, const cop__edit *edit);

/*
 * Tells the difference below an atom that both versions have, the atom's own value included. Scratch
 * comes from the account. COP_E_GONE (not an atom of both versions), COP_E_MEMORY, or what the
 * function answered; after COP_E_MEMORY edits may have been told already.
 */
cop_status cop__tree_edits(cop__memory *memory, cop__diff_pair pair, cop_atom below,
                           cop__edit_function function, void *context);

#endif
