/* SPDX-License-Identifier: MIT */
/*
 * What the stress programs share: arguments, a clock, random numbers, threads, and properties.
 *
 * A program has a list of properties, each a sentence that must hold whenever it is checked. At the
 * end each is printed with its number of checks; one that was broken or never checked has failed.
 * On a machine that has little time for it a program goes on, for a while, until each was checked.
 * A watchdog ends a program that does not end by itself, with a failure.
 */
#ifndef COP_TESTS_STRESS_COMMON_H
#define COP_TESTS_STRESS_COMMON_H

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <coppice/coppice.h>

#ifdef __has_feature
#define STRESS_HAS(feature) __has_feature(feature)
#else
#define STRESS_HAS(feature) 0
#endif
/* 1 in a build with the thread sanitizer, with either, and in any that runs many times slower. */
#if defined(__SANITIZE_THREAD__) || STRESS_HAS(thread_sanitizer)
#define STRESS_TSAN 1
#else
#define STRESS_TSAN 0
#endif
#if STRESS_TSAN || defined(__SANITIZE_ADDRESS__) || STRESS_HAS(address_sanitizer)
#define STRESS_SANITIZED 1
#else
#define STRESS_SANITIZED 0
#endif
#if STRESS_SANITIZED || defined(COP_PERTURB) || defined(COP_COVERAGE)
#define STRESS_SLOW 1
#else
#define STRESS_SLOW 0
#endif

enum { STRESS_PROPERTIES = 24, STRESS_THREADS = 64, STRESS_COMPLAINTS = 20 };
/* Beyond --seconds: for what was not checked yet, and until the watchdog. */
enum { STRESS_EXTRA_S = 20, STRESS_GRACE_S = 120 };

typedef struct stress_property {
    const char *what;
    _Atomic uint64_t checks;
    _Atomic uint64_t broken;
} stress_property;

static struct {
    const char *name;
    uint64_t seconds;
    unsigned threads;
    uint64_t seed;
    _Atomic uint64_t end_ns;
    bool runs; /* threads have been started */
    _Atomic bool stop;
    _Atomic uint64_t operations;
    _Atomic uint64_t complaints;
    unsigned properties;
    uint64_t at_end; /* a bit for each property that is checked after the threads have ended */
    stress_property property[STRESS_PROPERTIES];
} stress;

static inline uint64_t
stress_now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline bool
stress_all_checked(void)
{
    for (unsigned i = 0; i < stress.properties; i++)
        if (!(stress.at_end >> i & 1) &&
            atomic_load_explicit(&stress.property[i].checks, memory_order_relaxed) == 0)
            return false;
    return true;
}

static inline bool
stress_over(void)
{
    if (atomic_load_explicit(&stress.stop, memory_order_relaxed))
        return true;
    uint64_t now = stress_now_ns();
    return now >= stress.end_ns &&
           (stress_all_checked() || now >= stress.end_ns + STRESS_EXTRA_S * UINT64_C(1000000000));
}

static inline void
stress_sleep_us(unsigned us)
{
    struct timespec t = {us / 1000000u, (long)(us % 1000000u) * 1000};

    nanosleep(&t, NULL);
}

/* --- random numbers: each thread has its own, all from one seed ---------------------------- */

typedef struct stress_random {
    uint64_t state;
} stress_random;

static inline uint64_t
stress_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static inline stress_random
stress_random_of(uint64_t thread)
{
    return (stress_random){stress.seed * UINT64_C(0x9e3779b97f4a7c15) + thread};
}

static inline uint64_t
stress_next(stress_random *r)
{
    return stress_mix(r->state += UINT64_C(0x9e3779b97f4a7c15));
}

static inline uint64_t
stress_below(stress_random *r, uint64_t n)
{
    return stress_next(r) % n;
}

/* --- properties ------------------------------------------------------------------------------ */

/* In the order of an enum of the program's; called before any thread starts. */
static inline void
stress_properties(const char *const *what, unsigned n)
{
    for (unsigned i = 0; i < n && i < STRESS_PROPERTIES; i++)
        stress.property[i].what = what[i];
    stress.properties = n;
}

/* A property that is looked at after the threads have ended: they do not go on for its sake. */
static inline void
stress_at_end(unsigned property)
{
    stress.at_end |= UINT64_C(1) << property;
}

static inline void __attribute__((format(printf, 3, 4)))
stress_check(unsigned property, bool holds, const char *format, ...)
{
    stress_property *p = &stress.property[property];
    va_list list;

    atomic_fetch_add_explicit(&p->checks, 1, memory_order_relaxed);
    if (holds)
        return;
    atomic_fetch_add_explicit(&p->broken, 1, memory_order_relaxed);
    if (atomic_fetch_add(&stress.complaints, 1) >= STRESS_COMPLAINTS)
        return;
    flockfile(stderr);
    fprintf(stderr, "BROKEN: %s: ", p->what);
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
    funlockfile(stderr);
}

static inline void
stress_count(uint64_t operations)
{
    atomic_fetch_add_explicit(&stress.operations, operations, memory_order_relaxed);
}

/* A call that the program cannot go on without. */
static inline void
stress_need(cop_status status, const char *what)
{
    if (status == COP_OK)
        return;
    fprintf(stderr, "%s: %s: %s\n", stress.name, what, cop_status_name(status));
    _exit(1);
}

/* --- a run ------------------------------------------------------------------------------------ */

static inline void
stress_watchdog(int sig)
{
    static const char text[] = "BROKEN: the program did not end; the watchdog ended it\n";

    (void)sig;
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
        _exit(2);
    _exit(1);
}

