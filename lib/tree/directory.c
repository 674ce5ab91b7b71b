/* SPDX-License-Identifier: MIT */
/* The directory: see directory.h. */
#include "tree/directory.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <coppice/path.h>

#include "tree/path.h"

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

/* Bits 16 to 30 of the hash, above a bit that is set, so that it differs from an empty word's. */
static inline uint64_t
tag_of(uint64_t hash)
{
    return (hash >> 15 & UINT16_MAX) | 1;
}

/* What tag_of left out goes into the header of the name's block. */
static uint64_t
header_of(uint64_t birth, uint64_t hash)
{
    return birth | hash << 48;
}

/* The hash again, all of it that is used. */
static uint32_t
hash_of(uint64_t word)
{
    return (uint32_t)(cop__directory_name(word)->header >> 48) | (uint32_t)(word >> 49) << 16;
}

/* The line: the upper bits of the tag. */
static inline unsigned
home_of(uint64_t tag)
{
    return (unsigned)(tag >> 12);
}

_Static_assert(COP_BUCKET_LINES == 1 << 4, "four bits of the tag say the line");

/* ---- lookup ---- */

static inline uint64_t
eight_bytes(const char *p)
{
    uint64_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

/* Whether path[at .. at + n), n < 8, is what ends at `end`. The eight bytes in front of `end` are
 * readable (a name's fields, if the text is short); of the path, those are read that stay inside of
 * it. */
static inline bool
same_short(const char *path, size_t length, size_t at, const char *end, size_t n)
{
    uint64_t want = eight_bytes(end - sizeof(uint64_t));
    if (cop__unlikely(n == 0))
        return true;
    if (at + n >= sizeof(uint64_t))
        return (eight_bytes(path + at + n - sizeof(uint64_t)) ^ want) >> (64 - 8 * n) == 0;
    if (at + sizeof(uint64_t) <= length)
        return (eight_bytes(path + at) ^ want >> (64 - 8 * n)) << (64 - 8 * n) == 0;
    return memcmp(path + at, end - n, n) == 0;
}

_Static_assert(offsetof(cop__name, text) >= sizeof(uint64_t), "fields in front of a text");

/* Whether path[at .. at + n) is the text: words, no call. */
static inline bool
same_text(const char *path, size_t length, size_t at, const char *text, size_t n)
{
    if (n < sizeof(uint64_t))
        return same_short(path, length, at, text + n, n);
    const char *have = path + at;
    for (size_t i = 0; i + sizeof(uint64_t) < n; i += sizeof(uint64_t))
        if (eight_bytes(have + i) != eight_bytes(text + i))
            return false;
    return eight_bytes(have + n - sizeof(uint64_t)) == eight_bytes(text + n - sizeof(uint64_t));
}

/* A path that is looked for. */
typedef struct sought {
    const char *path;
    size_t length;
    uint32_t anchor;
    uint32_t bucket;
    uint64_t tag;
} sought;

/* From the end of the path upwards. The name's atom lives. */
static inline bool
same_path(const sought *s, const cop__name *name)
{
    size_t left = s->length;
    for (;;) {
        size_t n = cop__name_text_length(name);
        if (n > left || !same_text(s->path, s->length, left - n, name->text, n))
            return false;
        left -= n;
        const cop__name *above = cop__name_above(name);
        if (above == NULL)
            return left == 0 && cop__name_own_anchor(name) == s->anchor;
        if (left == 0 || s->path[--left] != '/')
            return false;
        name = above;
    }
}

static inline const cop__slot *
slot_of(cop__view view, uint32_t id)
{
    return view.root != NULL ? cop__root_slot(view.root, id) : cop__draft_slot(view.tree, id);
}

/* Bit i is set where the i-th name of the line has this tag. No branches, see directory.h. */
static inline unsigned
line_matches(const cop__directory_line *line, uint64_t tag)
{
    unsigned matches = 0;
    for (unsigned i = 0; i < COP_LINE_NAMES; i++)
        matches |= (unsigned)(line->word[i] >> 48 == tag) << i;
    return matches;
}

static const cop__named none;

/* The slot is asked for before the name is looked into: the two cache misses overlap. */
__attribute__((always_inline)) static inline cop__named
find_in_line(cop__view view, const cop__directory_line *line, const sought *s,
             const cop__slot **found)
{
    for (unsigned left = line_matches(line, s->tag); left != 0; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctz(left);
        const cop__name *name = cop__directory_name(line->word[i]);
        __builtin_prefetch(name);
        const cop__slot *slot = slot_of(view, line->id[i]);
        if (cop__likely(slot != NULL && slot->reserved == cop__name_generation(name) &&
                        cop__slot_alive(slot) && same_path(s, name))) {
            *found = slot;
            return (cop__named){name, line->id[i]};
        }
    }
    return none;
}

/* Every bucket has its pages. */
static inline const cop__directory_line *
bucket_line(cop__view view, uint32_t bucket, unsigned at)
{
    uint32_t number = bucket * COP_BUCKET_PAGES + at / COP_DIRECTORY_LINES;
    const cop__directory_page *page =
        view.root != NULL ? cop__space_page_dense(&view.root->space[COP_SPACE_NAMES], number)
                          : cop__draft_page(view.tree, COP_SPACE_NAMES, number);
    return &page->line[at % COP_DIRECTORY_LINES];
}

/* The pages that a bucket overflows into. */
static cop__named
find_in_overflow(cop__view view, const sought *s, const cop__slot **found)
{
    const void *first = bucket_line(view, s->bucket, 0);
    for (uint32_t next = cop__directory_overflow(first); next != 0;) {
        const cop__directory_page *page = cop__view_page(view, COP_SPACE_LISTS, next);
        for (unsigned i = 0, at = home_of(s->tag); i < COP_DIRECTORY_LINES; i++, at++) {
            const cop__directory_line *line = &page->line[at % COP_DIRECTORY_LINES];
            cop__named named = find_in_line(view, line, s, found);
            if (named.name != NULL || line->passed == 0)
                return named;
        }
        next = cop__directory_overflow(page);
    }
    return none;
}

/* Names went past the line that the hash says. */
static __attribute__((noinline)) cop__named
find_further(cop__view view, const sought *s, const cop__slot **found)
{
    for (unsigned i = 1, at = home_of(s->tag); i < COP_BUCKET_REACH; i++) {
        const cop__directory_line *line = bucket_line(view, s->bucket, ++at % COP_BUCKET_LINES);
        cop__named named = find_in_line(view, line, s, found);
        if (named.name != NULL || line->passed == 0)
            return named;
    }
    return find_in_overflow(view, s, found);
}

/* Compiled once for readers and once for the draft. */
__attribute__((always_inline)) static inline cop__named
find(cop__view view, uint64_t seed, uint32_t buckets, uint32_t anchor, const char *path,
     size_t length, const cop__slot **found)
{
    uint64_t hash = cop__path_hash(seed, anchor, path, length);
    sought s = {path, length, anchor, bucket_of((uint32_t)hash, buckets), tag_of(hash)};
    const cop__directory_line *line = bucket_line(view, s.bucket, home_of(s.tag));
    cop__named named = find_in_line(view, line, &s, found);
    if (cop__likely(named.name != NULL || line->passed == 0))
        return named;
    return find_further(view, &s, found);
}

cop__named
cop__directory_lookup(const cop_snapshot *root, const char *path, size_t length,
                      const cop__slot **slot)
{
    return find((cop__view){root, NULL}, root->hash_seed, root->buckets, 0, path, length, slot);
}

cop__named
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
        return (cop__prefix){name, cop__name_anchor(name)};
    return (cop__prefix){NULL, branch}; /* the root or an array element: an anchor itself */
}

