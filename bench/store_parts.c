/* SPDX-License-Identifier: MIT */
/*
 * What the memory of a loaded store is, byte for byte: from inside, because what the kinds of cop_stats
 * count is chunks. Pages are counted with what leads to them, the nodes of the radix tree and the
 * committer's table.
 */
#include "bench/store_parts.h"

#include <stdio.h>

#include "store/store_internal.h"
#include "tree/directory.h"

static uint64_t
space_bytes(const cop__space *s)
{
    uint64_t bytes = s->capacity * sizeof *s->entry;
    for (uint32_t i = 0; i < s->count; i++)
        bytes += s->entry[i].page != NULL ? COP_PAGE_BYTES : 0;
    for (unsigned k = 0; k < COP_LEVELS; k++) {
        bytes += s->level_capacity[k] * sizeof *s->level[k];
        for (uint32_t i = 0; i < s->level_capacity[k] && i << 6 * (k + 1) < s->count; i++)
            bytes += s->level[k][i].node != NULL ? COP_PAGE_BYTES : 0;
    }
    return bytes;
}

/* Pages of the lists space that belong to the directory. */
static uint64_t
overflow_bytes(const cop__tree *tree)
{
    uint64_t pages = 0;
    for (uint32_t i = 0; i < tree->now.buckets; i++) {
        const void *page = cop__draft_page(tree, COP_SPACE_NAMES, i * COP_BUCKET_PAGES);
        for (uint32_t next; (next = cop__directory_overflow(page)) != 0; pages++)
            page = cop__draft_page(tree, COP_SPACE_LISTS, next);
    }
    return pages * COP_PAGE_BYTES;
}

static void
add(bench_kind *out, unsigned *n, const char *name, uint64_t bytes)
{
    snprintf(out[*n].name, sizeof out[*n].name, "%s", name);
    out[(*n)++].bytes = (double)bytes;
}

unsigned
bench_parts(cop_store *store, bench_kind *out)
{
    const cop__tree *tree = &store->tree;
    uint64_t overflow = overflow_bytes(tree);
    uint64_t info = space_bytes(&tree->space[COP_SPACE_INFO]);
    uint64_t directory = space_bytes(&tree->space[COP_SPACE_NAMES]) + overflow;
    uint64_t names = tree->pool.names.bytes_used;
    uint64_t slots = space_bytes(&tree->space[COP_SPACE_VALUES]);
    uint64_t lists = space_bytes(&tree->space[COP_SPACE_LISTS]) - overflow;
    uint64_t texts = tree->pool.values.bytes_used; /* of long values, and short lists of children */
    unsigned n = 0;
    memset(out, 0, BENCH_KINDS_MAX * sizeof *out);
    add(out, &n, "tree", slots);
    add(out, &n, "lists+texts", lists + texts);
    add(out, &n, "names", names);
    add(out, &n, "directory", directory);
    add(out, &n, "info", info);
    add(out, &n, BENCH_NAMING, names + directory + info);
    add(out, &n, "rest", cop__load_relaxed(&store->memory->held) - slots - lists - texts - names -
                             directory - info);
    return n;
}
