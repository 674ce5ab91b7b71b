/* SPDX-License-Identifier: MIT */
/* Transactions: building, ending, tickets. The states are described in txn.h. */
#include "commit/txn.h"

#include "commit/combiner.h"
#include "effect/scope_define.h"
#include "reclaim/gate.h"
#include "store/relieve.h"
#include "tree/path.h"

#define CHUNK_BYTES ((size_t)16384)

typedef struct cop__arena_chunk {
    struct cop__arena_chunk *next;
    size_t bytes;
} arena_chunk;

/* ---- memory ---- */

static cop__memory *
memory_of(const cop_txn *txn)
{
    return txn->gate->memory;
}

/* What is being built may make other things give way, as a commit does. NULL: refused. */
static void *
built(cop_store *store, size_t bytes)
{
    void *p = cop__memory_alloc(store->memory, COP_MEMORY_TXN, bytes, 16);
    cop__relief relief = {0};
    while (cop__unlikely(p == NULL) && cop__relieve_now(store, &relief))
        p = cop__memory_alloc(store->memory, COP_MEMORY_TXN, bytes, 16);
    return p;
}

static void
arena_reset(cop_txn *txn)
{
    txn->arena_next = txn->inline_arena;
    txn->arena_left = sizeof txn->inline_arena;
    txn->arena_used = 0;
}

static void *
bytes_from_new_chunk(cop_txn *txn, size_t n)
{
    size_t bytes = n + sizeof(arena_chunk) > CHUNK_BYTES ? n + sizeof(arena_chunk) : CHUNK_BYTES;
    arena_chunk *chunk = built(txn->store, bytes);
    if (chunk == NULL)
        return NULL;
    chunk->bytes = bytes;
    chunk->next = txn->chunks;
    txn->chunks = chunk;
    char *first = (char *)(chunk + 1);
    size_t left = bytes - sizeof *chunk - n;
    if (left >= txn->arena_left) { /* go on in the chunk with more room */
        txn->arena_next = first + n;
        txn->arena_left = left;
    }
    return first;
}

void *
cop__txn_bytes(cop_txn *txn, size_t n)
{
    n = (n + 7) & ~(size_t)7;
    txn->arena_used += n;
    if (cop__unlikely(n > txn->arena_left))
        return bytes_from_new_chunk(txn, n);
    void *p = txn->arena_next;
    txn->arena_next += n;
    txn->arena_left -= n;
    return p;
}

static void
chunks_free(cop_txn *txn, cop__memory *memory)
{
    while (txn->chunks != NULL) {
        arena_chunk *next = txn->chunks->next;
        cop__memory_free(memory, COP_MEMORY_TXN, txn->chunks, txn->chunks->bytes, 16);
        txn->chunks = next;
    }
}

static bool
grow(cop_txn *txn, void *vector, size_t *capacity, size_t need, size_t element)
{
    void **p = vector;
    if (cop__likely(need <= *capacity))
        return true;
    size_t more = *capacity ? *capacity * 2 : 8;
    void *grown = built(txn->store, more * element);
    if (grown == NULL)
        return false;
    if (*capacity > 0)
        memcpy(grown, *p, *capacity * element);
    cop__memory_free(memory_of(txn), COP_MEMORY_TXN, *p, *capacity * element, 16);
    *p = grown;
    *capacity = more;
    return true;
}

static bool
ops_grow(cop_txn *txn)
{
    if (txn->ops != txn->inline_ops)
        return grow(txn, &txn->ops, &txn->op_capacity, txn->op_count + 1, sizeof *txn->ops);
    size_t capacity = COP_TXN_OPS * 4;
    cop__op *ops = built(txn->store, capacity * sizeof *ops);
    if (ops == NULL)
        return false;
    memcpy(ops, txn->inline_ops, sizeof txn->inline_ops);
    txn->ops = ops;
    txn->op_capacity = capacity;
    return true;
}

