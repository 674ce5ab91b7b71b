/* SPDX-License-Identifier: MIT */
/* What gives way in a store when memory becomes short, and who is told. Needs the commit right. */
#ifndef COP_STORE_RELIEVE_H
#define COP_STORE_RELIEVE_H

#include "store/store_internal.h"

/* The steps of the memory manager. */
void cop__relieve_init(cop_store *store);
/* Nobody is told any more. */
void cop__relieve_end(cop_store *store);
/* Bytes held that do not lie free in the pools. */
uint64_t cop__used_bytes(cop_store *store);
/* After a commit, when the manager is not calm: the level, and one round of giving way. */
void cop__relieve(cop_store *store);
/* The limit is another, or the share of it that is soft: the marks, and what would be missed by nobody goes if
 * more is held. */
void cop__relieve_limit(cop_store *store);
/* How far giving way for one thing that does not fit has come; zeroed at first. */
typedef struct cop__relief {
    unsigned rounds, step;
} cop__relief;

/* A commit did not fit and is abandoned: what is dead is freed, and then more gives way each time, at the end
 * what can be lost. True: it is worth another try. */
bool cop__relieve_for_commit(cop_store *store, cop__relief *relief);
/* It does not fit, though nothing more can give way. */
void cop__relieve_failed(cop_store *store);
/* Something that a thread without the right and without locks wants does not fit: the same, once the right is
 * to be had. Blocking. True: it is worth another try. */
bool cop__relieve_now(cop_store *store, cop__relief *relief);
/* After the right was given back: tells who wants to know of levels. */
void cop__relieve_tell(cop_store *store);

#endif
