/* SPDX-License-Identifier: MIT */
/*
 * An event count: where workers sleep until there is work, and who of them is looking for some.
 *
 * A worker that found nothing registers (prepare), looks everywhere once more, and then either
 * cancels, because it found something after all, or waits. Whoever made work known notifies.
 *
 * One word holds three numbers: W, registered and not yet notified; T, tokens, each a notification
 * that nobody has taken up yet; S, searching workers. A notification turns W into T, and the
 * worker that takes a token up turns T into S. So a burst of notifications wakes one worker each,
 * and none at all while somebody is searching (post): the last searcher that finds work looks
 * whether there is more, and posts in its turn.
 *
 * ORDERING. Let P make work visible and then notify, let C prepare and then look. Both do a
 * read-modify-write (acquire-release) on the same word. If P's comes first, C's synchronises with
 * it, and C's look sees the work. If C's comes first, P sees C registered and leaves a token. A
 * post that leaves none has seen T or S above 0: a searcher ends its search by the same word, so
 * the argument holds for it in place of C. Tokens stay until taken up; the epoch, read before a
 * look for a token and changed after one is left, keeps the sleep from missing it.
 *
 * A token need not reach the worker it was meant for: another that registers later may take it.
 * Somebody searches after the notification, which is what was promised. It is not enough to tell
 * one worker something, such as that it has to leave. For that there is stir, which leaves no token
 * but changes the epoch: prepare reads the epoch before the worker looks whether it is asked for,
 * and wait returns when it has changed.
 *
 * PROGRESS. All lock-free but for wait, which sleeps.
 */
#ifndef COP_WORKERS_EVENT_COUNT_H
#define COP_WORKERS_EVENT_COUNT_H

#include "base/atomic.h"
#include "base/base.h"

typedef struct cop__event_count {
    _Alignas(COP_CACHE_LINE) _Atomic uint64_t state; /* W, T << 16, S << 32 */
    _Atomic uint32_t epoch; /* counts the times tokens were left, and stirs; futex */
} cop__event_count;

void cop__event_init(cop__event_count *events);

/* The caller starts searching, unless `most` are (or are about to). */
bool cop__event_search_begin(cop__event_count *events, uint32_t most);
/* It has found work. True when it was the last: it must look whether there is more work, and post.
 */
bool cop__event_search_end(cop__event_count *events);

/* Registers the caller; one that was searching stops. Followed by cancel or wait. The epoch. */
uint32_t cop__event_prepare(cop__event_count *events, bool searching);
void cop__event_cancel(cop__event_count *events);
/* True when there was a token: the caller is searching now. False when the epoch has changed since
 * *epoch and there is none: the caller is still registered, looks whether it is asked for, and then
 * cancels, or waits again with the new *epoch. Sleeps otherwise. */
bool cop__event_wait(cop__event_count *events, uint32_t *epoch);
/* The same, but false also when this time (CLOCK_MONOTONIC) has come. */
bool cop__event_wait_until(cop__event_count *events, uint32_t *epoch, uint64_t deadline);

/* Wakes up to n of those registered with one system call; the number of tokens left. */
uint32_t cop__event_notify(cop__event_count *events, uint32_t n);
/* Wakes one, unless somebody is searching or about to. */
uint32_t cop__event_post(cop__event_count *events);

/* Makes every waiting worker look whether it is asked for; nudge: one of them. */
void cop__event_stir(cop__event_count *events);
void cop__event_nudge(cop__event_count *events);

/* Those registered and not notified. */
uint32_t cop__event_parked(cop__event_count *events);

#endif
