/* SPDX-License-Identifier: MIT */
/*
 * Atoms that transactions define under a scope (options.scope). A record stands in the scope from
 * the moment the operation is added, so that nothing is defined that could not be put there, and
 * learns the handle when the operation is applied.
 */
#ifndef COP_EFFECT_SCOPE_DEFINE_H
#define COP_EFFECT_SCOPE_DEFINE_H

#include <coppice/effect.h>

typedef struct cop__scoped cop__scoped;

/* Disposes of an atom for a scope, who has nobody to tell when there is no memory for the commit: it
 * is tried again for some 30 ms, and then logged. */
void cop__scope_dispose_atom(cop_store *store, cop_atom atom);

/* Puts a record into the scope and in front of the transaction's list. COP_E_MEMORY, COP_E_STATE.
 */
cop_status cop__scoped_add(cop_scope *scope, cop_store *store, cop__scoped **list);
/* The operation is about to be applied; false: the scope is disposed. Under the commit right, as
 * the next. */
bool cop__scoped_begin(cop__scoped *one);
void cop__scoped_made(cop__scoped *one, cop_atom atom);
/* The transaction has ended. Unless it defined its atoms, the records leave their scopes. */
void cop__scoped_end(cop__scoped *list, bool defined);

#endif
