/* SPDX-License-Identifier: MIT */
/*
 * The queue of due effects.
 *
 * Each effect has bits in words of 64: due, running, open, outside. The poster sets due; a server
 * sets running (which is a lock: it has claimed the effect), then clears due, runs the effect,
 * clears running, and goes on looking. It claims all that are due in a word at once, but for those
 * that were long the last time (slow), so that a word of 64 long effects keeps 64 servers busy and
 * not one. Around each run it writes a byte, `started`.
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
 * 6 Nothing runs after it is retired. retire clears open, then looks at running, and if it is set
 *   waits for started to be clear, then clears due. A server sets running, then reads open: it sees
 *   it clear, or retire sees running set. Before each run the server writes started, then reads
 *   open; between these two it has a light barrier only, so retire has a heavy one (on all threads)
 *   between clearing open and reading started: the server sees open clear, or retire sees started.
 *   The end of a run likewise: the server clears started, then reads `closers`; who waits counts
 *   itself, has a heavy barrier, then reads started. (Without heavy barriers the server's writes are
 *   exchanges.) A poster sets due, then reads open: it sees it clear and takes its bit back, or
 *   retire sees due set and clears it. Each takes off `pending` what it cleared itself.
 *   A retired effect may still be claimed; who leaves its index (gone) is told when it no longer is:
 *   leaving sets gone, then reads running; a server clears running, then reads gone.
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

cop__effect_word *
cop__effect_word_at(cop__effect_queue *queue, uint32_t word)
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
    if (queue->options.serve != NULL && !cop__load_seq_cst(&queue->nobody) &&
        cop__swap_seq_cst(&queue->asked, 1u) == 0 &&
        !queue->options.serve(queue->options.context))
        (void)cop__swap_seq_cst(&queue->asked, 0u); /* the next signal asks again */
}

void
cop__effect_queue_left(cop__effect_queue *queue)
{
    tell_sleepers(queue->rest);
    fd_signal(queue);
}

void
cop__effect_queue_signal(cop__effect_queue *queue)
{
    cop__effect_queue_left(queue);
    ask_for_server(queue);
}

/* ---- posting ---- */

static unsigned
count_bits(uint64_t bits)
{
    return (unsigned)__builtin_popcountll(bits);
}

/* NULL when out of memory. */
static cop__effect_rounds *
rounds_make(cop__effect_queue *queue, cop__effect_word *w)
{
    cop__effect_rounds *none = NULL, *rounds = cop__load_acquire(&w->rounds);
    if (rounds != NULL)
        return rounds;
    rounds = cop__memory_zalloc(queue->memory, COP_MEMORY_GRAPH, sizeof *rounds, 16);
    if (rounds == NULL)
        return NULL;
    for (unsigned i = 0; i < 64; i++)
        cop__store_relaxed(&rounds->next[i], COP__NO_ROUND);
    if (cop__cas_seq_cst(&w->rounds, &none, rounds))
        return rounds;
    cop__memory_free(queue->memory, COP_MEMORY_GRAPH, rounds, sizeof *rounds, 16);
    return none;
}

/* False when out of memory. */
static bool
rounds_lower(cop__effect_queue *queue, cop__effect_word *w, uint64_t bits, uint32_t round)
{
    cop__effect_rounds *rounds = rounds_make(queue, w);
    if (rounds == NULL)
        return false;
    cop__or_seq_cst(&w->rounded, bits);
    for (; bits != 0; bits &= bits - 1) {
        _Atomic uint32_t *next = &rounds->next[__builtin_ctzll(bits)];
        uint32_t was = cop__load_relaxed(next);
        while (round < was && !cop__cas_seq_cst(next, &was, round))
            ;
    }
    return true;
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
    cop__effect_word *w = cop__effect_word_at(queue, word);
    cop__effect_rest *rest = queue->rest;
    if (round == 0 || !rounds_lower(queue, w, bits, round))
        cop__or_seq_cst(&w->outside, bits);
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
    due &= ~cop__load_seq_cst(&cop__effect_word_at(queue, word)->running);
    if (due == 0)
        return false;
    *index = word * 64 + (uint32_t)__builtin_ctzll(due);
    return true;
}

/* Words from .. to - 1, chunk by chunk: most of them have nothing due. */
static bool
words_find(cop__effect_queue *queue, uint32_t from, uint32_t to, uint32_t *index)
{
    for (uint32_t word = from; word < to;) {
        unsigned k = chunk_of(word);
        uint32_t first = chunk_first(k), end = first + chunk_words(k);
        cop__effect_chunk *chunk = cop__load_acquire(&queue->chunk[k]);
        for (; word < end && word < to; word++)
            if (cop__unlikely(cop__load_seq_cst(&chunk->due[word - first]) != 0) &&
                word_find(queue, word, UINT64_MAX, index))
                return true;
    }
    return false;
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
    return word_find(queue, first, later, index) || words_find(queue, first + 1, words, index) ||
           words_find(queue, 0, first, index) || word_find(queue, first, ~later, index);
}

