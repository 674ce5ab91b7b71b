/* SPDX-License-Identifier: MIT */
/* The load: the store and what is in it, the threads, their end. */
#include "tools/stress/load.h"

#include "tools/args.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const char *const stress_promise_names[PROMISES] = {
#define PROMISE_NAME(name, text, help) text,
    STRESS_PROMISES(PROMISE_NAME)
#undef PROMISE_NAME
};
const char *const stress_promise_texts[PROMISES] = {
#define PROMISE_TEXT(name, text, help) help,
    STRESS_PROMISES(PROMISE_TEXT)
#undef PROMISE_TEXT
};
const char *const stress_operation_names[OPERATIONS] = {
#define OPERATION_NAME(name, text) text,
    STRESS_OPERATIONS(OPERATION_NAME)
#undef OPERATION_NAME
};

uint64_t
stress_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* splitmix64 */
uint64_t
stress_random(struct stress_thread *self, uint64_t below)
{
    uint64_t n = self->random += UINT64_C(0x9e3779b97f4a7c15);
    n = (n ^ n >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    n = (n ^ n >> 27) * UINT64_C(0x94d049bb133111eb);
    return below ? (n ^ n >> 31) % below : 0;
}

uint64_t
stress_pick(struct stress_thread *self)
{
    const struct stress *s = self->stress;
    uint64_t low = 0, high = s->config->atoms - 1;
    if (!s->shares)
        return stress_random(self, s->config->atoms);
    double share =
        (double)stress_random(self, UINT64_C(1) << 53) / 9007199254740992.0 * s->shares[high];
    while (low < high) {
        uint64_t middle = (low + high) / 2;
        if (s->shares[middle] > share)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

void
stress_done(struct stress_thread *self, enum operation operation, uint64_t began_ns)
{
    latency_add(&self->latency[operation], stress_now_ns() - began_ns);
    atomic_fetch_add_explicit(&self->stress->operations, 1, memory_order_relaxed);
}

/* Only the first is told: what follows may be its consequence. */
static void
break_promise(struct stress *s, enum promise promise, const char *format, va_list arguments)
{
    pthread_mutex_lock(&s->mutex);
    if (s->broken < 0) {
        s->broken = (int)promise;
        vsnprintf(s->detail, sizeof s->detail, format, arguments);
    }
    pthread_mutex_unlock(&s->mutex);
    s->stop = true;
}

bool
stress_check(struct stress_thread *self, enum promise promise, bool held, const char *format, ...)
{
    va_list arguments;
    if (held) {
        self->checks[promise]++;
        return true;
    }
    va_start(arguments, format);
    break_promise(self->stress, promise, format, arguments);
    va_end(arguments);
    return false;
}

bool
stress_ok(struct stress_thread *self, cop_status status, const char *call)
{
    atomic_store_explicit(&self->call, NULL, memory_order_relaxed);
    return stress_check(self, PROMISE_STATUS, status == COP_OK, "%s: %s", call,
                        cop_status_message(status));
}

void
stress_saw(struct stress_thread *self, uint64_t version)
{
    if (stress_check(self, PROMISE_VERSION, version >= self->version,
                     "a thread met version %llu after %llu", (unsigned long long)version,
                     (unsigned long long)self->version))
        self->version = version;
}

bool
stress_pin(struct stress_thread *self, cop_store *store, cop_pin_t *pin)
{
    *pin = cop_pin(store);
    return stress_ok(self, pin->snapshot ? COP_OK : cop_pin_status(), "cop_pin");
}

cop_status
stress_node_function(cop_evaluation *evaluation, void *context, cop_value *result)
{
    const struct node *node = context;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < node->count; i++) {
        int64_t n;
        cop_status status = cop_read_i64(evaluation, node->inputs[i], &n);
        if (status != COP_OK)
            return status;
        sum += (i + 1) * (uint64_t)n; /* the order of the inputs tells */
    }
    *result = cop_i64((int64_t)sum);
    return COP_OK;
}

/* ---- what is in the store ---- */

static cop_status
set_numbered(cop_txn *txn, const char *branch, uint64_t i, const cop_value *value)
{
    char path[40];
    int n = snprintf(path, sizeof path, "%s/%llu", branch, (unsigned long long)i);
    return cop_txn_set_at(txn, path, (size_t)n, value, NULL);
}

static cop_status
find_numbered(const cop_snapshot *snapshot, const char *branch, uint64_t i, cop_atom *atom)
{
    char path[40];
    int n = snprintf(path, sizeof path, "%s/%llu", branch, (unsigned long long)i);
    return cop_find(snapshot, path, (size_t)n, atom);
}

static cop_status
fill(struct stress *s)
{
    const cop_value begin = cop_i64(ACCOUNT_BEGIN), text = cop_string("00000009a", 9),
                    branch = cop_object();
    cop_txn *txn;
    cop_status status = cop_txn_begin(s->store, &txn);
    if (status != COP_OK)
        return status;
    for (uint64_t i = 0; status == COP_OK && i < s->config->atoms; i++)
        status = set_numbered(txn, "a", i, &begin);
    for (uint64_t i = 0; status == COP_OK && i < TEXTS; i++)
        status = set_numbered(txn, "text", i, &text);
    if (status == COP_OK)
        status = cop_txn_set_at(txn, "churn", 5, &branch, NULL);
    if (status == COP_OK)
        status = cop_txn_set_at(txn, "r", 1, &branch, NULL);
    if (status == COP_OK)
        return cop_txn_commit(txn, NULL, NULL);
    cop_txn_cancel(txn);
    return status;
}

static cop_status
find(struct stress *s)
{
    cop_pin_t pin = cop_pin(s->store);
    cop_status status =
        pin.snapshot ? cop_find(pin.snapshot, "churn", 5, &s->churned) : cop_pin_status();
    for (uint64_t i = 0; status == COP_OK && i < s->config->atoms; i++)
        status = find_numbered(pin.snapshot, "a", i, &s->accounts[i]);
    for (uint64_t i = 0; status == COP_OK && i < TEXTS; i++)
        status = find_numbered(pin.snapshot, "text", i, &s->texts[i]);
    cop_unpin(pin);
    return status;
}

/* Each reads `fan_out` neighbours of the layer below, and is read by as many of the layer above. */
static cop_status
define(struct stress *s, uint64_t number)
{
    const struct stress_config *c = s->config;
    struct node *node = &s->nodes[number];
    uint64_t layer = number / c->computed, place = number % c->computed;
    node->count = c->fan_out;
    node->inputs = calloc(c->fan_out, sizeof *node->inputs);
    if (!node->inputs)
        return COP_E_MEMORY;
    for (uint64_t i = 0; i < c->fan_out; i++)
        node->inputs[i] = layer
                              ? s->nodes[(layer - 1) * c->computed + (place + i) % c->computed].atom
                              : s->accounts[(place + i) % c->atoms];
    return cop_computed_define(s->store, NULL, 0, stress_node_function, node, NULL, &node->atom,
                               NULL);
}

bool
stress_make_shares(struct stress *s)
{
    double sum = 0;
    if (s->config->skew <= 0)
        return true;
    s->shares = calloc(s->config->atoms, sizeof *s->shares);
    for (uint64_t i = 0; s->shares && i < s->config->atoms; i++)
        s->shares[i] = sum += pow((double)(i + 1), -s->config->skew);
    return s->shares != NULL;
}

static bool
open_pool(struct stress *s, cop_error *error)
{
    cop_pool_options o = COP_POOL_OPTIONS_INIT;
    if (!s->config->threads)
        return true;
    o.threads = (uint32_t)s->config->threads;
    return cop_pool_open(&o, &s->pool, error) == COP_OK &&
           cop_store_set_pool(s->store, s->pool) == COP_OK;
}

bool
stress_load_open(struct stress *s)
{
    const struct stress_config *c = s->config;
    cop_options o;
    cop_error error = COP_ERROR_INIT;
    cop_options_init(&o);
    o.batch_window_ms = c->window_ms;
    if (cop_store_open(&o, &s->store, &error) != COP_OK || !open_pool(s, &error)) {
        complain("the store cannot be opened: %s", error.message);
        return false;
    }
    s->accounts = calloc(c->atoms, sizeof *s->accounts);
    s->nodes = calloc(s->node_count + 1, sizeof *s->nodes);
    cop_status status = s->accounts && s->nodes && stress_make_shares(s) ? COP_OK : COP_E_MEMORY;
    if (status == COP_OK)
        status = fill(s);
    if (status == COP_OK)
        status = find(s);
    for (uint64_t i = 0; status == COP_OK && i < s->node_count; i++)
        status = define(s, i);
    if (status == COP_OK)
        status = stress_derived_define(s);
    if (status != COP_OK)
        complain("the store cannot be filled: %s", cop_status_message(status));
    return status == COP_OK;
}

void
stress_load_close(struct stress *s)
{
    if (s->store && s->pool)
        (void)cop_store_set_pool(s->store, NULL);
    cop_store_close(s->store);
    cop_pool_close(s->pool);
    for (uint64_t i = 0; s->nodes && i < s->node_count; i++)
        free(s->nodes[i].inputs);
    free(s->nodes);
    free(s->derived.lazy.inputs);
    free(s->accounts);
    free(s->shares);
}
