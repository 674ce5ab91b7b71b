/* SPDX-License-Identifier: MIT */
#include "tests/memory/refused.h"

#include <pthread.h>

#include "reclaim/memory.h"
#include "store/store_internal.h"
#include "tests/memory/refused_world.h"
#include "tests/support/graph_check.h"

enum { FOR_EVER = 1, BY_HOOK = 2, WAYS = 4, POINTS_MOST = 20000 };

static struct {
    const refused_call *call;
    int way;
    int64_t k;
} at;

_Noreturn void
refused_die(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: %s", file, line, what);
    if (at.call != NULL)
        fprintf(stderr, " (%s%s%s, %s request %" PRId64 " refused %s)", at.call->name,
                at.call->what != NULL ? ", " : "", at.call->what != NULL ? at.call->what : "",
                at.way & BY_HOOK ? "store's" : "malloc's", at.k,
                at.way & FOR_EVER ? "for ever" : "once");
    fputc('\n', stderr);
    abort();
}

/* --- malloc, as the library calls it (the program is linked with --wrap) ------------------- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
char *__wrap_strdup(const char *text);
void __wrap_free(void *p);

static _Atomic int64_t countdown = -1; /* lets so many pass; negative: off */
static _Atomic bool for_ever;
static _Atomic int64_t blocks; /* held now */

static bool
permit(void)
{
    int64_t left = atomic_load(&countdown);

    while (left >= 0) {
        if (left == 0 && atomic_load(&for_ever))
            return false;
        if (atomic_compare_exchange_weak(&countdown, &left, left - 1))
            return left > 0;
    }
    return true;
}

static void *
counted(void *p)
{
    if (p != NULL)
        atomic_fetch_add(&blocks, 1);
    return p;
}

void *
__wrap_malloc(size_t size)
{
    return permit() ? counted(__real_malloc(size)) : NULL;
}

void *
__wrap_calloc(size_t n, size_t size)
{
    return permit() ? counted(__real_calloc(n, size)) : NULL;
}

void *
__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return permit() ? counted(__real_aligned_alloc(alignment, size)) : NULL;
}

void *
__wrap_realloc(void *p, size_t size)
{
    if (!permit())
        return NULL;
    return p == NULL ? counted(__real_realloc(p, size)) : __real_realloc(p, size);
}

char *
__wrap_strdup(const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = __wrap_malloc(n);

    return copy != NULL ? memcpy(copy, text, n) : NULL;
}

void
__wrap_free(void *p)
{
    if (p != NULL)
        atomic_fetch_sub(&blocks, 1);
    __real_free(p);
}

void
refused_free_text(char *text)
{
    __real_free(text);
}

/* --- refusing ------------------------------------------------------------------------------- */

static void
arm(world *w)
{
    bool ever = (at.way & FOR_EVER) != 0;

    if (at.way & BY_HOOK) {
        cop__memory *memory = cop__store_memory(w->store);
        atomic_store(&memory->fail_for_ever, ever);
        atomic_store(&memory->fail_countdown, at.k);
    } else {
        atomic_store(&for_ever, ever);
        atomic_store(&countdown, at.k);
    }
}

/* True when the k-th request never came. When it is refused for ever nobody can tell a countdown
 * that has just come to 0 from one that has refused; one more k tells. */
static bool
disarm(world *w)
{
    int64_t left = at.way & BY_HOOK
                       ? atomic_exchange(&cop__store_memory(w->store)->fail_countdown, -1)
                       : atomic_exchange(&countdown, -1);

    return at.way & FOR_EVER ? left > 0 : left >= 0;
}

static cop_status
call_refused(world *w, bool *untouched)
{
    cop_status status;

    arm(w);
    status = at.call->call(w);
    *untouched = disarm(w);
    return status;
}

static void
ready(world *w)
{
    if (at.call->ready != NULL)
        at.call->ready(w);
}

static void
done(world *w)
{
    if (at.call->done != NULL)
        at.call->done(w);
}

static void
whole(world *w)
{
    const char *wrong = w->store != NULL ? graph_check(w->store, 1000, false) : NULL;

    if (wrong != NULL)
        refused_die(__FILE__, __LINE__, wrong);
}

static void
same(const char *a, const char *b, const char *what)
{
    if (strcmp(a, b) == 0)
        return;
    while (*a != 0 && strncmp(a, b, strcspn(a, "\n") + 1) == 0) {
        size_t n = strcspn(a, "\n") + 1;
        a += n;
        b += n;
    }
    fprintf(stderr, "%.*s\nshould be\n%.*s\n", (int)strcspn(a, "\n"), a, (int)strcspn(b, "\n"), b);
    refused_die(__FILE__, __LINE__, what);
}

