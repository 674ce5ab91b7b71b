/* SPDX-License-Identifier: MIT */
/*
 * Forking while other threads commit, pin and wait. A child is answered COP_E_FORKED by the
 * parent's store, whatever its threads were doing at that moment, may open a store of its own, and
 * never hangs. The parent notices nothing.
 */
#include "tests/stress/common.h"

#include <sys/wait.h>

enum { CHILD_SECONDS = 15 };

enum { CHILD_TOLD, CHILD_ENDS, PARENT_WHOLE };
static const char *const properties[] = {
    "every call of a child is answered COP_E_FORKED, and its own store works",
    "no child hangs or crashes",
    "the parent sees one version at a time all along",
};

static cop_store *store;
static cop_atom left, right;
static const cop_snapshot *held;

/* --- the parent's threads ------------------------------------------------------------------- */

static void
write_both(int64_t i, bool by_ticket)
{
    cop_value value = cop_i64(i);
    cop_txn *txn = NULL;
    cop_ticket *ticket = NULL;

    stress_need(cop_txn_begin(store, &txn), "begin");
    stress_need(cop_txn_set(txn, left, &value), "set");
    stress_need(cop_txn_set(txn, right, &value), "set");
    if (!by_ticket) {
        stress_need(cop_txn_commit(txn, NULL, NULL), "commit");
        return;
    }
    stress_need(cop_txn_submit(txn, &ticket), "submit");
    stress_need(cop_ticket_wait(ticket, COP_FOREVER, NULL, NULL), "wait");
    cop_ticket_release(ticket);
}

static void
read_both(void)
{
    cop_pin_t pin = cop_pin(store);
    const cop_snapshot *snapshot = NULL;
    int64_t a = 0, b = 0;

    if (pin.snapshot == NULL)
        stress_need(cop_pin_status(), "pin");
    stress_need(cop_get_i64(pin.snapshot, left, &a), "get");
    stress_need(cop_get_i64(pin.snapshot, right, &b), "get");
    stress_check(PARENT_WHOLE, a == b, "%" PRId64 " and %" PRId64, a, b);
    cop_unpin(pin);
    stress_need(cop_snapshot_take(store, &snapshot), "snapshot");
    cop_snapshot_drop(snapshot);
}

/* --- children ----------------------------------------------------------------------------------- */

/* The number of the first call that was not told so, 0 when all were. */
static int
ask_the_parents_store(void)
{
    cop_pin_t pin = cop_pin(store);
    const cop_snapshot *snapshot = NULL;
    cop_txn *txn = NULL;
    cop_value value;
    cop_atom atom;
    cop_stats stats = COP_STATS_INIT;

    if (pin.snapshot != NULL || cop_pin_status() != COP_E_FORKED)
        return 1;
    if (cop_snapshot_take(store, &snapshot) != COP_E_FORKED)
        return 2;
    if (cop_txn_begin(store, &txn) != COP_E_FORKED)
        return 3;
    if (cop_flush(store, COP_FOREVER) != COP_E_FORKED)
        return 4;
    if (cop_store_poll(store) != COP_E_FORKED)
        return 5;
    if (cop_atom_at(store, "new", 3, &atom, NULL) != COP_E_FORKED)
        return 6;
    if (cop_get(held, left, &value) != COP_E_FORKED)
        return 7;
    if (cop_stats_take(store, &stats) != COP_E_FORKED)
        return 8;
    if (cop_wait_version(store, UINT64_MAX, COP_FOREVER) != COP_E_FORKED)
        return 9;
    return 0;
}

static int
use_a_store_of_its_own(void)
{
    cop_store *own = NULL;
    cop_atom atom;
    cop_pin_t pin;
    cop_value value;

    if (cop_store_open(NULL, &own, NULL) != COP_OK)
        return 20;
    if (cop_atom_at(own, "a/b", 3, &atom, NULL) != COP_OK)
        return 21;
    pin = cop_pin(own);
    if (pin.snapshot == NULL || cop_get(pin.snapshot, atom, &value) != COP_OK)
        return 22;
    cop_unpin(pin);
    cop_store_close(own);
    return 0;
}

static void
child(void)
{
    int wrong;

    signal(SIGALRM, SIG_DFL);
    alarm(CHILD_SECONDS);
    wrong = ask_the_parents_store();
    /* The thread sanitizer's own allocator may hang in the child of a process with threads. */
    if (wrong == 0 && !STRESS_TSAN)
        wrong = use_a_store_of_its_own();
    cop_snapshot_drop(held);
    cop_store_close(store);
    _exit(wrong);
}

static void
fork_one(void)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0)
        child();
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        stress_need(COP_E_IO, "fork");
    stress_check(CHILD_ENDS, WIFEXITED(status), "a child ended by signal %d",
                 WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    if (WIFEXITED(status))
        stress_check(CHILD_TOLD, WEXITSTATUS(status) == 0, "call %d was not refused",
                     WEXITSTATUS(status));
}

/* Thread 0 forks, the others are what a fork comes between. */
static void *
body(void *context)
{
    uintptr_t index = (uintptr_t)context;
    uint64_t n = 0;

    for (; !stress_over(); n++) {
        if (index == 0)
            fork_one();
        else if (index % 3 == 0)
            read_both();
        else
            write_both((int64_t)n, index % 3 == 1);
    }
    stress_count(n);
    return NULL;
}

int
main(int argc, char **argv)
{
    if (STRESS_SANITIZED && !STRESS_TSAN) {
        /* Its allocator takes no care of fork: a child of a process with threads may find its locks
         * held for ever. What a child is answered is tested by test_fork_exit in these builds. */
        puts("skipped: the address sanitizer's allocator may hang after a fork");
        return 77;
    }
    stress_start(argc, argv, 4);
    stress_properties(properties, sizeof properties / sizeof *properties);
    stress_open(&store, 0);
    stress_need(cop_atom_at(store, "left", 4, &left, NULL), "atom_at");
    stress_need(cop_atom_at(store, "right", 5, &right, NULL), "atom_at");
    write_both(0, false);
    stress_need(cop_snapshot_take(store, &held), "snapshot");
    fflush(NULL);
    stress_run(stress.threads < 4 ? 4 : stress.threads, body);
    cop_snapshot_drop(held);
    cop_store_close(store);
    return stress_finish();
}
