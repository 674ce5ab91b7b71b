/* SPDX-License-Identifier: MIT */
/* The directory: see directory.h. */
#include "tree/directory.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <coppice/path.h>

#include "tree/path.h"

#define ADDRESS_MASK ((UINT64_C(1) << 48) - 1)

uint64_t
cop__path_hash(uint64_t seed, uint32_t anchor, const char *path, size_t length)
{
    return XXH3_64bits_withSeed(path, length, seed + anchor * UINT64_C(0x9e3779b97f4a7c15));
}

static uint32_t
bucket_of(uint32_t hash, uint32_t buckets)
{
    uint32_t low = UINT32_C(1) << (31 - __builtin_clz(buckets));
    uint32_t bucket = hash & (2 * low - 1);
    return bucket < buckets ? bucket : hash & (low - 1);
}

/* The tag is never 0, so that it differs from an empty word's. */
static inline uint64_t
tag_of(uint64_t hash)
{
    return hash >> 48 | 1;
}

static inline unsigned
home_of(uint64_t word)
{
    return (unsigned)(word >> 61); /* the line: the upper bits of the tag */
}

/* ---- lookup ---- */

/* Whether n bytes are the same: short loops of words, no call. */
static inline bool
same_bytes(const char *a, const char *b, size_t n)
{
    uint64_t x, y;
    for (; n >= sizeof x; a += sizeof x, b += sizeof x, n -= sizeof x) {
        memcpy(&x, a, sizeof x);
        memcpy(&y, b, sizeof y);
        if (x != y)
            return false;
    }
    return n == 0 || memcmp(a, b, n) == 0;
}

static inline const cop__slot *
slot_of(cop__view view, uint32_t id)
{
    return view.root != NULL ? cop__root_slot(view.root, id) : cop__draft_slot(view.tree, id);
}

/* Bit i is set where the i-th name of the line has this tag. No branches, see directory.h. */
static inline unsigned
line_matches(const cop__bucket_line *line, uint64_t tag)
{
    unsigned matches = 0;
    for (unsigned i = 0; i < COP_LINE_NAMES; i++)
        matches |= (unsigned)(line->word[i] >> 48 == tag) << i;
    return matches;
}

/* The slot is asked for before the name is looked into: the two cache misses overlap. */
__attribute__((always_inline)) static inline const cop__name *
find_in_line(cop__view view, const cop__bucket_line *line, uint64_t tag, uint32_t anchor,
             const char *path, size_t length, const cop__slot **found)
{
    for (unsigned left = line_matches(line, tag); left != 0; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctz(left);
        const cop__name *name = cop__directory_name(line->word[i]);
        const cop__slot *slot = slot_of(view, line->id[i]);
        if (cop__likely(slot != NULL && slot->reserved == name->generation &&
                        name->length == length && name->anchor == anchor &&
                        cop__slot_alive(slot) && same_bytes(name->path, path, length))) {
            *found = slot;
            return name;
        }
    }
    return NULL;
}

/* *more: the search goes on in the overflow page. */
__attribute__((always_inline)) static inline const cop__name *
find_in(cop__view view, const cop__bucket *bucket, uint64_t tag, uint32_t anchor, const char *path,
        size_t length, const cop__slot **found, bool *more)
{
    unsigned at = (unsigned)(tag >> 13), left = COP_BUCKET_LINES;
    const cop__name *name;
    do {
        const cop__bucket_line *line = &bucket->line[at];
        name = find_in_line(view, line, tag, anchor, path, length, found);
        *more = line->passed > 0;
        at = (at + 1) % COP_BUCKET_LINES;
    } while (cop__unlikely(name == NULL && *more && --left > 0));
    return name;
}

/* Compiled once for readers and once for the draft. */
__attribute__((always_inline)) static inline const cop__name *
find(cop__view view, uint64_t seed, uint32_t buckets, uint32_t anchor, const char *path,
     size_t length, const cop__slot **slot)
{
    uint64_t hash = cop__path_hash(seed, anchor, path, length);
    uint32_t number = bucket_of((uint32_t)hash, buckets);
    const cop__bucket *bucket = /* every bucket has a page */
        view.root != NULL ? cop__space_page_dense(&view.root->space[COP_SPACE_NAMES], number)
                          : cop__draft_page(view.tree, COP_SPACE_NAMES, number);
    while (bucket != NULL) {
        bool more;
        const cop__name *name =
            find_in(view, bucket, tag_of(hash), anchor, path, length, slot, &more);
        if (name != NULL || !more || cop__directory_overflow(bucket) == 0)
            return name;
        bucket = cop__view_page(view, COP_SPACE_LISTS, cop__directory_overflow(bucket));
    }
    return NULL;
}