/* Everything but the struct. */
static void
txn_release_parts(cop_txn *txn, cop__memory *memory)
{
    if (cop__unlikely(txn->scoped != NULL))
        cop__scoped_end(txn->scoped, cop__load_acquire(&txn->state) == COP_TXN_DONE && txn->result == COP_OK);
    chunks_free(txn, memory);
    if (txn->ops != txn->inline_ops)
        cop__memory_free(memory, COP_MEMORY_TXN, txn->ops, txn->op_capacity * sizeof *txn->ops, 16);
    cop__memory_free(memory, COP_MEMORY_TXN, txn->conditions,
                     txn->condition_capacity * sizeof *txn->conditions, 16);
    cop__memory_free(memory, COP_MEMORY_TXN, txn->outs, txn->out_capacity * sizeof *txn->outs, 16);
    txn->conditions = NULL;
    txn->outs = NULL;
    txn->condition_capacity = txn->out_capacity = 0;
}

void
cop__txn_free_spare(cop_txn *txn, cop__memory *memory)
{
    cop__memory_free(memory, COP_MEMORY_TXN, txn, sizeof *txn, 16);
}

void
cop__txn_unref(cop_txn *txn)
{
    if (cop__load_acquire(&txn->references) != 1 && cop__sub_acq_rel(&txn->references, 1) != 1)
        return;
    struct cop__gate *gate = txn->gate;
    cop_store *store = txn->store;
    const cop_snapshot *snapshot = txn->snapshot;
    struct cop_reader *user = txn->user; /* the next transaction of the thread may have the memory */
    struct cop_reader *reader = cop__reader_known(store);
    if (cop__unlikely(txn->chunks != NULL || txn->ops != txn->inline_ops ||
                      txn->conditions != NULL || txn->outs != NULL || txn->scoped != NULL))
        txn_release_parts(txn, gate->memory);
    if (reader != NULL && reader->spare_txn == NULL)
        reader->spare_txn = txn;
    else
        cop__txn_free_spare(txn, gate->memory);
    if (snapshot != NULL)
        cop_snapshot_drop(snapshot);
    cop__use_end(gate, user, reader);
}

static void
txn_reset(cop_txn *txn)
{
    txn->result = COP_OK;
    txn->version = 0;
    txn->ops = txn->inline_ops;
    txn->op_count = 0;
    txn->op_capacity = COP_TXN_OPS;
    txn->conditions = NULL;
    txn->condition_count = txn->condition_capacity = 0;
    txn->outs = NULL;
    txn->out_count = txn->out_capacity = 0;
    txn->snapshot = NULL;
    txn->chunks = NULL;
    txn->scoped = NULL;
    txn->gathered_bytes = 0;
    cop__store_relaxed(&txn->call, (struct cop__ticket_call *)NULL);
    txn->stalled_until = 0;
    txn->lost = COP_OK;
    txn->alone = false;
    txn->wants_fresh = txn->ends_version = false;
    txn->failed_op = 0;
    arena_reset(txn);
    cop__store_relaxed(&txn->state, (uint32_t)COP_TXN_BUILDING);
    cop__store_relaxed(&txn->references, 1u);
}

/* From here on it keeps the store. */
static inline void
begin_with(cop_store *store, struct cop_reader *reader, cop_txn *txn)
{
    txn->store = store;
    txn->gate = store->gate;
    txn->user = cop__use_begin(store, reader);
    txn_reset(txn);
}

/* What gives way for it may take its time, and tell somebody who closes the store. */
static __attribute__((noinline)) cop_status
begin_new(cop_store *store, struct cop_reader *reader, cop_txn **txn)
{
    struct cop__gate *gate = store->gate;
    cop_status unused;
    cop__gate_use(gate);
    *txn = built(store, sizeof **txn);
    bool made = *txn != NULL;
    if (made) {
        (void)cop__reader_of_thread(store, &unused); /* so that it can be kept; not needed */
        begin_with(store, reader, *txn);
    }
    cop__gate_end_use(gate);
    return made ? COP_OK : COP_E_MEMORY;
}

