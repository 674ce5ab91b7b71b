/* SPDX-License-Identifier: MIT */
/*
 * Scopes: every rule of the scope part of effect.h by its name.
 *
 * scope_objects.c is compiled into this program, with a computed atom and an effect that write down
 * that they were disposed. test_scope_memory.c compiles all this once more together with a copy of
 * scope.c whose memory is counted and refused.
 */
#ifdef T_COUNTED
#define cop_scope_open t_scope_open
#define cop_scope_add t_scope_add
#define cop_scope_remove t_scope_remove
#define cop_scope_empty t_scope_empty
#define cop_scope_dispose t_scope_dispose
#define cop_scope_keep t_scope_keep
#define cop_scope_drop t_scope_drop
#endif
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <coppice/effect.h>

#include "tests/support/quick_check.h"
#include "tests/support/store_test.h"

/* --- memory that is counted ------------------------------------------------------------------ */

#ifdef T_COUNTED
static _Atomic int64_t held_blocks;
static int64_t refuse = -1; /* requests until one is refused; negative: none */

static void *
counted(void *block)
{
    held_blocks += block != NULL;
    return block;
}

static void *
t_malloc(size_t size)
{
    return refuse >= 0 && refuse-- == 0 ? NULL : counted(malloc(size));
}

static void *
t_calloc(size_t count, size_t size)
{
    return refuse >= 0 && refuse-- == 0 ? NULL : counted(calloc(count, size));
}

static void
t_free(void *block)
{
    held_blocks -= block != NULL;
    free(block);
}

#define malloc t_malloc
#define calloc t_calloc
#define free t_free
#include "effect/scope.c"
#define CHECK_BLOCKS(n) ck_assert_int_eq(held_blocks, (n))
#else
#define CHECK_BLOCKS(n) ((void)0) /* the address sanitizer finds what is lost */
#endif

/* --- what is disposed of writes it down ------------------------------------------------------ */

static char story[4096];

static void
tell(const char *what)
{
    size_t n = strlen(story);

    ck_assert_uint_lt(n + strlen(what) + 2, sizeof story);
    snprintf(story + n, sizeof story - n, "%s%s", n > 0 ? " " : "", what);
}

#define STORY(expected)                    \
    do {                                   \
        ck_assert_str_eq(story, expected); \
        story[0] = '\0';                   \
    } while (0)

void t_scope_dispose_atom(cop_store *store, cop_atom atom);
void t_effect_close(cop_store *store, cop_effect effect);
cop_status t_scope_add_atom(cop_scope *scope, cop_store *store, cop_atom atom);
cop_status t_scope_add_effect(cop_scope *scope, cop_store *store, cop_effect effect);

void
t_scope_dispose_atom(cop_store *store, cop_atom atom)
{
    char what[64];

    (void)store;
    snprintf(what, sizeof what, "atom:%u.%u", atom.id, atom.generation);
    tell(what);
}

void
t_effect_close(cop_store *store, cop_effect effect)
{
    char what[64];

    snprintf(what, sizeof what, "effect:%u.%u@%" PRIu64, effect.id, effect.generation,
             cop_store_version(store));
    tell(what);
}

#define cop__scope_dispose_atom t_scope_dispose_atom
#define cop_effect_close t_effect_close
#define cop_scope_add_atom t_scope_add_atom
#define cop_scope_add_effect t_scope_add_effect
#include "effect/scope_objects.c"
#ifdef T_COUNTED
#undef malloc
#undef calloc
#undef free
#endif

static void
named(void *object)
{
    tell(object);
}

static void
also_named(void *object)
{
    tell("also");
    tell(object);
}

/* A dispose function that does something with scopes. */
typedef struct act {
    const char *name;
    cop_scope *scope, *made;
    void (*what)(struct act *act);
    cop_status status;
} act;

static void
perform(void *object)
{
    act *a = object;

    tell(a->name);
    a->what(a);
    tell(".");
}

static void
setup(void)
{
    story[0] = '\0';
#ifdef T_COUNTED
    refuse = -1;
    held_blocks = 0;
#endif
}

/* Nothing may be left. */
static void
teardown(void)
{
    CHECK_BLOCKS(0);
}

static cop_scope *
open_scope(cop_scope *parent)
{
    cop_scope *scope = NULL;

    CHECK_OK(cop_scope_open(parent, &scope));
    ck_assert_ptr_nonnull(scope);
    return scope;
}

