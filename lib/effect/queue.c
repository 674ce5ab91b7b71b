/* SPDX-License-Identifier: MIT */
/*
 * The queue of due effects.
 *
 * Each effect has four bits, in words of 64: due, running, open, outside. The poster sets due; a
 * server sets running (which is a lock), then clears due, runs the effect, clears running, and
 * goes on looking. Servers take single bits and no whole words, so that a word of 64 long effects
 * keeps 64 servers busy and not one; two atomic operations more are nothing beside a run.
 *
 * ORDERING. All of it is sequentially consistent: the pairs below are of the kind "each writes its
 * own and then reads the other's", and there is one run's work between them. What a run may rely
 * on follows from the read-modify-writes of one word, each of which releases and acquires.
 *
 * 1 The last change is not lost. A publication comes before its post sets due. The run that counts
 *   for it is the one whose server clears due after that (perhaps set by many posts): clearing
 *   acquires what every one of them released, and only then is the snapshot taken.
 * 2 Runs do not overlap: the running bit. Clearing it releases what the run wrote to the next.
 * 3 No due effect is left lying. Posts are followed by a signal: somebody is woken, asked or told
 *   by the descriptor, or everybody is awake. A server that sees due and running set leaves the
 *   effect to the one that runs it, and that one looks at due again after it cleared running, with
 *   a search over all words. The same holds for a server that takes the lock and finds due clear:
 *   it unlocks and searches again. A server stops only after a search that found nothing, or
 *   because of its bound, and then signals if there is something.
 * 4 No wake is lost. A sleeper counts itself, then reads `event`, then looks, then sleeps while
 *   `event` is what it read; who changes what it looks for does so first, reads the count second,
 *   and moves `event`. One of the two sees the other.
 *   The descriptor: a signal is sent by whoever turns fd_signalled from 0 to 1. A server empties
 * the descriptor first, then clears fd_signalled, then looks for due effects. A post before the
 *   clearing is found by that look; one after it finds 0 and sends. In the other order a signal
 *   could be sent between clearing and emptying, and be swallowed. `asked` is cleared by a server
 *   before it looks, likewise.
 * 5 `pending` is never less than the number of effects due or running: a post adds all its bits
 *   before it sets them and takes off afterwards those that were set; claiming moves one from due
 *   to running; the end of a run takes it off. So 0 means rest, but for posts that have not begun.
 * 6 Nothing runs after it is retired. retire clears open, then waits for running to be clear, then
 *   clears due. A server sets running, then reads open: it sees it clear, or retire sees running
 *   set. A poster sets due, then reads open: it sees it clear and takes its bit back, or retire
 *   sees due set and clears it. Each takes off `pending` what it cleared itself.
 * 7 Rounds. The round is written before due is set and read after due is cleared, so a server may
 *   read one that belongs to a later post, and the run for that post then finds none: it takes the
 *   round of the run before, which is no greater. A cut may come a little later for it, but nothing
 *   is cut off too early.
 *
 * PROGRESS. post: wait-free (inner rounds: lock-free). signal: wait-free but for the system calls.
 * A search: wait-free, O(words). retire and wait block; nobody waits for a poster or a sleeper.
 */
#include "effect/queue.h"

#include <limits.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <coppice/store.h>

#define FIRST_WORDS 4u

/* ---- words ---- */

static unsigned
chunk_of(uint32_t word)
{
    return 31u - (unsigned)__builtin_clz(word / FIRST_WORDS + 1);
}

static uint32_t
chunk_first(unsigned chunk)
{
    return FIRST_WORDS * ((1u << chunk) - 1);
}

static uint32_t
chunk_words(unsigned chunk)
{
    return FIRST_WORDS << chunk;
}

static cop__effect_chunk *
chunk_at(cop__effect_queue *queue, uint32_t word)
{
    return cop__load_acquire(&queue->chunk[chunk_of(word)]);
}

static _Atomic uint64_t *
due_at(cop__effect_queue *queue, uint32_t word)
{
    return &chunk_at(queue, word)->due[word - chunk_first(chunk_of(word))];
}

static cop__effect_word *
word_at(cop__effect_queue *queue, uint32_t word)
{
    return &chunk_at(queue, word)->words[word - chunk_first(chunk_of(word))];
}

static uint64_t
bit_of(uint32_t index)
{
    return UINT64_C(1) << (index % 64);
}

static size_t
chunk_bytes(unsigned chunk)
{
    return sizeof(cop__effect_chunk) + chunk_words(chunk) * sizeof(uint64_t);
}

