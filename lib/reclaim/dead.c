/* SPDX-License-Identifier: MIT */
/* Dead lists: the idea and the argument are in dead.h. */
#include "reclaim/dead.h"

#define ADDRESS_MASK ((UINT64_C(1) << 48) - 1)
#define CHUNK_RECORDS 30
#define FREE_AT_ONCE 8192

typedef struct page_record {
    uint64_t tagged;
    uint64_t death;
} page_record;

/* Records of dead pages, first to last; fills most of a pool page. */
typedef struct cop__page_chunk {
    struct cop__page_chunk *next;
    uint32_t first, count;
    page_record record[CHUNK_RECORDS];
} page_chunk;

static uint64_t *
header_of(uint64_t address)
{
    return (uint64_t *)(uintptr_t)address;
}

/* Bytes of a dead block, by its tag. */
static uint64_t
block_bytes(uint64_t tagged)
{
    uint64_t class = tagged >> 48;
    if (class == COP_DEAD_ROOT)
        return COP_ROOT_BYTES;
    if (class == COP_DEAD_LARGE)
        return cop__pool_large_bytes((const void *)(uintptr_t)(tagged & ADDRESS_MASK));
    return cop__pool_class_bytes(class & ~(uint64_t)COP_DEAD_OF_NAMES);
}

static void
list_add_block(cop__dead *dead, cop__dead_list *list, uint64_t tagged)
{
    uint64_t address = tagged & ADDRESS_MASK;
    list->bytes += block_bytes(tagged);
    *header_of(address) = (tagged & ~ADDRESS_MASK) | list->first_block;
    if (list->first_block == 0)
        list->last_block = address;
    list->first_block = address;
    list->blocks++;
    dead->blocks_dead++;
}

static bool
list_add_page(cop__dead *dead, cop__dead_list *list, uint64_t tagged, uint64_t death)
{
    page_chunk *chunk = list->last_chunk;
    if (chunk == NULL || chunk->first + chunk->count == CHUNK_RECORDS) {
        page_chunk *fresh = cop__pool_page(dead->pool);
        if (fresh == NULL)
            return false;
        fresh->next = NULL;
        fresh->first = fresh->count = 0;
        if (chunk != NULL)
            chunk->next = fresh;
        else
            list->first_chunk = fresh;
        list->last_chunk = chunk = fresh;
    }
    chunk->record[chunk->first + chunk->count++] = (page_record){tagged, death};
    list->pages++;
    dead->pages_dead++;
    return true;
}

/* Moves everything of `from` into `to`. O(1). */
static void
list_splice(cop__dead_list *to, cop__dead_list *from)
{
    if (from->first_block != 0) {
        uint64_t *last = header_of(from->last_block);
        *last |= to->first_block;
        if (to->first_block == 0)
            to->last_block = from->last_block;
        to->first_block = from->first_block;
    }
    if (from->first_chunk != NULL) {
        from->last_chunk->next = to->first_chunk;
        if (to->first_chunk == NULL)
            to->last_chunk = from->last_chunk;
        to->first_chunk = from->first_chunk;
    }
    to->blocks += from->blocks;
    to->pages += from->pages;
    to->bytes += from->bytes;
    *from = (cop__dead_list){0};
}

/* ---- held versions and their sub-lists ---- */