static void
add_named(cop_scope *scope, const char *name)
{
    CHECK_OK(cop_scope_add(scope, named, (void *)(uintptr_t)name));
}

static void
add_act(cop_scope *scope, act *a)
{
    CHECK_OK(cop_scope_add(scope, perform, a));
}

/* --- disposing and emptying ------------------------------------------------------------------- */

START_TEST(last_added_is_disposed_first)
{
    cop_scope *scope = open_scope(NULL);

    add_named(scope, "a");
    add_named(scope, "b");
    add_named(scope, "c");
    cop_scope_dispose(scope);
    STORY("c b a");
}
END_TEST

START_TEST(what_is_added_twice_is_disposed_twice)
{
    cop_scope *scope = open_scope(NULL);

    add_named(scope, "a");
    add_named(scope, "a");
    cop_scope_dispose(scope);
    STORY("a a");
}
END_TEST

START_TEST(an_emptied_scope_is_usable)
{
    cop_scope *scope = open_scope(NULL);

    cop_scope_empty(scope);
    add_named(scope, "a");
    add_named(scope, "b");
    cop_scope_empty(scope);
    STORY("b a");
    cop_scope_empty(scope);
    STORY("");
    add_named(scope, "c");
    cop_scope_dispose(scope);
    STORY("c");
}
END_TEST

START_TEST(nothing_is_a_legal_scope_to_dispose)
{
    cop_scope_dispose(NULL);
    cop_scope_drop(NULL);
}
END_TEST

START_TEST(a_disposed_scope_refuses)
{
    cop_scope *scope = open_scope(NULL), *child = scope;

    add_named(scope, "a");
    cop_scope_keep(scope);
    cop_scope_dispose(scope);
    STORY("a");
    CHECK_STATUS(cop_scope_add(scope, named, NULL), COP_E_STATE);
    CHECK_STATUS(cop_scope_open(scope, &child), COP_E_STATE);
    ck_assert_ptr_null(child);
    ck_assert(!cop_scope_remove(scope, named, (void *)(uintptr_t) "a"));
    cop_scope_empty(scope);
    cop_scope_dispose(scope);
    STORY("");
    cop_scope_drop(scope);
}
END_TEST

START_TEST(keeping_keeps_the_memory_and_not_the_objects)
{
    cop_scope *scope = open_scope(NULL);

    cop_scope_keep(scope);
    cop_scope_keep(scope);
    add_named(scope, "a");
    cop_scope_drop(scope);
    STORY("");
    cop_scope_dispose(scope);
    STORY("a");
    CHECK_BLOCKS(1);
    cop_scope_drop(scope);
    CHECK_BLOCKS(0);
}
END_TEST

START_TEST(an_object_needs_a_dispose_function)
{
    cop_scope *scope = open_scope(NULL), *child = open_scope(scope);

    CHECK_STATUS(cop_scope_add(scope, NULL, NULL), COP_E_INVALID);
    ck_assert(!cop_scope_remove(scope, NULL, child)); /* not a way to take out a nested scope */
    cop_scope_dispose(scope);
}
END_TEST

/* --- removing ---------------------------------------------------------------------------------- */

START_TEST(what_is_removed_is_not_disposed)
{
    cop_scope *scope = open_scope(NULL);
    char a[] = "a", b[] = "b", c[] = "c";

    add_named(scope, a);
    add_named(scope, b);
    add_named(scope, c);
    ck_assert(cop_scope_remove(scope, named, b));
    ck_assert(!cop_scope_remove(scope, named, b));
    ck_assert(!cop_scope_remove(scope, also_named, a)); /* both must be the same */
    cop_scope_dispose(scope);
    STORY("c a");
}
END_TEST

START_TEST(the_last_added_of_several_is_removed)
{
    cop_scope *scope = open_scope(NULL);
    char a[] = "a", b[] = "b";

    add_named(scope, a);
    add_named(scope, b);
    add_named(scope, a);
    ck_assert(cop_scope_remove(scope, named, a));
    cop_scope_dispose(scope);
    STORY("b a");
}
END_TEST

static char first[] = "first";

static void
remove_first(act *a)
{
    a->status = cop_scope_remove(a->scope, named, first) ? COP_OK : COP_E_ABSENT;
}

START_TEST(what_has_not_had_its_turn_can_be_removed)
{
    cop_scope *scope = open_scope(NULL);
    act take = {"take", scope, NULL, remove_first, COP_E_PENDING};

    add_named(scope, first);
    add_act(scope, &take);
    cop_scope_empty(scope);
    STORY("take .");
    CHECK_OK(take.status);
    cop_scope_dispose(scope);
}
END_TEST

