/* SPDX-License-Identifier: MIT */
#include "tests/support/fault_alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC_HELD UINT64_C(0xa110c8ed0b10c4ed)
#define MAGIC_FREE UINT64_C(0xdeaddeaddeaddead)

/* Stands right before each block. */
typedef struct header {
    uint64_t magic;
    uint64_t size;
    uint64_t alignment;
    uint64_t reserved;
} header;

static void
die(const char *what, const void *memory)
{
    fprintf(stderr, "fault_alloc: %s (%p)\n", what, memory);
    abort();
}

/* The header lies in a prefix that keeps the alignment of what follows. */
static size_t
prefix(size_t alignment)
{
    return alignment > sizeof(header) ? alignment : sizeof(header);
}

static bool
refuse(fault_alloc *faults)
{
    int64_t left;

    if (atomic_load(&faults->countdown) == FAULT_NEVER)
        return false;
    left = atomic_fetch_sub(&faults->countdown, 1);
    if (left != 1 && !(left < 1 && atomic_load(&faults->for_ever)))
        return false;
    atomic_fetch_add(&faults->refused, 1);
    return true;
}

static void
count(fault_alloc *faults, int64_t bytes)
{
    int64_t now = atomic_fetch_add(&faults->bytes, bytes) + bytes;
    int64_t peak = atomic_load(&faults->peak);

    atomic_fetch_add(&faults->blocks, bytes > 0 ? 1 : -1);
    while (now > peak && !atomic_compare_exchange_weak(&faults->peak, &peak, now))
        continue;
}

static void *
fault_allocate(void *context, size_t size, size_t alignment)
{
    fault_alloc *faults = context;
    size_t before = prefix(alignment);
    unsigned char *memory;
    header *h;

    if (size == 0 || alignment < 16 || (alignment & (alignment - 1)) != 0)
        die("a request that the interface does not allow", NULL);
    atomic_fetch_add(&faults->requests, 1);
    if (refuse(faults))
        return NULL;
    memory = aligned_alloc(before, (before + size + before - 1) / before * before);
    if (memory == NULL)
        return NULL;
    h = (header *)(void *)(memory + before - sizeof(header));
    *h = (header){MAGIC_HELD, size, alignment, 0};
    memset(memory + before, 0xa5, size < 4096 ? size : 4096);
    count(faults, (int64_t)size);
    return memory + before;
}

static void
fault_release(void *context, void *memory, size_t size, size_t alignment)
{
    fault_alloc *faults = context;
    header *h = (header *)(void *)((unsigned char *)memory - sizeof(header));

    if (h->magic != MAGIC_HELD)
        die(h->magic == MAGIC_FREE ? "released twice" : "released, but never allocated", memory);
    if (h->size != size)
        die("released with another size", memory);
    if (h->alignment != alignment)
        die("released with another alignment", memory);
    h->magic = MAGIC_FREE;
    memset(memory, 0xdd, size);
    count(faults, -(int64_t)size);
    free((unsigned char *)memory - prefix(alignment));
}

static void
fault_destroy(void *context)
{
    fault_alloc *faults = context;

    if (atomic_load(&faults->blocks) != 0)
        die("destroyed while blocks are held", context);
    atomic_fetch_add(&faults->destroyed, 1);
}

void
fault_alloc_init(fault_alloc *faults)
{
    memset(faults, 0, sizeof *faults);
    atomic_store(&faults->countdown, FAULT_NEVER);
}

cop_allocator
fault_alloc_table(fault_alloc *faults)
{
    return (cop_allocator){fault_allocate, fault_release, fault_destroy, faults, NULL};
}

void
fault_alloc_arm(fault_alloc *faults, int64_t k, bool for_ever)
{
    atomic_store(&faults->refused, 0);
    atomic_store(&faults->for_ever, for_ever);
    atomic_store(&faults->countdown, k);
}

void
fault_alloc_disarm(fault_alloc *faults)
{
    atomic_store(&faults->countdown, FAULT_NEVER);
}

bool
fault_alloc_fired(const fault_alloc *faults)
{
    return atomic_load(&faults->refused) != 0;
}

void
fault_alloc_reset_peak(fault_alloc *faults)
{
    atomic_store(&faults->peak, atomic_load(&faults->bytes));
}
