/* SPDX-License-Identifier: MIT */
/*
 * Transfers between 1,000 accounts. Writers move money by cop_transact, by plain transactions that
 * may conflict, and by pairs of additions; readers check that no money is made or lost in any
 * version they see.
 */
#include "tests/stress/common.h"

enum { ACCOUNTS = 1000, START = 1000 };

enum { SUM_IN_PIN, SUM_IN_SNAPSHOT, SUM_IN_TXN, NO_SURPRISE, CONFLICTS_COUNTED, SUM_AT_END };
static const char *const properties[] = {
    "a pin sees the whole sum",
    "a kept snapshot goes on seeing the whole sum",
    "a transaction reads the whole sum",
    "a transfer commits or conflicts, nothing else",
    "every conflict is counted once",
    "the sum is whole at the end",
};

static cop_store *store;
static cop_atom accounts[ACCOUNTS];
static _Atomic uint64_t transfers, conflicts, snapshots_seen;

typedef struct transfer {
    unsigned from, to;
    int64_t amount;
    unsigned runs;
} transfer;

static transfer
random_transfer(stress_random *r)
{
    transfer t = {0};

    t.from = (unsigned)stress_below(r, ACCOUNTS);
    t.to = (t.from + 1 + (unsigned)stress_below(r, ACCOUNTS - 1)) % ACCOUNTS;
    t.amount = 1 + (int64_t)stress_below(r, 50);
    return t;
}

/* --- writers ------------------------------------------------------------------------------- */

static cop_status
move_money(cop_txn *txn, void *context)
{
    transfer *t = context;
    cop_value from, to;
    cop_status status;

    t->runs++;
    status = cop_txn_get(txn, accounts[t->from], &from);
    if (status == COP_OK)
        status = cop_txn_get(txn, accounts[t->to], &to);
    if (status != COP_OK)
        return status;
    from = cop_i64(cop_value_i64(&from) - t->amount);
    to = cop_i64(cop_value_i64(&to) + t->amount);
    status = cop_txn_set(txn, accounts[t->from], &from);
    return status != COP_OK ? status : cop_txn_set(txn, accounts[t->to], &to);
}

static void
by_transact(transfer *t)
{
    cop_status status = cop_transact(store, move_money, t, COP_FOREVER, NULL);

    stress_check(NO_SURPRISE, status == COP_OK, "transact: %s", cop_status_name(status));
    atomic_fetch_add(&conflicts, t->runs - 1);
}

static void
by_plain(transfer *t)
{
    cop_txn *txn = NULL;
    cop_status status;

    stress_need(cop_txn_begin(store, &txn), "begin");
    stress_need(move_money(txn, t), "move");
    status = cop_txn_commit(txn, NULL, NULL);
    stress_check(NO_SURPRISE, status == COP_OK || status == COP_E_CONFLICT, "commit: %s",
                 cop_status_name(status));
    if (status == COP_E_CONFLICT)
        atomic_fetch_add(&conflicts, 1);
}

static void
by_addition(const transfer *t)
{
    cop_txn *txn = NULL;
    cop_value out = cop_i64(-t->amount), in = cop_i64(t->amount);
    cop_status status;

    stress_need(cop_txn_begin(store, &txn), "begin");
    stress_need(cop_txn_add(txn, accounts[t->from], &out), "add");
    stress_need(cop_txn_add(txn, accounts[t->to], &in), "add");
    status = cop_txn_commit(txn, NULL, NULL);
    stress_check(NO_SURPRISE, status == COP_OK, "addition: %s", cop_status_name(status));
}

static void
writer(stress_random *r)
{
    uint64_t n = 0;

    for (; !stress_over(); n++) {
        transfer t = random_transfer(r);
        switch (stress_below(r, 3)) {
        case 0:
            by_transact(&t);
            break;
        case 1:
            by_plain(&t);
            break;
        default:
            by_addition(&t);
            break;
        }
    }
    atomic_fetch_add(&transfers, n);
    stress_count(n);
}

/* --- readers -------------------------------------------------------------------------------- */

static int64_t
sum_of(const cop_snapshot *snapshot)
{
    cop_value values[ACCOUNTS];
    int64_t sum = 0;

    stress_need(cop_get_many(snapshot, accounts, ACCOUNTS, values), "get_many");
    for (unsigned i = 0; i < ACCOUNTS; i++)
        sum += cop_value_i64(&values[i]);
    return sum;
}

