/* SPDX-License-Identifier: MIT */
/*
 * Eight threads, one counter, two ways. cop_txn_add adds to whatever is there when it is applied;
 * cop_transact reads, computes and writes, and does it again when what it read has changed.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <coppice/coppice.h>

enum { THREADS = 8, ROUNDS = 2000 };

static cop_store *store;
static cop_atom hits, product;

static void
must(cop_status status)
{
    if (status == COP_OK)
        return;
    fprintf(stderr, "%s\n", cop_status_message(status));
    exit(EXIT_FAILURE);
}

static cop_status
multiply(cop_txn *txn, void *context)
{
    cop_value value;
    cop_status status = cop_txn_get(txn, product, &value);

    (void)context;
    if (status != COP_OK)
        return status;
    value = cop_i64(cop_value_i64(&value) * 3 % 1000003);
    return cop_txn_set(txn, product, &value);
}

static void *
count(void *context)
{
    cop_value one = cop_i64(1);

    for (int i = 0; i < ROUNDS; i++) {
        cop_txn *txn;
        must(cop_txn_begin(store, &txn));
        must(cop_txn_add(txn, hits, &one));
        must(cop_txn_submit(txn, NULL)); /* handed over: somebody's commit takes it along */
        if (i % 10 == 0)
            must(cop_transact(store, multiply, NULL, COP_FOREVER, NULL));
    }
    return context;
}

int
main(void)
{
    pthread_t threads[THREADS];
    cop_pin_t pin;
    int64_t total = 0, result = 0, expected = 1;
    cop_value start = cop_i64(1), zero = cop_i64(0);
    cop_txn *txn;

    must(cop_store_open(NULL, &store, NULL));
    must(cop_txn_begin(store, &txn));
    must(cop_txn_set_child(txn, cop_root(), "hits", 4, &zero, &hits));
    must(cop_txn_set_child(txn, cop_root(), "product", 7, &start, &product));
    must(cop_txn_commit(txn, NULL, NULL)); /* from here on the handles are real */

    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, count, NULL) != 0)
            return EXIT_FAILURE;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    must(cop_flush(store, COP_FOREVER));

    pin = cop_pin(store);
    if (!pin.snapshot)
        must(cop_pin_status());
    must(cop_get_i64(pin.snapshot, hits, &total));
    must(cop_get_i64(pin.snapshot, product, &result));
    cop_unpin(pin);
    for (int i = 0; i < THREADS * ROUNDS / 10; i++)
        expected = expected * 3 % 1000003;
    printf("%" PRId64 " hits, product %" PRId64 ", version %" PRIu64 "\n", total, result,
           cop_store_version(store));
    cop_store_close(store);
    return total == THREADS * ROUNDS && result == expected ? EXIT_SUCCESS : EXIT_FAILURE;
}
