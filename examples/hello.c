/* SPDX-License-Identifier: MIT */
/* The shortest tour: write, read, keep a version, erase. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coppice/coppice.h>

static void
must(cop_status status)
{
    if (status == COP_OK)
        return;
    fprintf(stderr, "%s\n", cop_status_message(status));
    exit(EXIT_FAILURE);
}

static int
print_child(void *context, const cop_child *child)
{
    (void)context;
    printf("  %.*s = %" PRId64 "\n", (int)child->key_length, child->key,
           cop_value_i64(&child->value));
    return 0;
}

int
main(void)
{
    cop_store *store;
    cop_txn *txn;
    cop_value apples = cop_i64(3), pears = cop_i64(5);
    const cop_snapshot *before;
    cop_pin_t now;
    cop_atom basket;
    uint64_t version;
    uint32_t left;

    must(cop_store_open(NULL, &store, NULL));

    /* Both become visible together, in one version. */
    must(cop_txn_begin(store, &txn));
    must(cop_txn_set_at(txn, "basket/apples", 13, &apples, NULL));
    must(cop_txn_set_at(txn, "basket/pears", 12, &pears, NULL));
    must(cop_txn_commit(txn, &version, NULL));
    printf("version %" PRIu64 "\n", version);

    /* A snapshot can be kept for hours; it goes on reading its version. */
    must(cop_snapshot_take(store, &before));
    must(cop_txn_begin(store, &txn));
    must(cop_txn_erase_at(txn, "basket/apples", 13, NULL));
    must(cop_txn_commit(txn, &version, NULL));

    must(cop_find(before, "basket", 6, &basket));
    printf("version %" PRIu64 " still holds\n", cop_snapshot_version(before));
    must(cop_each(before, basket, print_child, NULL, NULL));
    cop_snapshot_drop(before);

    /* A pin is short, and costs next to nothing. */
    now = cop_pin(store);
    if (!now.snapshot)
        must(cop_pin_status());
    must(cop_count(now.snapshot, basket, &left));
    printf("version %" PRIu64 " holds %" PRIu32 " of them\n", version, left);
    cop_unpin(now);

    cop_store_close(store);
    return left == 1 ? EXIT_SUCCESS : EXIT_FAILURE;
}
