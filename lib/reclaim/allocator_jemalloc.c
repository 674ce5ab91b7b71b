/* SPDX-License-Identifier: MIT */
/*
 * An allocator on an arena of jemalloc, when the host has jemalloc.
 *
 * Its functions are looked up in the running process and declared here: the library is built
 * without jemalloc's headers, does not link it, and replaces nobody's malloc. The flags of mallocx
 * are part of jemalloc's interface and have stood since its version 4.
 *
 * Thread caches are passed by: what a thread has cached of an arena would be left behind when the
 * arena is destroyed. The library asks for chunks, not for single values, so the arena's lock is
 * seldom taken.
 */
#include <coppice/memory.h>

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLAG_NO_CACHE (1 << 8)                          /* MALLOCX_TCACHE_NONE */
#define FLAG_ARENA(arena) ((int)(((arena) + 1u) << 20)) /* MALLOCX_ARENA */
#define ARENA_MAX 4094u                                 /* jemalloc's own limit */

typedef struct arena {
    void *(*allocate)(size_t size, int flags);
    void (*release)(void *memory, size_t size, int flags);
    int (*control)(const char *name, void *old, size_t *old_size, void *new, size_t new_size);
    unsigned index;
} arena;

/* C has no cast from an object's pointer to a function's; POSIX says the bytes are the same. */
static int
find_function(const char *name, void *function)
{
    void *found = dlsym(RTLD_DEFAULT, name);
    memcpy(function, &found, sizeof found);
    return found != NULL;
}

static int
find_jemalloc(arena *a)
{
    return find_function("mallocx", &a->allocate) && find_function("sdallocx", &a->release) &&
           find_function("mallctl", &a->control);
}

static int
arena_flags(const arena *a, size_t alignment)
{
    /* The low bits are the logarithm of the alignment. */
    return FLAG_ARENA(a->index) | FLAG_NO_CACHE | __builtin_ctzl(alignment);
}

static void *
arena_allocate(void *context, size_t size, size_t alignment)
{
    const arena *a = context;
    return a->allocate(size, arena_flags(a, alignment));
}

static void
arena_release(void *context, void *memory, size_t size, size_t alignment)
{
    const arena *a = context;
    a->release(memory, size, arena_flags(a, alignment));
}

static void
arena_destroy(void *context)
{
    arena *a = context;
    char name[40];
    snprintf(name, sizeof name, "arena.%u.destroy", a->index);
    a->control(name, NULL, NULL, NULL, 0);
    free(a);
}

cop_status
cop_allocator_jemalloc(cop_allocator *allocator)
{
    arena found = {NULL, NULL, NULL, 0}, *a;
    size_t size = sizeof found.index;
    memset(allocator, 0, sizeof *allocator);
    if (!find_jemalloc(&found))
        return COP_E_UNSUPPORTED;
    a = malloc(sizeof *a);
    if (!a)
        return COP_E_MEMORY;
    if (found.control("arenas.create", &found.index, &size, NULL, 0) != 0 ||
        found.index > ARENA_MAX) {
        free(a);
        return COP_E_UNSUPPORTED;
    }
    *a = found;
    *allocator = (cop_allocator){arena_allocate, arena_release, arena_destroy, a};
    return COP_OK;
}
