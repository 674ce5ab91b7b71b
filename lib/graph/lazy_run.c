/* SPDX-License-Identifier: MIT */
/*
 * Evaluating a record in a version: a session, on the thread of the read that wants it. See lazy.h.
 *
 * A stack of frames stands for the calls of a recursive evaluation. The top frame first compares
 * the inputs of its record's memos with the version, in the order in which they were read: a pure
 * function would read the same as long as they are the same, so nothing is evaluated that a run
 * would not ask for. If no memo holds, the function runs. Either may come upon a lazy atom that is
 * not ready: that one goes on top; a comparison goes on where it stopped, a run is discarded and
 * repeated.
 *
 * A session keeps the memos that the frames on its stack have seen, so that they are neither freed
 * nor evaluated twice while it lasts. What a discarded run had read stays noted below what the
 * frames above it note, until it is repeated: if the frame turns out to be in a circle, that is
 * what may break it.
 */
#include "graph/lazy_session.h"

#include <stdio.h>

#include "commit/combiner.h"

static _Thread_local cop__session *session_now;

/* ---- frames ---- */

static cop__frame *
frame_new(cop__session *session)
{
    cop__frame *frame = session->spare;
    if (frame != NULL) {
        session->spare = frame->below;
        return frame;
    }
    return cop__memory_alloc(cop__session_memory(session), COP_MEMORY_GRAPH, sizeof *frame, 16);
}

/* Under the record's lock. */
static cop__frame *
running_at(const cop__lazy *lazy, uint64_t stamp, const cop__session *session)
{
    cop__frame *frame = lazy->running;
    while (frame != NULL && (frame->session->snapshot->stamp != stamp ||
                             (session != NULL && frame->session != session)))
        frame = frame->next_running;
    return frame;
}

/* Under the record's lock: takes the frame out, and lets those who wait look again. */
static void
frame_leave(cop__frame *frame)
{
    cop__lazy *lazy = frame->lazy;
    cop__frame **link = &lazy->running;
    while (*link != frame)
        link = &(*link)->next_running;
    *link = frame->next_running;
    for (uint32_t i = 0; i < frame->candidates; i++)
        frame->candidate[i]->references--;
    frame->candidates = 0;
    cop__store_relaxed(&lazy->events, cop__load_relaxed(&lazy->events) + 1);
}

static void
wake(cop__lazy *lazy)
{
    if (cop__load_seq_cst(&lazy->sleepers) > 0)
        cop__futex_wake(&lazy->events, INT32_MAX);
}

/* Under the record's lock. */
static void
frame_enter(cop__session *session, cop__lazy *lazy, cop__frame *frame)
{
    *frame = (cop__frame){.below = session->top,
                          .lazy = lazy,
                          .session = session,
                          .next_running = lazy->running,
                          .kept = session->kept_count,
                          .input = session->inputs,
                          .text = session->text_used};
    lazy->running = frame;
    session->top = frame;
    for (cop__memo *memo = lazy->memos; memo != NULL && frame->candidates < COP_LAZY_MEMOS;
         memo = memo->next)
        if (!memo->circle) {
            memo->references++;
            frame->candidate[frame->candidates++] = memo;
        }
}

/* Whether this session may wait for who runs the record: false when that one waits, perhaps through
 * others, for this one. Under lazies.lock, where sessions say what they wait for; a session is
 * looked at under the lock of a record that it runs, and so is there. */
static bool
may_wait(const cop__session *session, cop__lazy *lazy)
{
    for (unsigned steps = 0; lazy != NULL; steps++) {
        pthread_mutex_lock(&lazy->lock);
        const cop__frame *frame = running_at(lazy, cop__session_stamp(session), NULL);
        bool mine = running_at(lazy, cop__session_stamp(session), session) != NULL;
        cop__lazy *next = frame != NULL ? frame->session->waits : NULL;
        pthread_mutex_unlock(&lazy->lock);
        if (mine || steps > 100000)
            return false;
        lazy = next;
    }
    return true;
}