size_t
cop__prefix_length(cop__prefix prefix)
{
    return prefix.name != NULL ? cop__name_path_length(prefix.name) + 1 : 0;
}

cop__named
cop__child_find(cop__view view, uint32_t object, const char *segment, size_t length)
{
    char path[COP_PATH_MAX + 1];
    cop__prefix prefix = cop__prefix_of(view, object);
    if (prefix.name == NULL)
        return length <= COP_PATH_MAX ? cop__directory_find(view, prefix.anchor, segment, length)
                                      : none;
    size_t above = cop__name_path(prefix.name, path, COP_PATH_MAX);
    if (above + 1 + length > COP_PATH_MAX)
        return none;
    path[above] = '/';
    memcpy(path + above + 1, segment, length);
    return cop__directory_find(view, prefix.anchor, path, above + 1 + length);
}

/* One step down: the child of `at` whose segment is path[from..to), counted from the anchor. */
static bool
step(cop__view view, uint32_t *at, uint32_t *anchor, size_t *anchor_from, const char *path,
     size_t from, size_t to)
{
    const cop__slot *slot = slot_of(view, *at);
    if (cop__slot_type(slot) == COP_OBJECT) {
        cop__named named =
            cop__directory_find(view, *anchor, path + *anchor_from, to - *anchor_from);
        if (named.name == NULL)
            return false;
        *at = named.id;
        return true;
    }
    uint32_t index;
    if (cop__slot_type(slot) != COP_ARRAY || !cop__segment_index(path + from, to - from, &index) ||
        index >= cop__list_count(view, slot))
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
    cop__named named = cop__directory_find(view, 0, path, length);
    if (named.name != NULL)
        return (cop__found){.found = true, .id = named.id};
    return resolve_by_steps(view, path, length);
}