START_TEST(what_has_had_its_turn_cannot_be_removed)
{
    cop_scope *scope = open_scope(NULL);
    act take = {"take", scope, NULL, remove_first, COP_E_PENDING};

    add_act(scope, &take);
    add_named(scope, first);
    cop_scope_dispose(scope);
    STORY("first take .");
    CHECK_STATUS(take.status, COP_E_ABSENT);
}
END_TEST

/* --- nesting ------------------------------------------------------------------------------------ */

START_TEST(a_nested_scope_goes_at_its_place)
{
    cop_scope *scope = open_scope(NULL), *child;

    add_named(scope, "a");
    child = open_scope(scope);
    add_named(scope, "b");
    add_named(child, "x");
    add_named(child, "y");
    cop_scope_dispose(scope);
    STORY("b y x a");
}
END_TEST

START_TEST(emptying_ends_nested_scopes)
{
    cop_scope *scope = open_scope(NULL), *child = open_scope(scope);

    add_named(child, "x");
    cop_scope_keep(child);
    cop_scope_empty(scope);
    STORY("x");
    CHECK_STATUS(cop_scope_add(child, named, NULL), COP_E_STATE);
    cop_scope_drop(child);
    CHECK_BLOCKS(1);
    cop_scope_dispose(scope);
}
END_TEST

START_TEST(a_child_disposed_earlier_leaves_its_parent)
{
    cop_scope *scope = open_scope(NULL), *child = open_scope(scope), *other = open_scope(scope);

    add_named(child, "x");
    add_named(other, "z");
    cop_scope_dispose(child);
    STORY("x");
    CHECK_BLOCKS(3); /* the two scopes and z: a long-lived parent does not grow */
    cop_scope_dispose(scope);
    STORY("z");
}
END_TEST

START_TEST(a_kept_child_outlives_its_parent)
{
    cop_scope *scope = open_scope(NULL), *child = open_scope(scope);

    cop_scope_keep(child);
    cop_scope_dispose(scope);
    cop_scope_dispose(child); /* it was already: looks at no parent */
    CHECK_STATUS(cop_scope_add(child, named, NULL), COP_E_STATE);
    cop_scope_drop(child);
}
END_TEST

static void
dispose_it(act *a)
{
    cop_scope_dispose(a->scope);
}

START_TEST(owners_may_dispose_a_child_that_went_with_its_parent)
{
    cop_scope *top = open_scope(NULL), *scope = open_scope(top), *child, *grandchild;
    act low = {"low", NULL, NULL, dispose_it, COP_OK}, lower = {"lower", NULL, NULL, dispose_it, COP_OK},
        outer = {"outer", NULL, NULL, dispose_it, COP_OK};

    cop_scope_dispose(scope);
    add_act(top, &outer);
    scope = open_scope(top);
    add_act(scope, &low);
    add_act(scope, &lower);
    child = open_scope(scope);
    grandchild = open_scope(child);
    outer.scope = grandchild; /* two levels up, still to be named */
    low.scope = child;
    lower.scope = grandchild;
    add_named(child, "x");
    add_named(grandchild, "y");
    cop_scope_dispose(top);
    STORY("x y lower . low . outer .");
}
END_TEST

START_TEST(depth_costs_no_stack)
{
    cop_scope *scope = open_scope(NULL), *deepest = scope;

    for (int i = 0; i < 200000; i++)
        deepest = open_scope(deepest);
    add_named(deepest, "deep");
    cop_scope_dispose(scope);
    STORY("deep");
}
END_TEST

/* --- from inside dispose functions --------------------------------------------------------------- */

static void
empty_it(act *a)
{
    cop_scope_empty(a->scope);
}

START_TEST(emptying_from_inside_is_left_to_the_pass)
{
    cop_scope *scope = open_scope(NULL);
    act again = {"again", scope, NULL, empty_it, COP_OK};

    add_named(scope, "a");
    add_act(scope, &again);
    cop_scope_empty(scope);
    STORY("again . a"); /* a is not disposed within the dispose function of another */
    add_act(scope, &again);
    cop_scope_dispose(scope);
    STORY("again .");
}
END_TEST