static bool
chunk_add(cop__effect_queue *queue, unsigned k)
{
    uint32_t n = chunk_words(k);
    cop__effect_chunk *chunk =
        cop__memory_zalloc(queue->memory, COP_MEMORY_GRAPH, chunk_bytes(k), 16);
    cop__effect_word *words =
        cop__memory_zalloc(queue->memory, COP_MEMORY_GRAPH, n * sizeof *words, COP_CACHE_LINE);
    if (chunk == NULL || words == NULL) {
        cop__memory_free(queue->memory, COP_MEMORY_GRAPH, chunk, chunk_bytes(k), 16);
        cop__memory_free(queue->memory, COP_MEMORY_GRAPH, words, n * sizeof *words, COP_CACHE_LINE);
        return false;
    }
    chunk->words = words;
    cop__store_release(&queue->chunk[k], chunk);
    cop__store_release(&queue->words, chunk_first(k) + n);
    return true;
}

void
cop__effect_queue_init(cop__effect_queue *queue, cop__effect_rest *rest, cop__memory *memory,
                       const cop__effect_queue_options *options)
{
    memset(queue, 0, sizeof *queue);
    queue->rest = rest;
    queue->memory = memory;
    queue->options = *options;
    atomic_init(&queue->fd, -1);
    pthread_mutex_init(&queue->grow_lock, NULL);
}

/* ---- telling ---- */

static void
event(cop__effect_rest *rest)
{
    cop__add_seq_cst(&rest->event, 1u);
    cop__futex_wake(&rest->event, INT_MAX);
}

static void
tell_sleepers(cop__effect_rest *rest)
{
    if (cop__unlikely(cop__load_seq_cst(&rest->sleepers) > 0))
        event(rest);
}

static void
pending_less(cop__effect_rest *rest, unsigned n)
{
    if (n > 0 && cop__sub_seq_cst(&rest->pending, (uint64_t)n) == n)
        tell_sleepers(rest); /* at rest */
}

static void
fd_signal(cop__effect_queue *queue)
{
    int fd = cop__load_seq_cst(&queue->fd);
    uint64_t one = 1;
    if (fd >= 0 && cop__swap_seq_cst(&queue->fd_signalled, 1u) == 0)
        (void)!write(fd, &one, sizeof one); /* a full counter is readable already */
}

static void
fd_clear(cop__effect_queue *queue)
{
    int fd = cop__load_seq_cst(&queue->fd);
    uint64_t count;
    if (fd < 0)
        return;
    (void)!read(fd, &count, sizeof count); /* does not wait; may have been emptied by another */
    (void)cop__swap_seq_cst(&queue->fd_signalled, 0u);
}

static void
ask_for_server(cop__effect_queue *queue)
{
    if (queue->options.serve != NULL && cop__swap_seq_cst(&queue->asked, 1u) == 0 &&
        !queue->options.serve(queue->options.context))
        (void)cop__swap_seq_cst(&queue->asked, 0u); /* the next signal asks again */
}

void
cop__effect_queue_signal(cop__effect_queue *queue)
{
    tell_sleepers(queue->rest);
    fd_signal(queue);
    ask_for_server(queue);
}

/* ---- posting ---- */

static unsigned
count_bits(uint64_t bits)
{
    return (unsigned)__builtin_popcountll(bits);
}

static void
rounds_lower(cop__effect_word *w, uint64_t bits, uint32_t round)
{
    for (; bits != 0; bits &= bits - 1) {
        _Atomic uint32_t *next = &w->next[__builtin_ctzll(bits)];
        uint32_t was = cop__load_relaxed(next);
        while (round < was && !cop__cas_seq_cst(next, &was, round))
            ;
    }
}

/* Takes due bits back; those that this call cleared count no longer. */
static void
due_drop(cop__effect_queue *queue, uint32_t word, uint64_t bits)
{
    uint64_t were = cop__and_seq_cst(due_at(queue, word), ~bits);
    pending_less(queue->rest, count_bits(were & bits));
}

void
cop__effect_queue_post(cop__effect_queue *queue, uint32_t word, uint64_t bits, uint32_t round)
{
    cop__effect_word *w = word_at(queue, word);
    cop__effect_rest *rest = queue->rest;
    if (round == 0)
        cop__or_seq_cst(&w->outside, bits);
    else
        rounds_lower(w, bits, round);
    cop__add_seq_cst(&rest->pending, (uint64_t)count_bits(bits));
    uint64_t were = cop__or_seq_cst(due_at(queue, word), bits);
    pending_less(rest, count_bits(were & bits));
    uint64_t retired = bits & ~cop__load_seq_cst(&w->open);
    if (cop__unlikely(retired != 0))
        due_drop(queue, word, retired);
}

/* ---- searching ---- */

