/* SPDX-License-Identifier: MIT */
/*
 * A document that is edited, with undo. Each edit is a patch; each version is kept. What an edit
 * did is shown as a patch between two versions, one step is gone back, and all of it is carried
 * into another store.
 */
#define _POSIX_C_SOURCE 200809L /* open_memstream */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coppice/coppice.h>

#define P(text) (text), strlen(text)
#define MUST(call) \
    ((call) == COP_OK ? (void)0 : (fputs(#call " failed\n", stderr), exit(EXIT_FAILURE)))

static int
print(void *context, const char *bytes, size_t n)
{
    return fwrite(bytes, 1, n, context) == n ? 0 : 1;
}

/* The version that came of it. */
static uint64_t
edit(cop_store *store, const char *patch)
{
    cop_error error = COP_ERROR_INIT;
    cop_txn *txn;
    uint64_t version;
    MUST(cop_txn_begin(store, &txn));
    MUST(cop_patch_apply(txn, P("list"), COP_PATCH_JSON, P(patch), &error));
    MUST(cop_txn_commit(txn, &version, &error));
    return version;
}

static void
show_edit(cop_store *store, uint64_t from, uint64_t to)
{
    const cop_snapshot *before, *now;
    MUST(cop_history_take(store, from, &before));
    MUST(cop_history_take(store, to, &now));
    MUST(cop_patch_write(before, now, P("list"), COP_PATCH_JSON, NULL, print, stdout, NULL));
    putchar('\n');
    cop_snapshot_drop(before);
    cop_snapshot_drop(now);
}

/* The text is remembered: after an edit only what it changed is written again. */
static void
show(cop_store *store)
{
    char text[256];
    cop_rope *rope;
    const cop_snapshot *snapshot;
    MUST(cop_snapshot_take(store, &snapshot));
    MUST(cop_json_rope(snapshot, cop_root(), &rope));
    printf("%.*s\n", (int)cop_rope_copy(rope, 0, text, sizeof text), text);
    cop_rope_drop(rope);
    cop_snapshot_drop(snapshot);
}

int
main(void)
{
    cop_options options = COP_OPTIONS_INIT;
    cop_store *store, *other;
    cop_txn *txn;
    uint64_t begun, edited;
    char *file = NULL;
    size_t length = 0;
    MUST(cop_options_set(&options, "history.keep", "commit", NULL));
    MUST(cop_store_open(&options, &store, NULL));
    MUST(cop_txn_begin(store, &txn));
    MUST(cop_json_read(txn, P("list"), P("[\"milk\",\"bread\"]"), NULL, NULL));
    MUST(cop_txn_commit(txn, &begun, NULL));
    (void)edit(store, "[{\"op\":\"add\",\"path\":\"/-\",\"value\":\"apples\"}]");
    edited = edit(store, "[{\"op\":\"test\",\"path\":\"/"
                         "0\",\"value\":\"milk\"},{\"op\":\"remove\",\"path\":\"/0\"}]");
    show_edit(store, begun, edited);
    show(store);
    MUST(cop_history_restore(store, edited - 1, COP_FOREVER, NULL, NULL)); /* undo */
    show(store);

    FILE *memory = open_memstream(&file, &length);
    MUST(cop_history_export(store, print, memory, NULL, NULL));
    fclose(memory);
    MUST(cop_store_open(&options, &other, NULL));
    MUST(cop_history_import(other, file, length, NULL, NULL));
    show(other);
    free(file);
    cop_store_close(other);
    cop_store_close(store);
    return 0;
}