/* Until another session is done with a record. False: it would be for ever. */
static bool
wait_for(cop__session *session, cop__lazy *lazy)
{
    cop__lazies *all = session->run.graph->lazies;
    pthread_mutex_lock(&all->lock);
    bool may = may_wait(session, lazy);
    if (may)
        session->waits = lazy;
    pthread_mutex_unlock(&all->lock);
    if (!may)
        return false;
    pthread_mutex_lock(&lazy->lock);
    bool runs = running_at(lazy, cop__session_stamp(session), NULL) != NULL;
    uint32_t events = cop__load_relaxed(&lazy->events);
    cop__add_seq_cst(&lazy->sleepers, 1u);
    pthread_mutex_unlock(&lazy->lock);
    if (runs)
        cop__futex_wait(&lazy->events, events, UINT64_MAX);
    cop__sub_acq_rel(&lazy->sleepers, 1u);
    pthread_mutex_lock(&all->lock);
    session->waits = NULL;
    pthread_mutex_unlock(&all->lock);
    return true;
}

/* ---- results ---- */

/* A memo of what the top frame noted; not linked yet. */
static cop__memo *
memo_new(cop__session *session, const cop_value *value)
{
    cop__graph *graph = session->run.graph;
    const cop__frame *frame = session->top;
    size_t inputs = session->inputs - frame->input, texts = session->text_used - frame->text;
    bool outside = cop_value_is_text(value) && value->inlined == COP_VALUE_OUTSIDE;
    size_t length = outside ? cop_value_length(value) : 0;
    size_t bytes = sizeof(cop__memo) + inputs * sizeof(cop__input) + texts + length;
    cop__memo *memo = cop__memory_alloc(graph->memory, COP_MEMORY_GRAPH, bytes, 16);
    if (memo == NULL) {
        cop__lazies_evict(graph, 0);
        memo = cop__memory_alloc(graph->memory, COP_MEMORY_GRAPH, bytes, 16);
    }
    if (memo == NULL)
        return NULL;
    memo->bytes = bytes;
    memo->circle = false;
    memo->value = *value;
    memo->inputs = inputs;
    if (inputs > 0)
        memcpy(memo->input, session->input + frame->input, inputs * sizeof *session->input);
    char *text = (char *)&memo->input[memo->inputs];
    if (texts > 0)
        memcpy(text, session->text + frame->text, texts);
    if (outside) {
        text += texts;
        memcpy(text, cop_value_data(value), length);
        memo->value = cop_text((cop_type)value->type, text, length);
    }
    cop__add_relaxed(&graph->lazies->bytes, bytes);
    return memo;
}

/* Forgets what the top frame noted. */
static void
notes_clear(cop__session *session)
{
    session->inputs = session->top->input;
    session->text_used = session->top->text;
}

/* The top frame is off the stack; what it came to is kept for the one below. */
static cop_status
frame_pop(cop__session *session, cop__memo *memo)
{
    cop__frame *frame = session->top;
    cop__lazy *lazy = frame->lazy;
    cop__session_release(session, frame->kept);
    notes_clear(session);
    session->top = frame->below;
    frame->below = session->spare;
    session->spare = frame;
    if (session->top == NULL) {
        session->result = memo;
        return COP_OK;
    }
    if (memo == NULL)
        return COP_OK;
    if (!cop__session_keep_room(session)) {
        cop__memo_release(lazy, memo);
        return COP_E_MEMORY;
    }
    session->kept[session->kept_count++] = (kept_memo){lazy, memo};
    return COP_OK;
}

/* The top frame has its value: a memo that is new, or one that holds in this version too. */
static cop_status
finish(cop__session *session, cop__memo *memo, bool fresh)
{
    cop__frame *frame = session->top;
    cop__lazy *lazy = frame->lazy;
    uint64_t stamp = cop__session_stamp(session);
    pthread_mutex_lock(&lazy->lock);
    cop__memo *other = cop__memo_at(lazy, stamp);
    if (other == NULL && fresh)
        cop__memo_link(lazy, memo, stamp);
    if (other != NULL || !fresh) {
        cop__memo *unused = other != NULL && fresh ? memo : NULL;
        memo = other != NULL ? other : memo;
        memo->references++;
        cop__memo_use(lazy, memo, stamp);
        if (unused != NULL)
            cop__memo_free(lazy->graph, unused);
    }
    frame_leave(frame);
    bool crowded = lazy->memo_count > COP_LAZY_MEMOS, list = crowded || !lazy->listed;
    lazy->listed = true;
    pthread_mutex_unlock(&lazy->lock);
    wake(lazy);
    if (list)
        cop__lazy_list(lazy, crowded);
    return frame_pop(session, memo);
}