const cop__name *
cop__directory_lookup(const cop_snapshot *root, const char *path, size_t length,
                      const cop__slot **slot)
{
    return find((cop__view){root, NULL}, root->hash_seed, root->buckets, 0, path, length, slot);
}

const cop__name *
cop__directory_find(cop__view view, uint32_t anchor, const char *path, size_t length)
{
    const cop__slot *slot;
    if (view.root != NULL)
        return find(view, view.root->hash_seed, view.root->buckets, anchor, path, length, &slot);
    return find(view, view.tree->hash_seed, view.tree->now.buckets, anchor, path, length, &slot);
}

cop__prefix
cop__prefix_of(cop__view view, uint32_t branch)
{
    cop__info info =
        view.root != NULL ? cop__root_info(view.root, branch) : cop__draft_info(view.tree, branch);
    const cop__name *name = cop__info_name(info);
    if (name != NULL)
        return (cop__prefix){name->anchor, name->path, name->length};
    return (cop__prefix){branch, NULL, 0}; /* the root or an array element: an anchor itself */
}

const cop__name *
cop__child_find(cop__view view, uint32_t object, const char *segment, size_t length)
{
    char path[COP_PATH_MAX + 1];
    cop__prefix prefix = cop__prefix_of(view, object);
    if (prefix.length == 0)
        return length <= COP_PATH_MAX
                   ? cop__directory_find(view, prefix.anchor, segment, length)
                   : NULL;
    if (prefix.length + 1 + length > COP_PATH_MAX)
        return NULL;
    memcpy(path, prefix.path, prefix.length);
    path[prefix.length] = '/';
    memcpy(path + prefix.length + 1, segment, length);
    return cop__directory_find(view, prefix.anchor, path, prefix.length + 1 + length);
}

/* One step down: the child of `at` whose segment is path[from..to), counted from the anchor. */
static bool
step(cop__view view, uint32_t *at, uint32_t *anchor, size_t *anchor_from, const char *path,
     size_t from, size_t to)
{
    const cop__slot *slot = slot_of(view, *at);
    if (cop__slot_type(slot) == COP_OBJECT) {
        const cop__name *name =
            cop__directory_find(view, *anchor, path + *anchor_from, to - *anchor_from);
        if (name == NULL)
            return false;
        *at = name->id;
        return true;
    }
    uint32_t index;
    if (cop__slot_type(slot) != COP_ARRAY ||
        !cop__segment_index(path + from, to - from, &index) || index >= cop__list_count(view, slot))
        return false;
    *at = cop__list_at(view, slot, index);
    *anchor = *at;
    *anchor_from = to < SIZE_MAX ? to + 1 : to;
    return true;
}

static cop__found
resolve_by_steps(cop__view view, const char *path, size_t length)
{
    uint32_t at = 0, anchor = 0;
    size_t anchor_from = 0;
    for (size_t from = 0; from <= length;) {
        const char *slash = memchr(path + from, '/', length - from);
        size_t to = slash != NULL ? (size_t)(slash - path) : length;
        if (!step(view, &at, &anchor, &anchor_from, path, from, to))
            return (cop__found){.ancestor = at, .rest = from};
        from = to + 1;
    }
    return (cop__found){.found = true, .id = at};
}

cop__found
cop__path_resolve(cop__view view, const char *path, size_t length)
{
    if (length == 0)
        return (cop__found){.found = true, .id = 0};
    const cop__name *name = cop__directory_find(view, 0, path, length);
    if (name != NULL)
        return (cop__found){.found = true, .id = name->id};
    return resolve_by_steps(view, path, length);
}

/* ---- changes, in the draft ---- */

/* Puts a word into the first line with room, from its home on. False: there is none; all lines then
 * count it as passed. */
static bool
page_put(cop__bucket *bucket, uint64_t word)
{
    unsigned at = home_of(word);
    for (unsigned i = 0; i < COP_BUCKET_LINES; i++) {
        cop__bucket_line *line = &bucket->line[at];
        for (unsigned k = 0; k < COP_LINE_NAMES; k++)
            if (line->word[k] == 0) {
                line->word[k] = word;
                line->id[k] = cop__directory_name(word)->id;
                return true;
            }
        line->passed++;
        at = (at + 1) % COP_BUCKET_LINES;
    }
    return false;
}