static bool
word_find(cop__effect_queue *queue, uint32_t word, uint64_t mask, uint32_t *index)
{
    uint64_t due = cop__load_seq_cst(due_at(queue, word)) & mask;
    if (cop__likely(due == 0))
        return false;
    due &= ~cop__load_seq_cst(&word_at(queue, word)->running);
    if (due == 0)
        return false;
    *index = word * 64 + (uint32_t)__builtin_ctzll(due);
    return true;
}

/* The first effect to run from `from` on, around the end: each bit is looked at once. */
static bool
find(cop__effect_queue *queue, uint32_t from, uint32_t *index)
{
    uint32_t words = cop__load_acquire(&queue->words);
    if (words == 0)
        return false;
    uint32_t first = from / 64 < words ? from / 64 : 0;
    uint64_t later = UINT64_MAX << (from % 64);
    if (word_find(queue, first, later, index))
        return true;
    for (uint32_t word = first + 1; word < words; word++)
        if (word_find(queue, word, UINT64_MAX, index))
            return true;
    for (uint32_t word = 0; word < first; word++)
        if (word_find(queue, word, UINT64_MAX, index))
            return true;
    return word_find(queue, first, ~later, index);
}

bool
cop__effect_queue_ready(cop__effect_queue *queue)
{
    uint32_t index;
    return find(queue, 0, &index);
}

/* ---- running ---- */

static void
unlock(cop__effect_queue *queue, cop__effect_word *w, uint64_t bit)
{
    cop__and_seq_cst(&w->running, ~bit);
    if (cop__unlikely(cop__load_seq_cst(&queue->rest->closers) > 0))
        event(queue->rest);
}

/* Locks a due effect: true when it is the caller's to run. */
static bool
claim(cop__effect_queue *queue, uint32_t index)
{
    cop__effect_word *w = word_at(queue, index / 64);
    uint64_t bit = bit_of(index);
    if (cop__or_seq_cst(&w->running, bit) & bit)
        return false;
    if (cop__and_seq_cst(due_at(queue, index / 64), ~bit) & bit) {
        if (cop__likely(cop__load_seq_cst(&w->open) & bit))
            return true;
        pending_less(queue->rest, 1);
    }
    unlock(queue, w, bit);
    return false;
}

/* The round of the run that was just claimed. */
static uint32_t
round_take(cop__effect_word *w, uint32_t index)
{
    uint64_t bit = bit_of(index);
    uint32_t next = cop__swap_acq_rel(&w->next[index % 64], COP__NO_ROUND);
    if (cop__and_seq_cst(&w->outside, ~bit) & bit)
        next = 0;
    if (next != COP__NO_ROUND)
        w->round[index % 64] = next;
    return w->round[index % 64];
}

/* Runs or cuts off what was claimed; how many runs that was. */
static unsigned
run_claimed(cop__effect_queue *queue, uint32_t index)
{
    cop__effect_word *w = word_at(queue, index / 64);
    const cop__effect_queue_options *o = &queue->options;
    uint32_t round = round_take(w, index);
    bool cut = round >= o->rounds;
    (cut ? o->cut : o->run)(o->context, index, round);
    unlock(queue, w, bit_of(index));
    pending_less(queue->rest, 1);
    return cut ? 0 : 1;
}

/* Runs what is found until nothing is. */
static uint64_t
run_found(cop__effect_queue *queue, uint64_t most)
{
    uint64_t ran = 0;
    uint32_t index, from = cop__load_relaxed(&queue->cursor);
    while (ran < most && find(queue, from, &index)) {
        from = index + 1;
        if (!claim(queue, index))
            continue;
        cop__store_relaxed(&queue->cursor, from);
        uint32_t another;
        if (queue->options.serve != NULL && cop__load_relaxed(&queue->asked) == 0 &&
            find(queue, from, &another))
            ask_for_server(queue); /* who comes asks for the next: as many as there is work for */
        ran += run_claimed(queue, index);
    }
    return ran;
}

uint64_t
cop__effect_queue_run(cop__effect_queue *queue, uint64_t most)
{
    uint64_t ran = 0;
    if (most == 0)
        most = UINT64_MAX;
    if (queue->options.serve != NULL)
        (void)cop__swap_seq_cst(&queue->asked, 0u);
    for (;;) {
        ran += run_found(queue, most - ran);
        fd_clear(queue);
        if (!cop__effect_queue_ready(queue))
            return ran;
        if (ran >= most) {
            cop__effect_queue_signal(queue);
            return ran;
        }
    }
}