START_TEST(disposing_from_inside_is_left_to_the_pass)
{
    cop_scope *scope = open_scope(NULL);
    act end = {"end", scope, NULL, dispose_it, COP_OK}, twice = {"twice", scope, NULL, dispose_it, COP_OK};

    add_named(scope, "a");
    add_act(scope, &twice);
    add_act(scope, &end);
    cop_scope_dispose(scope);
    STORY("end . twice . a");

    scope = open_scope(NULL);
    end.scope = twice.scope = scope;
    add_named(scope, "a");
    add_act(scope, &twice);
    add_act(scope, &end);
    cop_scope_empty(scope); /* becomes a disposal: nothing is left */
    STORY("end . twice . a");
}
END_TEST

static void
add_more(act *a)
{
    a->status = cop_scope_add(a->scope, named, (void *)(uintptr_t) "more");
    if (a->status == COP_OK)
        CHECK_OK(cop_scope_open(a->scope, &a->made));
    else
        CHECK_STATUS(cop_scope_open(a->scope, &a->made), COP_E_STATE);
}

START_TEST(what_is_added_while_emptied_stays)
{
    cop_scope *scope = open_scope(NULL);
    act more = {"add", scope, NULL, add_more, COP_E_PENDING};

    add_named(scope, "a");
    add_act(scope, &more);
    cop_scope_empty(scope);
    STORY("add . a");
    CHECK_OK(more.status);
    add_named(more.made, "nested");
    cop_scope_empty(scope);
    STORY("nested more");
    cop_scope_dispose(scope);
}
END_TEST

START_TEST(nothing_is_added_while_disposed)
{
    cop_scope *scope = open_scope(NULL);
    act more = {"add", scope, NULL, add_more, COP_OK};

    add_named(scope, "a");
    add_act(scope, &more);
    cop_scope_dispose(scope);
    STORY("add . a");
    CHECK_STATUS(more.status, COP_E_STATE);
    ck_assert_ptr_null(more.made);
}
END_TEST

static void
add_and_empty(act *a)
{
    a->what = dispose_it; /* once */
    add_more(a);
    cop_scope_empty(a->scope);
}

START_TEST(what_was_added_since_goes_with_the_next_emptying)
{
    cop_scope *scope = open_scope(NULL);
    act both = {"both", scope, NULL, add_and_empty, COP_E_PENDING};

    add_named(scope, "a");
    add_act(scope, &both);
    cop_scope_empty(scope);
    STORY("both . more a"); /* newest first, as if it had been there from the start */
    cop_scope_dispose(scope);
}
END_TEST

static void
dispose_parent_and_self(act *a)
{
    cop_scope_dispose(a->scope);
    cop_scope_dispose(a->made);
}

START_TEST(a_child_may_dispose_its_parent)
{
    cop_scope *scope = open_scope(NULL), *child;
    act both = {"both", scope, NULL, dispose_parent_and_self, COP_OK};

    add_named(scope, "a");
    child = both.made = open_scope(scope);
    add_named(scope, "b");
    add_named(child, "x");
    add_act(child, &both);
    cop_scope_dispose(child); /* has left its parent, whose disposal is then one of its own */
    STORY("both b a . x");

    scope = both.scope = open_scope(NULL);
    add_named(scope, "a");
    child = both.made = open_scope(scope);
    add_named(child, "x");
    add_act(child, &both);
    cop_scope_dispose(scope);
    STORY("both . x a");
}
END_TEST

START_TEST(a_sibling_may_be_disposed_from_inside)
{
    cop_scope *scope = open_scope(NULL), *older = open_scope(scope), *younger = open_scope(scope);
    act end = {"end", older, NULL, dispose_it, COP_OK};

    add_named(older, "x");
    add_act(younger, &end);
    cop_scope_dispose(scope);
    STORY("end x .");
}
END_TEST

/* --- atoms and effects ------------------------------------------------------------------------------- */

START_TEST(atoms_and_effects_go_with_their_scope)
{
    cop_store *store = t_open();
    cop_scope *scope = open_scope(NULL);

    t_set_at(store, "a", cop_i64(1));
    CHECK_OK(t_scope_add_atom(scope, store, (cop_atom){7, 3}));
    CHECK_OK(t_scope_add_effect(scope, store, (cop_effect){2, 9}));
    cop_scope_dispose(scope);
    STORY("effect:2.9@1 atom:7.3");
    t_close(store);
}
END_TEST

