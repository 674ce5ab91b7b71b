/* SPDX-License-Identifier: MIT */
/*
 * Atoms in the draft: ids, creation, writing, erasing.
 *
 * Every function returns false only when memory ran out (tree->failed is then set); what else can
 * be refused, the caller has checked.
 */
#ifndef COP_TREE_ATOMS_H
#define COP_TREE_ATOMS_H

#include "tree/directory.h"
#include "tree/list.h"
#include "tree/tree.h"

/* ---- ids (ids.c) ---- */

/* An id to use, oldest freed first, its page in the draft. run: where to go on taking from. */
bool cop__id_take(cop__tree *tree, cop__run *run, uint32_t *id);
/* Ids of one page, free from the next version on; those whose generation is used up are retired. */
bool cop__id_free(cop__tree *tree, uint32_t page, uint32_t mask);
/* What a list kept and never used. */
bool cop__id_free_run(cop__tree *tree, cop__run run);
/* Publication: what the draft freed joins the ring. Cannot fail. */
void cop__id_publish(cop__tree *tree);

/* ---- slots (atoms.c) ---- */

/* Whether a living atom of the draft lives in the published version too. */
bool cop__atom_published(const cop__tree *tree, uint32_t id);

/* The slot to write to; NULL when out of memory. */
cop__slot *cop__slot_edit(cop__tree *tree, uint32_t id);
bool cop__info_edit(cop__tree *tree, uint32_t id, cop__info info);

/* Writes a value over a value or an empty branch. No change when it is equal; what stood there
 * before the draft is restored when it is equal to that. */
bool cop__atom_write(cop__tree *tree, uint32_t id, const cop_value *value);

/* New atoms. */
bool cop__atom_create(cop__tree *tree, const cop_value *value, uint32_t *id);
/* segment is escaped; the caller has checked that the branch is an object without such a child, and
 * with cop__name_fits that the name is not too long. */
bool cop__atom_create_child(cop__tree *tree, uint32_t branch, const char *segment, size_t length,
                            const cop_value *value, uint32_t *id);
/* The same, at a position among its siblings (COP_AT_END: after the last). */
bool cop__atom_create_child_at(cop__tree *tree, uint32_t branch, uint32_t position,
                               const char *segment, size_t length, const cop_value *value,
                               uint32_t *id);
bool cop__atom_insert(cop__tree *tree, uint32_t array, uint32_t position, const cop_value *value,
                      uint32_t *id);
bool cop__name_fits(const cop__tree *tree, uint32_t branch, size_t segment_length);

/* Erases an atom and all below it (never the root), or all below it only. */
bool cop__atom_erase(cop__tree *tree, uint32_t id);
bool cop__atom_clear(cop__tree *tree, uint32_t id);

/* The version of the draft becomes the last change of every branch above this atom. */
bool cop__mark_above(cop__tree *tree, uint32_t id);

#endif
