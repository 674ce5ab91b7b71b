/* SPDX-License-Identifier: MIT */
/* What `coppice stress` and `coppice tune` have in common on their command lines. */
#ifndef COP_TOOLS_STRESS_ARGUMENTS_H
#define COP_TOOLS_STRESS_ARGUMENTS_H

/* Rows of an argument table, for a struct stress_config *. */
#define STRESS_LOAD_ARGS(c)                                                                          \
    {                                                                                                \
        "atoms",                                                                                     \
        ARG_U64,                                                                                     \
        &(c)->atoms,                                                                                 \
        2,                                                                                           \
        10000000,                                                                                    \
        "N",                                                                                         \
        "accounts that are written and read (1000)"},                                                \
        {"depth", ARG_U64, &(c)->depth, 0, 100, "N", "layers of computed atoms (3)"},                \
        {"computed", ARG_U64, &(c)->computed, 1, 1000000, "N", "computed atoms in each layer (64)"}, \
        {"fan-out", ARG_U64, &(c)->fan_out, 1, 10000, "N", "computed atoms that read an atom (4)"},  \
        {"writers", ARG_U64, &(c)->writers, 0, 256, "N", "threads that commit and submit (2)"},      \
        {"readers", ARG_U64, &(c)->readers, 0, 256, "N", "threads that read and check (2)"},         \
        {"watchers", ARG_U64, &(c)->watchers, 0, 1000, "N", "watchers of all accounts (4)"},         \
        {"value-bytes",                                                                              \
         ARG_U64,                                                                                    \
         &(c)->value_bytes,                                                                          \
         0,                                                                                          \
         1048576,                                                                                    \
         "N",                                                                                        \
         "longest text written; 0: none (256)"},                                                     \
        {"skew", ARG_NUMBER, &(c)->skew, 0, 10, "S", "of the accounts, zipf; without: evenly"},      \
        {"churn", ARG_U64, &(c)->churn, 0, 100, "PERCENT", "of commits that create or erase (10)"},  \
    {                                                                                                \
        "seed", ARG_U64, &(c)->seed, 0, UINT64_MAX, "N", "of the random numbers (1)"                 \
    }

#endif
