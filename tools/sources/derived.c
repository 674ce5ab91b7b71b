/* SPDX-License-Identifier: MIT */
/* The computed atoms of a machine's CPUs, memory, disks and interfaces; processes: derived_procs.c.
 */
#include "tools/sources/derived.h"
#include "tools/sources/derived_read.h"

#include <stdio.h>
#include <string.h>

/* ---- reading and emitting ---- */

cop_status
derived_branch(cop_evaluation *e, const char *path, cop_atom *branch)
{
    return cop_read_find(e, path, strlen(path), branch);
}

struct wanted {
    const char *const *keys;
    int64_t *values;
    size_t count, found;
};

static int
take_number(void *context, const cop_child *child)
{
    struct wanted *w = context;
    for (size_t i = 0; i < w->count; i++)
        if (child->value.type == COP_I64 && strlen(w->keys[i]) == child->key_length &&
            memcmp(w->keys[i], child->key, child->key_length) == 0) {
            w->values[i] = cop_value_i64(&child->value);
            w->found++;
        }
    return w->found == w->count;
}

cop_status
derived_numbers(cop_evaluation *e, cop_atom branch, const char *const *keys, int64_t *values,
                size_t count)
{
    struct wanted w = {keys, values, count, 0};
    memset(values, 0, count * sizeof *values);
    cop_status status = cop_read_each(e, branch, take_number, &w, NULL);
    if (status == COP_OK && w.found < count)
        return COP_E_ABSENT;
    return status;
}

cop_status
derived_emit(cop_evaluation *e, const char *branch, size_t length, const char *key,
             const cop_value *value)
{
    char path[512];
    int n = branch ? snprintf(path, sizeof path, "%.*s/%s", (int)length, branch, key)
                   : snprintf(path, sizeof path, "%s", key);
    return n > 0 && (size_t)n < sizeof path ? cop_emit(e, path, (size_t)n, value) : COP_E_LIMIT;
}

static cop_status
number_at(cop_evaluation *e, const char *path, int64_t *number)
{
    cop_atom atom;
    cop_status status = derived_branch(e, path, &atom);
    return status == COP_OK ? cop_read_i64(e, atom, number) : status;
}

cop_status
derived_seconds(cop_evaluation *e, double *seconds)
{
    int64_t now, before;
    *seconds = 0;
    cop_status status = number_at(e, "host/time_us", &now);
    if (status == COP_OK)
        status = number_at(e, "host/previous/time_us", &before);
    if (status == COP_OK)
        *seconds = (double)(now - before) / 1e6;
    return status == COP_E_ABSENT ? COP_OK : status;
}

cop_value
derived_ratio(double part, double whole)
{
    return whole > 0 && part >= 0 ? cop_f64(part / whole) : cop_null();
}

/* ---- pairs of samples: each child of one branch with that of the same name in another ---- */

struct pairs {
    cop_evaluation *evaluation;
    cop_atom before; /* generation 0: there is no earlier sample */
    double seconds;
    cop_status (*each)(struct pairs *pairs, const cop_child *child, const cop_atom *before);
    const char *before_path;
    cop_status status;
};

static int
one_pair(void *context, const cop_child *child)
{
    struct pairs *p = context;
    char path[256];
    cop_atom before;
    int n =
        snprintf(path, sizeof path, "%s/%.*s", p->before_path, (int)child->key_length, child->key);
    if (n < 0 || (size_t)n >= sizeof path || child->value.type != COP_OBJECT)
        return 0;
    cop_status status = cop_read_find(p->evaluation, path, (size_t)n, &before);
    if (status == COP_OK || status == COP_E_ABSENT)
        status = p->each(p, child, status == COP_OK ? &before : NULL);
    p->status = status == COP_E_ABSENT ? COP_OK : status;
    return p->status != COP_OK;
}

static cop_status
for_pairs(struct pairs *p, const char *path)
{
    cop_atom branch;
    cop_status status = derived_branch(p->evaluation, path, &branch);
    if (status == COP_OK)
        status = derived_seconds(p->evaluation, &p->seconds);
    if (status == COP_OK)
        status = cop_read_each(p->evaluation, branch, one_pair, p, NULL);
    if (status == COP_OK)
        status = p->status;
    return status == COP_E_ABSENT ? COP_OK : status; /* this machine has none */
}

/* ---- CPUs ---- */

static cop_status
one_cpu(struct pairs *p, const cop_child *cpu, const cop_atom *before)
{
    static const char *const now_keys[] = {"user_ticks",    "nice_ticks",   "system_ticks",
                                           "idle_ticks",    "iowait_ticks", "irq_ticks",
                                           "softirq_ticks", "steal_ticks"};
    static const char *const before_keys[] = {"busy_ticks", "total_ticks"};
    int64_t now[8], had[2], total = 0;
    cop_value share = cop_null();
    cop_status status = derived_numbers(p->evaluation, cpu->atom, now_keys, now, 8);
    if (status == COP_OK && before)
        status = derived_numbers(p->evaluation, *before, before_keys, had, 2);
    if (status != COP_OK)
        return status;
    for (size_t i = 0; i < 8; i++)
        total += now[i];
    if (before)
        share = derived_ratio((double)(total - now[3] - now[4] - had[0]), (double)(total - had[1]));
    return cop_emit(p->evaluation, cpu->key, cpu->key_length, &share);
}

static cop_status
cpu(cop_evaluation *e, void *context, cop_value *result)
{
    struct pairs p = {.evaluation = e, .each = one_cpu, .before_path = "host/previous/cpu"};
    (void)context;
    (void)result;
    return for_pairs(&p, "host/cpu");
}

/* ---- memory ---- */

