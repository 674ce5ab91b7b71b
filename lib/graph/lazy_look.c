/* SPDX-License-Identifier: MIT */
/*
 * Writing down runs of lazy and background atoms that somebody looks at, by the thread that runs
 * them. See look.h.
 *
 * What a run is compared with is the memo that was used last: what its function read then, and what
 * it gave. Without one (it has never run, or what it gave is forgotten) a run has no cause but
 * that.
 */
#include "graph/lazy_session.h"
#include "graph/look.h"

/* ---- what is seen ---- */

typedef struct seen_inputs {
    const cop_snapshot *snapshot;
    const cop__input *input;
    const char *texts;
    const cop__memo *had;        /* to be compared with; NULL: none */
    const cop__session *session; /* has the values of lazy atoms; NULL: they are not told */
} seen_inputs;

#define NEAR 8u /* places to where an input is sought in the list of the run before */

static bool
same_input(const seen_inputs *inputs, const cop__input *a, const cop__input *b)
{
    if (a->what != b->what || (a->what & COP_DEPENDS_WHAT) != COP_DEPENDS_PATH)
        return a->what == b->what;
    return a->more == b->more && memcmp(inputs->texts + a->word[1],
                                        cop__memo_texts(inputs->had) + b->word[1], a->more) == 0;
}

static const cop__input *
input_before(const seen_inputs *inputs, size_t i)
{
    const cop__memo *had = inputs->had;
    for (size_t k = i > NEAR ? i - NEAR : 0; had != NULL && k < had->inputs && k <= i + NEAR; k++)
        if (same_input(inputs, &inputs->input[i], &had->input[k]))
            return &had->input[k];
    return NULL;
}

/* What a memo's words say of a value: nothing of long texts, branches and lazy atoms. */
static void
value_of_words(const cop__input *input, cop_value *value)
{
    cop_value held;
    memcpy(&held, input->word, sizeof input->word);
    bool outside = cop_value_is_text(&held) && held.inlined == COP_VALUE_OUTSIDE;
    memset(value, 0, sizeof *value);
    if (held.type < COP_OBJECT && !outside)
        *value = held;
}

/* The session keeps what its run has read. */
static void
value_of_lazy(const cop__session *session, uint64_t serial, cop_value *value)
{
    for (size_t i = session != NULL ? session->kept_count : 0; i > 0; i--)
        if (session->kept[i - 1].memo->serial == serial) {
            *value = session->kept[i - 1].memo->value;
            return;
        }
}

static void
see_value(const seen_inputs *inputs, const cop__input *input, cop__seen *seen)
{
    const cop__slot *slot = cop__root_atom(inputs->snapshot, seen->atom);
    if (slot != NULL && cop__slot_is_branch(slot))
        seen->dependency |= COP_DEPENDS_KIND;
    if (slot != NULL && cop__slot_is_lazy(slot))
        value_of_lazy(inputs->session, input->word[1], &seen->value);
    else if (slot != NULL)
        cop__slot_read(slot, &seen->value);
}

static void
see_input(const void *context, size_t i, cop__seen *seen)
{
    const seen_inputs *inputs = context;
    const cop__input *input = &inputs->input[i];
    const cop__input *before = input_before(inputs, i);
    uint64_t what = input->what & COP_DEPENDS_WHAT;
    memset(seen, 0, sizeof *seen);
    seen->dependency = input->what;
    seen->atom = cop__input_atom(what == COP_DEPENDS_PATH ? input->word[0] : input->what);
    seen->changed =
        before != NULL && (before->word[0] != input->word[0] ||
                           (what != COP_DEPENDS_PATH && before->word[1] != input->word[1]));
    if (what == COP_DEPENDS_PATH) {
        seen->path = inputs->texts + input->word[1];
        seen->path_length = (size_t)input->more;
    }
    if (what == COP_DEPENDS_LIST) {
        seen->value = cop_i64((int64_t)input->word[1] - 1);
        if (before != NULL)
            seen->before = cop_i64((int64_t)before->word[1] - 1);
    } else {
        see_value(inputs, input, seen);
        if (before != NULL && what == COP_DEPENDS_VALUE)
            value_of_words(before, &seen->before);
    }
}

