/* SPDX-License-Identifier: MIT */
/*
 * Where a batch that is full is split: transactions behind the bound go along as long as they write
 * an atom that it writes, or one that a computed atom reads which reads an atom of its, so that
 * this one runs once for them all. Who lists the children of a branch is not looked for: it may run
 * once more.
 *
 * The set is a filter of hashes, in a fixed space: a transaction may be taken along for nothing
 * (about one in 32 when the set has 2,048 members), and of atoms with very many dependents only the
 * first are looked at. Only a batch that leaves something behind is looked at. Everything here
 * needs the commit right.
 */
#ifndef COP_COMMIT_BATCH_SPLIT_H
#define COP_COMMIT_BATCH_SPLIT_H

#include "commit/txn.h"

#define COP_OVERLAP_WORDS 1024u

typedef struct cop__overlap {
    uint64_t bits[COP_OVERLAP_WORDS];
    uint32_t effort; /* members that may still be looked at */
    bool look;       /* asked whether they are in it, else put into it */
    bool met;        /* one was */
} cop__overlap;

/* What a chain of transactions writes, and who depends on that. */
void cop__overlap_of(cop__overlap *overlap, cop_store *store, const cop_txn *chain);
/* Whether this one overlaps; if so, it is counted in. */
bool cop__overlap_joins(cop__overlap *overlap, cop_store *store, const cop_txn *txn);

#endif
