/* SPDX-License-Identifier: MIT */
/* Each trouble that needs a thread has one, which sleeps until the end once it holds what it holds.
 */
#include "bench/memory_trouble.h"

#include <string.h>
#include <time.h>

#include "reclaim/gate.h"

static void
sleep_ms(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static bool
goes_on(memory_trouble *t)
{
    return !atomic_load_explicit(&t->over, memory_order_relaxed);
}

static void
wait_for_end(memory_trouble *t)
{
    while (goes_on(t))
        sleep_ms(5);
}

/* --- readers -------------------------------------------------------------------------------------
 */

static void *
pin_for_ever(void *context)
{
    memory_trouble *t = context;
    cop_pin_t pin = cop_pin(t->store);
    for (; pin.snapshot == NULL && goes_on(t); pin = cop_pin(t->store)) {
        atomic_fetch_add(&t->refused, 1);
        sleep_ms(5);
    }
    atomic_store(&t->pins, pin.snapshot != NULL);
    wait_for_end(t);
    cop_unpin(pin);
    return NULL;
}

/* By hand, as cop__pin_begin does it, to stop where no reader stops by its own will. */
static void
stop_in_pinning(memory_trouble *t, cop_reader *reader)
{
    struct cop__pin_slot *slot = &reader->slot;
    uint64_t sequence = cop__pin_next(slot, 0);
    (void)cop__swap_seq_cst(&slot->state[0], sequence << 1 | 1);
    void *record = cop__load_seq_cst(&t->store->root);
    atomic_store(&t->pinning, 1);
    wait_for_end(t);
    (void)cop__swap_seq_cst(&slot->state[0], (uint64_t)(uintptr_t)record);
    if (cop__load_seq_cst(&slot->help_sequence[0]) == sequence)
        record = cop__pin_adopt(slot, 0);
    /* What is bound or was read is alive: a version that was freed does not know its store. */
    COP_ALWAYS(cop_snapshot_store(record) == t->store);
    cop__pin_end(slot, 0);
}

static void *
stop_pinning(void *context)
{
    memory_trouble *t = context;
    cop_reader *reader = NULL;
    while (cop_reader_open(t->store, &reader) != COP_OK && goes_on(t)) {
        atomic_fetch_add(&t->refused, 1);
        sleep_ms(5);
    }
    if (reader != NULL)
        stop_in_pinning(t, reader);
    cop_reader_close(reader);
    return NULL;
}

static void *
forget_snapshots(void *context)
{
    memory_trouble *t = context;
    while (goes_on(t)) {
        unsigned n = atomic_load(&t->snapshots);
        if (n < TROUBLE_FORGOTTEN) {
            if (cop_snapshot_take(t->store, &t->forgotten[n]) == COP_OK)
                atomic_store(&t->snapshots, n + 1);
            else
                atomic_fetch_add(&t->refused, 1);
        }
        sleep_ms(TROUBLE_APART_MS);
    }
    return NULL;
}

/* --- watchers ------------------------------------------------------------------------------------
 */

static void
stick(void *context, cop_watch *watch, cop_watch_batch *batch)
{
    memory_trouble *t = context;
    (void)watch;
    (void)batch;
    atomic_store(&t->sticking, 1);
    wait_for_end(t);
}

/* It is this thread that is stuck; what else would be done here is done by who commits. */
static void *
poll_until_stuck(void *context)
{
    memory_trouble *t = context;
    while (goes_on(t)) {
        (void)cop_store_poll(t->store);
        sleep_ms(1);
    }
    return NULL;
}

static void
watchers_open(memory_trouble *t)
{
    if (cop_watch_open(t->store, "", 0, NULL, stick, t, &t->stuck, NULL) != COP_OK)
        atomic_fetch_add(&t->refused, 1);
    if (cop_watch_open(t->store, "", 0, NULL, NULL, NULL, &t->unasked, NULL) != COP_OK)
        atomic_fetch_add(&t->refused, 1);
}

/* --- history -------------------------------------------------------------------------------------
 */

static void
history_keep(memory_trouble *t, const char *rule)
{
    cop_options options = COP_OPTIONS_INIT;
    if (cop_store_options(t->store, &options) != COP_OK ||
        cop_options_set(&options, "history.keep", rule, NULL) != COP_OK ||
        cop_options_set(&options, "history.max_snapshots", "100000", NULL) != COP_OK ||
        cop_store_reconfigure(t->store, &options, COP_FOREVER, NULL) != COP_OK)
        atomic_fetch_add(&t->refused, 1);
}

/* --- all -----------------------------------------------------------------------------------------
 */

bool
memory_trouble_begin(memory_trouble *t, cop_store *store, unsigned kinds)
{
    static const struct {
        unsigned kind;
        void *(*body)(void *);
    } threads[TROUBLE_THREADS] = {{TROUBLE_PIN, pin_for_ever},
                                  {TROUBLE_PINNING, stop_pinning},
                                  {TROUBLE_SNAPSHOTS, forget_snapshots},
                                  {TROUBLE_WATCHER, poll_until_stuck}};
    memset(t, 0, sizeof *t);
    t->store = store;
    t->kinds = kinds;
    if (kinds & TROUBLE_WATCHER)
        watchers_open(t);
    if (kinds & TROUBLE_HISTORY)
        history_keep(t, "commit");
    for (int i = 0; i < TROUBLE_THREADS; i++) {
        if (!(kinds & threads[i].kind))
            continue;
        if (pthread_create(&t->thread[t->threads], NULL, threads[i].body, t) != 0) {
            memory_trouble_end(t);
            return false;
        }
        t->threads++;
    }
    return true;
}

void
memory_trouble_end(memory_trouble *t)
{
    atomic_store(&t->over, true);
    for (unsigned i = 0; i < t->threads; i++)
        pthread_join(t->thread[i], NULL);
    for (unsigned i = 0; i < TROUBLE_FORGOTTEN; i++)
        cop_snapshot_drop(t->forgotten[i]);
    cop_watch_close(t->stuck);
    cop_watch_close(t->unasked);
    if (t->kinds & TROUBLE_HISTORY) {
        history_keep(t, "label");
        (void)cop_history_clear(t->store, NULL);
    }
}