cop_status
cop_txn_begin(cop_store *store, cop_txn **txn)
{
    *txn = NULL;
    cop_status status = cop__store_usable(store);
    if (status != COP_OK)
        return status;
    if (cop__unlikely(cop__evaluating))
        return COP_E_IN_EVALUATION;
    struct cop_reader *reader = cop__reader_known(store);
    cop_txn *t = reader != NULL ? reader->spare_txn : NULL;
    if (cop__unlikely(t == NULL))
        return begin_new(store, reader, txn);
    reader->spare_txn = NULL;
    begin_with(store, reader, t);
    *txn = t;
    return COP_OK;
}

/* ---- operations ---- */

/* Copies a value's bytes into the arena. In two halves, as values are written: a load of both at once
 * would wait for the stores. */
static inline bool
value_keep(cop_txn *txn, const cop_value *value, cop_value *kept)
{
    uint64_t word[2];
    memcpy(word, value, sizeof word);
    word[0] = cop__slot_public_word(word[0]);
    if (cop_value_is_text(value) && value->inlined == COP_VALUE_OUTSIDE) {
        size_t length = cop_value_length(value);
        void *bytes = cop__txn_bytes(txn, length);
        if (bytes == NULL)
            return false;
        memcpy(bytes, cop_value_data(value), length);
        word[1] = (uint64_t)(uintptr_t)bytes;
    }
    memcpy(kept, word, sizeof word);
    return true;
}

static void *
text_keep(cop_txn *txn, const void *text, size_t length)
{
    void *kept = cop__txn_bytes(txn, length ? length : 1);
    if (kept != NULL && length > 0)
        memcpy(kept, text, length);
    return kept;
}

static bool
value_valid(const cop_value *value)
{
    return value != NULL && value->type > COP_NONE && value->type <= COP_ARRAY &&
           (!cop_value_is_text(value) || cop_value_length(value) <= COP_VALUE_MAX);
}

/* A target may be an earlier operation of this transaction that makes something. */
static bool
target_valid(const cop_txn *txn, cop_atom target)
{
    return target.generation != COP_PROVISIONAL || target.id < txn->op_count;
}

/* Where the next operation goes. */
static inline cop_status
op_room(cop_txn *txn, cop_atom target, cop__op **op)
{
    cop_status status = cop__txn_building(txn);
    if (cop__unlikely(status != COP_OK))
        return status;
    if (!target_valid(txn, target))
        return COP_E_INVALID;
    if (txn->op_count >= COP_PROVISIONAL - 1)
        return COP_E_LIMIT;
    if (cop__unlikely(txn->op_count == txn->op_capacity) && !ops_grow(txn))
        return COP_E_MEMORY;
    *op = &txn->ops[txn->op_count];
    return COP_OK;
}

cop_status
cop__op_add(cop_txn *txn, const cop__op *op, const cop_value *value)
{
    cop__op *at;
    cop_status status = op_room(txn, op->target, &at);
    if (cop__unlikely(status != COP_OK))
        return status;
    *at = *op;
    if (value != NULL) {
        if (!value_valid(value))
            return COP_E_INVALID;
        if (!value_keep(txn, value, &at->value))
            return COP_E_MEMORY;
    }
    txn->op_count++;
    return COP_OK;
}

/* The same for what is nothing but a target and a value, which is valid: written in place. */
static inline cop_status
op_add_value(cop_txn *txn, uint8_t code, cop_atom target, const cop_value *value)
{
    cop__op *op;
    cop_status status = op_room(txn, target, &op);
    if (cop__unlikely(status != COP_OK))
        return status;
    op->code = code;
    op->flags = op->told = op->unused = 0;
    op->number = 0;
    op->target = target;
    op->text = NULL;
    op->made = (cop_atom){0, 0};
    if (cop__unlikely(!value_keep(txn, value, &op->value)))
        return COP_E_MEMORY;
    txn->op_count++;
    return COP_OK;
}

