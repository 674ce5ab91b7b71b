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
    size_t length = name->length;
    while ((name = cop__name_above(name)) != NULL)
        length += (size_t)name->length + 1;
    return length;
}

size_t
cop__name_path(const cop__name *name, char *buffer, size_t capacity)
{
    size_t length = cop__name_path_length(name), at = length;
    if (length > capacity)
        return length;
    for (;;) {
        at -= name->length;
        memcpy(buffer + at, name->segment, name->length);
        name = cop__name_above(name);
        if (name == NULL)
            return length;
        buffer[--at] = '/';
    }
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

static unsigned
depth_of(const cop__name *name)
{
    unsigned depth = 0;
    while ((name = cop__name_above(name)) != NULL)
        depth++;
    return depth;
}

static const cop__name *
lift(const cop__name *name, unsigned steps)
{
    while (steps-- > 0)
        name = cop__name_above(name);
    return name;
}

/* Where two names differ by address and not by text: an atom that went, and its successor. */
static __attribute__((noinline)) int
compare_written(const cop__name *a, const cop__name *b)
{
    char a_path[COP_PATH_MAX], b_path[COP_PATH_MAX];
    size_t a_length = cop__name_path(a, a_path, sizeof a_path);
    size_t b_length = cop__name_path(b, b_path, sizeof b_path);
    int order = memcmp(a_path, b_path, a_length < b_length ? a_length : b_length);
    return order != 0 ? order : (a_length > b_length) - (a_length < b_length);
}

/* Two segments at one place, of which `a` is the shorter one, and begins the other; a_ends: its path
 * ends with it. */
static int
compare_prefix(const cop__name *a, const cop__name *b, bool a_ends)
{
    return a_ends || '/' < (unsigned char)b->segment[a->length] ? -1 : 1;
}

int
cop__name_compare(const cop__name *a, const cop__name *b)
{
    unsigned a_depth = depth_of(a), b_depth = depth_of(b);
    const cop__name *x = lift(a, a_depth > b_depth ? a_depth - b_depth : 0);
    const cop__name *y = lift(b, b_depth > a_depth ? b_depth - a_depth : 0);
    if (x == y)
        return (a_depth > b_depth) - (a_depth < b_depth);
    while (cop__name_above(x) != cop__name_above(y)) {
        x = cop__name_above(x);
        y = cop__name_above(y);
    }
    size_t least = x->length < y->length ? x->length : y->length;
    int order = memcmp(x->segment, y->segment, least);
    if (order != 0)
        return order;
    if (x->length == y->length)
        return compare_written(a, b);
    return x->length < y->length ? compare_prefix(x, y, x == a) : -compare_prefix(y, x, y == b);
}
