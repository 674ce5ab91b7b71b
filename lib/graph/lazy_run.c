/* SPDX-License-Identifier: MIT */
/*
 * Evaluating a record in a version: a session, on the thread of the read that wants it. See lazy.h.
 *
 * A stack of frames stands for the calls of a recursive evaluation. The top frame first compares the
 * inputs of its record's memos with the version, in the order in which they were read: a pure function
 * would read the same as long as they are the same, so nothing is evaluated that a run would not ask
 * for. If no memo holds, the function runs. Either may come upon a lazy atom that is not ready: that one
 * goes on top; a comparison goes on where it stopped, a run is discarded and repeated.
 *
 * A session keeps the memos that the frames on its stack have seen, so that they are neither freed nor
 * evaluated twice while it lasts.
 */
#include "graph/lazy.h"

#include <stdio.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "tree/path.h"

typedef struct cop__frame {
    struct cop__frame *below;
    cop__lazy *lazy;
    struct cop__session *session;
    struct cop__frame *next_running; /* of the same record, under its lock */
    cop__memo *candidate[COP_LAZY_MEMOS];
    uint32_t candidates, tried;
    uint64_t at; /* the next input of the candidate that is being compared */
    size_t kept; /* what the session keeps from here on is this frame's */
} cop__frame;

typedef struct kept_memo {
    cop__lazy *lazy;
    cop__memo *memo;
} kept_memo;

typedef struct cop__session {
    cop__evaluator run;
    const cop_snapshot *snapshot;
    cop__frame *top, *spare;
    cop__lazy *wants;  /* what is to be ready before the top frame can go on */
    cop__lazy *waits;  /* for another session; under lazies.lock */
    cop__memo *result; /* of the lowest frame */
    cop_value plain;   /* the same, when there was no memory to remember it */
    bool unremembered;
    bool twice; /* the next frame runs although another session has it */
    cop__input *input;
    size_t inputs, input_capacity;
    char *text; /* of paths */
    size_t text_used, text_capacity;
    kept_memo *kept;
    size_t kept_count, kept_capacity;
} cop__session;

static _Thread_local cop__session *session_now;

static uint64_t
stamp_of(const cop__session *session)
{
    return session->snapshot->stamp;
}

static cop__memory *
memory_of(const cop__session *session)
{
    return session->run.graph->memory;
}

static bool
grow(const cop__session *session, void *vector, size_t *capacity, size_t need, size_t element)
{
    void **p = vector;
    if (need <= *capacity)
        return true;
    size_t more = *capacity * 2 > need ? *capacity * 2 : need + 15;
    void *grown = cop__memory_realloc(memory_of(session), COP_MEMORY_GRAPH, *p, *capacity * element,
                                      more * element);
    if (grown == NULL)
        return false;
    *p = grown;
    *capacity = more;
    return true;
}

/* ---- what a session keeps ---- */

static bool
keep_room(cop__session *session)
{
    return grow(session, &session->kept, &session->kept_capacity, session->kept_count + 1,
                sizeof *session->kept);
}

/* The memo of a record at this session's stamp, kept; NULL: not ready, or *status says why. */
static cop__memo *
ready(cop__session *session, cop__lazy *lazy, cop_status *status)
{
    *status = keep_room(session) ? COP_OK : COP_E_MEMORY;
    if (*status != COP_OK)
        return NULL;
    pthread_mutex_lock(&lazy->lock);
    cop__memo *memo = cop__memo_at(lazy, stamp_of(session));
    if (memo != NULL)
        memo->references++;
    pthread_mutex_unlock(&lazy->lock);
    if (memo != NULL)
        session->kept[session->kept_count++] = (kept_memo){lazy, memo};
    return memo;
}

static void
release_from(cop__session *session, size_t first)
{
    while (session->kept_count > first) {
        const kept_memo *last = &session->kept[--session->kept_count];
        cop__memo_release(last->lazy, last->memo);
    }
}

/* ---- what an atom holds ---- */

