/* SPDX-License-Identifier: MIT */
/* Samples in a ring, each with a table of its counters by name. */
#include "tools/sources/history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_US 1000000u
#define SAMPLES 12
#define KEEP_EVERY_US (WINDOW_US / 10)

struct entry {
    char key[96]; /* GROUP/NAME */
    uint64_t identity;
    uint64_t values[HISTORY_VALUES];
};

struct sample {
    uint64_t time_us;
    struct entry *entries;
    size_t count, capacity;
    uint32_t *table; /* of entries + 1; a power of two */
    size_t table_size;
};

struct history {
    struct sample samples[SAMPLES];
    size_t first, count;           /* oldest first */
    struct sample *now;            /* NULL: this sweep is not kept */
    const struct sample *previous; /* NULL: there is none */
    struct mirror *mirror;
    struct mirror_node *told; /* host/previous */
};

struct history *
history_new(void)
{
    return calloc(1, sizeof(struct history));
}

void
history_free(struct history *h)
{
    for (size_t i = 0; h && i < SAMPLES; i++) {
        free(h->samples[i].entries);
        free(h->samples[i].table);
    }
    free(h);
}

/* ---- the table of a sample ---- */

static size_t
place_of(const struct sample *s, const char *key)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (const char *p = key; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 0x100000001b3u;
    size_t i = (size_t)(hash ^ hash >> 29) & (s->table_size - 1);
    while (s->table[i] && strcmp(s->entries[s->table[i] - 1].key, key) != 0)
        i = (i + 1) & (s->table_size - 1);
    return i;
}

static const struct entry *
find(const struct sample *s, const char *key, uint64_t identity)
{
    if (!s || !s->table_size)
        return NULL;
    uint32_t n = s->table[place_of(s, key)];
    return n && s->entries[n - 1].identity == identity ? &s->entries[n - 1] : NULL;
}

static bool
widen(struct sample *s)
{
    size_t size = s->table_size ? s->table_size * 2 : 256;
    uint32_t *table = calloc(size, sizeof *table);
    struct entry *entries = realloc(s->entries, size / 2 * sizeof *entries);
    if (entries)
        s->entries = entries;
    if (!table || !entries) {
        free(table);
        return false;
    }
    free(s->table);
    s->table = table;
    s->table_size = size;
    s->capacity = size / 2;
    for (size_t i = 0; i < s->count; i++)
        s->table[place_of(s, s->entries[i].key)] = (uint32_t)i + 1;
    return true;
}

static void
add(struct sample *s, const char *key, uint64_t identity, const uint64_t *values, size_t count)
{
    if (s->count == s->capacity && !widen(s))
        return; /* one counter less in the next second's rates */
    struct entry *entry = &s->entries[s->count];
    memset(entry, 0, sizeof *entry);
    snprintf(entry->key, sizeof entry->key, "%s", key);
    entry->identity = identity;
    memcpy(entry->values, values, count * sizeof *values);
    s->table[place_of(s, key)] = (uint32_t)++s->count;
}

/* ---- sweeps ---- */

static struct sample *
sample_at(struct history *h, size_t i)
{
    return &h->samples[(h->first + i) % SAMPLES];
}

/* The place of a new sample, taken from the oldest one when there is none left. */
static struct sample *
keep(struct history *h, uint64_t time_us)
{
    if (h->count > 0 && time_us - sample_at(h, h->count - 1)->time_us < KEEP_EVERY_US)
        return NULL;
    if (h->count == SAMPLES) {
        h->first = (h->first + 1) % SAMPLES;
        h->count--;
    }
    struct sample *s = sample_at(h, h->count++);
    s->time_us = time_us;
    s->count = 0;
    if (s->table)
        memset(s->table, 0, s->table_size * sizeof *s->table);
    return s;
}

static const struct sample *
choose(struct history *h, uint64_t time_us)
{
    size_t i = h->count;
    while (i > 1 && time_us - sample_at(h, i - 1)->time_us < WINDOW_US)
        i--;
    return i > 0 ? sample_at(h, i - 1) : NULL;
}

void
history_begin(struct history *h, struct mirror *m, struct mirror_node *host, uint64_t time_us)
{
    if (h->count == SAMPLES && choose(h, time_us) == sample_at(h, 0)) {
        h->now = NULL; /* the oldest is still needed: this one is not kept */
        h->previous = sample_at(h, 0);
    } else {
        h->previous = choose(h, time_us);
        h->now = keep(h, time_us);
    }
    h->mirror = m;
    mirror_i64(m, host, "time_us", time_us);
    h->told = mirror_branch(m, host, "previous", 0);
    if (h->previous)
        mirror_i64(m, h->told, "time_us", h->previous->time_us);
}

/* Notes counters of this sweep; those of the earlier one, or NULL. */
static const struct entry *
note(struct history *h, const char *group, const char *name, uint64_t identity,
     const uint64_t *values, size_t count)
{
    char key[96];
    snprintf(key, sizeof key, "%s/%s", group, name);
    if (h->now)
        add(h->now, key, identity, values, count);
    return find(h->previous, key, identity);
}

uint64_t
history_growth(struct history *h, const char *group, const char *name, uint64_t identity,
               uint64_t value)
{
    const struct entry *before = note(h, group, name, identity, &value, 1);
    uint64_t had = before ? before->values[0] : 0;
    return h->previous && value > had ? value - had : 0;
}

void
history_note(struct history *h, const char *group, const char *name, uint64_t identity,
             const char *const *keys, const uint64_t *values, size_t count)
{
    const struct entry *before = note(h, group, name, identity, values, count);
    if (!before)
        return;
    struct mirror_node *node = mirror_branch(h->mirror, h->told, group, 0);
    node = mirror_branch(h->mirror, node, name, identity);
    for (size_t i = 0; i < count; i++)
        mirror_i64(h->mirror, node, keys[i], before->values[i]);
}
