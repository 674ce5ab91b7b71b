/* SPDX-License-Identifier: MIT */
/* What a session reads: the states of inputs, and what a run of its notes of them. See lazy_run.c.
 */
#include "graph/lazy_session.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "tree/path.h"

bool
cop__session_grow(const cop__session *session, void *vector, size_t *capacity, size_t need,
                  size_t element)
{
    return cop__memory_grow(cop__session_memory(session), COP_MEMORY_GRAPH, vector, capacity, need,
                            element);
}

/* ---- what a session keeps ---- */

bool
cop__session_keep_room(cop__session *session)
{
    return cop__session_grow(session, &session->kept, &session->kept_capacity,
                             session->kept_count + 1, sizeof *session->kept);
}

/* The memo of a record at this session's stamp, kept; NULL: not ready, or *status says why. */
cop__memo *
cop__session_ready(cop__session *session, cop__lazy *lazy, cop_status *status)
{
    *status = cop__session_keep_room(session) ? COP_OK : COP_E_MEMORY;
    if (*status != COP_OK)
        return NULL;
    pthread_mutex_lock(&lazy->lock);
    cop__memo *memo = cop__memo_at(lazy, cop__session_stamp(session));
    if (memo != NULL)
        memo->references++;
    pthread_mutex_unlock(&lazy->lock);
    if (memo != NULL)
        session->kept[session->kept_count++] = (kept_memo){lazy, memo};
    return memo;
}

void
cop__session_release(cop__session *session, size_t first)
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
        const cop__memo *memo = cop__session_ready(session, lazy, &status);
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

/* Where a path leads, packed; 0: nowhere. */
static uint64_t
state_of_path(const cop__session *session, const char *path, size_t length)
{
    cop__view view = {session->snapshot, NULL};
    cop__found found = cop__path_resolve(view, path, length);
    if (!found.found)
        return 0;
    return cop__pack((cop_atom){found.id, cop__root_slot(session->snapshot, found.id)->reserved});
}

/* Whether an input of a memo holds the same in this version. COP_E_PENDING, COP_E_MEMORY. */
cop_status
cop__session_input_same(cop__session *session, const cop__memo *memo, const cop__input *input,
                        bool *same)
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
    *same =
        now.word[0] == input->word[0] && now.word[1] == input->word[1] && now.more == input->more;
    return status;
}

/* ---- reads of a run ---- */

static cop_status
stuck(cop__session *session, cop_status status)
{
    session->run.stuck = status;
    return status;
}

cop_status
cop__session_note(cop__session *session, cop__input input)
{
    if (!cop__session_grow(session, &session->input, &session->input_capacity, session->inputs + 1,
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
    cop__input input = {.what = COP_DEPENDS_VALUE | (cop__pack(atom) & ~COP_DEPENDS_WHAT)};
    cop_status status = state_of_slot(session, slot, &input);
    if (status != COP_OK)
        return stuck(session, status);
    if (tracked && cop__session_note(session, input) != COP_OK)
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
    if (!cop__session_grow(session, &session->text, &session->text_capacity,
                           session->text_used + length, 1))
        return stuck(session, COP_E_MEMORY);
    uint64_t to = state_of_path(session, path, length);
    status = cop__session_note(
        session,
        (cop__input){COP_DEPENDS_PATH, {to, session->text_used - session->top->text}, length});
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
    *slot = cop__root_atom(session->snapshot, branch);
    cop_status status = cop__session_read(session, branch, true, &value);
    if (status != COP_OK)
        return status;
    if (!cop__slot_is_branch(*slot))
        return COP_E_NOT_BRANCH;
    cop__input input = {.what = COP_DEPENDS_LIST | (cop__pack(branch) & ~COP_DEPENDS_WHAT)};
    state_of_list(session, *slot, &input);
    return cop__session_note(session, input);
}