static inline uint64_t
stress_argument(const char *name, const char *text)
{
    char *end = NULL;
    uint64_t n = text != NULL ? strtoull(text, &end, 0) : 0;

    if (text == NULL || end == text || *end != '\0') {
        fprintf(stderr, "%s: %s wants a number\n", stress.name, name);
        exit(2);
    }
    return n;
}

static inline void
stress_start_clock(void)
{
    stress.end_ns = stress_now_ns() + stress.seconds * 1000000000u;
    alarm((unsigned)stress.seconds + (STRESS_SANITIZED ? 2 : 1) * STRESS_GRACE_S);
}

/* Reads --seconds, --threads and --seed, starts the clock and the watchdog. */
static inline void
stress_start(int argc, char **argv, unsigned threads)
{
    const char *slash = strrchr(argv[0], '/');

    stress.name = slash != NULL ? slash + 1 : argv[0];
    stress.seconds = 5;
    stress.threads = threads;
    stress.seed = stress_now_ns() ^ (uint64_t)getpid() << 40;
    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--seconds") == 0) {
            stress.seconds = stress_argument(argv[i], value);
        } else if (strcmp(argv[i], "--threads") == 0) {
            stress.threads = (unsigned)stress_argument(argv[i], value);
        } else if (strcmp(argv[i], "--seed") == 0) {
            stress.seed = stress_argument(argv[i], value);
        } else {
            fprintf(stderr, "usage: %s [--seconds N] [--threads N] [--seed N]\n", stress.name);
            exit(2);
        }
    }
    if (stress.threads < 1 || stress.threads > STRESS_THREADS) {
        fprintf(stderr, "%s: --threads wants 1 to %d\n", stress.name, STRESS_THREADS);
        exit(2);
    }
    printf("%s: %" PRIu64 " s, %u threads, seed %" PRIu64 "\n", stress.name, stress.seconds,
           stress.threads, stress.seed);
    fflush(stdout);
    signal(SIGALRM, stress_watchdog);
    stress_start_clock();
}

/* Runs body(i) on a thread each and waits for all. The first time the clock starts anew: what a
 * program does before may take all its seconds on a machine that does much else. */
static inline void
stress_run(unsigned n, void *(*body)(void *))
{
    pthread_t threads[STRESS_THREADS];

    if (!stress.runs) {
        stress.runs = true;
        stress_start_clock();
    }
    for (unsigned i = 0; i < n; i++)
        if (pthread_create(&threads[i], NULL, body, (void *)(uintptr_t)i) != 0) {
            perror("pthread_create");
            _exit(1);
        }
    for (unsigned i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
}

/* Prints what was done; the exit status. */
static inline int
stress_finish(void)
{
    unsigned failed = 0;

    for (unsigned i = 0; i < stress.properties; i++) {
        const stress_property *p = &stress.property[i];
        uint64_t checks = atomic_load(&p->checks), broken = atomic_load(&p->broken);
        bool bad = broken != 0 || checks == 0;
        failed += bad;
        printf("  %-6s %12" PRIu64 " checks %8" PRIu64 " broken  %s%s\n", bad ? "FAILED" : "ok",
               checks, broken, p->what, checks == 0 ? " (never checked)" : "");
    }
    printf("%" PRIu64 " operations\n", atomic_load(&stress.operations));
    printf("%u passed, %u failed\n", stress.properties - failed, failed);
    fflush(stdout);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* --- values whose bytes prove what they are ------------------------------------------------- */

/* Fills n bytes (n >= 24) that name their owner and version, with a checksum at the end. */
static inline void
stress_fill(unsigned char *bytes, size_t n, uint64_t owner, uint64_t version)
{
    uint64_t x = stress_mix(owner * 31 + version), sum = x;

    memcpy(bytes, &owner, 8);
    memcpy(bytes + 8, &version, 8);
    for (size_t i = 16; i + 8 <= n - 8; i += 8) {
        x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
        sum = (sum ^ x) * UINT64_C(0x100000001b3);
        memcpy(bytes + i, &x, 8);
    }
    for (size_t i = 16 + (n - 24) / 8 * 8; i < n - 8; i++)
        bytes[i] = (unsigned char)(version + i);
    memcpy(bytes + n - 8, &sum, 8);
}

/* NULL when the bytes are exactly what stress_fill made for this owner and version, else what is
 * wrong with them; static storage. */
static inline const char *
stress_verify(const unsigned char *bytes, size_t n, size_t expected_n, uint64_t owner,
              uint64_t version)
{
    uint64_t x = stress_mix(owner * 31 + version), sum = x, got;

    if (n != expected_n)
        return "another length";
    memcpy(&got, bytes, 8);
    if (got != owner)
        return "another owner";
    memcpy(&got, bytes + 8, 8);
    if (got != version)
        return got > version ? "a later version" : "an earlier version";
    for (size_t i = 16; i + 8 <= n - 8; i += 8) {
        x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
        sum = (sum ^ x) * UINT64_C(0x100000001b3);
        memcpy(&got, bytes + i, 8);
        if (got != x)
            return "overwritten bytes";
    }
    for (size_t i = 16 + (n - 24) / 8 * 8; i < n - 8; i++)
        if (bytes[i] != (unsigned char)(version + i))
            return "overwritten bytes at the end";
    memcpy(&got, bytes + n - 8, 8);
    return got != sum ? "a wrong checksum" : NULL;
}

/* A store that gathers what is submitted for so long; 0: natural group commit. */
static inline void
stress_open(cop_store **store, uint64_t window_ms)
{
    cop_options options = COP_OPTIONS_INIT;

    options.batch_window_ms = window_ms;
    stress_need(cop_store_open(&options, store, NULL), "open");
}

#endif
