/* SPDX-License-Identifier: MIT */
#include "tests/support/path_names.h"

#include <stdlib.h>
#include <string.h>

static cop__name **names;
static size_t count, capacity, forgotten;

static bool
room(void)
{
    size_t wide = capacity > 0 ? 2 * capacity : 64;
    if (count < capacity)
        return true;
    void *moved = realloc(names, wide * sizeof(*names));
    if (moved == NULL)
        return false;
    names = moved;
    capacity = wide;
    return true;
}

#define SHARED 1u /* as the parent's number: of what is above a name, which is shared */
#define OWN 2u

static const cop__name *
make(const cop__name *above, const char *segment, size_t length, uint32_t mark)
{
    cop__name *name = room() ? calloc(1, cop__name_bytes_for(length, false)) : NULL;
    if (name == NULL)
        return NULL;
    name->above = cop__name_way_up(above, 0, 1);
    name->parent = mark;
    name->shape = (uint16_t)length;
    memcpy(name->text, segment, length);
    return names[count++] = name;
}

static const cop__name *
shared(const cop__name *above, const char *segment, size_t length)
{
    for (size_t i = forgotten; i < count; i++)
        if (names[i]->parent == SHARED && cop__name_above(names[i]) == above &&
            cop__name_length(names[i]) == length && memcmp(names[i]->text, segment, length) == 0)
            return names[i];
    return make(above, segment, length, SHARED);
}

const cop__name *
path_name(const char *path, size_t length)
{
    const cop__name *above = NULL;
    const char *end = path + length, *slash;
    while ((slash = memchr(path, '/', (size_t)(end - path))) != NULL) {
        above = shared(above, path, (size_t)(slash - path));
        if (above == NULL)
            return NULL;
        path = slash + 1;
    }
    return make(above, path, (size_t)(end - path), OWN);
}

void
path_names_forget(void)
{
    forgotten = count;
}

void
path_names_free(void)
{
    forgotten = 0;
    while (count > 0)
        free(names[--count]);
    free(names);
    names = NULL;
    capacity = 0;
}