START_TEST(a_scope_may_outlive_a_store)
{
    cop_store *store = t_open();
    cop_scope *scope = open_scope(NULL);

    CHECK_OK(t_scope_add_effect(scope, store, (cop_effect){2, 9}));
    CHECK_OK(t_scope_add_atom(scope, store, (cop_atom){7, 3}));
    cop_store_close(store);
    CHECK_STATUS(t_scope_add_atom(scope, store, (cop_atom){7, 3}), COP_E_CLOSING);
    cop_scope_dispose(scope);
    STORY("atom:7.3 effect:2.9@0");
    t_all_released();
}
END_TEST

#ifdef T_COUNTED
/* --- out of memory --------------------------------------------------------------------------------- */

START_TEST(without_memory_nothing_is_called)
{
    cop_scope *scope = open_scope(NULL), *child = scope;

    refuse = 0;
    CHECK_STATUS(cop_scope_add(scope, named, NULL), COP_E_MEMORY);
    refuse = 0;
    CHECK_STATUS(cop_scope_open(scope, &child), COP_E_MEMORY);
    ck_assert_ptr_null(child);
    add_named(scope, "a");
    cop_scope_dispose(scope);
    STORY("a");
}
END_TEST

START_TEST(what_cannot_be_added_leaves_no_record)
{
    cop_store *store = t_open();
    cop_scope *scope = open_scope(NULL);

    refuse = 0;
    CHECK_STATUS(t_scope_add_atom(scope, store, (cop_atom){7, 3}), COP_E_MEMORY);
    refuse = 1;
    CHECK_STATUS(t_scope_add_effect(scope, store, (cop_effect){7, 3}), COP_E_MEMORY);
    cop_scope_keep(scope);
    cop_scope_dispose(scope);
    CHECK_STATUS(t_scope_add_effect(scope, store, (cop_effect){7, 3}), COP_E_STATE);
    cop_scope_drop(scope);
    STORY("");
    t_close(store);
}
END_TEST
#endif

/* --- threads ------------------------------------------------------------------------------------------ */

enum { THREADS = 4, OBJECTS = 300, ROUNDS = 60 };

static cop_scope *shared;
static _Atomic unsigned disposed[THREADS][OBJECTS];
static bool accepted[THREADS][OBJECTS], removed[THREADS][OBJECTS];
static _Atomic unsigned disposing, overlaps;

static void
count(void *object)
{
    _Atomic unsigned *counter = object;

    overlaps += atomic_fetch_add(&disposing, 1) != 0;
    *counter += 1;
    atomic_fetch_sub(&disposing, 1);
}

/* Each adds, some remove, all empty now and then; one disposes in the middle. */
static void *
busy_thread(void *context)
{
    unsigned me = (unsigned)(uintptr_t)context;

    for (unsigned i = 0; i < OBJECTS; i++) {
        _Atomic unsigned *object = &disposed[me][i];
        accepted[me][i] = cop_scope_add(shared, count, (void *)object) == COP_OK;
        if (i % 5 == me)
            removed[me][i] = cop_scope_remove(shared, count, (void *)object);
        if (i % 50 == me * 7)
            cop_scope_empty(shared);
        if (me == 0 && i == OBJECTS / 2)
            cop_scope_dispose(shared);
    }
    return NULL;
}

START_TEST(threads_dispose_each_object_once_and_one_at_a_time)
{
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t threads[THREADS];
        shared = open_scope(NULL);
        cop_scope_keep(shared);
        memset((void *)disposed, 0, sizeof disposed);
        memset(removed, 0, sizeof removed);
        for (uintptr_t i = 0; i < THREADS; i++)
            ck_assert_int_eq(pthread_create(&threads[i], NULL, busy_thread, (void *)i), 0);
        for (unsigned i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        for (unsigned t = 0; t < THREADS; t++)
            for (unsigned i = 0; i < OBJECTS; i++)
                ck_assert_uint_eq(disposed[t][i], accepted[t][i] && !removed[t][i]);
        ck_assert_uint_eq(overlaps, 0);
        cop_scope_drop(shared);
        CHECK_BLOCKS(0);
    }
}
END_TEST

static cop_scope *kept_child;
static pthread_barrier_t both_ready;

static void *
child_thread(void *unused)
{
    (void)unused;
    pthread_barrier_wait(&both_ready);
    cop_scope_dispose(kept_child);
    cop_scope_drop(kept_child);
    return NULL;
}