/* Cuts off what a world's text says beside atoms. */
static void
atoms_only(char *text)
{
    char *end = strstr(text, WORLD_COUNTS);

    REQUIRE(end != NULL);
    *end = 0;
}

/* What a call leaves of which nothing is refused. */
static char *
undisturbed(void)
{
    world w;
    char *text;

    world_open(&w);
    ready(&w);
    REQUIRE_OK(at.call->call(&w));
    done(&w);
    if (at.call->flags & HEALS)
        world_set(&w, 1);
    text = world_text(&w, false);
    if (at.call->flags & OWN_WAY)
        atoms_only(text);
    world_close(&w);
    return text;
}

static void
failed(world *w, cop_status status, char *before)
{
    char *after = world_text(w, true);

    if (at.call->flags & OWN_WAY) {
        atoms_only(before);
        atoms_only(after);
    }
    if (status != COP_E_MEMORY && (status != at.call->other || status == COP_OK))
        refused_die(__FILE__, __LINE__, cop_status_name(status));
    if (!(at.call->flags & BY_PARTS))
        same(after, before, "the world is not as before");
    refused_free_text(after);
    if (at.call->flags & READY_AGAIN)
        ready(w);
    REQUIRE_OK(at.call->call(w));
}

/* One point. True when the call did not come to its k-th request. */
static bool
point(const char *reference)
{
    world w;
    int64_t held = atomic_load(&blocks);
    bool untouched;
    cop_status status;
    char *before, *after;

    world_open(&w);
    ready(&w);
    before = world_text(&w, true);
    status = call_refused(&w, &untouched);
    whole(&w);
    if (status != COP_OK) {
        REQUIRE(!untouched);
        failed(&w, status, before);
    }
    done(&w);
    if (at.call->flags & HEALS) /* the next wave */
        world_set(&w, 1);
    after = world_text(&w, false);
    if (at.call->flags & OWN_WAY)
        atoms_only(after);
    same(after, reference, "the world is not as it should be");
    refused_free_text(before);
    refused_free_text(after);
    whole(&w);
    world_close(&w);
    REQUIRE(atomic_load(&blocks) == held);
    return untouched;
}

static uint64_t
refuse_row(const refused_call *call)
{
    uint64_t points = 0;
    char *reference;

    at.call = call;
    at.k = -1;
    reference = undisturbed();
    for (at.way = 0; at.way < WAYS; at.way++) {
        at.k = 0;
        while (!point(reference))
            REQUIRE(at.k++ < POINTS_MOST);
        /* At the last one nothing was refused; for ever, neither at the one before. */
        points += (uint64_t)at.k - (at.way & FOR_EVER ? 1 : 0);
    }
    REQUIRE((points == 0) == ((call->flags & ASKS_NOTHING) != 0));
    refused_free_text(reference);
    return points;
}

int
refused_main(const refused_call *calls, size_t count)
{
    uint64_t points = 0;

    for (size_t i = 0; i < count; i++) {
        uint64_t here = refuse_row(&calls[i]);
        printf("%-32s %-28s %6" PRIu64 " points\n", calls[i].name,
               calls[i].what != NULL ? calls[i].what : "", here);
        fflush(stdout);
        points += here;
    }
    printf("points: %zu calls, %" PRIu64 " points\n", count, points);
    return EXIT_SUCCESS;
}

/* --- for rows -------------------------------------------------------------------------------- */

void
ready_txn(world *w)
{
    if (w->txn == NULL)
        REQUIRE_OK(cop_txn_begin(w->store, &w->txn));
}

void
done_commit(world *w)
{
    cop_txn *txn = w->txn;

    w->txn = NULL;
    REQUIRE_OK(cop_txn_commit(txn, NULL, NULL));
}

void
done_cancel(world *w)
{
    cop_txn_cancel(w->txn);
    w->txn = NULL;
}

void
world_set(world *w, int64_t number)
{
    cop_value value = cop_i64(number);

    ready_txn(w);
    REQUIRE_OK(cop_txn_set_at(w->txn, P("number"), &value, NULL));
    done_commit(w);
}

int
refused_sink(void *context, const char *bytes, size_t n)
{
    uint64_t *sum = context;

    for (size_t i = 0; i < n; i++)
        *sum = *sum * 31 + (unsigned char)bytes[i];
    return 0;
}

typedef struct apart {
    cop_status (*function)(world *w);
    world *world;
    cop_status status;
} apart;

static void *
run_apart(void *context)
{
    apart *job = context;

    job->status = job->function(job->world);
    return NULL;
}

cop_status
refused_apart(cop_status (*function)(world *w), world *w)
{
    apart job = {function, w, COP_OK};
    pthread_t thread;

    REQUIRE(pthread_create(&thread, NULL, run_apart, &job) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0);
    return job.status;
}