bool
cop__effect_queue_ready(cop__effect_queue *queue)
{
    uint32_t index;
    return find(queue, 0, &index);
}

/* ---- running ---- */

void
cop__effect_closers_wake(cop__effect_queue *queue)
{
    event(queue->rest);
}

/* Indices that were left while they were claimed. Whoever clears `gone` tells. */
static void
tell_ended(cop__effect_queue *queue, cop__effect_word *w, uint32_t word, uint64_t bits)
{
    uint64_t ended = cop__and_seq_cst(&w->gone, ~bits) & bits;
    for (; ended != 0; ended &= ended - 1)
        if (queue->options.ended != NULL)
            queue->options.ended(queue->options.context,
                                 word * 64 + (uint32_t)__builtin_ctzll(ended));
}

static void
unlock(cop__effect_queue *queue, cop__effect_word *w, uint32_t word, uint64_t bits)
{
    cop__and_seq_cst(&w->running, ~bits);
    uint64_t gone = cop__load_seq_cst(&w->gone) & bits;
    if (cop__unlikely(gone != 0))
        tell_ended(queue, w, word, gone);
    if (cop__unlikely(cop__load_seq_cst(&queue->rest->closers) > 0))
        event(queue->rest);
}

void
cop__effect_queue_release(cop__effect_queue *queue, cop__effect_word *w, uint32_t word,
                          uint64_t bits)
{
    unlock(queue, w, word, bits);
    pending_less(queue->rest, count_bits(bits));
}

/* Locks due effects; those of them that are the caller's to run. */
static uint64_t
lock(cop__effect_queue *queue, cop__effect_word *w, uint32_t word, uint64_t bits)
{
    uint64_t got = bits & ~cop__or_seq_cst(&w->running, bits), taken = 0, open = 0;
    if (got != 0) {
        taken = got & cop__and_seq_cst(due_at(queue, word), ~got);
        open = taken & cop__load_seq_cst(&w->open);
        pending_less(queue->rest, count_bits(taken & ~open));
    }
    if (cop__unlikely(got != open))
        unlock(queue, w, word, got & ~open);
    return open;
}

/* The rounds of the runs that were just claimed. */
static void
rounds_take(cop__effect_queue *queue, cop__effect_claim *claim)
{
    cop__effect_word *w = claim->w;
    uint64_t outside = cop__and_seq_cst(&w->outside, ~claim->bits);
    claim->cut = 0;
    claim->rounded = claim->bits & cop__load_seq_cst(&w->rounded);
    if (cop__likely(claim->rounded == 0))
        return;
    cop__effect_rounds *rounds = cop__load_acquire(&w->rounds);
    for (uint64_t left = claim->rounded; left != 0; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctzll(left);
        uint32_t next = cop__swap_acq_rel(&rounds->next[i], COP__NO_ROUND);
        if (outside >> i & 1)
            next = 0;
        if (next != COP__NO_ROUND)
            rounds->round[i] = next;
        if (rounds->round[i] >= queue->options.rounds)
            claim->cut |= UINT64_C(1) << i;
    }
    claim->bits &= ~claim->cut;
}

uint32_t
cop__effect_claim_round(const cop__effect_claim *claim, unsigned bit)
{
    if (!(claim->rounded >> bit & 1))
        return 0;
    return cop__load_relaxed(&claim->w->rounds)->round[bit];
}

void
cop__effect_queue_slow(cop__effect_word *w, uint64_t bits, bool slow)
{
    if (slow)
        cop__or_seq_cst(&w->slow, bits);
    else
        cop__and_seq_cst(&w->slow, ~bits);
}

/* The lowest `most` bits. */
static uint64_t
bits_at_most(uint64_t bits, uint64_t most)
{
    while (count_bits(bits) > most)
        bits &= ~(UINT64_C(1) << (63 - __builtin_clzll(bits)));
    return bits;
}

/* What to claim in the word of `index`, which is due: it alone, or all that come after it. */
static uint64_t
bits_wanted(cop__effect_queue *queue, cop__effect_word *w, uint32_t index, uint64_t most)
{
    uint64_t bit = bit_of(index), slow = cop__load_relaxed(&w->slow);
    if (queue->options.serve_found == NULL || (slow & bit))
        return bit;
    uint64_t due = cop__load_seq_cst(due_at(queue, index / 64)) & (UINT64_MAX << (index % 64));
    return bits_at_most((due & ~cop__load_relaxed(&w->running) & ~slow) | bit, most);
}

