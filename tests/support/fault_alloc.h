/* SPDX-License-Identifier: MIT */
/*
 * An allocator table for the tests: counts what is held, checks that everything is given back with
 * the size and alignment it was asked with, overwrites what is given back, and refuses the k-th
 * request, once or from there on for ever. Thread-safe.
 */
#ifndef COP_TESTS_FAULT_ALLOC_H
#define COP_TESTS_FAULT_ALLOC_H

#include <stdatomic.h>
#include <stdbool.h>

#include <coppice/memory.h>

#define FAULT_NEVER INT64_MAX

typedef struct fault_alloc {
    _Atomic int64_t countdown; /* requests until one is refused; 1: the next one */
    _Atomic bool for_ever;     /* refuse all after that one too */
    _Atomic uint64_t requests;
    _Atomic uint64_t refused;
    _Atomic int64_t blocks; /* held now */
    _Atomic int64_t bytes;  /* held now */
    _Atomic int64_t peak;
    _Atomic uint64_t destroyed; /* times the destroy function ran */
} fault_alloc;

void fault_alloc_init(fault_alloc *faults);

/* The table to put into cop_options.allocator; faults must outlive the store. */
cop_allocator fault_alloc_table(fault_alloc *faults);

/* The k-th request from now (1: the next) is refused; with for_ever all later ones too. */
void fault_alloc_arm(fault_alloc *faults, int64_t k, bool for_ever);
void fault_alloc_disarm(fault_alloc *faults);
/* True when the armed request has come and was refused. */
bool fault_alloc_fired(const fault_alloc *faults);

/* Makes the peak what is held now. */
void fault_alloc_reset_peak(fault_alloc *faults);

#endif
