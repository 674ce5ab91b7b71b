/* SPDX-License-Identifier: MIT */
/*
 * An event loop that commits for others. Producers hand transactions over without ever waiting;
 * the loop sleeps in poll() on the store's descriptor and does what is due. Here one producer
 * sends 1,000 measurements, each with a ticket for the last of them only.
 */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <coppice/coppice.h>

enum { MEASUREMENTS = 1000 };

static cop_store *store;
static atomic_bool done;

static void
must(cop_status status)
{
    if (status == COP_OK)
        return;
    fprintf(stderr, "%s\n", cop_status_message(status));
    exit(EXIT_FAILURE);
}

static void *
producer(void *context)
{
    cop_ticket *ticket = NULL;
    uint64_t version = 0;

    for (int i = 1; i <= MEASUREMENTS; i++) {
        cop_value value = cop_f64(20.0 + i % 7);
        cop_txn *txn;
        must(cop_txn_begin(store, &txn));
        must(cop_txn_set_at(txn, "room/temperature", 16, &value, NULL));
        must(cop_txn_submit(txn, i == MEASUREMENTS ? &ticket : NULL));
    }
    /* Waiting would commit by itself; this producer leaves it to the loop and looks. */
    while (cop_ticket_poll(ticket, &version) == COP_E_PENDING)
        poll(NULL, 0, 1);
    must(cop_ticket_poll(ticket, &version));
    cop_ticket_release(ticket);
    printf("the last measurement is in version %" PRIu64 "\n", version);
    atomic_store(&done, true);
    return context;
}

int
main(void)
{
    struct pollfd event = {.events = POLLIN};
    pthread_t thread;
    int rounds = 0;

    must(cop_store_open(NULL, &store, NULL));
    must(cop_store_fd(store, &event.fd));
    if (pthread_create(&thread, NULL, producer, NULL) != 0)
        return EXIT_FAILURE;
    while (!atomic_load(&done)) {
        if (poll(&event, 1, 100) < 0)
            return EXIT_FAILURE;
        if (event.revents & POLLIN) {
            must(cop_store_poll(store));
            rounds++;
        }
    }
    pthread_join(thread, NULL);
    printf("%d measurements in %d rounds of the loop\n", MEASUREMENTS, rounds);
    cop_store_close(store);
    return rounds >= 1 ? EXIT_SUCCESS : EXIT_FAILURE;
}
