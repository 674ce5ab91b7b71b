/* SPDX-License-Identifier: MIT */
/* The command line of a benchmark: --NAME, --NAME NUMBER and --NAME WORD; --help prints what there
 * is. */
#ifndef COPPICE_BENCH_ARGUMENTS_H
#define COPPICE_BENCH_ARGUMENTS_H

#include <stdbool.h>
#include <stdint.h>

/* One of flag, number and word is set: what is given goes there. Without it that stays as it is. */
typedef struct bench_argument {
    const char *name; /* "rounds"; NULL ends a table */
    const char *what; /* in the usage: "N", "waves|tasks"; NULL for a flag */
    bool *flag;
    uint32_t *number;
    uint32_t least, most; /* of the number */
    const char **word;
} bench_argument;

#define BENCH_FLAG(name, flag)                \
    {                                         \
        name, NULL, &(flag), NULL, 0, 0, NULL \
    }
#define BENCH_NUMBER(name, number, least, most)       \
    {                                                 \
        name, "N", NULL, &(number), least, most, NULL \
    }
#define BENCH_WORD(name, what, word)          \
    {                                         \
        name, what, NULL, NULL, 0, 0, &(word) \
    }
#define BENCH_END                          \
    {                                      \
        NULL, NULL, NULL, NULL, 0, 0, NULL \
    }

/* Ends the program with 2 and a line on standard error when something else is given, with 0 after
 * --help. */
void bench_arguments(int argc, char **argv, const bench_argument *table);

/* Prints the usage and ends the program. */
_Noreturn void bench_usage(int status, const bench_argument *table);

#endif
