/* SPDX-License-Identifier: MIT */
/*
 * Stores closed while they are in use. Each round threads begin transactions on one store, pass
 * them on to each other, some threads exit, another takes over, and when all have begun one closes
 * the store while the others end what they find in every way there is. It must go with the end of
 * its last use: not before, and not later. Every third store has readers with fences.
 */
#include "tests/stress/common.h"

#include <string.h>

enum { USERS = 4, EACH = 3 };

enum { NOT_BEFORE, NOT_LATER, TOLD };
static const char *const properties[] = {
    "a store that was closed stays as long as a transaction is open",
    "and is gone when the last has ended",
    "who ends one late is told that the store closes",
};

/* A round's. */
static cop_store *store;
static _Atomic(cop_txn *) passed[USERS * EACH];
static _Atomic unsigned open_uses, destroyed;
static pthread_barrier_t begun, ended;
static uint64_t round_number;

static void
on_destroy(void *context)
{
    (void)context;
    atomic_fetch_add(&destroyed, 1);
    unsigned left = atomic_load(&open_uses);
    stress_check(NOT_BEFORE, left == 0, "%u transactions are open", left);
}

static void
open_store(void)
{
    cop_options options = COP_OPTIONS_INIT;

    options.log_destroy = on_destroy;
    options.readers_membarrier = round_number % 3 != 2;
    stress_need(cop_store_open(&options, &store, NULL), "open");
}

static cop_txn *
begin(void)
{
    cop_txn *txn = NULL;
    cop_value value = cop_i64(1);

    stress_need(cop_txn_begin(store, &txn), "begin");
    stress_need(cop_txn_set_at(txn, "a", 1, &value, NULL), "set");
    atomic_fetch_add(&open_uses, 1);
    return txn;
}

static void *
begin_and_exit(void *place)
{
    atomic_store((_Atomic(cop_txn *) *)place, begin());
    return NULL;
}

/* Its uses: some begun by a thread that exits, so that this one may take over its slot. */
static void
begin_all(stress_random *r, unsigned index)
{
    for (unsigned i = 0; i < EACH; i++) {
        pthread_t thread;
        _Atomic(cop_txn *) *place = &passed[index * EACH + i];
        if (stress_below(r, 8) != 0)
            (void)begin_and_exit(place);
        else if (pthread_create(&thread, NULL, begin_and_exit, place) != 0)
            stress_need(COP_E_LIMIT, "pthread_create");
        else
            pthread_join(thread, NULL);
    }
}

static cop_status
end_some_way(cop_txn *txn, uint64_t how)
{
    cop_ticket *ticket = NULL;
    cop_status status = COP_OK;

    switch (how) {
    case 0:
        return cop_txn_commit(txn, NULL, NULL);
    case 1:
        return cop_txn_submit(txn, NULL);
    case 2:
        status = cop_txn_submit(txn, &ticket);
        cop_ticket_release(ticket);
        return status;
    default:
        cop_txn_cancel(txn);
        return COP_OK;
    }
}

/* Takes what it finds, from anywhere on; sometimes another is begun before, and ended after. */
static void
end_all(stress_random *r)
{
    unsigned first = (unsigned)stress_below(r, USERS * EACH);

    for (unsigned i = 0; i < USERS * EACH; i++) {
        cop_txn *more = NULL;
        cop_txn *txn = atomic_exchange(&passed[(first + i) % (USERS * EACH)], NULL);
        if (txn == NULL)
            continue;
        if (stress_below(r, 3) == 0 && cop_txn_begin(store, &more) == COP_OK)
            atomic_fetch_add(&open_uses, 1);
        atomic_fetch_sub(&open_uses, 1);
        cop_status status = end_some_way(txn, stress_below(r, 4));
        stress_check(TOLD, status == COP_OK || status == COP_E_CLOSING, "%s",
                     cop_status_name(status));
        if (more != NULL) {
            atomic_fetch_sub(&open_uses, 1);
            cop_txn_cancel(more);
        }
        stress_count(1);
    }
}

static void *
user(void *context)
{
    uintptr_t index = (uintptr_t)context;
    stress_random r = stress_random_of(round_number * (USERS + 1) + index);

    if (index < USERS)
        begin_all(&r, (unsigned)index);
    pthread_barrier_wait(&begun);
    if (index == USERS)
        cop_store_close(store);
    else
        end_all(&r);
    pthread_barrier_wait(&ended); /* what a thread's exit would do has to be done already */
    if (index == USERS)
        stress_check(NOT_LATER, atomic_load(&destroyed) == 1, "%u times", atomic_load(&destroyed));
    pthread_barrier_wait(&ended);
    return NULL;
}

int
main(int argc, char **argv)
{
    stress_start(argc, argv, USERS + 1);
    stress_properties(properties, sizeof properties / sizeof *properties);
    pthread_barrier_init(&begun, NULL, USERS + 1);
    pthread_barrier_init(&ended, NULL, USERS + 1);
    for (round_number = 0; !stress_over() || round_number < 10; round_number++) {
        atomic_store(&destroyed, 0);
        open_store();
        stress_run(USERS + 1, user);
    }
    pthread_barrier_destroy(&begun);
    pthread_barrier_destroy(&ended);
    return stress_finish();
}
