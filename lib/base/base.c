/* SPDX-License-Identifier: MIT */
/* What every room uses, as far as it is no inline function: see base.h. */
#include "base/base.h"

_Thread_local bool cop__evaluating;

#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Here alone does the library write to standard error and end the process: what follows a broken
 * invariant would be somebody's corrupted memory. */
_Noreturn void
cop__assert_failed(const char *expression, const char *file, int line)
{
    char message[512];
    int n = snprintf(message, sizeof message, "coppice: %s:%d: assertion failed: %s\n", file, line,
                     expression);
    if (n >= (int)sizeof message)
        n = (int)sizeof message - 1;
    /* Nobody is left to tell when even this fails. */
    ssize_t written = write(STDERR_FILENO, message, (size_t)n);
    (void)written;
    abort();
}

#ifdef COP_PLANTED_FAULTS
enum { FAULT_NOT_READ = -2, FAULT_NONE = -1 };

static int
fault_from_environment(void)
{
    static const char *const names[] = {
#define FAULT_NAME(name) #name,
        COP_FAULT_MAP(FAULT_NAME)
#undef FAULT_NAME
    };
    const char *wanted = getenv("COP_FAULT");
    if (!wanted || !*wanted)
        return FAULT_NONE;
    for (int i = 0; i < COP_FAULTS; i++)
        if (strcmp(names[i], wanted) == 0)
            return i;
    /* A misspelt fault would look like one that no test needs to catch. */
    cop__assert_failed("COP_FAULT names a planted fault", __FILE__, __LINE__);
}

bool
cop__fault_live(enum cop__fault fault)
{
    static atomic_int chosen = FAULT_NOT_READ;
    int live = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (cop__unlikely(live == FAULT_NOT_READ)) {
        /* Threads that race here store the same number. */
        live = fault_from_environment();
        atomic_store_explicit(&chosen, live, memory_order_relaxed);
    }
    return live == (int)fault;
}
#endif

static uint64_t
clock_read(clockid_t clock)
{
    struct timespec now = {0, 0};
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t
cop__clock_ns(void)
{
    return clock_read(CLOCK_MONOTONIC);
}

uint64_t
cop__realtime_ns(void)
{
    return clock_read(CLOCK_REALTIME_COARSE);
}

/* FUTEX_WAIT_BITSET, because its time is absolute: a wait that starts over after a spurious return
 * needs no arithmetic. */
void
cop__futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t deadline_ns)
{
    struct timespec until = {(time_t)(deadline_ns / 1000000000u),
                             (long)(deadline_ns % 1000000000u)};
    bool for_ever = deadline_ns == UINT64_MAX;
    syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, value, for_ever ? NULL : &until, NULL,
            FUTEX_BITSET_MATCH_ANY);
}

void
cop__futex_wake(_Atomic uint32_t *word, int threads)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, threads, NULL, NULL, 0);
}

/* The finaliser of splitmix64: every bit of x reaches every bit of the result. */
static uint64_t
mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

uint64_t
cop__random_seed(void)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) == (ssize_t)sizeof seed)
        return seed;
    seed = mix(cop__clock_ns()) ^ mix(cop__realtime_ns() + 1);
    return mix(seed ^ (uint64_t)(uintptr_t)&seed ^ ((uint64_t)getpid() << 32));
}