/* In the form of an input's words. COP_E_PENDING: a lazy one that is not ready. */
static cop_status
state_of_slot(cop__session *session, const cop__slot *slot, cop__input *input)
{
    cop_status status = COP_OK;
    input->word[0] = input->word[1] = input->more = 0;
    if (slot == NULL)
        return COP_OK;
    if (cop__slot_is_lazy(slot)) {
        cop__lazy *lazy = (cop__lazy *)(void *)cop__slot_lazy(slot);
        const cop__memo *memo = ready(session, lazy, &status);
        session->wants = lazy;
        if (memo == NULL)
            return status != COP_OK ? status : COP_E_PENDING;
        input->word[0] = COP_SLOT_LAZY;
        input->word[1] = memo->serial;
        return COP_OK;
    }
    if (cop__slot_is_branch(slot)) {
        input->word[0] = cop__slot_type(slot);
        return COP_OK;
    }
    memcpy(input->word, slot, sizeof input->word);
    input->word[0] = cop__slot_public_word(input->word[0]);
    if (cop__slot_is_long(slot)) {
        XXH128_hash_t hash = XXH3_128bits_withSeed(cop_value_data(slot), cop_value_length(slot),
                                                   session->snapshot->hash_seed);
        input->word[1] = hash.low64;
        input->more = hash.high64;
    }
    return COP_OK;
}

static void
state_of_list(const cop__session *session, const cop__slot *slot, cop__input *input)
{
    cop__view view = {session->snapshot, NULL};
    bool branch = slot != NULL && cop__slot_is_branch(slot);
    input->word[0] = branch ? cop__list_changed(view, slot) : 0;
    input->word[1] = branch ? cop__list_count(view, slot) + UINT64_C(1) : 0;
    input->more = 0;
}

static uint64_t
pack(cop_atom atom)
{
    return (uint64_t)atom.generation << 32 | atom.id;
}

/* Where a path leads, packed; 0: nowhere. */
static uint64_t
state_of_path(const cop__session *session, const char *path, size_t length)
{
    cop__view view = {session->snapshot, NULL};
    cop__found found = cop__path_resolve(view, path, length);
    if (!found.found)
        return 0;
    return pack((cop_atom){found.id, cop__root_slot(session->snapshot, found.id)->reserved});
}

/* Whether an input of a memo holds the same in this version. COP_E_PENDING, COP_E_MEMORY. */
static cop_status
input_same(cop__session *session, const cop__memo *memo, const cop__input *input, bool *same)
{
    cop__input now = *input;
    cop_status status = COP_OK;
    const cop__slot *slot;
    switch (input->what & COP_DEPENDS_WHAT) {
    case COP_DEPENDS_PATH:
        now.word[0] = state_of_path(session, cop__memo_texts(memo) + input->word[1], input->more);
        break;
    case COP_DEPENDS_LIST:
        slot = cop__root_atom(session->snapshot, cop__input_atom(input->what));
        state_of_list(session, slot, &now);
        break;
    default:
        slot = cop__root_atom(session->snapshot, cop__input_atom(input->what));
        status = state_of_slot(session, slot, &now);
        break;
    }
    *same = now.word[0] == input->word[0] && now.word[1] == input->word[1] &&
            now.more == input->more;
    return status;
}

/* ---- reads of a run ---- */

static cop_status
stuck(cop__session *session, cop_status status)
{
    session->run.stuck = status;
    return status;
}

static cop_status
note(cop__session *session, cop__input input)
{
    if (!grow(session, &session->input, &session->input_capacity, session->inputs + 1,
              sizeof *session->input))
        return stuck(session, COP_E_MEMORY);
    session->input[session->inputs++] = input;
    return COP_OK;
}

cop_status
cop__session_read(cop__session *session, cop_atom atom, bool tracked, cop_value *value)
{
    if (session->run.stuck != COP_OK)
        return session->run.stuck;
    const cop__slot *slot = cop__root_atom(session->snapshot, atom);
    cop__input input = {.what = COP_DEPENDS_VALUE | (pack(atom) & ~COP_DEPENDS_WHAT)};
    cop_status status = state_of_slot(session, slot, &input);
    if (status != COP_OK)
        return stuck(session, status);
    if (tracked && note(session, input) != COP_OK)
        return COP_E_MEMORY;
    if (slot == NULL)
        return COP_E_GONE;
    if (cop__slot_is_lazy(slot))
        *value = session->kept[session->kept_count - 1].memo->value;
    else
        cop__slot_read(slot, value);
    if (value->type == COP_ERROR)
        session->run.failed = *value;
    return COP_OK;
}