START_TEST(threads_dispose_a_child_and_its_parent)
{
    pthread_barrier_init(&both_ready, NULL, 2);
    for (int round = 0; round < 500; round++) {
        pthread_t thread;
        cop_scope *scope = open_scope(NULL);
        kept_child = open_scope(scope);
        cop_scope_keep(kept_child);
        disposed[0][0] = disposed[0][1] = 0;
        CHECK_OK(cop_scope_add(scope, count, (void *)&disposed[0][0]));
        CHECK_OK(cop_scope_add(kept_child, count, (void *)&disposed[0][1]));
        ck_assert_int_eq(pthread_create(&thread, NULL, child_thread, NULL), 0);
        pthread_barrier_wait(&both_ready);
        if (round % 2)
            cop_scope_empty(scope);
        cop_scope_dispose(scope);
        pthread_join(thread, NULL);
        ck_assert_uint_eq(disposed[0][0], 1);
        ck_assert_uint_eq(disposed[0][1], 1);
        CHECK_BLOCKS(0);
    }
    pthread_barrier_destroy(&both_ready);
}
END_TEST

/* Disposing waits for another thread that disposes of the same: neither may wait for the other. */
static pthread_barrier_t inside;
static pthread_t waited_for;

static void *
disposer(void *unused)
{
    (void)unused;
    pthread_barrier_wait(&inside);
    cop_scope_dispose(shared);
    return NULL;
}

static void
wait_for_thread(void *unused)
{
    (void)unused;
    pthread_barrier_wait(&inside);
    pthread_join(waited_for, NULL);
    tell("joined");
}

START_TEST(nobody_waits_for_a_disposal_under_way)
{
    shared = open_scope(NULL);
    pthread_barrier_init(&inside, NULL, 2);
    add_named(shared, "a");
    CHECK_OK(cop_scope_add(shared, wait_for_thread, NULL));
    ck_assert_int_eq(pthread_create(&waited_for, NULL, disposer, NULL), 0);
    cop_scope_empty(shared); /* the other thread's disposal is done by this one */
    STORY("joined a");
    pthread_barrier_destroy(&inside);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, last_added_is_disposed_first);
    tcase_add_test(tests, what_is_added_twice_is_disposed_twice);
    tcase_add_test(tests, an_emptied_scope_is_usable);
    tcase_add_test(tests, nothing_is_a_legal_scope_to_dispose);
    tcase_add_test(tests, a_disposed_scope_refuses);
    tcase_add_test(tests, keeping_keeps_the_memory_and_not_the_objects);
    tcase_add_test(tests, an_object_needs_a_dispose_function);
    tcase_add_test(tests, what_is_removed_is_not_disposed);
    tcase_add_test(tests, the_last_added_of_several_is_removed);
    tcase_add_test(tests, what_has_not_had_its_turn_can_be_removed);
    tcase_add_test(tests, what_has_had_its_turn_cannot_be_removed);
    tcase_add_test(tests, a_nested_scope_goes_at_its_place);
    tcase_add_test(tests, emptying_ends_nested_scopes);
    tcase_add_test(tests, a_child_disposed_earlier_leaves_its_parent);
    tcase_add_test(tests, a_kept_child_outlives_its_parent);
    tcase_add_test(tests, owners_may_dispose_a_child_that_went_with_its_parent);
    tcase_add_test(tests, depth_costs_no_stack);
    tcase_add_test(tests, emptying_from_inside_is_left_to_the_pass);
    tcase_add_test(tests, disposing_from_inside_is_left_to_the_pass);
    tcase_add_test(tests, what_is_added_while_emptied_stays);
    tcase_add_test(tests, nothing_is_added_while_disposed);
    tcase_add_test(tests, what_was_added_since_goes_with_the_next_emptying);
    tcase_add_test(tests, a_child_may_dispose_its_parent);
    tcase_add_test(tests, a_sibling_may_be_disposed_from_inside);
    tcase_add_test(tests, atoms_and_effects_go_with_their_scope);
    tcase_add_test(tests, a_scope_may_outlive_a_store);
#ifdef T_COUNTED
    tcase_add_test(tests, without_memory_nothing_is_called);
    tcase_add_test(tests, what_cannot_be_added_leaves_no_record);
#endif
    tcase_add_test(tests, threads_dispose_each_object_once_and_one_at_a_time);
    tcase_add_test(tests, threads_dispose_a_child_and_its_parent);
    tcase_add_test(tests, nobody_waits_for_a_disposal_under_way);
}

int
main(void)
{
    return t_run("scope", add);
}
