/* SPDX-License-Identifier: MIT */
/* Telling how a ticket ended: see ticket_done.h. */
#include "commit/ticket_done.h"

#include "commit/combiner.h"
#include "reclaim/gate.h"

typedef struct cop__ticket_call {
    cop__queue_node node; /* first */
    cop__alarm alarm;
    cop_txn *txn;
    cop_ticket_function function;
    void *context;
    cop_destructor destroy;
    _Atomic bool told, posted;
    _Atomic uint32_t references;
} cop__ticket_call;

static void
call_unref(cop__ticket_call *call)
{
    cop_txn *txn = call->txn;
    if (cop__sub_acq_rel(&call->references, 1u) != 1)
        return;
    cop__memory_free(txn->store->memory, COP_MEMORY_TXN, call, sizeof *call, COP_CACHE_LINE);
    cop__txn_unref(txn);
}

static void
tell(cop__ticket_call *call, cop_status status, uint64_t version)
{
    if (cop__swap_seq_cst(&call->told, true))
        return;
    call->function(call->context, status, version);
    if (call->destroy != NULL)
        call->destroy(call->context);
}

/* The alarm's reference is given up. What is decided already is told, although whoever decided it has
 * not come to say so. */
static void
deadline_came(void *context)
{
    cop__ticket_call *call = context;
    const cop_txn *txn = call->txn;
    if (cop__load_acquire(&txn->state) == COP_TXN_DONE)
        tell(call, txn->result, txn->version);
    else
        tell(call, COP_E_TIMEOUT, 0);
    call_unref(call); /* the store stays: whoever runs its timers uses it */
}

static void
outcome_came(cop__ticket_call *call)
{
    const cop_txn *txn = call->txn;
    if (cop__timer_remove(&txn->store->timers, &call->alarm))
        call_unref(call);
    tell(call, txn->result, txn->version);
    call_unref(call);
}

static void
calls_due(void *context)
{
    cop__ticket_calls_run(context);
}

void
cop__ticket_calls_init(cop_store *store)
{
    cop__queue_init(&store->calls.queue);
    pthread_mutex_init(&store->calls.lock, NULL);
    store->calls.alarm = (cop__alarm){.function = calls_due, .context = store};
}

void
cop__ticket_calls_end(cop_store *store)
{
    pthread_mutex_destroy(&store->calls.lock);
}

void
cop__ticket_calls_run(cop_store *store)
{
    cop__queue_node *node;
    do {
        pthread_mutex_lock(&store->calls.lock);
        node = cop__queue_pop(&store->calls.queue);
        pthread_mutex_unlock(&store->calls.lock);
        if (node != NULL)
            outcome_came((cop__ticket_call *)(void *)node);
    } while (node != NULL);
}

void
cop__ticket_calls_signal(cop_store *store)
{
    (void)cop__timer_set(&store->timers, &store->calls.alarm, 0);
}

static bool
call_post(cop_store *store, cop__ticket_call *call)
{
    if (cop__swap_seq_cst(&call->posted, true))
        return false;
    cop__queue_push(&store->calls.queue, &call->node);
    return true;
}

void
cop__ticket_decided(cop_store *store, cop_txn *txn)
{
    if (call_post(store, cop__load_seq_cst(&txn->call)))
        store->calls.posted = true;
}

static cop_status
may_call(cop_txn *txn, cop_ticket_function function)
{
    cop_status status = cop__store_usable(txn->store);
    if (status == COP_OK && function == NULL)
        status = COP_E_INVALID;
    if (status == COP_OK && cop__load_relaxed(&txn->call) != NULL)
        status = COP_E_STATE;
    return status;
}

/* The alarm is set before the call can be found: who tells the outcome takes it back. As soon as it
 * can be found it may have been told: the third reference is this function's. */
static void
call_begin(cop_store *store, cop__ticket_call *call, uint64_t deadline)
{
    cop_txn *txn = call->txn;
    cop__add_relaxed(&txn->references, 1u);
    call->alarm = (cop__alarm){.function = deadline_came, .context = call};
    cop__store_relaxed(&call->references, deadline == COP_FOREVER ? 2u : 3u);
    if (deadline != COP_FOREVER)
        (void)cop__timer_set(&store->timers, &call->alarm, deadline);
    cop__store_seq_cst(&txn->call, call);
    if (cop__load_seq_cst(&txn->state) == COP_TXN_DONE && call_post(store, call))
        cop__ticket_calls_signal(store);
    call_unref(call);
}

cop_status
cop_ticket_on_done(cop_ticket *ticket, cop_ticket_function function, void *context,
                   cop_destructor destroy, uint64_t deadline)
{
    cop_txn *txn = (cop_txn *)(void *)ticket;
    cop_store *store = txn->store;
    struct cop__gate *gate = txn->gate;
    cop_status status = may_call(txn, function);
    if (status != COP_OK)
        return status;
    cop__ticket_call *call =
        cop__memory_zalloc(store->memory, COP_MEMORY_TXN, sizeof *call, COP_CACHE_LINE);
    if (call == NULL)
        return COP_E_MEMORY;
    call->txn = txn;
    call->function = function;
    call->context = context;
    call->destroy = destroy;
    cop__gate_use(gate);
    call_begin(store, call, deadline);
    cop__gate_end_use(gate); /* of a store that is closing: who ends a use tells what was posted */
    return COP_OK;
}
