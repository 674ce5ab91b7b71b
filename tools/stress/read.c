/* SPDX-License-Identifier: MIT */
/* Readers: single values, sums, texts and computed atoms of a pinned version, and of a held one. */
#include "tools/stress/load.h"

#include <stdlib.h>
#include <string.h>

static void
check_sum(struct stress_thread *self, const cop_snapshot *snapshot)
{
    struct stress *s = self->stress;
    int64_t sum = 0, most = INT64_MIN, wanted = (int64_t)s->config->atoms * ACCOUNT_BEGIN;
    for (uint64_t i = 0; i < s->config->atoms; i++) {
        int64_t n = 0;
        STRESS_CALL(self, cop_get_i64, snapshot, s->accounts[i], &n);
        sum += n;
        most = n > most ? n : most;
    }
    stress_check(self, PROMISE_SUM, sum == wanted, "it is %lld, not %lld, in version %llu",
                 (long long)sum, (long long)wanted,
                 (unsigned long long)cop_snapshot_version(snapshot));
    stress_derived_check(self, snapshot, sum, most);
}

static bool
text_is_whole(const cop_value *value)
{
    const char *text = cop_value_data(value);
    size_t n = cop_value_length(value);
    char head[9] = "";
    if (cop_value_type(value) != COP_STRING || n < 9)
        return false;
    memcpy(head, text, 8);
    for (size_t i = 9; i < n; i++)
        if (text[i] != text[8])
            return false;
    return strtoul(head, NULL, 16) == n && text[8] >= 'a' && text[8] <= 'z';
}

static void
check_texts(struct stress_thread *self, const cop_snapshot *snapshot)
{
    for (unsigned i = 0; i < TEXTS; i++) {
        cop_value value;
        if (STRESS_CALL(self, cop_get, snapshot, self->stress->texts[i], &value))
            stress_check(self, PROMISE_TEXT, text_is_whole(&value), "text/%u in version %llu", i,
                         (unsigned long long)cop_snapshot_version(snapshot));
    }
}

static void
check_node(struct stress_thread *self, const cop_snapshot *snapshot, uint64_t number)
{
    const struct node *node = &self->stress->nodes[number];
    uint64_t wanted = 0;
    int64_t is = 0, n;
    for (uint64_t i = 0; i < node->count; i++) {
        n = 0;
        STRESS_CALL(self, cop_get_i64, snapshot, node->inputs[i], &n);
        wanted += (i + 1) * (uint64_t)n;
    }
    STRESS_CALL(self, cop_get_i64, snapshot, node->atom, &is);
    stress_check(self, PROMISE_COMPUTED, (uint64_t)is == wanted,
                 "number %llu is %lld, not %lld, in version %llu", (unsigned long long)number,
                 (long long)is, (long long)wanted,
                 (unsigned long long)cop_snapshot_version(snapshot));
}

/* Everything that can be asked of one version. */
static void
scan(struct stress_thread *self, const cop_snapshot *snapshot)
{
    struct stress *s = self->stress;
    uint64_t began_ns = stress_now_ns(), first = stress_random(self, s->node_count + 1);
    int64_t before = 0, now = 0;
    cop_atom atom = s->accounts[stress_pick(self)];
    STRESS_CALL(self, cop_get_i64, snapshot, atom, &before);
    check_sum(self, snapshot);
    stress_done(self, OPERATION_SCAN, began_ns);
    if (s->config->value_bytes)
        check_texts(self, snapshot);
    for (uint64_t i = 0; i < s->node_count && i < 64; i++)
        check_node(self, snapshot, (first + i) % s->node_count);
    STRESS_CALL(self, cop_get_i64, snapshot, atom, &now);
    stress_check(self, PROMISE_PINNED, before == now,
                 "an account went from %lld to %lld within version %llu", (long long)before,
                 (long long)now, (unsigned long long)cop_snapshot_version(snapshot));
}

static void
look(struct stress_thread *self, uint64_t round)
{
    struct stress *s = self->stress;
    uint64_t began_ns = stress_now_ns();
    cop_pin_t pin;
    cop_value value;
    if (stress_pin(self, s->store, &pin)) {
        stress_saw(self, cop_snapshot_version(pin.snapshot));
        for (unsigned i = 0; i < 8; i++)
            STRESS_CALL(self, cop_get, pin.snapshot, s->accounts[stress_pick(self)], &value);
        if (round % 16 == 0)
            scan(self, pin.snapshot);
    }
    cop_unpin(pin);
    if (round % 16 != 0)
        stress_done(self, OPERATION_READ, began_ns);
}

/* The account of a held version, as it was when it was taken. */
static void
check_held(struct stress_thread *self, const cop_snapshot *held, cop_atom atom, int64_t was)
{
    int64_t now = 0;
    check_sum(self, held);
    if (self->stress->config->value_bytes)
        check_texts(self, held);
    STRESS_CALL(self, cop_get_i64, held, atom, &now);
    stress_check(self, PROMISE_PINNED, was == now,
                 "an account went from %lld to %lld within held version %llu", (long long)was,
                 (long long)now, (unsigned long long)cop_snapshot_version(held));
}

void
stress_read(struct stress_thread *self)
{
    struct stress *s = self->stress;
    const cop_snapshot *held = NULL;
    cop_atom atom = s->accounts[0];
    int64_t was = 0;
    for (uint64_t round = 1; !s->stop; round++) {
        look(self, round);
        if (round % 512 != 0)
            continue;
        if (held)
            check_held(self, held, atom, was);
        cop_snapshot_drop(held);
        held = NULL;
        atom = s->accounts[stress_pick(self)];
        if (STRESS_CALL(self, cop_snapshot_take, s->store, &held))
            STRESS_CALL(self, cop_get_i64, held, atom, &was);
    }
    cop_snapshot_drop(held);
}
