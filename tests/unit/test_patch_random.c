/* SPDX-License-Identifier: MIT */
/*
 * Documents that change at random, thousands of times: the patch from each version to the next one,
 * and from some to older ones, in each format, makes the one document of the other. The binary
 * format and, as long as members keep their order, JSON Patch give it byte for byte.
 *
 * With PATCH_PRINT set, one line of JSON a pair, for checkers that are not ours:
 * {"before":..., "now":..., "patch":[...], "merge":...}; merge is missing where there is none.
 */
#include "tests/support/patch_test.h"

#include <stdio.h>

enum { KEEP = 6, ATOMS = 300 };

static uint64_t state;
static unsigned unsupported, merged;

static uint64_t
pick(uint64_t n)
{
    uint64_t x = state += UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (x ^ (x >> 31)) % n;
}

/* ---- changes ---- */

typedef struct spot {
    cop_atom atom, parent;
    cop_type type, parent_type;
    uint32_t count;
} spot;

static spot
some_spot(const cop_snapshot *s)
{
    spot at = {.type = COP_OBJECT};

    CHECK_OK(cop_find(s, P("doc"), &at.atom));
    for (;;) {
        cop_value value;
        cop_atom child;
        CHECK_OK(cop_get(s, at.atom, &value));
        at.type = (cop_type)value.type;
        at.count = 0;
        if (at.type >= COP_OBJECT)
            CHECK_OK(cop_count(s, at.atom, &at.count));
        if (at.count == 0 || pick(4) == 0)
            return at;
        CHECK_OK(cop_child_at(s, at.atom, (uint32_t)pick(at.count), &child));
        at.parent = at.atom;
        at.parent_type = at.type;
        at.atom = child;
    }
}

static cop_value
some_value(void)
{
    static const char text[] = "a longer text with \"quotes\", ~tildes/slashes* and \xc3\xa9 in it";

    switch (pick(9)) {
    case 0:
        return cop_object();
    case 1:
        return cop_array();
    case 2:
        return cop_string(text, (size_t)pick(40));
    case 3:
        return cop_bytes(text, (size_t)pick(30));
    case 4:
        return pick(4) == 0 ? cop_null() : cop_bool(pick(2) == 0);
    case 5:
        return cop_f64((double)pick(100) / 4);
    default:
        return cop_i64((int64_t)pick(1000) - 500);
    }
}

static void
add_child(cop_txn *txn, const spot *at)
{
    static const char *const odd[] = {"", "~", "a/b", "*", "\"", "0", "-"};
    cop_value value = some_value();
    char key[16];

    if (at->type == COP_ARRAY) {
        uint32_t position = pick(3) == 0 ? COP_AT_END : (uint32_t)pick(at->count + 1);
        CHECK_OK(cop_txn_insert(txn, at->atom, position, &value, NULL));
        return;
    }
    if (pick(6) == 0)
        snprintf(key, sizeof key, "%s", odd[pick(sizeof odd / sizeof *odd)]);
    else
        snprintf(key, sizeof key, "k%u", (unsigned)pick(12));
    (void)cop_txn_set_child(txn, at->atom, key, strlen(key), &value, NULL);
}

/* A whole document over what is there: members change places. */
static void
put_document(cop_txn *txn, const cop_snapshot *s, const spot *at)
{
    static const char *const documents[] = {
        "{\"k1\":1,\"k0\":{\"k2\":[1,2,3],\"k1\":\"x\"},\"k3\":null}",
        "[3,2,1,[1,2],{\"k1\":true}]", "{\"k3\":[],\"k2\":2,\"k1\":{\"k1\":1.5,\"k0\":0}}",
        "[[1],[2],[3],[4],[5],[6]]"};
    const char *document = documents[pick(4)];
    char path[COP_PATH_MAX];
    size_t length;

    if (cop_atom_path(s, at->atom, path, sizeof path, &length) == COP_OK)
        CHECK_OK(cop_json_read(txn, path, length, P(document), NULL, NULL));
}

static void
change(cop_txn *txn, const cop_snapshot *s, bool reorder)
{
    spot at = some_spot(s);
    cop_value value = some_value();

    if (reorder && pick(12) == 0) {
        put_document(txn, s, &at);
        return;
    }
    if (at.type >= COP_OBJECT && pick(5) != 0) {
        for (uint64_t n = pick(15) == 0 ? pick(120) : 1; n > 0; n--)
            add_child(txn, &at);
        return;
    }
    if (at.parent.generation == 0)
        return;
    if (pick(3) == 0) {
        CHECK_OK(cop_txn_erase(txn, at.atom));
        return;
    }
    if (at.type >= COP_OBJECT)
        CHECK_OK(cop_txn_clear(txn, at.atom));
    CHECK_OK(cop_txn_set(txn, at.atom, &value));
}

/* Changes that do not go together are no matter: the next ones may. */
static void
change_some(cop_store *store, bool reorder)
{
    cop_txn *txn;
    const cop_snapshot *s = t_snapshot(store);

    CHECK_OK(cop_txn_begin(store, &txn));
    for (uint64_t n = 1 + pick(pick(4) == 0 ? 30 : 4); n > 0; n--)
        change(txn, s, reorder);
    cop_snapshot_drop(s);
    (void)cop_txn_commit(txn, NULL, NULL);
}

