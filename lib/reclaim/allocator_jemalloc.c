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
#include "reclaim/jemalloc.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#define FLAG_NO_CACHE (1 << 8)                          /* MALLOCX_TCACHE_NONE */
#define FLAG_ARENA(arena) ((int)(((arena) + 1u) << 20)) /* MALLOCX_ARENA */

/* Lives in its own arena. */
typedef struct arena {
    cop__jemalloc jemalloc;
    unsigned index;
} arena;

static int
arena_flags(const arena *a, size_t alignment)
{
    /* The low bits are the logarithm of the alignment. */
    return FLAG_ARENA(a->index) | FLAG_NO_CACHE | __builtin_ctzll(alignment);
}

static void *
arena_allocate(void *context, size_t size, size_t alignment)
{
    const arena *a = context;
    return a->jemalloc.allocate(size, arena_flags(a, alignment));
}

static void
arena_release(void *context, void *memory, size_t size, size_t alignment)
{
    const arena *a = context;
    a->jemalloc.release(memory, size, arena_flags(a, alignment));
}

static void
discard(const cop__jemalloc *jemalloc, unsigned index)
{
    char name[40];
    snprintf(name, sizeof name, "arena.%u.destroy", index);
    jemalloc->control(name, NULL, NULL, NULL, 0);
}

/* Also what jemalloc would give back by itself, later. */
static void
arena_purge(void *context)
{
    const arena *a = context;
    char name[40];
    snprintf(name, sizeof name, "arena.%u.purge", a->index);
    a->jemalloc.control(name, NULL, NULL, NULL, 0);
}

static void
arena_destroy(void *context)
{
    arena a = *(arena *)context;
    a.jemalloc.release(context, sizeof a, arena_flags(&a, _Alignof(max_align_t)));
    discard(&a.jemalloc, a.index);
}

cop_status
cop__allocator_arena(const cop__jemalloc *jemalloc, cop_allocator *allocator)
{
    arena found = {*jemalloc, 0};
    size_t size = sizeof found.index;
    memset(allocator, 0, sizeof *allocator);
    if (!jemalloc->allocate || !jemalloc->release || !jemalloc->control)
        return COP_E_UNSUPPORTED;
    if (jemalloc->control("arenas.create", &found.index, &size, NULL, 0) != 0)
        return COP_E_UNSUPPORTED;
    arena *a = arena_allocate(&found, sizeof *a, _Alignof(max_align_t));
    if (!a) {
        discard(jemalloc, found.index);
        return COP_E_MEMORY;
    }
    *a = found;
    *allocator = (cop_allocator){arena_allocate, arena_release, arena_destroy, a, arena_purge};
    return COP_OK;
}

/* C has no cast from an object's pointer to a function's; POSIX says the bytes are the same. */
static void
find_function(const char *name, void *function)
{
    void *found = dlsym(RTLD_DEFAULT, name);
    memcpy(function, &found, sizeof found);
}

cop_status
cop_allocator_jemalloc(cop_allocator *allocator)
{
    cop__jemalloc jemalloc;
    find_function("mallocx", &jemalloc.allocate);
    find_function("sdallocx", &jemalloc.release);
    find_function("mallctl", &jemalloc.control);
    return cop__allocator_arena(&jemalloc, allocator);
}