/* The lowest frame's value, which nobody will remember. */
static cop_status
finish_unremembered(cop__session *session, const cop_value *value)
{
    cop__lazy *lazy = session->top->lazy;
    if (session->top->below != NULL || cop_value_is_text(value))
        return COP_E_MEMORY;
    session->plain = *value;
    session->unremembered = true;
    pthread_mutex_lock(&lazy->lock);
    frame_leave(session->top);
    pthread_mutex_unlock(&lazy->lock);
    wake(lazy);
    return frame_pop(session, NULL);
}

/* ---- circles ---- */

static size_t
describe(const cop_snapshot *snapshot, uint32_t id, char *text, size_t room)
{
    const cop__name *name = cop__info_name(cop__root_info(snapshot, id));
    return cop__name_describe(name, id, text, room);
}

/* "cycle: a -> b -> a", from the least atom on, like settle.c. */
static size_t
name_circle(const cop_snapshot *snapshot, const uint32_t *id, size_t n, char *text, size_t room)
{
    size_t least = 0, used = (size_t)snprintf(text, room, "cycle: ");
    for (size_t i = 1; i < n; i++)
        if (id[i] < id[least])
            least = i;
    for (size_t i = 0; i <= n; i++) {
        if (i > 0)
            used += (size_t)snprintf(text + used, room - used, " -> ");
        if (room - used < 80 && i < n) { /* the rest does not fit */
            used += (size_t)snprintf(text + used, room - used, "... (%zu atoms)", n);
            break;
        }
        /* the rest is for what ends the text */
        used += describe(snapshot, id[(least + i) % n], text + used, i < n ? room - used - 40 : room - used);
    }
    return used;
}

/* What the top frame compared, as if its function had read it. */
static cop_status
note_compared(cop__session *session, const cop__frame *frame)
{
    const cop__memo *memo = frame->candidate[frame->tried];
    size_t texts = 0;
    for (uint64_t i = 0; i < frame->at; i++) {
        const cop__input *input = &memo->input[i];
        if ((input->what & COP_DEPENDS_WHAT) == COP_DEPENDS_PATH)
            texts = (size_t)(input->word[1] + input->more);
        if (cop__session_note(session, *input) != COP_OK)
            return COP_E_MEMORY;
    }
    if (!cop__session_grow(session, &session->text, &session->text_capacity,
                           session->text_used + texts, 1))
        return COP_E_MEMORY;
    if (texts > 0)
        memcpy(session->text + session->text_used, cop__memo_texts(memo), texts);
    session->text_used += texts;
    return COP_OK;
}

/* The top frame is a member, and waits for the next one. Its memo is made of what it has read up to
 * there: a change of that may break the circle, and who read the error has to hear of it. */
static cop_status
member(cop__session *session, const cop__lazy *next, const cop_value *error)
{
    const cop__frame *frame = session->top;
    cop__input input = {.what = COP_DEPENDS_VALUE | (cop__pack(next->atom) & ~COP_DEPENDS_WHAT),
                        .word = {COP_SLOT_LAZY}};
    if (frame->tried < frame->candidates && note_compared(session, frame) != COP_OK)
        return COP_E_MEMORY;
    if (cop__session_note(session, input) != COP_OK)
        return COP_E_MEMORY;
    cop__memo *memo = memo_new(session, error);
    if (memo == NULL)
        return COP_E_MEMORY;
    memo->circle = true;
    return finish(session, memo, true);
}

/* The frames from the top down to `first` read each other: each gets the error that names them all.
 * It is not compared with other versions, but found anew there. */
