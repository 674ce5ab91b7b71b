/* SPDX-License-Identifier: MIT */
/* What another system must offer to be put into the same trouble. */
#ifndef COPPICE_BENCH_MEMORY_PEER_H
#define COPPICE_BENCH_MEMORY_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct memory_peer {
    const char *name;
    bool limited;   /* it can be told a limit */
    bool snapshots; /* one thread can hold many versions */
    bool (*open)(uint64_t limit, uint32_t keys_max);
    void (*enter)(void); /* on a thread that is going to use it; may be NULL */
    void (*leave)(void);
    /* One transaction: sets n keys to n values. False: refused, and nothing of it has an effect
     * where the system has transactions. */
    bool (*write)(const uint32_t *keys, unsigned n, uint32_t stamp);
    uint64_t (*bytes)(void); /* held, by its own count or the allocator's */
    uint64_t (*resident)(void);
    /* A reader that goes on holding what it sees; NULL: refused. On the calling thread. */
    void *(*hold)(void);
    void (*release)(void *held);
    const char *(*message)(void); /* why a write was refused */
} memory_peer;

/* NULL where the system was not there when this was configured. */
extern const memory_peer *const memory_urcu;
extern const memory_peer *const memory_lmdb;

/* The words of a value: at least one. */
size_t memory_peer_value(uint64_t *words, uint32_t key, uint32_t stamp);

#endif
