/* SPDX-License-Identifier: MIT */
/*
 * Patterns, indexed by segment, so that a path finds those that it matches.
 *
 * A pattern is a path in which a segment `*` stands for any one name; a key that is an asterisk is
 * written ~2 there as everywhere. All patterns are one TRIE. A path walks it with the set of nodes
 * that it may be at: from each on to the child of its next segment, and to the child `*`. Most paths
 * leave the trie at their first segments; none costs more than its segments times the nodes of one
 * depth that match. Children are found by a hash of (node, segment), so a node may have many.
 *
 * A WATCH stands where its pattern ends and names its reader: a node of the graph, and what the
 * match means to it (follow.h).
 *
 * MATCHED is a bit an atom: it may match something. Whoever sees a change asks this bit first; no
 * pattern, no bits. A bit that is set for nothing costs a walk of the trie and no more, so bits are
 * not taken back with an abandoned draft, and not cleared when a watch goes.
 */
#ifndef COP_GRAPH_PATTERN_H
#define COP_GRAPH_PATTERN_H

#include <coppice/status.h>

#include <stdbool.h>

struct cop__graph;

#define COP_PATTERN_ROOT 1u /* a trie node's number; 0 is none */

typedef struct cop__pattern_node {
    char *segment; /* NULL: free, or the root */
    uint32_t length;
    uint32_t parent;
    uint32_t first, next, previous; /* children, siblings */
    uint32_t chain;                 /* the next one of its bucket; of a free one: the next free one */
    uint32_t star;                  /* the child `*` */
    uint32_t watch;                 /* the first that ends here */
} cop__pattern_node;

typedef struct cop__watch {
    uint32_t reader; /* node number */
    uint32_t role;
    uint32_t at;   /* trie node */
    uint32_t next; /* at the same trie node, or free */
} cop__watch;

typedef struct cop__patterns {
    cop__pattern_node *node;
    cop__watch *watch;
    uint32_t *bucket; /* of children that are not `*` */
    uint32_t *set;    /* two of matching, each with room for all nodes */
    uint64_t *matched;
    size_t node_capacity, watch_capacity, set_capacity, matched_capacity;
    uint32_t buckets; /* power of two, or 0 */
    uint32_t node_count, watch_count, node_free, watch_free;
    uint32_t live; /* watches */
} cop__patterns;

/* COP_OK, COP_E_PATH, COP_E_LIMIT; error->position is the offset of the first faulty byte. */
cop_status cop__pattern_check(const char *pattern, size_t length, cop_error *error);
bool cop__pattern_is_star(const char *segment, size_t length);

/* A checked pattern; the number of the watch, 0: out of memory (tree->failed is set). */
uint32_t cop__pattern_add(struct cop__graph *graph, const char *pattern, size_t length,
                          uint32_t reader, uint32_t role);
/* 0 is legal. Never fails. */
void cop__pattern_remove(struct cop__graph *graph, uint32_t watch);
/* The trie nodes that the whole of a path leads to, until the next call. */
const uint32_t *cop__pattern_match(struct cop__graph *graph, const char *path, size_t length,
                                   size_t *count);
/* The next one of what stands below a trie node, from `at` on, in any order; 0: no more. */
uint32_t cop__pattern_below(const cop__patterns *patterns, uint32_t top, uint32_t at);

/* False: out of memory. */
bool cop__pattern_set_matched(struct cop__graph *graph, uint32_t id);
static inline bool
cop__pattern_matched(const cop__patterns *patterns, uint32_t id)
{
    return id >> 6 < patterns->matched_capacity && (patterns->matched[id >> 6] >> (id & 63) & 1);
}
static inline void
cop__pattern_clear_matched(cop__patterns *patterns, uint32_t id)
{
    if (id >> 6 < patterns->matched_capacity)
        patterns->matched[id >> 6] &= ~(UINT64_C(1) << (id & 63));
}

void cop__patterns_end(struct cop__graph *graph);

#endif