/* ---- changes, in the draft ---- */

/* Lines that a name goes past one by one, from its home on: those of a bucket, or of a page that it
 * overflows into. */
typedef struct leg {
    unsigned space;
    uint32_t page; /* the first */
    unsigned lines;
    unsigned reach;
} leg;

static leg
leg_of_bucket(uint32_t bucket)
{
    return (leg){COP_SPACE_NAMES, bucket * COP_BUCKET_PAGES, COP_BUCKET_LINES, COP_BUCKET_REACH};
}

static leg
leg_of_overflow(uint32_t page)
{
    return (leg){COP_SPACE_LISTS, page, COP_DIRECTORY_LINES, COP_DIRECTORY_LINES};
}

static cop__directory_line *
leg_line(cop__tree *tree, leg l, unsigned at)
{
    at %= l.lines;
    cop__directory_page *page = cop__draft_edit(tree, l.space, l.page + at / COP_DIRECTORY_LINES);
    return page != NULL ? &page->line[at % COP_DIRECTORY_LINES] : NULL;
}

static bool
line_put(cop__directory_line *line, cop__directory_entry place)
{
    for (unsigned i = 0; i < COP_LINE_NAMES; i++)
        if (line->word[i] == 0) {
            line->word[i] = place.word;
            line->id[i] = place.id;
            return true;
        }
    return false;
}

static bool
line_take(cop__directory_line *line, uint64_t word)
{
    for (unsigned i = 0; i < COP_LINE_NAMES; i++)
        if (line->word[i] == word) {
            line->word[i] = 0;
            return true;
        }
    return false;
}

/* Puts a word into the first line with room, or takes it out of the line where it is; the lines
 * before that count one more that went past them, or one less. *done: false when it went past all
 * that it may stand in. */
static bool
leg_edit(cop__tree *tree, leg l, cop__directory_entry place, bool put, bool *done)
{
    unsigned at = home_of(place.word >> 48);
    *done = false;
    for (unsigned i = 0; i < l.reach; i++) {
        cop__directory_line *line = leg_line(tree, l, at + i);
        if (line == NULL)
            return false;
        *done = put ? line_put(line, place) : line_take(line, place.word);
        if (*done)
            return true;
        line->passed = (uint16_t)(put ? line->passed + 1 : line->passed - 1);
    }
    return true;
}

/* The page that a leg overflows into, one being made for what is put there; 0: out of memory. */
static uint32_t
leg_overflow(cop__tree *tree, leg l, bool put)
{
    cop__directory_page *page = cop__draft_edit(tree, l.space, l.page);
    uint32_t next = page != NULL ? cop__directory_overflow(page) : 0;
    if (page == NULL || next != 0)
        return next;
    COP_ALWAYS(put); /* what is taken out stands somewhere */
    next = cop__draft_new_list_page(tree);
    page->line[0].half = (uint16_t)next;
    page->line[1].half = (uint16_t)(next >> 16);
    return next;
}

/* Puts a word into a bucket or takes it out, or in or out of the first page of its chain that fits.
 */
static bool
bucket_edit(cop__tree *tree, uint32_t bucket, cop__directory_entry place, bool put)
{
    leg l = leg_of_bucket(bucket);
    bool done;
    while (leg_edit(tree, l, place, put, &done)) {
        if (done)
            return true;
        uint32_t next = leg_overflow(tree, l, put);
        if (next == 0)
            return false;
        l = leg_of_overflow(next);
    }
    return false;
}

/* Copies the words of a page behind those in scratch. */
static bool
scratch_add(cop__tree *tree, const cop__directory_page *page, size_t *n)
{
    if (!cop__tree_grow(tree, &tree->scratch, &tree->scratch_capacity, *n + COP_DIRECTORY_WORDS,
                        sizeof *tree->scratch))
        return false;
    for (unsigned i = 0; i < COP_DIRECTORY_WORDS; i++)
        if (cop__directory_word(page, i) != 0)
            tree->scratch[(*n)++] =
                (cop__directory_entry){cop__directory_word(page, i), cop__directory_id(page, i)};
    return true;
}

/* Empties the pages that a bucket overflows into, and drops them. */
static bool
overflow_take(cop__tree *tree, uint32_t next, size_t *n)
{
    while (next != 0) {
        const cop__directory_page *more = cop__draft_page(tree, COP_SPACE_LISTS, next);
        uint32_t page = next;
        next = cop__directory_overflow(more);
        if (!scratch_add(tree, more, n) || !cop__draft_drop_list_page(tree, page))
            return false;
    }
    return true;
}

