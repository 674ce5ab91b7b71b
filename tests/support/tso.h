/* SPDX-License-Identifier: MIT */
/*
 * A simulated TSO processor under a seeded scheduler, for tests that compile concurrent code into themselves:
 * each access is a step, and each thread's stores wait in a buffer of its own, which an actor drains when the
 * schedule lets it; exchanges, additions, fences and heavy barriers drain it at once.
 *
 * The includer has included base/atomic.h, base/base.h and schedule.h, defines READERS before and sim_access
 * after it, and includes the code itself behind that: the atomic helpers mean other things from here on, and
 * so does COP_FAULT. Planted faults are switched on from inside (`planted`), in every build.
 */
#ifndef COP_TESTS_TSO_H
#define COP_TESTS_TSO_H

#define BUFFER 12

struct buffer {
    struct {
        void *word;
        uint64_t value;
    } stores[BUFFER];
    unsigned count;
};

static struct schedule schedule;
static struct buffer buffers[READERS + 1]; /* the readers', then the committer's */
static struct buffer *const committer_buffer = &buffers[READERS];
static _Thread_local struct buffer *own;
static bool hold_drains; /* buffers are emptied by barriers alone */

static uint64_t
peek(const void *word)
{
    uint64_t value;

    memcpy(&value, word, sizeof value);
    return value;
}

static void
poke(void *word, uint64_t value)
{
    memcpy(word, &value, sizeof value);
}

static bool
drain_ready(void *context)
{
    return ((struct buffer *)context)->count > 0 && !hold_drains;
}

static void
drain_one(void *context)
{
    struct buffer *buffer = context;

    poke(buffer->stores[0].word, buffer->stores[0].value);
    buffer->count--;
    memmove(buffer->stores, buffer->stores + 1, buffer->count * sizeof *buffer->stores);
}

static void
drain_all(struct buffer *buffer)
{
    while (buffer->count > 0)
        drain_one(buffer);
}

/* The test says what else happens at each access. */
static void sim_access(const char *where);

static uint64_t
sim_load(const void *word)
{
    sim_access("load");
    for (unsigned i = own->count; i-- > 0;)
        if (own->stores[i].word == word)
            return own->stores[i].value;
    return peek(word);
}

static void
sim_store(void *word, uint64_t value)
{
    sim_access("store");
    if (own->count == BUFFER)
        drain_one(own);
    own->stores[own->count].word = word;
    own->stores[own->count++].value = value;
}

static uint64_t
sim_swap(void *word, uint64_t value)
{
    uint64_t old;

    sim_access("swap");
    drain_all(own);
    old = peek(word);
    poke(word, value);
    return old;
}

static inline uint64_t
sim_add(void *word, uint64_t n)
{
    uint64_t old;

    sim_access("add");
    drain_all(own);
    old = peek(word);
    poke(word, old + n);
    return old;
}

#ifndef __SANITIZE_THREAD__ /* with which pin.c uses an exchange */
static void
sim_fence(void)
{
    sim_access("fence");
    drain_all(own);
}
#endif

/* Every word of the pin core has eight bytes. */
#define VALUE_OF(p) __typeof__(atomic_load_explicit((p), memory_order_relaxed))
#define LOAD(p) ((VALUE_OF(p))(uintptr_t)sim_load((const void *)(p)))
#define STORE(p, v) sim_store((void *)(p), (uint64_t)(uintptr_t)(v))

#undef cop__load_relaxed
#undef cop__load_acquire
#undef cop__load_seq_cst
#undef cop__store_relaxed
#undef cop__store_release
#undef cop__store_seq_cst
#undef cop__swap_seq_cst
#undef cop__add_seq_cst
#undef cop__sub_seq_cst
#undef atomic_thread_fence
#define cop__load_relaxed(p) LOAD(p)
#define cop__load_acquire(p) LOAD(p)
#define cop__load_seq_cst(p) LOAD(p)
#define cop__store_relaxed(p, v) STORE(p, v)
#define cop__store_release(p, v) STORE(p, v)
#define cop__store_seq_cst(p, v) ((void)sim_swap((void *)(p), (uint64_t)(uintptr_t)(v)))
#define cop__swap_seq_cst(p, v) sim_swap((void *)(p), (uint64_t)(uintptr_t)(v))
#define cop__add_seq_cst(p, v) sim_add((void *)(p), (v))
#define cop__sub_seq_cst(p, v) sim_add((void *)(p), UINT64_C(0) - (v))
#define atomic_thread_fence(order) sim_fence()

#ifdef COP_PLANTED_FAULTS
#define FAULT_BY_ENVIRONMENT(name) cop__fault_live(COP_FAULT_##name)
#else
#define FAULT_BY_ENVIRONMENT(name) false
#endif
static enum cop__fault planted = COP_FAULTS;
#undef COP_FAULT
#define COP_FAULT(name) (planted == COP_FAULT_##name || FAULT_BY_ENVIRONMENT(name))

#endif
