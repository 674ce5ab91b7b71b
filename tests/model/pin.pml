/* SPDX-License-Identifier: MIT */
/*
 * The pin protocol of lib/reclaim/pin.h for Spin, with the store buffers of a TSO processor.
 *
 * READERS threads make PINS pins each while a committer publishes PUBLISH versions, scans after
 * each and frees what the scan did not report. A freed record is used again, at once or later. What
 * a reader stores goes to a FIFO of its own that empties at any speed; a heavy barrier empties the
 * FIFO of one reader after the other. The committer's own stores are immediate: a barrier separates
 * each from every load that it must precede.
 *
 * A reader may be stopped anywhere for ever: that is an interleaving like any other.
 *
 * Checked:
 *   1. no reader uses a freed or reused record, and (GROWTH) none is older than the pin
 *   2. the scan reports no freed record
 *   3. (GROWTH) a pin never comes to hold what it did not hold when it was first reported
 *   4. a free record is always found: with POOL = 2 + 2 * READERS, two per reader suffice
 *   5. when all readers have finished, a scan frees everything but the current version
 *
 * GROWTH needs history variables: for one reader only, to keep the state space small.
 * FENCE models the mode without membarrier. FAULT_x breaks the protocol, and must be caught:
 *   pending_ignored, help_without_barrier   as in the library
 *   no_first_barrier
 *   exact_only, posted_only    what counts after the race at P3
 *   stale_counted              the address that a bound pin has stored is reported
 *   no_reload                  the state is not loaded again when the posted pin has ended
 *   repost                     a bound pin is posted to again
 *   any_help                   the reader does not compare the sequence
 *   fence_store                (FENCE) W2 is no exchange
 */
#ifndef READERS
#define READERS 1
#endif
#ifndef PINS
#define PINS 2
#endif
#ifndef PUBLISH
#define PUBLISH 3
#endif
#ifndef POOL
#define POOL (2 + 2 * READERS)
#endif

#define FREE 0
#define SEQUENCE 64 /* what a store in a FIFO goes to: SEQUENCE | n to the sequence, else state */
#define PENDING 128
#define NUMBER 63

#define NONE 0
#define ASKED 1
#define BOUND 2
#define EITHER 3

byte root = 1;
byte version[POOL + 1]; /* 0: not in use */
byte latest = 1;

byte state[READERS];
byte sequence[READERS];
byte help_sequence[READERS];
byte help_root[READERS];
chan fifo[READERS] = [5 * PINS] of { byte };

/* Not part of the protocol: the pin that a reader is in by its program, for check 3. */
#ifdef GROWTH
byte inside[READERS];
#define INSIDE(i, number) inside[i] = number
#define BEGAN(v) began = v
#else
#define INSIDE(i, number) skip
#define BEGAN(v) skip
#endif
byte finished = 0;

inline drain_one(i)
{
    fifo[i]?x;
    if
    :: (x & PENDING) == 0 && (x & SEQUENCE) != 0 -> sequence[i] = x & NUMBER
    :: else -> state[i] = x
    fi
}

inline drain_all(i)
{
    do
    :: nempty(fifo[i]) -> drain_one(i)
    :: empty(fifo[i]) -> break
    od;
    x = 0
}

/* Only the committer loads these words, so what has left the FIFO need be decided only here. */
inline load(value, word, i)
{
    atomic {
        do
        :: nempty(fifo[i]) -> drain_one(i)
        :: true -> break
        od;
        x = 0;
        value = word
    }
}

#ifdef FENCE
#define EXCHANGE(i, value) fifo[i]!(value); drain_all(i)
#else
#define EXCHANGE(i, value) fifo[i]!(value)
#endif
#ifdef FAULT_fence_store
#define EXCHANGE_2(i, value) fifo[i]!(value)
#else
#define EXCHANGE_2(i, value) EXCHANGE(i, value)
#endif

#ifdef FAULT_any_help
#define HELPED(i) (help_sequence[i] != 0)
#else
#define HELPED(i) (help_sequence[i] == number)
#endif

proctype reader(byte i)
{
    byte number = 0, record, began, got;
#ifdef FENCE
    byte x;
#endif

    do
    :: number < PINS ->
        /* S and W1 in one step: only their leaving the FIFO can be seen. */
        atomic {
            number++;
            BEGAN(latest);
            INSIDE(i, number);
            fifo[i]!(SEQUENCE | number);
            EXCHANGE(i, PENDING | number)
        }
        record = root;
        atomic { EXCHANGE_2(i, record) }
        if
        :: HELPED(i) -> atomic { record = help_root[i]; fifo[i]!record }
        :: else
        fi;
        atomic { got = version[record]; assert(got != FREE && got >= began) }
        atomic {
            assert(version[record] == got);
            INSIDE(i, 0);
            BEGAN(0);
            record = 0;
            got = 0;
            fifo[i]!0
        }
    :: else -> break
    od;
    finished++
}

#define DRAIN_ALL \
    do \
    :: i < READERS -> atomic { drain_all(i); i++ } \
    :: else -> atomic { i = 0; break } \
    od
#ifdef FENCE
#define HEAVY skip
#else
#define HEAVY DRAIN_ALL
#endif

