/* SPDX-License-Identifier: MIT */
/* What inspect.c and explain.c share: copies for the caller, and calls that hold the commit right. */
#ifndef COP_GRAPH_INSPECT_H
#define COP_GRAPH_INSPECT_H

#include "commit/combiner.h"
#include "graph/look.h"
#include "reclaim/gate.h"

/* Memory that is freed all at once. It is the caller's, as cop_value_copy's is, and may outlive the
 * store. Zeroed to begin with. */
typedef struct cop__keep {
    struct cop__kept *last;
    bool refused; /* sticky */
} cop__keep;

void *cop__keep_room(cop__keep *keep, size_t size); /* zeroed; NULL when refused */
void cop__keep_free(cop__keep *keep);
/* Terminated; "" when refused. */
const char *cop__keep_text(cop__keep *keep, const char *text, size_t length);
/* With a text of its own. */
cop_value cop__keep_value(cop__keep *keep, const cop_value *value);
/* The path of an atom in the newest version, "" when it has none. Needs the right. */
const char *cop__keep_path(cop__keep *keep, const cop_store *store, cop_atom atom);
const char *cop__keep_label(cop__keep *keep, const cop__graph *graph, const cop__node *node);

/* Begins a call that needs the right. Not COP_OK: nothing is held. */
cop_status cop__inspect_begin(cop_store *store, uint64_t deadline);
void cop__inspect_end(cop_store *store);

/* The node that makes an atom; of a child of an owned branch: the owner. COP_E_GONE, COP_E_STATE,
 * COP_E_UNSUPPORTED. */
cop_status cop__inspect_node(cop_store *store, cop_atom atom, cop__node **node);
cop_graph_kind cop__kind_of(const cop__node *node);
cop_atom cop__atom_of_node(const cop_store *store, const cop__node *node);
uint32_t cop__dependents_count(const cop__graph *graph, uint32_t id);
cop_depends cop__depends_of(uint64_t dependency);

#endif
