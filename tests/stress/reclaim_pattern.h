/* SPDX-License-Identifier: MIT */
/*
 * What stress_reclaim writes, and the checks that a version holds just that. For that program alone.
 *
 * Version v (from BASE on) holds:
 *   stamp/first, stamp/last   v, at the two ends of the ids
 *   cells/I                   long bytes of the last version that was I's turn
 *   live/W for the last LIVE versions w <= v, oldest first: LEAVES leaves of w's bytes
 */
#ifndef COP_TESTS_STRESS_RECLAIM_PATTERN_H
#define COP_TESTS_STRESS_RECLAIM_PATTERN_H

#include "tests/stress/common.h"

enum { CELLS = 512, TURN = 8, TURNS = CELLS / TURN, LIVE = 12, LEAVES = 40 };
enum { VALUE_MIN = 24, VALUE_SPAN = 600 };

enum {
    STAMPS,
    BYTES,
    BRANCHES,
    GONE,
    HELD_SAME,
    STALLED,
    DENSE,
    DECIDED,
    BOUNDED,
    COMES_BACK,
};
static const char *const properties[] = {
    "a version is published whole",
    "long values are those of their version",
    "branches are listed as they were in their version",
    "an erased atom's handle says gone, in its version and later",
    "a kept version has the same hash whenever it is looked at",
    "a stalled reader finds its version as it left it",
    "the writer gets version after version",
    "a ticket is decided within 10 s",
    "memory stays bounded",
    "what nobody needs is freed",
};

static cop_store *store;
static cop_atom stamp_first, stamp_last, cells[CELLS];
static uint64_t base; /* the first version of the pattern */

/* --- the pattern ------------------------------------------------------------------------- */

/* The version in which the cell was written last, as seen in version v. */
static uint64_t
written_in(unsigned cell, uint64_t v)
{
    uint64_t back = (v - cell / TURN) % TURNS;

    return v - base < back ? base : v - back;
}

static size_t
length_of(uint64_t owner, uint64_t version)
{
    return VALUE_MIN + stress_mix(owner * 7919 + version) % VALUE_SPAN;
}

static uint64_t
leaf_owner(unsigned leaf)
{
    return 1000000 + leaf;
}

static int
branch_path(char path[64], uint64_t version)
{
    return snprintf(path, 64, "live/%" PRIu64, version);
}

/* --- checking a version ------------------------------------------------------------------------ */

static bool
check_bytes(unsigned property, const cop_snapshot *s, const cop_value *value, uint64_t owner,
            uint64_t version)
{
    const char *wrong = "no bytes at all";

    if (cop_value_type(value) == COP_BYTES && cop_value_length(value) >= VALUE_MIN)
        wrong = stress_verify((const unsigned char *)cop_value_data(value),
                              cop_value_length(value), length_of(owner, version), owner, version);
    stress_check(property, wrong == NULL,
                 "version %" PRIu64 ": owner %" PRIu64 " of version %" PRIu64 ": %s",
                 cop_snapshot_version(s), owner, version, wrong);
    return wrong == NULL;
}

static void
check_stamps(const cop_snapshot *s)
{
    int64_t first = -1, last = -1, v = (int64_t)cop_snapshot_version(s);
    cop_status a = cop_get_i64(s, stamp_first, &first), b = cop_get_i64(s, stamp_last, &last);

    stress_check(STAMPS, a == COP_OK && b == COP_OK && first == v && last == v,
                 "version %" PRId64 ": %" PRId64 " and %" PRId64, v, first, last);
}

static void
check_cell(unsigned property, const cop_snapshot *s, unsigned cell)
{
    cop_value value;
    cop_status status = cop_get(s, cells[cell], &value);

    stress_check(property, status == COP_OK, "cell %u: %s", cell, cop_status_name(status));
    if (status == COP_OK)
        check_bytes(property, s, &value, cell, written_in(cell, cop_snapshot_version(s)));
}

static void
check_branch(unsigned property, const cop_snapshot *s, uint64_t version)
{
    char path[64], key[16];
    int n = branch_path(path, version);
    cop_atom branch;
    cop_cursor cursor;
    cop_child child;
    unsigned leaf = 0;
    cop_status status = cop_find(s, path, (size_t)n, &branch);

    if (status == COP_OK)
        status = cop_cursor_open(s, branch, &cursor);
    stress_check(property, status == COP_OK, "version %" PRIu64 ": %s: %s",
                 cop_snapshot_version(s), path, cop_status_name(status));
    if (status != COP_OK)
        return;
    for (; cop_cursor_next(&cursor, &child) && leaf < LEAVES; leaf++) {
        int length = snprintf(key, sizeof key, "leaf%u", leaf);
        bool named = child.key != NULL && child.key_length == (size_t)length &&
                     memcmp(child.key, key, (size_t)length) == 0;
        stress_check(property, named, "version %" PRIu64 ": %s: another name for %s",
                     cop_snapshot_version(s), path, key);
        if (!check_bytes(property, s, &child.value, leaf_owner(leaf), version))
            return;
    }
    stress_check(property, leaf == LEAVES, "version %" PRIu64 ": %s has %u leaves",
                 cop_snapshot_version(s), path, leaf);
}

/* Which branches there are, in which order. */
static void
check_list(const cop_snapshot *s)
{
    uint64_t v = cop_snapshot_version(s), want = v - base < LIVE ? base : v - LIVE + 1;
    cop_cursor cursor;
    cop_child child;
    cop_atom live;
    cop_status status = cop_find(s, "live", 4, &live);

    if (status == COP_OK)
        status = cop_cursor_open(s, live, &cursor);
    stress_check(BRANCHES, status == COP_OK, "live: %s", cop_status_name(status));
    if (status != COP_OK)
        return;
    for (; cop_cursor_next(&cursor, &child); want++) {
        char key[32];
        int n = snprintf(key, sizeof key, "%" PRIu64, want);
        bool same = child.key != NULL && child.key_length == (size_t)n &&
                    memcmp(child.key, key, (size_t)n) == 0;
        stress_check(BRANCHES, same, "version %" PRIu64 ": %.*s instead of %s", v,
                     child.key != NULL ? (int)child.key_length : 0, child.key != NULL ? child.key : "", key);
        if (!same)
            return;
    }
    stress_check(BRANCHES, want == v + 1, "version %" PRIu64 " lists up to %" PRIu64, v, want - 1);
}

static void
check_some(const cop_snapshot *s, stress_random *r)
{
    uint64_t v = cop_snapshot_version(s), live = v - base + 1 < LIVE ? v - base + 1 : LIVE;

    check_stamps(s);
    for (unsigned i = 0; i < 16; i++)
        check_cell(BYTES, s, (unsigned)stress_below(r, CELLS));
    check_branch(BRANCHES, s, v - stress_below(r, live));
    if (stress_below(r, 8) == 0)
        check_list(s);
}

static void
check_all(unsigned property, const cop_snapshot *s)
{
    uint64_t v = cop_snapshot_version(s), first = v - base < LIVE ? base : v - LIVE + 1;

    check_stamps(s);
    check_list(s);
    for (unsigned i = 0; i < CELLS; i++)
        check_cell(property, s, i);
    for (; first <= v; first++)
        check_branch(property, s, first);
}

#endif