/* Puts a word into a bucket, or into the first page of its chain with room. */
static bool
bucket_put(cop__tree *tree, uint32_t number, uint64_t word)
{
    cop__bucket *bucket = cop__draft_edit(tree, COP_SPACE_NAMES, number);
    while (bucket != NULL && !page_put(bucket, word)) {
        uint32_t next = cop__directory_overflow(bucket);
        if (next == 0) {
            next = cop__draft_new_list_page(tree);
            if (next == 0)
                return false;
            bucket->line[0].half = (uint16_t)next;
            bucket->line[1].half = (uint16_t)(next >> 16);
        }
        bucket = cop__draft_edit(tree, COP_SPACE_LISTS, next);
    }
    return bucket != NULL;
}

/* Copies the words of a page behind those in scratch. */
static bool
scratch_add(cop__tree *tree, const cop__bucket *bucket, size_t *n)
{
    if (!cop__tree_grow(tree, &tree->scratch, &tree->scratch_capacity, *n + COP_BUCKET_WORDS,
                        sizeof *tree->scratch))
        return false;
    for (unsigned i = 0; i < COP_BUCKET_WORDS; i++)
        if (cop__directory_word(bucket, i) != 0)
            tree->scratch[(*n)++] = cop__directory_word(bucket, i);
    return true;
}

/* Empties a bucket into scratch; its overflow pages are dropped. */
static bool
bucket_take(cop__tree *tree, uint32_t number, size_t *n)
{
    *n = 0;
    if (cop__draft_page(tree, COP_SPACE_NAMES, number) == NULL)
        return true;
    cop__bucket *bucket = cop__draft_edit(tree, COP_SPACE_NAMES, number);
    if (bucket == NULL || !scratch_add(tree, bucket, n))
        return false;
    uint32_t next = cop__directory_overflow(bucket);
    memset(bucket, 0, sizeof *bucket);
    while (next != 0) {
        const cop__bucket *more = cop__draft_page(tree, COP_SPACE_LISTS, next);
        uint32_t page = next;
        next = cop__directory_overflow(more);
        if (!scratch_add(tree, more, n) || !cop__draft_drop_list_page(tree, page))
            return false;
    }
    return true;
}

static bool
scratch_put_back(cop__tree *tree, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t hash = cop__directory_name(tree->scratch[i])->hash;
        if (!bucket_put(tree, bucket_of(hash, tree->now.buckets), tree->scratch[i]))
            return false;
    }
    return true;
}

static uint32_t
highest_bit(uint32_t n)
{
    return UINT32_C(1) << (31 - __builtin_clz(n));
}

/* One more bucket: the names of its lower twin are shared out between the two. */
static bool
bucket_split(cop__tree *tree)
{
    uint32_t fresh = tree->now.buckets;
    size_t n;
    if (cop__draft_edit(tree, COP_SPACE_NAMES, fresh) == NULL ||
        !bucket_take(tree, fresh - highest_bit(fresh), &n))
        return false;
    tree->now.buckets++;
    return scratch_put_back(tree, n);
}

/* One bucket less: the last one's names go to its lower twin. */
static bool
bucket_join(cop__tree *tree)
{
    uint32_t last = tree->now.buckets - 1;
    size_t n;
    if (!bucket_take(tree, last, &n))
        return false;
    if (cop__draft_page(tree, COP_SPACE_NAMES, last) != NULL &&
        !cop__draft_drop(tree, COP_SPACE_NAMES, last, COP_FATE_DIES))
        return false;
    tree->now.buckets--;
    return scratch_put_back(tree, n);
}

static uint64_t
name_hash(const cop__tree *tree, const cop__name *name)
{
    return cop__path_hash(tree->hash_seed, name->anchor, name->path, name->length);
}

bool
cop__directory_add(cop__tree *tree, cop__name *name)
{
    uint64_t hash = name_hash(tree, name);
    name->hash = (uint32_t)hash;
    uint64_t word = tag_of(hash) << 48 | (uintptr_t)name;
    if (!bucket_put(tree, bucket_of(name->hash, tree->now.buckets), word))
        return false;
    tree->now.names++;
    tree->now.made++;
    return tree->now.names <= (uint64_t)tree->now.buckets * COP_BUCKET_FILL || bucket_split(tree);
}

/* Whether the word stands in this page; *at and *place tell where. */
static bool
word_find(const cop__bucket *bucket, uint64_t word, unsigned *at, unsigned *place)
{
    *at = home_of(word);
    for (unsigned i = 0; i < COP_BUCKET_LINES; i++) {
        for (*place = 0; *place < COP_LINE_NAMES; ++*place)
            if (bucket->line[*at].word[*place] == word)
                return true;
        *at = (*at + 1) % COP_BUCKET_LINES;
    }
    return false;
}