bool
cop__effect_queue_claim(cop__effect_queue *queue, uint32_t *from, uint64_t most,
                        cop__effect_claim *claim)
{
    uint32_t index, another;
    while (find(queue, *from, &index)) {
        claim->word = index / 64;
        claim->w = cop__effect_word_at(queue, claim->word);
        uint64_t wanted = bits_wanted(queue, claim->w, index, most);
        *from = claim->word * 64 + 64 - (uint32_t)__builtin_clzll(wanted);
        claim->bits = lock(queue, claim->w, claim->word, wanted);
        if (claim->bits == 0)
            continue;
        rounds_take(queue, claim);
        cop__store_relaxed(&queue->cursor, *from);
        if (queue->options.serve != NULL && !cop__load_relaxed(&queue->nobody) &&
            cop__load_relaxed(&queue->asked) == 0 &&
            find(queue, *from, &another))
            ask_for_server(queue); /* who comes asks for the next: as many as there is work for */
        return true;
    }
    return false;
}

/* Runs or cuts off what is claimed; how many runs that was. */
static unsigned
run_claimed(cop__effect_queue *queue, cop__effect_claim *claim)
{
    const cop__effect_queue_options *o = &queue->options;
    unsigned ran = 0;
    for (uint64_t left = claim->bits | claim->cut; left != 0; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctzll(left);
        bool cut = claim->cut >> i & 1;
        if (!cop__effect_start(queue, claim->w, i))
            continue;
        (cut ? o->cut : o->run)(o->context, claim->word * 64 + i,
                                cop__effect_claim_round(claim, i));
        cop__effect_stop(queue, claim->w, i);
        ran += !cut;
    }
    cop__effect_queue_release(queue, claim->w, claim->word, claim->bits | claim->cut);
    return ran;
}

/* Runs what is found until nothing is. */
static uint64_t
run_found(cop__effect_queue *queue, uint64_t most)
{
    uint64_t ran = 0;
    uint32_t from = cop__load_relaxed(&queue->cursor);
    cop__effect_claim claim;
    if (queue->options.serve_found != NULL)
        return queue->options.serve_found(queue->options.context, queue, most);
    while (ran < most && cop__effect_queue_claim(queue, &from, most - ran, &claim))
        ran += run_claimed(queue, &claim);
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
        uint64_t found = run_found(queue, most - ran);
        if (cop__unlikely(found == COP__EFFECT_STOP))
            return ran;
        ran += found;
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
    cop__effect_word *w = cop__effect_word_at(queue, index / 64);
    cop__effect_rounds *rounds = cop__load_acquire(&w->rounds);
    if (rounds != NULL) { /* nobody claims it before it is open */
        cop__store_relaxed(&rounds->next[index % 64], COP__NO_ROUND);
        rounds->round[index % 64] = 0;
    }
    if (cop__unlikely((cop__load_relaxed(&w->outside) | cop__load_relaxed(&w->slow)) & bit_of(index))) {
        cop__and_seq_cst(&w->outside, ~bit_of(index));
        cop__and_seq_cst(&w->slow, ~bit_of(index));
    }
    cop__or_seq_cst(&w->open, bit_of(index));
    return COP_OK;
}

void
cop__effect_wait_stopped(cop__effect_queue *queue, uint32_t index)
{
    cop__effect_rest *rest = queue->rest;
    _Atomic uint8_t *started = &cop__effect_word_at(queue, index / 64)->started[index % 64];
    if (!cop__load_seq_cst(started))
        return;
    cop__add_seq_cst(&rest->closers, 1u);
    if (queue->options.heavy_barrier != NULL)
        queue->options.heavy_barrier();
    for (;;) {
        uint32_t seen = cop__load_seq_cst(&rest->event);
        if (!cop__load_seq_cst(started))
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
    cop__effect_word *w = cop__effect_word_at(queue, index / 64);
    uint64_t bit = bit_of(index);
    cop__and_seq_cst(&w->open, ~bit);
    if (!inside && (cop__load_seq_cst(&w->running) & bit)) {
        if (queue->options.heavy_barrier != NULL)
            queue->options.heavy_barrier();
        cop__effect_wait_stopped(queue, index);
    }
    due_drop(queue, index / 64, bit);
}

void
cop__effect_queue_leave(cop__effect_queue *queue, uint32_t index)
{
    cop__effect_word *w = cop__effect_word_at(queue, index / 64);
    cop__or_seq_cst(&w->gone, bit_of(index));
    if (!(cop__load_seq_cst(&w->running) & bit_of(index)))
        tell_ended(queue, w, index / 64, bit_of(index));
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
        for (uint32_t i = 0; i < chunk_words(k); i++)
            cop__memory_free(queue->memory, COP_MEMORY_GRAPH,
                             cop__load_relaxed(&chunk->words[i].rounds),
                             sizeof(cop__effect_rounds), 16);
        cop__memory_free(queue->memory, COP_MEMORY_GRAPH, chunk->words,
                         chunk_words(k) * sizeof(cop__effect_word), COP_CACHE_LINE);
        cop__memory_free(queue->memory, COP_MEMORY_GRAPH, chunk, chunk_bytes(k), 16);
    }
    int fd = cop__load_relaxed(&queue->fd);
    if (fd >= 0)
        (void)close(fd);
    pthread_mutex_destroy(&queue->grow_lock);
}