/* A patch is a change too, and keeps elements that it moves. */
static void
move_some(cop_store *store)
{
    const cop_snapshot *s = t_snapshot(store);
    spot at = some_spot(s);
    char patch[128], path[COP_PATH_MAX];
    size_t length;
    cop_txn *txn;

    if (at.type == COP_ARRAY && at.count > 1 &&
        cop_atom_path(s, at.atom, path, sizeof path, &length) == COP_OK) {
        snprintf(patch, sizeof patch, "[{\"op\":\"move\",\"from\":\"/%u\",\"path\":\"/%u\"}]",
                 (unsigned)pick(at.count), (unsigned)pick(at.count));
        CHECK_OK(cop_txn_begin(store, &txn));
        CHECK_OK(cop_patch_apply(txn, path, length, COP_PATCH_JSON, P(patch), NULL));
        CHECK_OK(cop_txn_commit(txn, NULL, NULL));
    }
    cop_snapshot_drop(s);
}

/* ---- checking ---- */

static void
check_patch(cop_store *other, const char *old, const char *wanted, t_text patch,
            cop_patch_format format, bool exact)
{
    cop_error error;

    t_put(other, "doc", old);
    cop_status status = t_apply(other, "doc", format, patch, &error);
    ck_assert_msg(status == COP_OK, "%d: %s\n%s\n%s", format, error.message, old,
                  format == COP_PATCH_BINARY ? "" : patch.at);
    const cop_snapshot *made = t_snapshot(other);
    t_text got = t_json(made, "doc");
    ck_assert_msg(exact ? strcmp(got.at, wanted) == 0 : t_same_json(got.at, wanted),
                  "%d\nold  %s\npatch %s\ngot  %s\nwant %s", format, old,
                  format == COP_PATCH_BINARY ? "" : patch.at, got.at, wanted);
    cop_snapshot_drop(made);
    free(got.at);
}

static t_text
merge_patch(const cop_snapshot *before, const cop_snapshot *now)
{
    t_text text = {NULL, 0};
    cop_status status =
        cop_patch_write(before, now, P("doc"), COP_PATCH_MERGE, NULL, t_text_sink, &text, NULL);

    ck_assert(status == COP_OK || status == COP_E_UNSUPPORTED);
    if (status == COP_OK)
        return text;
    unsupported++;
    free(text.at);
    return (t_text){NULL, 0};
}

static void
check_pair(cop_store *other, const cop_snapshot *before, const cop_snapshot *now, bool reorder)
{
    t_text old = t_json(before, "doc"), wanted = t_json(now, "doc");
    t_text json = t_patch(before, now, "doc", COP_PATCH_JSON);
    t_text binary = t_patch(before, now, "doc", COP_PATCH_BINARY);
    t_text merge = merge_patch(before, now);

    check_patch(other, old.at, wanted.at, json, COP_PATCH_JSON, !reorder);
    check_patch(other, old.at, wanted.at, binary, COP_PATCH_BINARY, true);
    if (merge.at != NULL) {
        merged++;
        check_patch(other, old.at, wanted.at, merge, COP_PATCH_MERGE, false);
    }
    if (getenv("PATCH_PRINT") != NULL)
        printf("{\"before\":%s,\"now\":%s,\"patch\":%s%s%s}\n", old.at, wanted.at, json.at,
               merge.at != NULL ? ",\"merge\":" : "", merge.at != NULL ? merge.at : "");
    free(old.at);
    free(wanted.at);
    free(json.at);
    free(binary.at);
    free(merge.at);
}

/* What a change makes of the newest version, once there is one that makes anything. */
static const cop_snapshot *
next_version(cop_store *store, bool reorder)
{
    const cop_snapshot *last = t_snapshot(store), *now = NULL;

    do {
        cop_snapshot_drop(now);
        if (cop_snapshot_atoms(last) > ATOMS && pick(4) == 0)
            t_put(store, "doc", "{\"k0\":[3,2,1]}");
        else if (pick(10) == 0)
            move_some(store);
        else
            change_some(store, reorder);
        now = t_snapshot(store);
    } while (cop_snapshot_version(now) == cop_snapshot_version(last));
    cop_snapshot_drop(last);
    return now;
}

static void
run(uint64_t seed, unsigned commits, bool reorder)
{
    const cop_snapshot *kept[KEEP] = {0};
    cop_store *store = t_open(), *other;

    state = seed;
    CHECK_OK(cop_store_open(NULL, &other, NULL));
    t_put(store, "doc", "{\"k0\":[1,2,3],\"k1\":{\"k2\":[]}}");
    kept[0] = t_snapshot(store);
    for (unsigned i = 1; i <= commits; i++) {
        unsigned at = i % KEEP;
        cop_snapshot_drop(kept[at]);
        kept[at] = next_version(store, reorder);
        check_pair(other, kept[(i - 1) % KEEP], kept[at], reorder);
        const cop_snapshot *older = kept[pick(KEEP)];
        if (older != NULL && pick(4) == 0)
            check_pair(other, older, kept[at], reorder);
        if (older != NULL && pick(8) == 0)
            check_pair(other, kept[at], older, true);
    }
    for (unsigned i = 0; i < KEEP; i++)
        cop_snapshot_drop(kept[i]);
    cop_store_close(other);
    t_close(store);
}

static unsigned
commits(void)
{
    const char *wanted = getenv("PATCH_COMMITS");

    return wanted != NULL ? (unsigned)strtoul(wanted, NULL, 10) : 150;
}

START_TEST(in_order)
{
    run((uint64_t)_i * 1000 + 1, commits(), false);
    ck_assert_uint_gt(merged, 0);
    ck_assert_uint_gt(unsupported, 0);
}
END_TEST

START_TEST(out_of_order)
{
    run((uint64_t)_i * 1000 + 77, commits(), true);
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("patch_random");
    TCase *tcase = tcase_create("patch_random");

    tcase_set_timeout(tcase, 300);
    tcase_add_loop_test(tcase, in_order, 0, 6);
    tcase_add_loop_test(tcase, out_of_order, 0, 6);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, getenv("PATCH_PRINT") != NULL ? CK_SILENT : CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
