/* SPDX-License-Identifier: MIT */
/* Texts: whatever is changed between one and the next, they are what cop_json_write says. */
#include "tests/support/json_test.h"
#include "tests/support/rope_check.h"

static void
check_rope(x_world *w, const cop_snapshot *snapshot, cop_atom atom)
{
    ck_assert_msg(x_same(w, snapshot, atom), "the text of atom %u of version %llu differs", atom.id,
                  (unsigned long long)cop_snapshot_version(snapshot));
}

/* Every way of writing was taken. */
static void
check_used(cop_store *store)
{
    cop_stats stats = COP_STATS_INIT;
    CHECK_OK(cop_stats_take(store, &stats));
    ck_assert_uint_gt(stats.fragments_hits, 0);
    ck_assert_uint_gt(stats.fragments_writes, 0);
    ck_assert_uint_gt(stats.fragments_plain, 0);
    ck_assert_uint_gt(stats.fragments_spliced, 0);
    ck_assert_uint_gt(stats.fragments_formatted, 0);
    ck_assert_uint_eq(stats.fragments_dropped, 0);
}

/* Some branches, in some versions, now and then one that is older. */
static void
run_world(uint64_t seed, uint32_t wide, unsigned commits)
{
    static x_world w;
    w = (x_world){.store = t_open(), .seed = seed, .wide = wide};
    const cop_snapshot *older = NULL;
    for (unsigned i = 0; i < commits; i++) {
        x_commit(&w, 1 + x_below(&w, x_below(&w, 10) ? 5 : 200));
        const cop_snapshot *snapshot = t_take(w.store);
        for (uint32_t asks = x_below(&w, 4); asks > 0; asks--)
            check_rope(&w, snapshot, x_below(&w, 2) ? cop_root() : x_branch(&w, snapshot));
        if (older == NULL || x_below(&w, 10) == 0) {
            cop_snapshot_drop(older);
            older = snapshot;
        } else {
            cop_snapshot_drop(snapshot);
            if (x_below(&w, 5) == 0)
                check_rope(&w, older, cop_root());
        }
    }
    cop_snapshot_drop(older);
    check_used(w.store);
    t_close(w.store);
}

START_TEST(narrow_worlds)
{
    for (uint64_t seed = 1; seed <= 10; seed++)
        run_world(seed, 0, 300);
}
END_TEST

START_TEST(wide_worlds)
{
    for (uint64_t seed = 1; seed <= 6; seed++)
        run_world(seed, 700, 150);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_test(tests, narrow_worlds);
    tcase_add_test(tests, wide_worlds);
}

int
main(void)
{
    return t_run("rope", add);
}