/* The place of the first sub-list whose oldest is not below `oldest`. */
static uint32_t
sub_place(const cop__held *held, uint64_t oldest)
{
    uint32_t low = 0, high = held->subs;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (held->sub[middle].oldest < oldest)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool
sub_reserve(cop__dead *dead, cop__held *held, uint32_t more)
{
    if (held->capacity - held->subs >= more)
        return true;
    uint32_t capacity = held->capacity ? held->capacity * 2 : 2;
    while (capacity - held->subs < more)
        capacity *= 2;
    void *sub = cop__memory_realloc(dead->pool->memory, COP_MEMORY_TABLES, held->sub,
                                    held->capacity * sizeof *held->sub,
                                    capacity * sizeof *held->sub);
    if (sub == NULL)
        return false;
    held->sub = sub;
    held->capacity = capacity;
    return true;
}

static cop__dead_list *
sub_get(cop__dead *dead, cop__held *held, uint64_t oldest)
{
    uint32_t at = sub_place(held, oldest);
    if (at < held->subs && held->sub[at].oldest == oldest)
        return &held->sub[at].list;
    if (!sub_reserve(dead, held, 1))
        return NULL;
    memmove(&held->sub[at + 1], &held->sub[at], (held->subs - at) * sizeof *held->sub);
    held->sub[at] = (cop__sub_list){oldest, {0}};
    held->subs++;
    return &held->sub[at].list;
}

static void
held_free(cop__dead *dead, cop__held *held)
{
    cop__memory_free(dead->pool->memory, COP_MEMORY_TABLES, held->sub,
                     held->capacity * sizeof *held->sub, 16);
}

/* The index of the first held stamp >= stamp. */
static size_t
held_place(const cop__dead *dead, uint64_t stamp)
{
    size_t low = 0, high = dead->held_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (dead->held[middle].stamp < stamp)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The m-th held version goes; below: the one before it that stays, NULL: none. What the versions
 * between the two saw as well is no longer seen. False when refused for memory: it stays. */
static bool
held_leave(cop__dead *dead, size_t m, cop__held *below)
{
    cop__held *gone = &dead->held[m];
    uint32_t older = below != NULL ? sub_place(gone, below->stamp + 1) : 0;
    if (older > 0 && !sub_reserve(dead, below, older))
        return false;
    for (uint32_t i = 0; i < gone->subs; i++)
        list_splice(i < older ? sub_get(dead, below, gone->sub[i].oldest) : &dead->doomed,
                    &gone->sub[i].list);
    held_free(dead, gone);
    *gone = (cop__held){.stamp = gone->stamp, .left = true};
    return true;
}

/* "oldest = one that left" becomes "oldest = the next that stays"; first and last are the stamps between
 * which they left. Two sub-lists may become one. */
static void
subs_rename(const cop__dead *dead, cop__held *held, uint64_t first, uint64_t last)
{
    uint32_t n = sub_place(held, first);
    for (uint32_t i = n; i < held->subs; i++) {
        cop__sub_list *sub = &held->sub[i];
        if (n == i && sub->oldest > last)
            return;
        uint64_t oldest = dead->held[held_place(dead, sub->oldest)].becomes;
        if (n > 0 && held->sub[n - 1].oldest == oldest) {
            list_splice(&held->sub[n - 1].list, &sub->list);
            continue;
        }
        held->sub[n] = *sub;
        held->sub[n++].oldest = oldest;
    }
    held->subs = n;
}

/* Those that left are taken out, all in one pass. */
static void
held_close_up(cop__dead *dead)
{
    uint64_t next = UINT64_MAX, first = 0, last = 0;
    size_t n = 0;
    for (size_t i = dead->held_count; i-- > 0;) {
        cop__held *held = &dead->held[i];
        next = held->left ? next : held->stamp;
        held->becomes = next;
        first = held->left ? held->stamp : first;
        last = held->left && last == 0 ? held->stamp : last;
    }
    for (size_t i = 0; i < dead->held_count; i++)
        if (!dead->held[i].left && dead->held[i].stamp > first)
            subs_rename(dead, &dead->held[i], first, last);
    for (size_t i = 0; i < dead->held_count; i++)
        if (!dead->held[i].left)
            dead->held[n++] = dead->held[i];
    dead->held_count = n;
}

static bool
held_append(cop__dead *dead, uint64_t stamp)
{
    if (dead->held_count == dead->held_capacity) {
        size_t capacity = dead->held_capacity ? dead->held_capacity * 2 : 16;
        void *held = cop__memory_realloc(dead->pool->memory, COP_MEMORY_TABLES, dead->held,
                                         dead->held_capacity * sizeof *dead->held,
                                         capacity * sizeof *dead->held);
        if (held == NULL)
            return false;
        dead->held = held;
        dead->held_capacity = capacity;
    }
    dead->held[dead->held_count++] = (cop__held){.stamp = stamp};
    return true;
}

/* Makes the held array equal to stamps. A refused drop keeps that version; a refused append fails,
 * since what it holds must not be freed. */
static bool
held_update(cop__dead *dead, const uint64_t *stamps, size_t n)
{
    size_t j = 0, before = dead->held_count, stay = 0;
    cop__held *below = NULL;
    for (size_t i = 0; i < before; i++) {
        while (j < n && stamps[j] < dead->held[i].stamp)
            j++;
        bool held = j < n && stamps[j] == dead->held[i].stamp;
        if (held || !held_leave(dead, i, below)) {
            below = &dead->held[i];
            stay++;
        }
    }
    if (stay < before)
        held_close_up(dead);
    for (j = 0; j < n; j++) {
        if (dead->held_count > 0 && stamps[j] <= dead->held[dead->held_count - 1].stamp)
            continue;
        if (!held_append(dead, stamps[j]))
            return false;
    }
    return true;
}

static void
free_block(cop__dead *dead, uint64_t tagged)
{
    void *block = (void *)(uintptr_t)(tagged & ADDRESS_MASK);
    uint64_t class = tagged >> 48;
    if (class == COP_DEAD_ROOT)
        cop__pool_root_free(dead->pool, block);
    else if (class == COP_DEAD_LARGE)
        cop__pool_large_free(dead->pool, &dead->pool->values, block);
    else if (class & COP_DEAD_OF_NAMES)
        cop__pool_block_push(&dead->pool->names, block, class & ~(uint64_t)COP_DEAD_OF_NAMES);
    else
        cop__pool_block_push(&dead->pool->values, block, class);
}

static void
free_item(cop__dead *dead, const cop__limbo_item *item)
{
    if (item->tagged >> 48 == COP_DEAD_PAGE)
        cop__pool_page_free(dead->pool, (void *)(uintptr_t)(item->tagged & ADDRESS_MASK));
    else
        free_block(dead, item->tagged);
}

/* Files one dead thing under the held versions oldest .. beyond - 1, which see it; none: it is
 * doomed. False when refused. */
static bool
file_item(cop__dead *dead, const cop__limbo_item *item, size_t oldest, size_t beyond)
{
    cop__dead_list *list = &dead->doomed;
    if (oldest < beyond)
        list = sub_get(dead, &dead->held[beyond - 1], dead->held[oldest].stamp);
    if (list == NULL)
        return false;
    if (item->tagged >> 48 == COP_DEAD_PAGE || item->tagged >> 48 == COP_DEAD_PAGE_OF_VALUES)
        return list_add_page(dead, list, item->tagged, item->death);
    list_add_block(dead, list, item->tagged);
    return true;
}

/* Nothing is held: all of the limbo goes, but for what is to go by quota. */
static void
limbo_free(cop__dead *dead)
{
    size_t left = 0;
    for (size_t i = 0; i < dead->limbo_count; i++) {
        const cop__limbo_item *item = &dead->limbo[i];
        if (cop__likely(item->tagged >> 48 != COP_DEAD_PAGE_OF_VALUES))
            free_item(dead, item);
        else if (!file_item(dead, item, 0, 0))
            dead->limbo[left++] = *item;
    }
    dead->limbo_count = left;
}

bool
cop__dead_scan(cop__dead *dead, const uint64_t *stamps, size_t n)
{
    if (!held_update(dead, stamps, n))
        return false;
    if (dead->held_count == 0 && dead->limbo_count <= FREE_AT_ONCE) {
        limbo_free(dead);
        return dead->limbo_count == 0;
    }
    size_t left = 0;
    bool at_once = dead->limbo_count <= FREE_AT_ONCE; /* more go by quota */
    for (size_t i = 0; i < dead->limbo_count; i++) {
        const cop__limbo_item *item = &dead->limbo[i];
        size_t oldest = held_place(dead, item->birth), beyond = held_place(dead, item->death);
        if (COP_FAULT(page_freed_while_pinned))
            oldest = beyond;
        if (COP_FAULT(page_freed_early)) /* by one version: the last that sees it does not count */
            beyond = held_place(dead, item->death - 1);
        if (oldest == beyond && at_once && item->tagged >> 48 != COP_DEAD_PAGE_OF_VALUES)
            free_item(dead, item);
        else if (!file_item(dead, item, oldest, beyond))
            dead->limbo[left++] = *item;
    }
    dead->limbo_count = left;
    return left == 0;
}

/* ---- freeing ---- */

struct emit_context {
    cop__dead *dead;
    uint64_t death;
};

/* A long value that died with its page: it may have been born long before the page was, so a
 * version that did not hold the page may hold the value. */
static void
emit_value(void *context, void *block, size_t bytes)
{
    struct emit_context *emit = context;
    cop__dead *dead = emit->dead;
    size_t class = cop__pool_class(bytes);
    uint64_t tag = class < COP_CLASSES ? class : COP_DEAD_LARGE;
    cop__limbo_item item = {(uint64_t)(uintptr_t)block | tag << 48, *(uint64_t *)block, emit->death};
    size_t oldest = held_place(dead, item.birth), beyond = held_place(dead, item.death);
    if (oldest == beyond) {
        free_block(dead, item.tagged);
        return;
    }
    /* Sub-lists for this are reserved by free_page; a block needs no node of its own. */
    COP_ALWAYS(file_item(dead, &item, oldest, beyond));
}

/* Makes sure that filing a value that dies at `death` cannot fail: one more sub-list may be needed
 * for each oldest held version. */
static bool
reserve_filing(cop__dead *dead, uint64_t death)
{
    size_t beyond = held_place(dead, death);
    return beyond == 0 || sub_reserve(dead, &dead->held[beyond - 1], (uint32_t)beyond);
}

static bool
free_page(cop__dead *dead, const page_record *record)
{
    void *page = (void *)(uintptr_t)(record->tagged & ADDRESS_MASK);
    if (record->tagged >> 48 == COP_DEAD_PAGE_OF_VALUES) {
        if (!reserve_filing(dead, record->death))
            return false;
        struct emit_context context = {dead, record->death};
        dead->open_page(page, emit_value, &context);
    }
    cop__pool_page_free(dead->pool, page);
    return true;
}

static size_t
free_pages(cop__dead *dead, size_t quota)
{
    cop__dead_list *list = &dead->doomed;
    while (quota > 0 && list->first_chunk != NULL) {
        page_chunk *chunk = list->first_chunk; /* never empty */
        page_record record = chunk->record[chunk->first];
        size_t cost = record.tagged >> 48 == COP_DEAD_PAGE_OF_VALUES ? 33 : 1;
        if (!free_page(dead, &record))
            return quota;
        chunk->first++;
        chunk->count--;
        list->pages--;
        dead->pages_dead--;
        quota -= cost < quota ? cost : quota;
        if (chunk->count > 0)
            continue;
        list->first_chunk = chunk->next;
        if (list->first_chunk == NULL)
            list->last_chunk = NULL;
        cop__pool_page_free(dead->pool, chunk);
    }
    return quota;
}

size_t
cop__dead_free(cop__dead *dead, size_t quota)
{
    cop__dead_list *list = &dead->doomed;
    quota = free_pages(dead, quota);
    while (quota > 0 && list->first_block != 0) {
        uint64_t address = list->first_block;
        uint64_t header = *header_of(address);
        list->first_block = header & ADDRESS_MASK;
        if (list->first_block == 0)
            list->last_block = 0;
        else
            __builtin_prefetch(header_of(list->first_block), 1);
        list->bytes -= block_bytes(address | (header & ~ADDRESS_MASK));
        free_block(dead, address | (header & ~ADDRESS_MASK));
        list->blocks--;
        dead->blocks_dead--;
        quota--;
    }
    return cop__dead_doomed(dead);
}

/* ---- weighing ---- */

uint64_t
cop__dead_held_until(const cop__dead *dead, uint64_t stamp)
{
    size_t at = held_place(dead, stamp + 1);
    return at > 0 ? dead->held[at - 1].stamp : 0;
}

bool
cop__dead_mark_kept(cop__dead *dead, uint64_t stamp)
{
    size_t at = held_place(dead, stamp);
    if (at == dead->held_count || dead->held[at].stamp != stamp)
        return false;
    dead->held[at].kept = true;
    return true;
}

void
cop__dead_unmark_kept(cop__dead *dead)
{
    for (size_t k = 0; k < dead->held_count; k++)
        dead->held[k].kept = false;
}

static uint64_t
list_bytes(const cop__dead_list *list)
{
    return list->bytes + list->pages * COP_PAGE_BYTES;
}

/* first: of the run of kept versions that the k-th one ends. */
uint64_t
cop__dead_kept_bytes(const cop__dead *dead)
{
    uint64_t bytes = 0;
    size_t first = 0;
    for (size_t k = 0; k < dead->held_count; k++) {
        const cop__held *held = &dead->held[k];
        if (!held->kept) {
            first = k + 1;
            continue;
        }
        uint64_t stamp = dead->held[first].stamp;
        for (uint32_t i = held->subs; i > 0 && held->sub[i - 1].oldest >= stamp; i--)
            bytes += list_bytes(&held->sub[i - 1].list);
    }
    return bytes;
}

uint64_t
cop__dead_alone_bytes(const cop__dead *dead, uint64_t stamp)
{
    size_t at = held_place(dead, stamp);
    if (at == dead->held_count || dead->held[at].stamp != stamp || dead->held[at].subs == 0)
        return 0;
    const cop__sub_list *last = &dead->held[at].sub[dead->held[at].subs - 1];
    return last->oldest == stamp ? list_bytes(&last->list) : 0;
}

uint64_t
cop__dead_bytes_since(const cop__dead *dead, size_t first)
{
    uint64_t bytes = 0;
    for (size_t i = first; i < dead->limbo_count; i++) {
        uint64_t tagged = dead->limbo[i].tagged, tag = tagged >> 48;
        bool page = tag == COP_DEAD_PAGE || tag == COP_DEAD_PAGE_OF_VALUES;
        bytes += page ? COP_PAGE_BYTES : tag == COP_DEAD_ROOT ? 0 : block_bytes(tagged);
    }
    return bytes;
}

/* ---- life ---- */

void
cop__dead_init(cop__dead *dead, cop__pool *pool, cop__dead_open_page open_page)
{
    memset(dead, 0, sizeof *dead);
    dead->pool = pool;
    dead->open_page = open_page;
}

static bool
limbo_resize(cop__dead *dead, size_t capacity)
{
    void *limbo = cop__memory_table(dead->pool->memory, COP_MEMORY_TABLES, dead->limbo,
                                    dead->limbo_capacity * sizeof *dead->limbo,
                                    capacity * sizeof *dead->limbo);
    if (limbo == NULL)
        return false;
    dead->limbo = limbo;
    dead->limbo_capacity = capacity;
    return true;
}

#define SHORT_ENOUGH 8192u

void
cop__dead_shrink(cop__dead *dead)
{
    if (dead->limbo_capacity > SHORT_ENOUGH && dead->limbo_count < dead->limbo_capacity / 4)
        (void)limbo_resize(dead, dead->limbo_count * 2 + SHORT_ENOUGH / 2);
}

bool
cop__dead_reserve_slow(cop__dead *dead, size_t n)
{
    size_t capacity = dead->limbo_capacity ? dead->limbo_capacity + dead->limbo_capacity / 2 : 256;
    if (capacity < dead->limbo_count + n)
        capacity = dead->limbo_count + n;
    return limbo_resize(dead, capacity);
}

/* Nothing is held and nothing may be refused any more: the lists are joined and freed, and what is
 * in limbo is freed without being filed. */
void
cop__dead_end(cop__dead *dead)
{
    for (size_t k = 0; k < dead->held_count; k++) {
        for (uint32_t i = 0; i < dead->held[k].subs; i++)
            list_splice(&dead->doomed, &dead->held[k].sub[i].list);
        held_free(dead, &dead->held[k]);
    }
    dead->held_count = 0;
    (void)cop__dead_free(dead, SIZE_MAX);
    for (size_t i = 0; i < dead->limbo_count; i++) {
        const cop__limbo_item *item = &dead->limbo[i];
        if (item->tagged >> 48 == COP_DEAD_PAGE || item->tagged >> 48 == COP_DEAD_PAGE_OF_VALUES)
            (void)free_page(dead, &(page_record){item->tagged, item->death});
        else
            free_block(dead, item->tagged);
    }
    cop__memory_table_free(dead->pool->memory, COP_MEMORY_TABLES, dead->limbo,
                           dead->limbo_capacity * sizeof *dead->limbo);
    cop__memory_free(dead->pool->memory, COP_MEMORY_TABLES, dead->held,
                     dead->held_capacity * sizeof *dead->held, 16);
}