/* Adds an operation with a text; out, if given, gets a provisional handle now and the real one at
 * commit. */
static cop_status
op_add_text(cop_txn *txn, cop__op op, const char *text, size_t length, const cop_value *value)
{
    op.text = text_keep(txn, text, length);
    op.number = (uint32_t)length;
    return op.text != NULL ? cop__op_add(txn, &op, value) : COP_E_MEMORY;
}

static cop_status
out_reserve(cop_txn *txn)
{
    return grow(txn, &txn->outs, &txn->out_capacity, txn->out_count + 1, sizeof *txn->outs)
               ? COP_OK
               : COP_E_MEMORY;
}

static void
out_add(cop_txn *txn, cop_atom *atom, bool *told)
{
    uint32_t op = (uint32_t)txn->op_count - 1;
    txn->outs[txn->out_count++] = (cop__out){op, atom, told};
    if (atom != NULL)
        *atom = (cop_atom){op, COP_PROVISIONAL};
}

/* Adds an operation that makes an atom, which the caller may want to know. */
static cop_status
op_add_making(cop_txn *txn, cop__op op, const char *text, size_t length, const cop_value *value,
              cop_atom *out)
{
    cop_status status = out != NULL ? out_reserve(txn) : COP_OK;
    if (status == COP_OK)
        status = text != NULL ? op_add_text(txn, op, text, length, value) : cop__op_add(txn, &op, value);
    if (status == COP_OK && out != NULL)
        out_add(txn, out, NULL);
    return status;
}

cop_status
cop_txn_set(cop_txn *txn, cop_atom atom, const cop_value *value)
{
    return value_valid(value) ? op_add_value(txn, COP_OP_SET, atom, value) : COP_E_INVALID;
}

static cop_status
path_op(cop_txn *txn, cop__op op, const char *path, size_t length, const cop_value *value,
        cop_error *error)
{
    cop_status status = cop_path_check(path, length, error);
    if (status != COP_OK)
        return status;
    status = op_add_text(txn, op, path, length, value);
    return status == COP_OK ? COP_OK : cop__fail(error, status, "%s", cop_status_message(status));
}

cop_status
cop_txn_set_at(cop_txn *txn, const char *path, size_t length, const cop_value *value,
               cop_error *error)
{
    if (!value_valid(value))
        return cop__fail(error, COP_E_INVALID, "a value of type none cannot be set");
    return path_op(txn, (cop__op){.code = COP_OP_SET_AT}, path, length, value, error);
}

/* Escapes a key and adds an operation on that child. */
static cop_status
child_op(cop_txn *txn, cop__op op, const char *key, size_t length, const cop_value *value,
         cop_atom *out)
{
    char segment[COP_PATH_MAX];
    size_t written;
    cop_status status = cop_path_escape(key, length, segment, sizeof segment, &written, NULL);
    if (status != COP_OK)
        return status == COP_E_RANGE ? COP_E_LIMIT : status;
    return op_add_making(txn, op, segment, written, value, out);
}

cop_status
cop_txn_set_child(cop_txn *txn, cop_atom object, const char *key, size_t length,
                  const cop_value *value, cop_atom *out)
{
    if (!value_valid(value))
        return COP_E_INVALID;
    return child_op(txn, (cop__op){.code = COP_OP_SET_CHILD, .target = object}, key, length, value,
                    out);
}

cop_status
cop_txn_insert(cop_txn *txn, cop_atom array, uint32_t index, const cop_value *value, cop_atom *out)
{
    if (!value_valid(value))
        return COP_E_INVALID;
    return op_add_making(
        txn, (cop__op){.code = COP_OP_INSERT, .target = array, .number = index}, NULL, 0, value,
        out);
}

cop_status
cop_txn_create(cop_txn *txn, const cop_value *value, cop_atom *out)
{
    if (!value_valid(value) || value->type >= COP_OBJECT)
        return COP_E_INVALID;
    return op_add_making(txn, (cop__op){.code = COP_OP_CREATE}, NULL, 0, value, out);
}

