/* SPDX-License-Identifier: MIT */
/* Writers: transfers, committed or submitted, and atoms that come and go. */
#include "tools/stress/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TICKETS = 16, SLOTS = 64 };

struct sent {
    cop_ticket *ticket;
    uint64_t number; /* of the transaction, on this thread */
    uint64_t began_ns;
};

struct writer {
    struct stress_thread *self;
    cop_atom counter; /* counts its transfers */
    uint64_t applied; /* transfers known to be */
    uint64_t outstanding;
    struct sent sent[TICKETS];
    unsigned next;
    cop_atom slots[SLOTS]; /* what it created; generation 0: nothing */
    char *text;
};

/* Length in the first 8 bytes, then one letter throughout. */
static void
write_text(struct writer *w, cop_txn *txn)
{
    struct stress_thread *self = w->self;
    size_t n = 9 + (size_t)stress_random(self, self->stress->config->value_bytes);
    memset(w->text, 'a' + (int)stress_random(self, 26), n);
    char head[24];
    snprintf(head, sizeof head, "%08zx", n);
    memcpy(w->text, head, 8);
    const cop_value value = cop_string(w->text, n);
    STRESS_CALL(self, cop_txn_set, txn, self->stress->texts[stress_random(self, TEXTS)], &value);
}

static cop_txn *
make_transfer(struct writer *w)
{
    struct stress_thread *self = w->self;
    struct stress *s = self->stress;
    cop_txn *txn;
    self->transactions++;
    if (!STRESS_CALL(self, cop_txn_begin, s->store, &txn))
        return NULL;
    int64_t amount = (int64_t)stress_random(self, 100);
    const cop_value minus = cop_i64(-amount), plus = cop_i64(amount), one = cop_i64(1);
    STRESS_CALL(self, cop_txn_add, txn, s->accounts[stress_pick(self)], &minus);
    STRESS_CALL(self, cop_txn_add, txn, s->accounts[stress_pick(self)], &plus);
    STRESS_CALL(self, cop_txn_add, txn, w->counter, &one);
    if (s->config->value_bytes && stress_random(self, 4) == 0)
        write_text(w, txn);
    return txn;
}

/* Its own counter tells whether its transfers have been applied. */
static void
check_applied(struct writer *w)
{
    int64_t count = -1;
    cop_pin_t pin;
    if (stress_pin(w->self, w->self->stress->store, &pin)) {
        STRESS_CALL(w->self, cop_get_i64, pin.snapshot, w->counter, &count);
        stress_check(
            w->self, PROMISE_APPLIED,
            count >= (int64_t)w->applied && count <= (int64_t)(w->applied + w->outstanding),
            "a writer had %llu transfers decided and %llu under way, %lld are in the store",
            (unsigned long long)w->applied, (unsigned long long)w->outstanding, (long long)count);
    }
    cop_unpin(pin);
}

static void
commit_transfer(struct writer *w)
{
    uint64_t version = 0, began_ns = stress_now_ns();
    cop_txn *txn = make_transfer(w);
    if (!txn || !STRESS_CALL(w->self, cop_txn_commit, txn, &version, NULL))
        return;
    stress_done(w->self, OPERATION_COMMIT, began_ns);
    w->applied++;
    stress_saw(w->self, version);
    stress_check(w->self, PROMISE_VERSION, cop_store_version(w->self->stress->store) >= version,
                 "version %llu was committed and is not there", (unsigned long long)version);
}

static void
settle_ticket(struct writer *w, struct sent *sent)
{
    if (!sent->ticket)
        return;
    const struct stress *s = w->self->stress;
    uint64_t deadline = s->broken < 0 ? cop_deadline_in_ms(s->config->patience_ms) : 0;
    cop_status status = cop_ticket_wait(sent->ticket, deadline, NULL, NULL);
    if (stress_check(w->self, PROMISE_TICKET, status != COP_E_TIMEOUT && status != COP_E_PENDING,
                     "transaction %llu of thread %u was accepted, and its ticket never came (%g s)",
                     (unsigned long long)sent->number, w->self->number,
                     (double)s->config->patience_ms / 1e3) &&
        stress_ok(w->self, status, "cop_ticket_wait")) {
        stress_done(w->self, OPERATION_TICKET, sent->began_ns);
        w->applied++;
    }
    w->outstanding--;
    cop_ticket_release(sent->ticket);
    sent->ticket = NULL;
}

