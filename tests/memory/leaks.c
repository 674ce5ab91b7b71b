/* SPDX-License-Identifier: MIT */
/*
 * leaks [LOOPS]: opens, fills, runs everything and closes, LOOPS times (4), for valgrind and the
 * leak sanitizer, which must find nothing lost: tests/memory/check.sh. By itself it demands that a
 * store gives its allocator every byte back. COP_LEAK=1 forgets a rope and some bytes in each loop:
 * so that what looks for leaks can be seen to find them.
 */
#include "tests/memory/everything.h"
#include "tests/support/fault_alloc.h"

enum { ROUNDS = 3 };

/* An exported history, in a store of its own whose allocator counts. */
static void
import(const everything *e)
{
    cop_options options = COP_OPTIONS_INIT;
    fault_alloc faults;
    cop_store *store;

    fault_alloc_init(&faults);
    options.allocator = fault_alloc_table(&faults);
    options.history_keep = 2;
    REQUIRE_OK(cop_store_open(&options, &store, NULL));
    REQUIRE_OK(cop_history_import(store, e->file.bytes, e->file.used, NULL, NULL));
    cop_store_close(store);
    REQUIRE(atomic_load(&faults.blocks) == 0 && atomic_load(&faults.destroyed) == 1);
}

static void
leak(const everything *e)
{
    cop_value text = cop_string(e->letters, 500), copy;
    cop_pin_t pin = cop_pin(e->store);
    cop_rope *rope;

    REQUIRE_OK(cop_value_copy(&text, &copy));
    REQUIRE_OK(cop_json_rope(pin.snapshot, cop_root(), &rope));
    cop_unpin(pin);
}

int
main(int argc, char **argv)
{
    long loops = argc > 1 ? atol(argv[1]) : 4;
    static everything e;

    for (long i = 0; i < loops; i++) {
        everything_open(&e, (uint32_t)(i % 2) + 1);
        for (uint64_t n = 0; n < ROUNDS; n++)
            everything_round(&e, (uint64_t)i * ROUNDS + n);
        everything_seldom(&e, (uint64_t)i);
        import(&e);
        if (getenv("COP_LEAK") != NULL)
            leak(&e);
        everything_close(&e);
    }
    printf("leaks: %ld stores opened, run and closed\n", loops);
    return loops > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