/* The lines from the word's home up to, not including, `end` have one name less that passed them;
 * all lines when `whole`. */
static void
passed_less(cop__bucket *bucket, uint64_t word, unsigned end, bool whole)
{
    unsigned at = home_of(word);
    for (unsigned i = 0; whole ? i < COP_BUCKET_LINES : at != end; i++) {
        bucket->line[at].passed--;
        at = (at + 1) % COP_BUCKET_LINES;
    }
}

bool
cop__directory_remove(cop__tree *tree, const cop__name *name)
{
    uint64_t word = tag_of(name_hash(tree, name)) << 48 | (uintptr_t)name;
    unsigned at, place;
    uint32_t number = bucket_of(name->hash, tree->now.buckets);
    cop__bucket *bucket = cop__draft_edit(tree, COP_SPACE_NAMES, number);
    while (bucket != NULL && !word_find(bucket, word, &at, &place)) {
        passed_less(bucket, word, 0, true);
        number = cop__directory_overflow(bucket);
        COP_ALWAYS(number != 0);
        bucket = cop__draft_edit(tree, COP_SPACE_LISTS, number);
    }
    if (bucket == NULL)
        return false;
    passed_less(bucket, word, at, false);
    bucket->line[at].word[place] = 0;
    tree->now.names--;
    uint64_t least = (uint64_t)tree->now.buckets * COP_BUCKET_FILL / 4;
    return tree->now.buckets == 1 || tree->now.names >= least || bucket_join(tree);
}

/* ---- stale names ---- */

bool
cop__name_dies(cop__tree *tree, cop__name *name)
{
    size_t bytes = cop__name_bytes(name->length);
    if (name->birth == tree->stamp) {
        cop__pool_block_free(&tree->pool, &tree->pool.names, name, bytes);
        return true;
    }
    if (!cop__dead_reserve(&tree->dead, 1)) {
        tree->failed = COP_E_MEMORY;
        return false;
    }
    cop__dead_name(&tree->dead, name, bytes, tree->stamp);
    return true;
}

static bool
is_stale(const cop__tree *tree, const cop__name *name)
{
    return cop__draft_atom(tree, (cop_atom){name->id, name->generation}) == NULL;
}

static bool
has_stale(const cop__tree *tree, uint32_t number)
{
    const cop__bucket *bucket = cop__draft_page(tree, COP_SPACE_NAMES, number);
    while (bucket != NULL) {
        for (unsigned i = 0; i < COP_BUCKET_WORDS; i++) {
            const cop__name *name = cop__directory_name(cop__directory_word(bucket, i));
            if (name != NULL && is_stale(tree, name))
                return true;
        }
        number = cop__directory_overflow(bucket);
        bucket = number != 0 ? cop__draft_page(tree, COP_SPACE_LISTS, number) : NULL;
    }
    return false;
}

/* Empties a bucket and puts back what is not stale. */
static bool
bucket_sweep(cop__tree *tree, uint32_t bucket)
{
    size_t n, kept = 0;
    if (!has_stale(tree, bucket))
        return true;
    if (!bucket_take(tree, bucket, &n))
        return false;
    for (size_t i = 0; i < n; i++) {
        cop__name *name = cop__directory_name(tree->scratch[i]);
        if (!is_stale(tree, name)) {
            tree->scratch[kept++] = tree->scratch[i];
            continue;
        }
        if (!cop__name_dies(tree, name))
            return false;
        tree->now.names--;
        tree->now.stale--;
    }
    return scratch_put_back(tree, kept);
}

/* Joins as many buckets as were looked at, so that an emptied directory shrinks as it is swept. */
static bool
shrink(cop__tree *tree, uint32_t buckets)
{
    while (buckets-- > 0 && tree->now.buckets > 1 &&
           tree->now.names < (uint64_t)tree->now.buckets * COP_BUCKET_FILL / 4)
        if (!bucket_join(tree))
            return false;
    return true;
}

bool
cop__directory_sweep(cop__tree *tree, uint32_t buckets)
{
    for (uint32_t i = 0; i < buckets && tree->now.stale > 0; i++) {
        if (tree->now.sweep >= tree->now.buckets)
            tree->now.sweep = 0;
        if (!bucket_sweep(tree, tree->now.sweep++))
            return false;
    }
    return shrink(tree, buckets);
}
