/* SPDX-License-Identifier: MIT */
/* What the functions of host/derived share. Statuses of reading are to be handed on. */
#ifndef COP_TOOLS_DERIVED_READ_H
#define COP_TOOLS_DERIVED_READ_H

#include <coppice/computed.h>

#define HISTORY_MAX 3

/* The atom at a path; COP_E_ABSENT. */
cop_status derived_branch(cop_evaluation *evaluation, const char *path, cop_atom *branch);
/* The integers at these keys of a branch, and nothing behind the last one that is wanted.
 * COP_E_ABSENT when one is missing. */
cop_status derived_numbers(cop_evaluation *evaluation, cop_atom branch, const char *const *keys,
                           int64_t *values, size_t count);
/* At BRANCH/KEY, or at KEY when branch is NULL. */
cop_status derived_emit(cop_evaluation *evaluation, const char *branch, size_t length,
                        const char *key, const cop_value *value);
/* Between the two samples; 0 when there is one only. */
cop_status derived_seconds(cop_evaluation *evaluation, double *seconds);
/* null when there is nothing to divide by, or a counter has gone back. */
cop_value derived_ratio(double part, double whole);

/* derived_procs.c */
cop_status derived_states(cop_evaluation *evaluation, void *context, cop_value *result);
cop_status derived_users(cop_evaluation *evaluation, void *context, cop_value *result);
cop_status derived_programs(cop_evaluation *evaluation, void *context, cop_value *result);
cop_status derived_top_memory(cop_evaluation *evaluation, void *context, cop_value *result);
cop_status derived_top_cpu(cop_evaluation *evaluation, void *context, cop_value *result);

#endif