/* Notes that reader i may hold a record. */
inline report(i, record)
{
    assert(version[record] != FREE);
    held = held | (1 << record)
#ifdef GROWTH
    ; mine[i] = mine[i] | (1 << version[record])
#endif
}

/* The posted pin, not pending any more. */
inline look_posted(i)
{
#ifdef FAULT_stale_counted
    report(i, s);
#endif
    report(i, help_root[i]);
    if
    :: s == help_root[i] -> fate[i] = NONE
    :: s != help_root[i] && fate[i] == EITHER -> report(i, s)
    :: else
    fi
}

inline look_pending(i)
{
    if
#ifndef FAULT_repost
    :: atomic { fate[i] == BOUND && help_sequence[i] == (s & NUMBER) -> report(i, help_root[i]) }
#endif
    :: else ->
        help_root[i] = root;
        atomic { help_sequence[i] = s & NUMBER; fate[i] = ASKED; asked = 1 }
    fi
}

/* done: the state was the posted pin's, and has been dealt with. */
inline first_look(i)
{
    done = 0;
    load(s, state[i], i);
    if
    :: s != 0 && (s & PENDING) == 0 && fate[i] != NONE ->
        load(q, sequence[i], i);
        if
        :: atomic { q == help_sequence[i] -> look_posted(i); done = 1 }
        :: atomic { q != help_sequence[i] -> fate[i] = NONE }
#ifndef FAULT_no_reload
            load(s, state[i], i)
#endif
        fi
    :: else
    fi;
    if
    :: done || s == 0
#ifdef FAULT_pending_ignored
    :: !done && (s & PENDING) != 0
#else
    :: !done && (s & PENDING) != 0 -> look_pending(i)
#endif
    :: atomic { !done && s != 0 && (s & PENDING) == 0 -> report(i, s) }
    fi
}

inline second_look(i)
{
    load(s, state[i], i);
    load(q, sequence[i], i);
    atomic {
        fate[i] = NONE;
        if
        :: s == 0 || q != help_sequence[i]
        :: else ->
            if
            :: (s & PENDING) != 0 -> report(i, root); fate[i] = BOUND
            :: else ->
#ifdef FAULT_exact_only
                report(i, s)
#else
                report(i, root);
                if
                :: s != root ->
#ifdef FAULT_posted_only
                    fate[i] = BOUND
#else
                    fate[i] = EITHER; report(i, s)
#endif
                :: else
                fi
#endif
            fi
        fi
    }
}

/* A pin that was already inside when the scan before began, and still is, holds no more than it was
 * found to hold then. */
inline check_growth()
{
    i = 0;
    do
    :: i < READERS ->
        assert(!(inside[i] != 0 && inside[i] == before[i] && was[i] != 0) ||
               (mine[i] & ~was[i]) == 0);
        before[i] = at_start[i];
        was[i] = mine[i];
        mine[i] = 0;
        i++
    :: else -> i = 0; break
    od
}

inline release()
{
    i = 1;
    do
    :: i <= POOL ->
        if
        :: i != root && (held & (1 << i)) == 0 -> version[i] = FREE
        :: else
        fi;
        i++
    :: else -> i = 0; break
    od
}

inline scan()
{
    atomic {
        held = 0;
        asked = 0;
        i = 0;
#ifdef GROWTH
        do
        :: i < READERS -> at_start[i] = inside[i]; i++
        :: else -> i = 0; break
        od
#endif
    }
#ifndef FAULT_no_first_barrier
    HEAVY;
#endif
    do
    :: i < READERS -> first_look(i); i++
    :: else -> atomic { i = 0; break }
    od;
    if
    :: asked ->
#ifndef FAULT_help_without_barrier
        HEAVY;
#endif
        do
        :: i < READERS && fate[i] == ASKED -> second_look(i); i++
        :: i < READERS && fate[i] != ASKED -> i++
        :: else -> atomic { i = 0; break }
        od
    :: else
    fi;
    atomic {
        s = 0;
        q = 0;
        done = 0;
#ifdef GROWTH
        check_growth();
#endif
        release();
        held = 0;
        asked = 0
    }
}

/* A record freed long ago or a moment ago: both matter, the second above all. */
inline publish()
{
    atomic {
        if
        :: true ->
            i = 1;
            do
            :: i <= POOL && version[i] != FREE -> i++
            :: else -> break
            od
#ifndef LOWEST_FREE
        :: true ->
            i = POOL;
            do
            :: i > 0 && version[i] != FREE -> i--
            :: else -> break
            od
#endif
        fi;
        assert(i > 0 && i <= POOL);
        latest++;
        version[i] = latest;
        root = i;
        i = 0
    }
}

proctype committer()
{
    byte i = 0, s, q, x, n = 0, asked, done;
    short held;
    byte fate[READERS];
#ifdef GROWTH
    short mine[READERS], was[READERS];
    byte before[READERS], at_start[READERS];
#endif

    do
    :: n < PUBLISH -> publish(); scan(); n++
    :: else -> break
    od;
    finished == READERS;
    DRAIN_ALL;
    scan();
    atomic {
        i = 1;
        do
        :: i <= POOL -> assert(version[i] == FREE || i == root); i++
        :: else -> break
        od
    }
}

init
{
    byte i = 0;

    atomic {
        version[1] = 1;
        do
        :: i < READERS -> run reader(i); i++
        :: else -> break
        od;
        run committer()
    }
}
