/* SPDX-License-Identifier: MIT */
/*
 * Command lines from tables: each command lists its options, and parsing, --help and complaints
 * come from the list. Exit codes of all commands: 0 done, 1 failed, 2 wrong usage.
 */
#ifndef COP_TOOLS_ARGS_H
#define COP_TOOLS_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

enum arg_kind {
    ARG_FLAG,   /* bool *: present */
    ARG_TEXT,   /* const char ** */
    ARG_U64,    /* uint64_t *, within minimum .. maximum */
    ARG_NUMBER, /* double *, above 0 and up to maximum */
    ARG_LIST    /* struct arg_list *: may be given again */
};

struct arg_list {
    const char **items; /* free it */
    size_t count;
};

struct arg {
    const char *name; /* without the dashes */
    enum arg_kind kind;
    void *to;
    uint64_t minimum, maximum;
    const char *value; /* how --help names the value */
    const char *help;
};

struct command {
    const char *name;
    const char *usage; /* what follows the name */
    const char *help;  /* one line */
    int (*run)(const struct command *command, int argc, char **argv);
    const char *more; /* further lines for --help, or NULL */
};

/*
 * Parses argv[0 ..] (the command's name left out) by a table that ends with a row without a name.
 * Positional arguments are moved to the front and counted. False: help was given (*code 0) or the
 * usage is wrong (*code 2).
 */
bool args_parse(const struct command *command, const struct arg *args, int argc, char **argv,
                int *positional, int *code);

/* "coppice: " and one line on standard error. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Complains, points to --help, answers EXIT_USAGE. */
int usage_error(const struct command *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