static void
check_sum(unsigned property, const cop_snapshot *snapshot)
{
    int64_t sum = sum_of(snapshot);

    stress_check(property, sum == (int64_t)ACCOUNTS * START, "sum %" PRId64 " in version %" PRIu64,
                 sum, cop_snapshot_version(snapshot));
}

static void
read_in_txn(void)
{
    cop_txn *txn = NULL;
    cop_value value;
    int64_t sum = 0;

    stress_need(cop_txn_begin(store, &txn), "begin");
    for (unsigned i = 0; i < ACCOUNTS; i++) {
        stress_need(cop_txn_get(txn, accounts[i], &value), "get");
        sum += cop_value_i64(&value);
    }
    stress_check(SUM_IN_TXN, sum == (int64_t)ACCOUNTS * START, "sum %" PRId64, sum);
    cop_txn_cancel(txn);
}

static void
reader(stress_random *r)
{
    enum { KEPT = 8 };
    const cop_snapshot *kept[KEPT] = {0};
    uint64_t n = 0;

    for (; !stress_over(); n++) {
        cop_pin_t pin = cop_pin(store);
        unsigned slot = (unsigned)stress_below(r, KEPT);
        if (pin.snapshot == NULL)
            stress_need(cop_pin_status(), "pin");
        check_sum(SUM_IN_PIN, pin.snapshot);
        cop_unpin(pin);
        if (kept[slot] != NULL)
            check_sum(SUM_IN_SNAPSHOT, kept[slot]);
        if (stress_below(r, 16) == 0) {
            cop_snapshot_drop(kept[slot]);
            kept[slot] = NULL;
            stress_need(cop_snapshot_take(store, &kept[slot]), "snapshot");
        }
        if (stress_below(r, 64) == 0)
            read_in_txn();
    }
    for (unsigned i = 0; i < KEPT; i++)
        cop_snapshot_drop(kept[i]);
    atomic_fetch_add(&snapshots_seen, n);
    stress_count(n);
}

static void *
body(void *context)
{
    uintptr_t i = (uintptr_t)context;
    stress_random r = stress_random_of(i);

    if (i % 2 == 0)
        writer(&r);
    else
        reader(&r);
    return NULL;
}

static void
open_accounts(void)
{
    cop_txn *txn = NULL;
    cop_value value = cop_i64(START);
    char path[64];

    stress_need(cop_store_open(NULL, &store, NULL), "open");
    stress_need(cop_txn_begin(store, &txn), "begin");
    for (int i = 0; i < ACCOUNTS; i++) {
        int n = snprintf(path, sizeof path, "accounts/%d/balance", i);
        stress_need(cop_txn_set_at(txn, path, (size_t)n, &value, NULL), "set_at");
    }
    stress_need(cop_txn_commit(txn, NULL, NULL), "commit");
    for (int i = 0; i < ACCOUNTS; i++) {
        int n = snprintf(path, sizeof path, "accounts/%d/balance", i);
        stress_need(cop_atom_find(store, path, (size_t)n, &accounts[i]), "find");
    }
}

int
main(int argc, char **argv)
{
    cop_stats stats = COP_STATS_INIT;
    cop_pin_t pin;

    stress_start(argc, argv, 6);
    stress_properties(properties, sizeof properties / sizeof *properties);
    stress_at_end(CONFLICTS_COUNTED);
    stress_at_end(SUM_AT_END);
    open_accounts();
    stress_run(stress.threads < 2 ? 2 : stress.threads, body);
    stress_need(cop_stats_take(store, &stats), "stats");
    stress_check(CONFLICTS_COUNTED, stats.transactions_conflict == atomic_load(&conflicts),
                 "%" PRIu64 " in the statistics, %" PRIu64 " seen", stats.transactions_conflict,
                 atomic_load(&conflicts));
    pin = cop_pin(store);
    check_sum(SUM_AT_END, pin.snapshot);
    cop_unpin(pin);
    printf("%" PRIu64 " transfers, %" PRIu64 " conflicts, %" PRIu64 " versions, %" PRIu64
           " sums read\n",
           atomic_load(&transfers), atomic_load(&conflicts), stats.commits,
           atomic_load(&snapshots_seen));
    cop_store_close(store);
    return stress_finish();
}