cop__seen_list *
cop__see_remembered(const cop_snapshot *root, const cop__lazy *lazy)
{
    const cop__memo *memo = lazy->memos;
    seen_inputs inputs = {.snapshot = root};
    if (memo != NULL) {
        inputs.input = memo->input;
        inputs.texts = cop__memo_texts(memo);
    }
    return cop__see(lazy->graph->memory, see_input, &inputs, memo != NULL ? memo->inputs : 0,
                    false);
}

/* ---- a run ---- */

typedef struct seen_result {
    const cop__memo *had;
    const cop_value *value;
    cop_atom atom;
} seen_result;

static void
see_result(const void *context, size_t i, cop__seen *seen)
{
    const seen_result *result = context;
    (void)i;
    memset(seen, 0, sizeof *seen);
    seen->dependency = cop__pack(result->atom);
    seen->atom = result->atom;
    seen->value = *result->value;
    if (result->had != NULL)
        seen->before = result->had->value;
}

void
cop__lazy_look_ran(const cop__session *session, const cop_value *value, cop__looked_run *run)
{
    const cop__frame *frame = session->top;
    const cop__memo *had = frame->candidates > 0 ? frame->candidate[0] : NULL;
    cop__memory *memory = cop__session_memory(session);
    size_t n = session->inputs - frame->input;
    seen_inputs inputs = {session->snapshot, session->input + frame->input,
                          session->text + frame->text, had, session};
    seen_result result = {had, value, frame->lazy->atom};
    run->read = cop__see(memory, see_input, &inputs, n, false);
    run->causes = cop__see(memory, see_input, &inputs, n, true);
    run->values = cop__see(memory, see_result, &result, 1, false);
    run->outcome =
        had != NULL && cop_value_equal(&had->value, value) ? COP_RUN_SAME : COP_RUN_CHANGED;
    run->cause = had == NULL                                     ? COP_CAUSE_DEFINED
                 : run->causes != NULL && run->causes->total > 0 ? COP_CAUSE_DEPENDENCY
                                                                 : COP_CAUSE_REPEATED;
}

void
cop__lazy_look_hand(cop__lazy *lazy, cop__looked_run *run, uint64_t version)
{
    cop__memory *memory = lazy->graph->memory;
    bool whole = run->read != NULL && run->values != NULL;
    pthread_mutex_lock(&lazy->lock);
    bool wanted = lazy->look != NULL && whole;
    if (wanted)
        cop__look_counts(memory, lazy->look, run, version);
    pthread_mutex_unlock(&lazy->lock);
    cop__looked_run_clear(memory, run);
    if (wanted)
        cop__look_event(lazy->graph);
}

/* ---- looking; with the right ---- */

static void
look_is(cop__lazy *lazy, cop__look *look)
{
    pthread_mutex_lock(&lazy->lock);
    lazy->look = look;
    cop__store_relaxed(&lazy->looked_at, look != NULL);
    pthread_mutex_unlock(&lazy->lock);
}

cop__look *
cop__look_at_lazy(cop__graph *graph, cop__lazy *lazy)
{
    if (lazy->look != NULL) /* whoever changes it has the right */
        return lazy->look;
    cop__look *look = cop__look_new(graph);
    if (look == NULL)
        return NULL;
    look->lazy = lazy;
    look_is(lazy, look);
    return look;
}

void
cop__look_leave_lazy(cop__lazy *lazy)
{
    look_is(lazy, NULL);
}

void
cop__lazy_look_promoted(cop__lazy *lazy, uint32_t node)
{
    cop__look *look = lazy->look;
    if (look == NULL)
        return;
    look_is(lazy, NULL);
    look->lazy = NULL;
    look->node = node;
    lazy->graph->nodes[node].flags |= COP_NODE_LOOKED;
}

void
cop__lazy_look_gone(cop__lazy *lazy)
{
    cop__look *look = lazy->look;
    if (look == NULL)
        return;
    look_is(lazy, NULL);
    look->lazy = NULL;
    cop__look_gone(lazy->graph, look);
}