/* Empties a bucket into scratch. */
static bool
bucket_take(cop__tree *tree, uint32_t bucket, size_t *n)
{
    uint32_t overflow = 0;
    *n = 0;
    for (unsigned i = 0; i < COP_BUCKET_PAGES; i++) {
        cop__directory_page *page =
            cop__draft_edit(tree, COP_SPACE_NAMES, bucket * COP_BUCKET_PAGES + i);
        if (page == NULL || !scratch_add(tree, page, n))
            return false;
        overflow |= cop__directory_overflow(page); /* the second page says none */
        memset(page, 0, sizeof *page);
    }
    return overflow_take(tree, overflow, n);
}

static bool
scratch_put_back(cop__tree *tree, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        cop__directory_entry place = tree->scratch[i];
        if (!bucket_edit(tree, bucket_of(hash_of(place.word), tree->now.buckets), place, true))
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
    for (unsigned i = 0; i < COP_BUCKET_PAGES; i++)
        if (cop__draft_edit(tree, COP_SPACE_NAMES, fresh * COP_BUCKET_PAGES + i) == NULL)
            return false;
    if (!bucket_take(tree, fresh - highest_bit(fresh), &n))
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
    for (unsigned i = 0; i < COP_BUCKET_PAGES; i++)
        if (!cop__draft_drop(tree, COP_SPACE_NAMES, last * COP_BUCKET_PAGES + i, COP_FATE_DIES))
            return false;
    tree->now.buckets--;
    return scratch_put_back(tree, n);
}

static uint64_t
name_hash(const cop__tree *tree, const cop__name *name)
{
    char path[COP_PATH_MAX];
    size_t length = cop__name_path(name, path, sizeof path);
    return cop__path_hash(tree->hash_seed, cop__name_anchor(name), path, length);
}

bool
cop__directory_add(cop__tree *tree, uint32_t id, cop__name *name)
{
    uint64_t hash = name_hash(tree, name);
    name->header = header_of(tree->stamp, hash);
    cop__directory_entry place = {tag_of(hash) << 48 | (uintptr_t)name, id};
    if (!bucket_edit(tree, bucket_of((uint32_t)hash, tree->now.buckets), place, true))
        return false;
    tree->now.names++;
    tree->now.made++;
    return tree->now.names <= (uint64_t)tree->now.buckets * COP_BUCKET_FILL || bucket_split(tree);
}

bool
cop__directory_remove(cop__tree *tree, const cop__name *name)
{
    uint64_t hash = name_hash(tree, name);
    cop__directory_entry place = {.word = tag_of(hash) << 48 | (uintptr_t)name};
    if (!bucket_edit(tree, bucket_of((uint32_t)hash, tree->now.buckets), place, false))
        return false;
    tree->now.names--;
    uint64_t least = (uint64_t)tree->now.buckets * COP_BUCKET_FILL / 2;
    return tree->now.buckets == 1 || tree->now.names >= least || bucket_join(tree);
}

/* ---- stale names ---- */

bool
cop__name_dies(cop__tree *tree, cop__name *name)
{
    if (!cop__dead_reserve(&tree->dead, 1)) {
        tree->failed = COP_E_MEMORY;
        return false;
    }
    cop__dead_name(&tree->dead, name, cop__name_bytes(name), cop__name_birth(name), tree->stamp);
    return true;
}

static bool
is_stale(const cop__tree *tree, cop__directory_entry place)
{
    uint16_t generation = cop__name_generation(cop__directory_name(place.word));
    return cop__draft_atom(tree, (cop_atom){place.id, generation}) == NULL;
}

static bool
page_has_stale(const cop__tree *tree, const cop__directory_page *page)
{
    for (unsigned i = 0; i < COP_DIRECTORY_WORDS; i++) {
        cop__directory_entry place = {cop__directory_word(page, i), cop__directory_id(page, i)};
        if (place.word != 0 && is_stale(tree, place))
            return true;
    }
    return false;
}

static bool
has_stale(const cop__tree *tree, uint32_t bucket)
{
    uint32_t overflow = 0;
    for (unsigned i = 0; i < COP_BUCKET_PAGES; i++) {
        const void *page = cop__draft_page(tree, COP_SPACE_NAMES, bucket * COP_BUCKET_PAGES + i);
        if (page_has_stale(tree, page))
            return true;
        overflow |= cop__directory_overflow(page);
    }
    while (overflow != 0) {
        const void *page = cop__draft_page(tree, COP_SPACE_LISTS, overflow);
        if (page_has_stale(tree, page))
            return true;
        overflow = cop__directory_overflow(page);
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
        cop__directory_entry place = tree->scratch[i];
        if (!is_stale(tree, place)) {
            tree->scratch[kept++] = place;
            continue;
        }
        if (!cop__name_dies(tree, cop__directory_name(place.word)))
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
           tree->now.names < (uint64_t)tree->now.buckets * COP_BUCKET_FILL / 2)
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