static cop_status
memory(cop_evaluation *e, void *context, cop_value *result)
{
    static const char *const keys[] = {"total", "available", "swap_total", "swap_free"};
    cop_atom branch;
    int64_t kb[4];
    (void)context;
    (void)result;
    cop_status status = derived_branch(e, "host/mem", &branch);
    if (status == COP_OK)
        status = derived_numbers(e, branch, keys, kb, 4);
    if (status != COP_OK)
        return status == COP_E_ABSENT ? COP_OK : status;
    const cop_value used = cop_i64(kb[0] - kb[1]), swap = cop_i64(kb[2] - kb[3]);
    const cop_value share = derived_ratio((double)(kb[0] - kb[1]), (double)kb[0]);
    const cop_value swap_share = derived_ratio((double)(kb[2] - kb[3]), (double)kb[2]);
    status = derived_emit(e, NULL, 0, "used_kb", &used);
    if (status == COP_OK)
        status = derived_emit(e, NULL, 0, "used_share", &share);
    if (status == COP_OK)
        status = derived_emit(e, NULL, 0, "swap_used_kb", &swap);
    return status == COP_OK ? derived_emit(e, NULL, 0, "swap_used_share", &swap_share) : status;
}

/* ---- rates ---- */

/* Counters, each under its key told as `rate` a second. */
static cop_status
rates(struct pairs *p, const cop_child *child, const cop_atom *before, const char *const *keys,
      const char *const *told, const double *unit, size_t count)
{
    int64_t now[HISTORY_MAX], had[HISTORY_MAX];
    cop_status status = derived_numbers(p->evaluation, child->atom, keys, now, count);
    if (status == COP_OK && before)
        status = derived_numbers(p->evaluation, *before, keys, had, count);
    for (size_t i = 0; i < count && status == COP_OK; i++) {
        cop_value rate = cop_null();
        if (before)
            rate = derived_ratio((double)(now[i] - had[i]), p->seconds * unit[i]);
        status = derived_emit(p->evaluation, child->key, child->key_length, told[i], &rate);
    }
    return status;
}

static cop_status
one_interface(struct pairs *p, const cop_child *child, const cop_atom *before)
{
    static const char *const keys[] = {"rx_bytes", "tx_bytes"};
    static const char *const told[] = {"rx_bytes_per_s", "tx_bytes_per_s"};
    static const double unit[] = {1, 1};
    return rates(p, child, before, keys, told, unit, 2);
}

static cop_status
one_disk(struct pairs *p, const cop_child *child, const cop_atom *before)
{
    static const char *const keys[] = {"read_bytes", "written_bytes", "busy_ms"};
    static const char *const told[] = {"read_bytes_per_s", "written_bytes_per_s", "busy_share"};
    static const double unit[] = {1, 1, 1000};
    return rates(p, child, before, keys, told, unit, 3);
}

static cop_status
net(cop_evaluation *e, void *context, cop_value *result)
{
    struct pairs p = {.evaluation = e, .each = one_interface, .before_path = "host/previous/net"};
    (void)context;
    (void)result;
    return for_pairs(&p, "host/net");
}

static cop_status
disks(cop_evaluation *e, void *context, cop_value *result)
{
    struct pairs p = {.evaluation = e, .each = one_disk, .before_path = "host/previous/disks"};
    (void)context;
    (void)result;
    return for_pairs(&p, "host/disks");
}

/* ---- defining ---- */

static const struct {
    const char *path;
    cop_computed_function function;
    const char *label;
} definitions[] = {
    {"host/derived/cpu", cpu, "busy share of each CPU"},
    {"host/derived/memory", memory, "memory and swap in use"},
    {"host/derived/processes", derived_states, "processes by state"},
    {"host/derived/users", derived_users, "processes, memory and CPU by user"},
    {"host/derived/programs", derived_programs, "processes, memory and CPU by program"},
    {"host/derived/top_memory", derived_top_memory, "the ten processes with most memory"},
    {"host/derived/top_cpu", derived_top_cpu, "the ten processes with most CPU"},
    {"host/derived/net", net, "bytes a second of each interface"},
    {"host/derived/disks", disks, "bytes a second of each disk"},
};

/* What stands at host/derived or host/totals and is no branch would refuse every definition. */
static cop_status
clear_way(cop_store *store, cop_txn *txn, const char *path)
{
    cop_atom atom;
    uint32_t count;
    cop_pin_t pin = cop_pin(store);
    if (!pin.snapshot)
        return COP_OK; /* found out next time */
    cop_status status = cop_find(pin.snapshot, path, strlen(path), &atom);
    bool value = status == COP_OK && cop_count(pin.snapshot, atom, &count) == COP_E_NOT_BRANCH;
    cop_unpin(pin);
    return value ? cop_txn_erase(txn, atom) : COP_OK;
}

cop_status
derived_define(cop_store *store, cop_txn *txn, bool erased, size_t *defined, cop_error *error)
{
    /* Erasing it once more would refuse the transaction, and every later one. */
    cop_status status = erased ? COP_OK : clear_way(store, txn, "host/derived");
    if (status == COP_OK && !erased)
        status = clear_way(store, txn, "host/totals");
    *defined = 0;
    for (size_t i = 0; i < sizeof definitions / sizeof *definitions && status == COP_OK; i++) {
        cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
        size_t length = strlen(definitions[i].path);
        cop_atom atom;
        if (cop_atom_find(store, definitions[i].path, length, &atom) != COP_E_ABSENT)
            continue;
        options.branch = true;
        options.label = definitions[i].label;
        status = cop_txn_define(txn, definitions[i].path, length, definitions[i].function, NULL,
                                &options, NULL, error);
        *defined += status == COP_OK;
    }
    return status;
}