static void
submit_transfer(struct writer *w)
{
    struct sent *sent = &w->sent[w->next++ % TICKETS];
    settle_ticket(w, sent);
    sent->began_ns = stress_now_ns();
    cop_txn *txn = make_transfer(w);
    sent->number = w->self->transactions;
    if (!txn || !STRESS_CALL(w->self, cop_txn_submit, txn, &sent->ticket))
        return;
    w->outstanding++;
}

static void
check_handle(struct writer *w, cop_atom atom, cop_status wanted)
{
    cop_value value;
    cop_pin_t pin;
    if (stress_pin(w->self, w->self->stress->store, &pin)) {
        cop_status status = cop_get(pin.snapshot, atom, &value);
        stress_check(w->self, PROMISE_HANDLE,
                     status == wanted &&
                         (wanted != COP_OK || cop_value_i64(&value) == w->self->number),
                     "of an atom that was %s: %s", wanted == COP_OK ? "created" : "erased",
                     cop_status_message(status));
    }
    cop_unpin(pin);
}

/* An atom and a member with it: there is one, both go, or the member changes sides. */
static void
change_slot(struct writer *w, cop_txn *txn, unsigned k, bool erase)
{
    struct stress_thread *self = w->self;
    cop_atom *slot = &w->slots[k];
    if (erase) {
        stress_member_erase(self, txn, k);
        STRESS_CALL(self, cop_txn_erase, txn, *slot);
        return;
    }
    stress_member_set(self, txn, k);
    if (slot->generation)
        return;
    const cop_value value = cop_i64(self->number);
    char key[32];
    int n = snprintf(key, sizeof key, "%u-%u", self->number, k);
    STRESS_CALL(self, cop_txn_set_child, txn, self->stress->churned, key, (size_t)n, &value, slot);
}

static void
create_or_erase(struct writer *w)
{
    struct stress_thread *self = w->self;
    unsigned k = (unsigned)stress_random(self, SLOTS);
    uint64_t began_ns = stress_now_ns();
    cop_txn *txn;
    cop_atom *slot = &w->slots[k], gone = *slot;
    bool erase = slot->generation && stress_random(self, 2);
    if (!STRESS_CALL(self, cop_txn_begin, self->stress->store, &txn))
        return;
    self->transactions++;
    change_slot(w, txn, k, erase);
    if (!STRESS_CALL(self, cop_txn_commit, txn, NULL, NULL))
        return;
    stress_done(self, OPERATION_CHURN, began_ns);
    check_handle(w, erase ? gone : *slot, erase ? COP_E_GONE : COP_OK);
    if (erase)
        *slot = (cop_atom)COP_ATOM_NONE_INIT;
}

void
stress_write(struct stress_thread *self)
{
    struct stress *s = self->stress;
    struct writer w = {.self = self, .text = malloc(s->config->value_bytes + 16)};
    char path[32];
    int n = snprintf(path, sizeof path, "counters/%u", self->number);
    const cop_value zero = cop_i64(0);
    cop_txn *txn;
    if (!stress_ok(self, w.text ? COP_OK : COP_E_MEMORY, "malloc") ||
        !STRESS_CALL(self, cop_atom_at, s->store, path, (size_t)n, &w.counter, NULL) ||
        !STRESS_CALL(self, cop_txn_begin, s->store, &txn) ||
        !STRESS_CALL(self, cop_txn_set, txn, w.counter, &zero) ||
        !STRESS_CALL(self, cop_txn_commit, txn, NULL, NULL)) {
        free(w.text);
        return;
    }
    for (uint64_t i = 1; !s->stop; i++) {
        if (stress_random(self, 100) < s->config->churn)
            create_or_erase(&w);
        else if (stress_random(self, 4) == 0)
            submit_transfer(&w);
        else
            commit_transfer(&w);
        if (i % 8 == 0)
            check_applied(&w);
    }
    for (unsigned i = 0; i < TICKETS; i++)
        settle_ticket(&w, &w.sent[i]);
    check_applied(&w);
    free(w.text);
}