static cop_status
circle(cop__session *session, const cop__frame *first)
{
    char text[1024];
    const cop__lazy *next = first->lazy;
    size_t n = 1;
    for (const cop__frame *frame = session->top; frame != first; frame = frame->below)
        n++;
    uint32_t *id =
        cop__memory_alloc(cop__session_memory(session), COP_MEMORY_GRAPH, n * sizeof *id, 16);
    if (id == NULL)
        return COP_E_MEMORY;
    size_t i = n;
    for (const cop__frame *frame = session->top; i > 0; frame = frame->below)
        id[--i] = frame->lazy->atom.id;
    cop_value error =
        cop_error_value(text, name_circle(session->snapshot, id, n, text, sizeof text));
    cop__memory_free(cop__session_memory(session), COP_MEMORY_GRAPH, id, n * sizeof *id, 16);
    cop_status status = COP_OK;
    for (; status == COP_OK && n > 0; n--) {
        const cop__lazy *member_of = session->top->lazy;
        status = member(session, next, &error);
        next = member_of;
    }
    return status;
}

/* ---- the work ---- */

/* Sees to it that a record is ready before the top frame goes on. */
static cop_status
want(cop__session *session, cop__lazy *lazy)
{
    cop__frame *frame = frame_new(session);
    if (frame == NULL)
        return COP_E_MEMORY;
    bool twice = false;
    for (;;) {
        pthread_mutex_lock(&lazy->lock);
        const cop__frame *mine = running_at(lazy, cop__session_stamp(session), session);
        bool done = cop__memo_at(lazy, cop__session_stamp(session)) != NULL;
        bool free = twice || running_at(lazy, cop__session_stamp(session), NULL) == NULL;
        if (mine == NULL && !done && free) {
            frame_enter(session, lazy, frame);
            pthread_mutex_unlock(&lazy->lock);
            return COP_OK;
        }
        pthread_mutex_unlock(&lazy->lock);
        if (mine != NULL || done) {
            frame->below = session->spare;
            session->spare = frame;
            return mine != NULL && !done ? circle(session, mine) : COP_OK;
        }
        twice = !wait_for(session, lazy);
    }
}

static cop_status
compare(cop__session *session, cop__frame *frame)
{
    cop__memo *memo = frame->candidate[frame->tried];
    bool same = true;
    for (; same && frame->at < memo->inputs; frame->at += same) {
        cop_status status = cop__session_input_same(session, memo, &memo->input[frame->at], &same);
        if (status == COP_E_PENDING)
            return want(session, session->wants);
        if (status != COP_OK)
            return status;
    }
    if (same)
        return finish(session, memo, false);
    frame->tried++;
    frame->at = 0;
    cop__session_release(session, frame->kept);
    return COP_OK;
}

static cop_status
call(cop__session *session, const cop__lazy *lazy, cop_value *value)
{
    cop__evaluator *run = &session->run;
    bool before = cop__evaluating;
    run->stuck = COP_OK;
    run->failed.type = COP_NONE;
    run->message[0] = 0;
    run->no_scratch = false;
    notes_clear(session);
    *value = cop_null();
    cop__evaluating = true;
    cop_status status = lazy->function(&run->public, lazy->context, value);
    cop__evaluating = before;
    return status;
}

/* The same for a record that is looked at: with the times. */
static cop_status
call_looked(cop__session *session, const cop__frame *frame, cop__looked_run *looked, cop_value *value)
{
    looked->discarded = frame->discarded;
    looked->time_ns = cop__look_time();
    uint64_t begin = cop__clock_ns();
    cop_status status = call(session, frame->lazy, value);
    looked->duration_ns = cop__clock_ns() - begin;
    return status;
}

