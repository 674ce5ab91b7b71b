/* SPDX-License-Identifier: MIT */
/* Names as paths: see name.h. */
#include "tree/name.h"

#include <stdio.h>
#include <string.h>

#include <coppice/path.h>

uint32_t
cop__name_anchor(const cop__name *name)
{
    for (const cop__name *above; (above = cop__name_above(name)) != NULL;)
        name = above;
    return cop__name_own_anchor(name);
}

size_t
cop__name_path_length(const cop__name *name)
{
    size_t length = cop__name_text_length(name);
    while ((name = cop__name_above(name)) != NULL)
        length += cop__name_text_length(name) + 1;
    return length;
}

/* Writes the path below `base`, which is above the name or NULL, up to `end`. Returns where it
 * begins. */
static char *
write_below(const cop__name *name, const cop__name *base, char *end)
{
    for (;;) {
        size_t length = cop__name_text_length(name);
        end -= length;
        memcpy(end, name->text, length);
        name = cop__name_above(name);
        if (name == base)
            return end;
        *--end = '/';
    }
}

size_t
cop__name_path(const cop__name *name, char *buffer, size_t capacity)
{
    size_t length = cop__name_path_length(name);
    if (length <= capacity)
        write_below(name, NULL, buffer + length);
    return length;
}

size_t
cop__name_describe(const cop__name *name, uint32_t id, char *text, size_t room)
{
    char path[COP_PATH_MAX];
    int n = name != NULL
                ? snprintf(text, room, "%.*s", (int)cop__name_path(name, path, sizeof path), path)
                : snprintf(text, room, "#%u", (unsigned)id);
    return n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
}

/* ---- order ---- */

static int
compare_bytes(const char *a, size_t a_length, const char *b, size_t b_length)
{
    int order = memcmp(a, b, a_length < b_length ? a_length : b_length);
    return order != 0 ? order : (a_length > b_length) - (a_length < b_length);
}

#define LEVELS 16u

/* The way up, the name itself last, if it has no more than LEVELS; else 0. */
static unsigned
levels_of(const cop__name *name, const cop__name *level[LEVELS])
{
    unsigned n = 0;
    for (const cop__name *at = name; at != NULL; at = cop__name_above(at), n++)
        if (n == LEVELS)
            return 0;
    for (unsigned i = n; i-- > 0; name = cop__name_above(name))
        level[i] = name;
    return n;
}

/* A name that both ways up lead by, the lowest one that is neither of the two; NULL: none, or it
 * was not looked for. */
static const cop__name *
base_of(const cop__name *a, const cop__name *b)
{
    const cop__name *of_a[LEVELS], *of_b[LEVELS];
    unsigned a_levels = levels_of(a, of_a), b_levels = levels_of(b, of_b), n = 0;
    while (n + 1 < a_levels && n + 1 < b_levels && of_a[n] == of_b[n])
        n++;
    return n > 0 ? of_a[n - 1] : NULL;
}

static __attribute__((noinline)) int
compare_written(const cop__name *a, const cop__name *b)
{
    char a_path[COP_PATH_MAX], b_path[COP_PATH_MAX];
    char *a_end = a_path + sizeof a_path, *b_end = b_path + sizeof b_path;
    const cop__name *base = base_of(a, b);
    const char *x = write_below(a, base, a_end), *y = write_below(b, base, b_end);
    return compare_bytes(x, (size_t)(a_end - x), y, (size_t)(b_end - y));
}

int
cop__name_compare(const cop__name *a, const cop__name *b)
{
    if (((a->above ^ b->above) & COP_NAME_ADDRESS) != 0)
        return compare_written(a, b);
    return compare_bytes(a->text, cop__name_text_length(a), b->text, cop__name_text_length(b));
}