cop_status
cop__effect_queue_fd(cop__effect_queue *queue, int *fd)
{
    *fd = cop__load_seq_cst(&queue->fd);
    if (*fd >= 0)
        return COP_OK;
    int made = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), none = -1;
    if (made < 0)
        return COP_E_IO;
    if (cop__cas_seq_cst(&queue->fd, &none, made)) {
        *fd = made;
        if (cop__effect_queue_ready(queue)) /* posted before there was a descriptor */
            fd_signal(queue);
    } else {
        (void)close(made);
        *fd = none;
    }
    return COP_OK;
}

/* ---- waiting ---- */

static bool
worth_waking(cop__effect_rest *rest, cop__effect_queue *queue, bool for_rest)
{
    return (for_rest && cop__effects_at_rest(rest)) ||
           (queue != NULL && cop__effect_queue_ready(queue));
}

cop_status
cop__effects_wait(cop__effect_rest *rest, cop__effect_queue *queue, bool for_rest,
                  uint64_t deadline)
{
    if (worth_waking(rest, queue, for_rest))
        return COP_OK;
    cop_status status = COP_OK;
    cop__add_seq_cst(&rest->sleepers, 1u);
    for (;;) {
        uint32_t seen = cop__load_seq_cst(&rest->event);
        if (!COP_FAULT(effect_wake_lost) && worth_waking(rest, queue, for_rest))
            break;
        if (deadline != COP_FOREVER && cop__clock_ns() >= deadline) {
            status = COP_E_TIMEOUT;
            break;
        }
        cop__futex_wait(&rest->event, seen, deadline);
        if (COP_FAULT(effect_wake_lost) && worth_waking(rest, queue, for_rest))
            break;
    }
    cop__sub_seq_cst(&rest->sleepers, 1u);
    return status;
}

/* ---- admitting and retiring ---- */

static bool
words_reserve(cop__effect_queue *queue, uint32_t words)
{
    bool room = true;
    if (cop__load_acquire(&queue->words) >= words)
        return true;
    pthread_mutex_lock(&queue->grow_lock);
    while (room && cop__load_relaxed(&queue->words) < words) {
        unsigned next = chunk_of(cop__load_relaxed(&queue->words));
        room = next < COP__EFFECT_CHUNKS && chunk_add(queue, next);
    }
    pthread_mutex_unlock(&queue->grow_lock);
    return room;
}

cop_status
cop__effect_queue_admit(cop__effect_queue *queue, uint32_t index)
{
    if (!words_reserve(queue, index / 64 + 1))
        return COP_E_MEMORY;
    cop__effect_word *w = word_at(queue, index / 64);
    cop__store_relaxed(&w->next[index % 64], COP__NO_ROUND);
    cop__and_seq_cst(&w->outside, ~bit_of(index));
    w->round[index % 64] = 0; /* nobody claims it before it is open */
    cop__or_seq_cst(&w->open, bit_of(index));
    return COP_OK;
}

static void
wait_for_run(cop__effect_queue *queue, cop__effect_word *w, uint64_t bit)
{
    cop__effect_rest *rest = queue->rest;
    cop__add_seq_cst(&rest->closers, 1u);
    for (;;) {
        uint32_t seen = cop__load_seq_cst(&rest->event);
        if (!(cop__load_seq_cst(&w->running) & bit))
            break;
        cop__futex_wait(&rest->event, seen, COP_FOREVER);
    }
    cop__sub_seq_cst(&rest->closers, 1u);
}

void
cop__effect_queue_retire(cop__effect_queue *queue, uint32_t index, bool inside)
{
    if (index / 64 >= cop__load_acquire(&queue->words))
        return;
    cop__effect_word *w = word_at(queue, index / 64);
    uint64_t bit = bit_of(index);
    cop__and_seq_cst(&w->open, ~bit);
    if (!inside && (cop__load_seq_cst(&w->running) & bit))
        wait_for_run(queue, w, bit);
    due_drop(queue, index / 64, bit);
}

void
cop__effect_queue_end(cop__effect_queue *queue)
{
    for (uint32_t word = 0; word < cop__load_relaxed(&queue->words); word++)
        due_drop(queue, word, UINT64_MAX);
    for (unsigned k = 0; k < COP__EFFECT_CHUNKS; k++) {
        cop__effect_chunk *chunk = cop__load_relaxed(&queue->chunk[k]);
        if (chunk == NULL)
            break;
        cop__memory_free(queue->memory, COP_MEMORY_GRAPH, chunk->words,
                         chunk_words(k) * sizeof(cop__effect_word), COP_CACHE_LINE);
        cop__memory_free(queue->memory, COP_MEMORY_GRAPH, chunk, chunk_bytes(k), 16);
    }
    int fd = cop__load_relaxed(&queue->fd);
    if (fd >= 0)
        (void)close(fd);
    pthread_mutex_destroy(&queue->grow_lock);
}