cop_status
cop__session_find(cop__session *session, const char *path, size_t length, cop_atom *atom)
{
    if (session->run.stuck != COP_OK)
        return session->run.stuck;
    cop_status status = cop_path_check(path, length, NULL);
    if (status != COP_OK)
        return status;
    if (!grow(session, &session->text, &session->text_capacity, session->text_used + length, 1))
        return stuck(session, COP_E_MEMORY);
    uint64_t to = state_of_path(session, path, length);
    status = note(session,
                  (cop__input){COP_DEPENDS_PATH, {to, session->text_used}, length});
    if (status != COP_OK)
        return status;
    if (length > 0)
        memcpy(session->text + session->text_used, path, length);
    session->text_used += length;
    *atom = cop__input_atom(to);
    return to != 0 ? COP_OK : COP_E_ABSENT;
}

cop_status
cop__session_list(cop__session *session, cop_atom branch, const cop__slot **slot)
{
    cop_value value;
    cop_status status = cop__session_read(session, branch, true, &value);
    if (status != COP_OK)
        return status;
    *slot = cop__root_atom(session->snapshot, branch);
    if (!cop__slot_is_branch(*slot))
        return COP_E_NOT_BRANCH;
    cop__input input = {.what = COP_DEPENDS_LIST | (pack(branch) & ~COP_DEPENDS_WHAT)};
    state_of_list(session, *slot, &input);
    return note(session, input);
}

/* ---- frames ---- */

static cop__frame *
frame_new(cop__session *session)
{
    cop__frame *frame = session->spare;
    if (frame != NULL) {
        session->spare = frame->below;
        return frame;
    }
    return cop__memory_alloc(memory_of(session), COP_MEMORY_GRAPH, sizeof *frame, 16);
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
                          .kept = session->kept_count};
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
 * others, for this one. Under lazies.lock, where sessions say what they wait for; a session is looked
 * at under the lock of a record that it runs, and so is there. */
