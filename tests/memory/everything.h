/* SPDX-License-Identifier: MIT */
/*
 * A load that uses everything: what leaks.c opens and closes in a loop, and soak.c runs for as long
 * as it is told. A round leaves as much as it found: what it makes it erases, drops, closes and
 * disposes of.
 */
#ifndef COP_TESTS_EVERYTHING_H
#define COP_TESTS_EVERYTHING_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coppice/coppice.h>

#define P(text) (text), strlen(text)
#define REQUIRE(condition)                                                  \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                        \
        }                                                                   \
    } while (0)
#define REQUIRE_OK(expression) REQUIRE((expression) == COP_OK)

#define EVERYTHING_FILE 131072 /* bytes of an exported history, at most */

typedef struct everything {
    cop_store *store;
    cop_pool *pool;
    cop_scope *scope; /* of what is there all the time */
    cop_atom number, list, text, lazy;
    cop_effect_queue *queue;
    cop_watch *asked, *told;
    uint64_t changes; /* told to the watchers */
    uint64_t ran;     /* runs of effects */
    char letters[700];
    struct {
        char bytes[EVERYTHING_FILE];
        size_t used;
    } file;
} everything;

void everything_open(everything *e, uint32_t threads);
void everything_round(everything *e, uint64_t n);
/* What happens now and then only: files, going back, other options. */
void everything_seldom(everything *e, uint64_t n);
void everything_close(everything *e);

#endif