cop_status
cop_txn_erase(cop_txn *txn, cop_atom atom)
{
    if (atom.id == 0 && atom.generation != COP_PROVISIONAL)
        return COP_E_INVALID;
    return cop__op_add(txn, &(cop__op){.code = COP_OP_ERASE, .target = atom}, NULL);
}

cop_status
cop_txn_erase_at(cop_txn *txn, const char *path, size_t length, cop_error *error)
{
    if (length == 0)
        return cop__fail(error, COP_E_INVALID, "the root cannot be erased, only cleared");
    return path_op(txn, (cop__op){.code = COP_OP_ERASE_AT}, path, length, NULL, error);
}

cop_status
cop_txn_clear(cop_txn *txn, cop_atom branch)
{
    return cop__op_add(txn, &(cop__op){.code = COP_OP_CLEAR, .target = branch}, NULL);
}

cop_status
cop_txn_clear_at(cop_txn *txn, const char *path, size_t length, cop_error *error)
{
    return path_op(txn, (cop__op){.code = COP_OP_CLEAR_AT}, path, length, NULL, error);
}

static bool
is_number(const cop_value *value)
{
    return value != NULL && (value->type == COP_I64 || value->type == COP_F64);
}

cop_status
cop_txn_add(cop_txn *txn, cop_atom atom, const cop_value *delta)
{
    return is_number(delta) ? op_add_value(txn, COP_OP_ADD, atom, delta) : COP_E_TYPE;
}

cop_status
cop_txn_max(cop_txn *txn, cop_atom atom, const cop_value *candidate)
{
    return is_number(candidate) ? op_add_value(txn, COP_OP_MAX, atom, candidate) : COP_E_TYPE;
}

cop_status
cop_txn_compare_set(cop_txn *txn, cop_atom atom, const cop_value *expected,
                    const cop_value *desired, bool *applied)
{
    if (!value_valid(expected) || !value_valid(desired) || desired->type >= COP_OBJECT)
        return COP_E_INVALID;
    cop_value *kept = cop__txn_bytes(txn, sizeof *kept);
    if (kept == NULL || !value_keep(txn, expected, kept) ||
        (applied != NULL && out_reserve(txn) != COP_OK))
        return COP_E_MEMORY;
    cop__op op = {.code = COP_OP_COMPARE_SET, .target = atom, .text = kept};
    cop_status status = cop__op_add(txn, &op, desired);
    if (status == COP_OK && applied != NULL)
        out_add(txn, NULL, applied);
    return status;
}

/* ---- for other rooms (txn_internal.h) ---- */

cop_status
cop__txn_put_child(cop_txn *txn, cop_atom parent, const char *key, size_t length,
                   const cop_value *value, cop_atom *out)
{
    cop__op op = {.code = COP_OP_SET_CHILD, .flags = COP_OP_PUT, .target = parent};
    cop_status status = child_op(txn, op, key, length, value, NULL);
    if (status == COP_OK)
        *out = (cop_atom){(uint32_t)txn->op_count - 1, COP_PROVISIONAL};
    return status;
}

cop_status
cop__txn_set_at(cop_txn *txn, const char *path, size_t length, const cop_value *value, cop_atom *out,
                cop_error *error)
{
    cop_status status = out_reserve(txn);
    if (status == COP_OK)
        status = cop_txn_set_at(txn, path, length, value, error);
    if (status == COP_OK)
        out_add(txn, out, NULL);
    return status;
}

cop_status
cop__txn_put_at(cop_txn *txn, const char *path, size_t length, const cop_value *value,
                cop_atom *out, cop_error *error)
{
    cop__op op = {.code = COP_OP_SET_AT, .flags = COP_OP_PUT};
    cop_status status = path_op(txn, op, path, length, value, error);
    if (status == COP_OK)
        *out = (cop_atom){(uint32_t)txn->op_count - 1, COP_PROVISIONAL};
    return status;
}

