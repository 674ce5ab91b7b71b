/* SPDX-License-Identifier: MIT */
/*
 * soak [--seconds N] [--leak BYTES] [--hold N]: runs everything on one store for N seconds (60)
 * beside a thread that reads, and looks at what the process has (resident size) and what the store
 * holds of its allocator (bytes_held) a few hundred times. The first half is warm-up. Over the
 * second half a line is fitted to each; it has grown when the line rises by more than ALLOWED_BYTES
 * and a hundredth of what there was.
 *
 * The line alone would take for growth what comes once and goes later (a table that doubles, an
 * arena of malloc's that is handed back late), and the last points alone what is there for a
 * moment: so the least of the last quarter has to lie above the greatest of the third one as well,
 * or the rise be twice of what is allowed.
 *
 * Planted: --leak forgets so many bytes of malloc in each round, --hold takes a snapshot every N-th
 * round that nobody drops. Either must show: it ends with a failure.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "tests/memory/everything.h"

#define ALLOWED_BYTES 1048576.0
#define ALLOWED_SHARE 0.01

enum { SAMPLES = 400, SELDOM = 50, HELD_MOST = 4000 };

static struct {
    double seconds;
    size_t leak;
    uint64_t hold;
} arguments = {60, 0, 0};

typedef struct series {
    const char *name;
    double at[SAMPLES], bytes[SAMPLES];
    size_t count;
} series;

static series resident = {.name = "resident size"}, held = {.name = "bytes_held"};
static _Atomic bool ended;
static everything e;

static double
now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* --- measuring --------------------------------------------------------------------------- */

static double
resident_bytes(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    unsigned long size, pages;

    REQUIRE(file != NULL && fscanf(file, "%lu %lu", &size, &pages) == 2);
    REQUIRE(fclose(file) == 0);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static void
note(series *s, double at, double bytes)
{
    if (s->count < SAMPLES) {
        s->at[s->count] = at;
        s->bytes[s->count++] = bytes;
    }
}

static void
sample(double at)
{
    cop_stats stats = COP_STATS_INIT;

    REQUIRE_OK(cop_stats_take(e.store, &stats));
    note(&resident, at, resident_bytes());
    note(&held, at, (double)stats.bytes_held);
}

/* How much the line of least squares through points first .. count-1 rises between them. */
static double
rise(const series *s, size_t first)
{
    double n = (double)(s->count - first), t = 0, b = 0, tt = 0, tb = 0;

    for (size_t i = first; i < s->count; i++) {
        t += s->at[i] / n;
        b += s->bytes[i] / n;
    }
    for (size_t i = first; i < s->count; i++) {
        tt += (s->at[i] - t) * (s->at[i] - t);
        tb += (s->at[i] - t) * (s->bytes[i] - b);
    }
    return tt > 0 ? tb / tt * (s->at[s->count - 1] - s->at[first]) : 0;
}

static double
extreme(const series *s, size_t first, size_t end, bool least)
{
    double found = s->bytes[first];

    for (size_t i = first; i < end; i++)
        if (least ? s->bytes[i] < found : s->bytes[i] > found)
            found = s->bytes[i];
    return found;
}

static bool
flat(const series *s)
{
    size_t half = s->count / 2, quarter = half + (s->count - half) / 2;
    double up = rise(s, half), allowed = ALLOWED_BYTES + ALLOWED_SHARE * s->bytes[half];
    double before = extreme(s, half, quarter, false), after = extreme(s, quarter, s->count, true);
    bool fine = up <= allowed || (up <= 2 * allowed && after <= before);

    printf("%-14s %9.0f KiB half way, %9.0f at the end; the line rises by %.0f KiB (allowed: "
           "%.0f): %s\n",
           s->name, s->bytes[half] / 1024, s->bytes[s->count - 1] / 1024, up / 1024, allowed / 1024,
           fine ? "flat" : "IT GROWS");
    return fine;
}

/* --- the load ---------------------------------------------------------------------------- */

static void *
read_on(void *context)
{
    (void)context;
    while (!atomic_load(&ended)) {
        cop_pin_t pin = cop_pin(e.store);
        cop_value value;
        uint32_t count;
        REQUIRE(pin.snapshot != NULL);
        REQUIRE_OK(cop_get(pin.snapshot, e.lazy, &value));
        REQUIRE_OK(cop_count(pin.snapshot, e.list, &count));
        cop_unpin(pin);
        (void)nanosleep(&(struct timespec){0, 200000}, NULL);
    }
    return NULL;
}

static void
plant(uint64_t round)
{
    static uint64_t holds;
    const cop_snapshot *snapshot;

    if (arguments.leak > 0) {
        void *volatile forgotten = malloc(arguments.leak);
        REQUIRE(forgotten != NULL);
        memset(forgotten, 1, arguments.leak);
    }
    if (arguments.hold > 0 && round % arguments.hold == 0 && holds++ < HELD_MOST)
        REQUIRE_OK(cop_snapshot_take(e.store, &snapshot));
}

static uint64_t
run(void)
{
    double begin = now(), step = arguments.seconds / SAMPLES, next = step;
    uint64_t round = 0;

    for (double at = 0; at < arguments.seconds; at = now() - begin) {
        everything_round(&e, round);
        if (round % SELDOM == 0)
            everything_seldom(&e, round);
        plant(round++);
        if (at >= next) {
            sample(at);
            next += step;
        }
    }
    return round;
}

static void
usage(void)
{
    fprintf(stderr, "soak [--seconds N] [--leak BYTES] [--hold N]\n");
    exit(2);
}

static void
read_arguments(int argc, char **argv)
{
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc)
            usage();
        if (strcmp(argv[i], "--seconds") == 0)
            arguments.seconds = atof(argv[i + 1]);
        else if (strcmp(argv[i], "--leak") == 0)
            arguments.leak = (size_t)atol(argv[i + 1]);
        else if (strcmp(argv[i], "--hold") == 0)
            arguments.hold = (uint64_t)atol(argv[i + 1]);
        else
            usage();
    }
    if (!(arguments.seconds > 0))
        usage();
}

int
main(int argc, char **argv)
{
    pthread_t reader;
    uint64_t rounds;
    bool fine;

    read_arguments(argc, argv);
    everything_open(&e, 2);
    REQUIRE(pthread_create(&reader, NULL, read_on, NULL) == 0);
    rounds = run();
    atomic_store(&ended, true);
    REQUIRE(pthread_join(reader, NULL) == 0);
    REQUIRE(resident.count >= 8);
    fine = flat(&resident);
    fine &= flat(&held);
    everything_close(&e);
    printf("soak: %" PRIu64 " rounds in %.0f s, %" PRIu64 " changes told, %" PRIu64
           " runs of effects: %s\n",
           rounds, arguments.seconds, e.changes, e.ran, fine ? "flat" : "IT GROWS");
    return fine ? EXIT_SUCCESS : EXIT_FAILURE;
}
