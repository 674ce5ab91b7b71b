/* SPDX-License-Identifier: MIT */
/* One thread writes live state, four answer UDP packets "PATH" with the value there, or nothing. */
#define _DEFAULT_SOURCE
#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <coppice/coppice.h>

static cop_store *store;
static int server;
static atomic_bool over;

static void *
reader(void *unused)
{
    while (!atomic_load(&over)) {
        struct sockaddr_in from;
        socklen_t length = sizeof from;
        char path[256], text[512];
        size_t bytes;
        ssize_t n = recvfrom(server, path, sizeof path, 0, (void *)&from, &length);
        cop_pin_t pin = cop_pin(store); /* what is read until the unpin is of one version */
        cop_value value;
        if (n >= 0 && pin.snapshot && !cop_get_at(pin.snapshot, path, (size_t)n, &value) &&
            !cop_json_value(&value, text, sizeof text, &bytes))
            sendto(server, text, bytes, 0, (void *)&from, length);
        cop_unpin(pin);
    }
    return unused;
}

int
main(int argc, char **argv) /* --seconds N: then end */
{
    int64_t end = argc == 3 ? 100 * atoll(argv[2]) : INT64_MAX;
    struct sockaddr_in address = {.sin_family = AF_INET}; /* port 0: any free one */
    struct timeval patience = {.tv_usec = 100000};
    socklen_t length = sizeof address;
    pthread_t readers[4];

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    server = socket(AF_INET, SOCK_DGRAM, 0);
    setsockopt(server, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (bind(server, (void *)&address, length) || getsockname(server, (void *)&address, &length) ||
        cop_store_open(NULL, &store, NULL) != COP_OK)
        return EXIT_FAILURE;
    printf("try: echo -n clock/time | nc -u -w 1 127.0.0.1 %d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (int i = 0; i < 4; i++)
        if (pthread_create(&readers[i], NULL, reader, NULL))
            return EXIT_FAILURE;
    for (int64_t tick = 0; tick < end; tick++, usleep(10000)) {
        cop_value ticks = cop_i64(tick), now = cop_i64((int64_t)time(NULL));
        cop_txn *txn;
        if (cop_txn_begin(store, &txn) != COP_OK)
            return EXIT_FAILURE;
        cop_txn_set_at(txn, "clock/ticks", 11, &ticks, NULL);
        cop_txn_set_at(txn, "clock/time", 10, &now, NULL);
        if (cop_txn_commit(txn, NULL, NULL) != COP_OK) /* both become visible together */
            return EXIT_FAILURE;
    }
    atomic_store(&over, true);
    for (int i = 0; i < 4; i++)
        pthread_join(readers[i], NULL);
    cop_store_close(store);
    return EXIT_SUCCESS;
}