static bool
may_wait(const cop__session *session, cop__lazy *lazy)
{
    for (unsigned steps = 0; lazy != NULL; steps++) {
        pthread_mutex_lock(&lazy->lock);
        const cop__frame *frame = running_at(lazy, stamp_of(session), NULL);
        bool mine = running_at(lazy, stamp_of(session), session) != NULL;
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
    bool runs = running_at(lazy, stamp_of(session), NULL) != NULL;
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

/* A memo of what the session noted; not linked yet. */
static cop__memo *
memo_new(cop__session *session, const cop_value *value)
{
    cop__graph *graph = session->run.graph;
    bool outside = cop_value_is_text(value) && value->inlined == COP_VALUE_OUTSIDE;
    size_t length = outside ? cop_value_length(value) : 0;
    size_t bytes = sizeof(cop__memo) + session->inputs * sizeof(cop__input) + session->text_used +
                   length;
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
    memo->inputs = session->inputs;
    if (session->inputs > 0)
        memcpy(memo->input, session->input, session->inputs * sizeof *session->input);
    char *text = (char *)&memo->input[memo->inputs];
    if (session->text_used > 0)
        memcpy(text, session->text, session->text_used);
    if (outside) {
        text += session->text_used;
        memcpy(text, cop_value_data(value), length);
        memo->value = cop_text((cop_type)value->type, text, length);
    }
    cop__add_relaxed(&graph->lazies->bytes, bytes);
    return memo;
}

/* The top frame is off the stack; what it came to is kept for the one below. */
static cop_status
frame_pop(cop__session *session, cop__memo *memo)
{
    cop__frame *frame = session->top;
    cop__lazy *lazy = frame->lazy;
    release_from(session, frame->kept);
    session->top = frame->below;
    frame->below = session->spare;
    session->spare = frame;
    if (session->top == NULL) {
        session->result = memo;
        return COP_OK;
    }
    if (memo == NULL)
        return COP_OK;
    if (!keep_room(session)) {
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
    uint64_t stamp = stamp_of(session);
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

/* The path of an atom, or its number, for people. */
static size_t
describe(const cop_snapshot *snapshot, uint32_t id, char *text, size_t room)
{
    const cop__name *name = cop__info_name(cop__root_info(snapshot, id));
    int n = name != NULL ? snprintf(text, room, "%.*s", (int)name->length, name->path)
                         : snprintf(text, room, "#%u", (unsigned)id);
    return n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
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

/* The frames from the top down to `first` read each other: each gets the error that names them all. It
 * is not compared with other versions, but found anew there. */
static cop_status
circle(cop__session *session, const cop__frame *first)
{
    char text[1024];
    size_t n = 1;
    for (const cop__frame *frame = session->top; frame != first; frame = frame->below)
        n++;
    uint32_t *id = cop__memory_alloc(memory_of(session), COP_MEMORY_GRAPH, n * sizeof *id, 16);
    if (id == NULL)
        return COP_E_MEMORY;
    size_t i = n;
    for (const cop__frame *frame = session->top; i > 0; frame = frame->below)
        id[--i] = frame->lazy->atom.id;
    cop_value error =
        cop_error_value(text, name_circle(session->snapshot, id, n, text, sizeof text));
    cop__memory_free(memory_of(session), COP_MEMORY_GRAPH, id, n * sizeof *id, 16);
    session->inputs = session->text_used = 0;
    for (cop_status status = COP_OK; n > 0; n--) {
        cop__memo *memo = memo_new(session, &error);
        if (memo != NULL)
            memo->circle = true;
        status = memo != NULL ? finish(session, memo, true) : COP_E_MEMORY;
        if (status != COP_OK)
            return status;
    }
    return COP_OK;
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
        const cop__frame *mine = running_at(lazy, stamp_of(session), session);
        bool done = cop__memo_at(lazy, stamp_of(session)) != NULL;
        bool free = twice || running_at(lazy, stamp_of(session), NULL) == NULL;
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
        cop_status status = input_same(session, memo, &memo->input[frame->at], &same);
        if (status == COP_E_PENDING)
            return want(session, session->wants);
        if (status != COP_OK)
            return status;
    }
    if (same)
        return finish(session, memo, false);
    frame->tried++;
    frame->at = 0;
    release_from(session, frame->kept);
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
    session->inputs = session->text_used = 0;
    *value = cop_null();
    cop__evaluating = true;
    cop_status status = lazy->function(&run->public, lazy->context, value);
    cop__evaluating = before;
    return status;
}

static cop_status
run(cop__session *session, cop__frame *frame)
{
    cop_value value;
    cop_status status;
    size_t kept = session->kept_count;
    cop_status answer = call(session, frame->lazy, &value);
    enum cop__outcome outcome = cop__run_finish(&session->run, answer, &value);
    if (outcome == COP_RUN_STUCK) {
        cop__run_scratch_end(&session->run);
        release_from(session, kept); /* what it read; what was evaluated for it stays */
        return want(session, session->wants);
    }
    if (outcome == COP_RUN_REFUSED) {
        status = COP_E_MEMORY;
    } else {
        cop__memo *memo = memo_new(session, &value);
        status = memo != NULL ? finish(session, memo, true) : finish_unremembered(session, &value);
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
    cop__memo *memo = ready(session, frame->lazy, &status);
    if (memo != NULL)
        return finish(session, memo, false);
    return status == COP_OK ? run(session, frame) : status;
}

/* Whatever is left on the stack is given up. */
static void
session_end(cop__session *session)
{
    cop__memory *memory = memory_of(session);
    while (session->top != NULL) {
        cop__lazy *lazy = session->top->lazy;
        pthread_mutex_lock(&lazy->lock);
        frame_leave(session->top);
        pthread_mutex_unlock(&lazy->lock);
        wake(lazy);
        (void)frame_pop(session, NULL);
    }
    release_from(session, 0);
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
cop__lazy_evaluate(cop__lazy *lazy, const cop_snapshot *snapshot, cop__memo **memo, cop_value *plain)
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
            ready(&session, lazy, &status) != NULL)
            session.result = session.kept[--session.kept_count].memo;
    } while (status == COP_OK && session.result == NULL && !session.unremembered);
    session_now = NULL;
    if (session.unremembered)
        *plain = session.plain;
    *memo = session.result;
    session_end(&session);
    if (cop__load_relaxed(&graph->lazies->bytes) > cop__lazies_limit(graph))
        cop__lazies_evict(graph, cop__lazies_limit(graph));
    return status;
}