static cop_status
run(cop__session *session, cop__frame *frame)
{
    cop_value value;
    cop_status status;
    cop__lazy *lazy = frame->lazy;
    cop__looked_run looked = {0};
    bool looks = cop__unlikely(cop__load_relaxed(&lazy->looked_at));
    size_t kept = session->kept_count;
    cop_status answer = looks ? call_looked(session, frame, &looked, &value)
                              : call(session, lazy, &value);
    enum cop__outcome outcome = cop__run_finish(&session->run, answer, &value);
    if (outcome == COP_RUN_STUCK) {
        frame->discarded++;
        cop__run_scratch_end(&session->run);
        cop__session_release(session, kept); /* what it read; what was evaluated for it stays */
        return want(session, session->wants);
    }
    /* Want of memory is not remembered: who reads next tries again. */
    if (outcome == COP_RUN_REFUSED || (answer == COP_E_MEMORY && session->run.no_scratch)) {
        status = COP_E_MEMORY;
    } else {
        if (looks)
            cop__lazy_look_ran(session, &value, &looked);
        cop__memo *memo = memo_new(session, &value);
        status = memo != NULL ? finish(session, memo, true) : finish_unremembered(session, &value);
        if (looks)
            cop__lazy_look_hand(lazy, &looked, session->snapshot->version);
    }
    cop__run_scratch_end(&session->run);
    return status;
}

static cop_status
step(cop__session *session)
{
    cop__frame *frame = session->top;
    cop_status status;
    if (frame->tried < frame->candidates)
        return compare(session, frame);
    /* Where two sessions run the same, the other one may have been first. */
    cop__memo *memo = cop__session_ready(session, frame->lazy, &status);
    if (memo != NULL)
        return finish(session, memo, false);
    return status == COP_OK ? run(session, frame) : status;
}

/* Whatever is left on the stack is given up. */
static void
session_end(cop__session *session)
{
    cop__memory *memory = cop__session_memory(session);
    while (session->top != NULL) {
        cop__lazy *lazy = session->top->lazy;
        pthread_mutex_lock(&lazy->lock);
        frame_leave(session->top);
        pthread_mutex_unlock(&lazy->lock);
        wake(lazy);
        (void)frame_pop(session, NULL);
    }
    cop__session_release(session, 0);
    while (session->spare != NULL) {
        cop__frame *below = session->spare->below;
        cop__memory_free(memory, COP_MEMORY_GRAPH, session->spare, sizeof(cop__frame), 16);
        session->spare = below;
    }
    cop__memory_free(memory, COP_MEMORY_GRAPH, session->input,
                     session->input_capacity * sizeof *session->input, 16);
    cop__memory_free(memory, COP_MEMORY_GRAPH, session->text, session->text_capacity, 16);
    cop__memory_free(memory, COP_MEMORY_GRAPH, session->kept,
                     session->kept_capacity * sizeof *session->kept, 16);
    cop__run_end(&session->run);
}

cop_status
cop__lazy_evaluate(cop__lazy *lazy, const cop_snapshot *snapshot, cop__memo **memo,
                   cop_value *plain)
{
    cop__session session;
    cop__graph *graph = lazy->graph;
    cop_status status;
    *memo = NULL;
    if (session_now != NULL) /* a function that reads past its evaluation */
        return COP_E_IN_EVALUATION;
    memset(&session, 0, sizeof session);
    cop__run_init(&session.run, graph);
    cop__run_on_snapshot(&session.run, snapshot, &session);
    session.snapshot = snapshot;
    session_now = &session;
    do {
        status = want(&session, lazy);
        while (status == COP_OK && session.top != NULL)
            status = step(&session);
        /* Else another session had it ready: it is there now, unless it has gone again. */
        if (status == COP_OK && session.result == NULL && !session.unremembered &&
            cop__session_ready(&session, lazy, &status) != NULL)
            session.result = session.kept[--session.kept_count].memo;
    } while (status == COP_OK && session.result == NULL && !session.unremembered);
    session_now = NULL;
    if (session.unremembered)
        *plain = session.plain;
    *memo = session.result;
    session_end(&session);
    if (!cop__evaluating)
        cop__disposed_soon(snapshot->store); /* by its function */
    if (cop__load_relaxed(&graph->lazies->bytes) > cop__lazies_limit(graph))
        cop__lazies_evict(graph, cop__lazies_limit(graph));
    return status;
}