cop_status
cop__txn_put_element(cop_txn *txn, cop_atom array, uint32_t index, const cop_value *value,
                     cop_atom *out)
{
    cop__op op = {
        .code = COP_OP_ELEMENT, .flags = COP_OP_PUT, .target = array, .number = index};
    cop_status status = cop__op_add(txn, &op, value);
    if (status == COP_OK)
        *out = (cop_atom){(uint32_t)txn->op_count - 1, COP_PROVISIONAL};
    return status;
}

cop_status
cop__txn_arrange(cop_txn *txn, cop_atom branch, const cop_atom *children, uint32_t n)
{
    uint32_t *ops = cop__txn_bytes(txn, (n ? n : 1) * sizeof *ops);
    if (ops == NULL)
        return COP_E_MEMORY;
    for (uint32_t i = 0; i < n; i++) {
        if (children[i].generation != COP_PROVISIONAL || children[i].id >= txn->op_count)
            return COP_E_INVALID;
        ops[i] = children[i].id;
    }
    return cop__op_add(
        txn, &(cop__op){.code = COP_OP_ARRANGE, .target = branch, .text = ops, .number = n}, NULL);
}

void
cop__txn_end_version(cop_txn *txn)
{
    txn->ends_version = true;
}

cop_status
cop__txn_place(cop_txn *txn, cop_atom child, const cop_atom *after)
{
    cop_atom *text = NULL;
    if (after != NULL) {
        text = cop__txn_bytes(txn, sizeof *text);
        if (text == NULL)
            return COP_E_MEMORY;
        *text = *after;
    }
    return cop__op_add(txn, &(cop__op){.code = COP_OP_PLACE, .target = child, .text = text}, NULL);
}

/* The handle of what the last operation makes. */
static cop_status
provisional(const cop_txn *txn, cop_status status, cop_atom *out)
{
    if (status == COP_OK)
        *out = (cop_atom){(uint32_t)txn->op_count - 1, COP_PROVISIONAL};
    return status;
}

cop_status
cop__txn_make_child(cop_txn *txn, cop_atom parent, const char *segment, size_t length,
                    const cop_value *value, cop_atom *out)
{
    cop__op op = {.code = COP_OP_SET_CHILD, .target = parent};
    return provisional(txn, op_add_text(txn, op, segment, length, value), out);
}

cop_status
cop__txn_make_element_at(cop_txn *txn, cop_atom array, uint32_t index, const cop_value *value,
                         cop_atom *out)
{
    cop__op op = {.code = COP_OP_INSERT, .target = array, .number = index};
    return provisional(txn, cop__op_add(txn, &op, value), out);
}

cop_status
cop__txn_make_element(cop_txn *txn, cop_atom array, const cop_value *value, cop_atom *out)
{
    return cop__txn_make_element_at(txn, array, COP_AT_END, value, out);
}

cop_status
cop__txn_at(cop_txn *txn, const char *path, size_t length, cop_atom *atom)
{
    cop__op op = {.code = COP_OP_AT};
    return provisional(txn, op_add_text(txn, op, path, length, NULL), atom);
}

cop_status
cop__txn_erase_child(cop_txn *txn, cop_atom parent, const char *key, size_t length)
{
    return child_op(txn, (cop__op){.code = COP_OP_ERASE_CHILD, .target = parent}, key, length, NULL,
                    NULL);
}

cop__txn_mark
cop__txn_mark_here(const cop_txn *txn)
{
    return (cop__txn_mark){txn->op_count, txn->arena_used, {txn->out_count, txn->condition_count}};
}

/* The arena keeps what was added since: it goes with the transaction. */
void
cop__txn_rewind(cop_txn *txn, cop__txn_mark mark)
{
    txn->op_count = mark.operations;
    txn->out_count = mark.other[0];
    txn->condition_count = mark.other[1];
}
