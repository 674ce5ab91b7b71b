/* SPDX-License-Identifier: MIT */
/* Where a node goes, and what comes out: the rules of coppice/reduce.h. */
#include "reduce/reducer.h"

#include <coppice/path.h>

#include "reduce/number.h"

typedef enum place { PASSED_OVER, COUNTED, OTHER } place;

enum { ERROR_ENDING_MAX = 56 }; /* what is said behind a path */

/* --- the rule ------------------------------------------------------------------------ */

cop_status
cop__reduce_rule_check(const cop__reduce_rule *rule)
{
    if (rule->kind < COP_REDUCE_SUM || rule->kind > COP_REDUCE_CUSTOM)
        return COP_E_INVALID;
    if (rule->kind == COP_REDUCE_TOP && rule->k == 0)
        return COP_E_INVALID;
    if (rule->kind != COP_REDUCE_CUSTOM)
        return COP_OK;
    if (!rule->combine || (rule->zero.type != COP_NONE && !cop__fold_takes(&rule->zero)))
        return COP_E_INVALID;
    return COP_OK;
}

static bool
has_running_total(const cop__reduce_rule *rule)
{
    return rule->kind == COP_REDUCE_CUSTOM && rule->inverse;
}

static bool
folds(const cop__reduce_rule *rule)
{
    return rule->kind == COP_REDUCE_MIN || rule->kind == COP_REDUCE_MAX ||
           (rule->kind == COP_REDUCE_CUSTOM && !rule->inverse);
}

static bool
sums(const cop__reduce_rule *rule)
{
    return rule->kind == COP_REDUCE_SUM || rule->kind == COP_REDUCE_MEAN;
}

static place
place_of_number_or_other(const cop__reduce_rule *rule, const cop_value *value)
{
    if (!cop__number_is(value))
        return OTHER;
    return !sums(rule) && cop__number_is_nan(value) ? PASSED_OVER : COUNTED;
}

static place
place_of(const cop__reduce_rule *rule, const cop_value *value)
{
    switch (cop_value_type(value)) {
    case COP_NONE:
    case COP_NULL:
    case COP_OBJECT:
    case COP_ARRAY:
        return PASSED_OVER;
    default:
        break;
    }
    switch (rule->kind) {
    case COP_REDUCE_COUNT:
        return COUNTED;
    case COP_REDUCE_CUSTOM:
        return cop__fold_takes(value) ? COUNTED : OTHER;
    default:
        return place_of_number_or_other(rule, value);
    }
}

cop_value
cop__reduce_kept(const cop_value *value)
{
    cop_value kept = *value;
    if (cop_value_is_text(value) && value->inlined == COP_VALUE_OUTSIDE)
        memset(&kept.small, 0, sizeof kept.small);
    return kept;
}

void
cop__reduce_space_init(cop__reduce_space *space, cop__memory *memory, const cop__reduce_rule *rule)
{
    size_t bytes = folds(rule) ? sizeof(cop__fold_node) : sizeof(cop__treap_node);
    space->memory = memory;
    space->rule = *rule;
    cop__records_init(&space->nodes, memory, (uint32_t)bytes);
}

void
cop__reduce_space_end(cop__reduce_space *space)
{
    cop__records_end(&space->nodes);
}

/* --- the running total of a rule with an inverse --------------------------------------- */

static void
run_again(cop__reducer *reducer, const cop__reduce_space *space)
{
    cop_value total = space->rule.zero;
    uint32_t at = cop__treap_first(&reducer->main, &space->nodes);
    if (at != 0 && total.type == COP_NONE) {
        total = cop__treap_node_at(&space->nodes, at)->value;
        at = cop__treap_next(&space->nodes, at);
    }
    for (; at != 0; at = cop__treap_next(&space->nodes, at))
        cop__fold_combine(space->rule.combine, space->rule.context, &total,
                          &cop__treap_node_at(&space->nodes, at)->value);
    reducer->running.total = total;
    reducer->running.stale = reducer->count != 0 && total.type == COP_NONE;
}

/* COP_NONE that comes out of a function is a failure; the next result folds anew. */
static void
run_one(cop__reducer *reducer, const cop__reduce_space *space, cop_combine_function function,
        const cop_value *value)
{
    cop__running *running = &reducer->running;
    if (running->stale)
        return;
    if (running->total.type == COP_NONE && function == space->rule.combine && reducer->count == 1)
        running->total = *value;
    else
        cop__fold_combine(function, space->rule.context, &running->total, value);
    running->stale = running->total.type == COP_NONE;
}

/* --- counted nodes --------------------------------------------------------------------- */

static bool
has_treap(const cop__reduce_rule *rule)
{
    return rule->kind != COP_REDUCE_COUNT && !sums(rule);
}

static void
count_in(cop__reducer *reducer, const cop__reduce_space *space, uint32_t number)
{
    const cop_value *value = &cop__treap_node_at(&space->nodes, number)->value;
    reducer->count++;
    if (sums(&space->rule))
        cop__exact_sum_add(&reducer->sum, value);
    if (has_treap(&space->rule))
        cop__treap_insert(&reducer->main, &space->nodes, number);
    if (has_running_total(&space->rule))
        run_one(reducer, space, space->rule.combine, value);
}

static void
count_out(cop__reducer *reducer, const cop__reduce_space *space, uint32_t number)
{
    const cop_value *value = &cop__treap_node_at(&space->nodes, number)->value;
    reducer->count--;
    if (sums(&space->rule))
        cop__exact_sum_subtract(&reducer->sum, value);
    if (has_treap(&space->rule))
        cop__treap_remove(&reducer->main, &space->nodes, number);
    if (!has_running_total(&space->rule))
        return;
    if (reducer->count == 0)
        reducer->running = (cop__running){.total = space->rule.zero};
    else
        run_one(reducer, space, space->rule.inverse, value);
}

/* A counted value becomes another that is counted. */
static void
count_over(cop__reducer *reducer, const cop__reduce_space *space, uint32_t number,
           const cop_value *value)
{
    cop__treap_node *node = cop__treap_node_at(&space->nodes, number);
    const cop__reduce_rule *rule = &space->rule;
    if (rule->kind == COP_REDUCE_TOP || (has_running_total(rule) && reducer->count == 1)) {
        count_out(reducer, space, number);
        node->value = *value;
        count_in(reducer, space, number);
        return;
    }
    if (sums(rule)) {
        cop__exact_sum_subtract(&reducer->sum, &node->value);
        cop__exact_sum_add(&reducer->sum, value);
    } else if (has_running_total(rule)) {
        run_one(reducer, space, rule->inverse, &node->value);
        run_one(reducer, space, rule->combine, value);
    } else if (folds(rule)) {
        cop__treap_mark(&space->nodes, number);
    }
    node->value = *value;
}

/* --- nodes ----------------------------------------------------------------------------- */

void
cop__reducer_init(cop__reducer *reducer, const cop__reduce_space *space)
{
    memset(reducer, 0, sizeof *reducer);
    reducer->main.order = space->rule.kind == COP_REDUCE_TOP ? COP_BY_NUMBER : COP_BY_PATH;
    reducer->main.folds = folds(&space->rule);
    reducer->others.order = COP_BY_PATH;
    if (has_running_total(&space->rule))
        reducer->running.total = space->rule.zero;
}

void
cop__reducer_end(cop__reducer *reducer, const cop__reduce_space *space)
{
    if (sums(&space->rule))
        cop__exact_sum_end(&reducer->sum, space->memory);
}

bool
cop__reducer_reserve(cop__reducer *reducer, const cop__reduce_space *space, const cop_value *value)
{
    return !sums(&space->rule) || !cop__number_is(value) ||
           cop__exact_sum_reserve(&reducer->sum, space->memory, value);
}

void
cop__reducer_trim(cop__reducer *reducer, const cop__reduce_space *space)
{
    if (sums(&space->rule))
        cop__exact_sum_trim(&reducer->sum, space->memory);
}

void
cop__reducer_distrust(cop__reducer *reducer, const cop__reduce_space *space)
{
    if (has_running_total(&space->rule))
        reducer->running.stale = true;
}

void
cop__reducer_insert(cop__reducer *reducer, const cop__reduce_space *space, uint32_t number)
{
    place where = place_of(&space->rule, &cop__treap_node_at(&space->nodes, number)->value);
    if (where == COUNTED)
        count_in(reducer, space, number);
    else if (where == OTHER)
        cop__treap_insert(&reducer->others, &space->nodes, number);
}

void
cop__reducer_remove(cop__reducer *reducer, const cop__reduce_space *space, uint32_t number)
{
    place where = place_of(&space->rule, &cop__treap_node_at(&space->nodes, number)->value);
    if (where == COUNTED)
        count_out(reducer, space, number);
    else if (where == OTHER)
        cop__treap_remove(&reducer->others, &space->nodes, number);
}

void
cop__reducer_change(cop__reducer *reducer, const cop__reduce_space *space, uint32_t number,
                    const cop_value *value)
{
    cop__treap_node *node = cop__treap_node_at(&space->nodes, number);
    place before = place_of(&space->rule, &node->value), now = place_of(&space->rule, value);
    if (before == COUNTED && now == COUNTED) {
        count_over(reducer, space, number, value);
    } else if (before == now) {
        node->value = *value;
    } else {
        cop__reducer_remove(reducer, space, number);
        node->value = *value;
        cop__reducer_insert(reducer, space, number);
    }
}

/* --- results ---------------------------------------------------------------------------- */

static cop_value
error_of(const char *message)
{
    return cop_error_value(message, strlen(message));
}

/* As many bytes of UTF-8 as fit, no character cut in two. */
static size_t
cut(const char *path, size_t length, size_t most)
{
    if (length <= most)
        return length;
    while (most > 0 && ((unsigned char)path[most] & 0xc0) == 0x80)
        most--;
    return most;
}

static void
append(char *text, size_t capacity, size_t *length, const char *what)
{
    size_t n = strlen(what), room = capacity - *length;
    n = n < room ? n : room;
    memcpy(text + *length, what, n);
    *length += n;
}

static const char *
what_is_wanted(const cop__reduce_rule *rule, const cop_value *value)
{
    if (rule->kind != COP_REDUCE_CUSTOM)
        return " in place of a number";
    return value->type == COP_STRING ? " of more than 12 bytes" : ", which cannot be combined";
}

/* "host/name: string in place of a number" */
static cop_value
name_the_first(const cop__reducer *reducer, const cop__reduce_space *space, char *text,
               size_t capacity)
{
    uint32_t number = cop__treap_first(&reducer->others, &space->nodes);
    const cop__treap_node *node = cop__treap_node_at(&space->nodes, number);
    size_t most = capacity > ERROR_ENDING_MAX ? capacity - ERROR_ENDING_MAX : 0;
    char path[COP_PATH_MAX];
    size_t whole = cop__name_path(node->name, path, sizeof path), length = cut(path, whole, most);
    memcpy(text, path, length);
    append(text, capacity, &length, length < whole ? "...: " : ": ");
    append(text, capacity, &length, cop_type_name(cop_value_type(&node->value)));
    append(text, capacity, &length, what_is_wanted(&space->rule, &node->value));
    return cop_error_value(text, length);
}

static cop_value
sum_result(const cop__reducer *reducer)
{
    int64_t total;
    if (cop__exact_sum_f64s(&reducer->sum) != 0)
        return cop_f64(cop__exact_sum_total(&reducer->sum));
    if (cop__exact_sum_i64(&reducer->sum, &total))
        return cop_i64(total);
    return error_of("the sum does not fit in an i64");
}

static cop_value
mean_result(const cop__reducer *reducer)
{
    if (reducer->count == 0)
        return error_of("the mean of no children");
    return cop_f64(cop__exact_sum_mean(&reducer->sum));
}

static cop_value
least_or_greatest(const cop__reducer *reducer, const cop__reduce_space *space)
{
    if (reducer->count == 0)
        return cop_null();
    return cop__fold_result(&reducer->main, &space->nodes,
                            space->rule.kind == COP_REDUCE_MIN ? cop__fold_min : cop__fold_max,
                            NULL);
}

static cop_value
combination(cop__reducer *reducer, const cop__reduce_space *space)
{
    const cop__reduce_rule *rule = &space->rule;
    if (rule->inverse) {
        if (reducer->running.stale)
            run_again(reducer, space);
        return reducer->running.total;
    }
    if (reducer->count == 0)
        return rule->zero;
    cop_value all = cop__fold_result(&reducer->main, &space->nodes, rule->combine, rule->context);
    if (rule->zero.type == COP_NONE)
        return all;
    cop_value total = rule->zero;
    cop__fold_combine(rule->combine, rule->context, &total, &all);
    return total;
}

static cop_value
custom_result(cop__reducer *reducer, const cop__reduce_space *space)
{
    cop_value total = combination(reducer, space);
    if (total.type != COP_NONE)
        return total;
    if (reducer->count == 0)
        return cop_null();
    return error_of(cop_status_message(cop__fold_status(&total)));
}

void
cop__reducer_result(cop__reducer *reducer, const cop__reduce_space *space, char *text,
                    size_t capacity, cop_value *result)
{
    if (reducer->others.root != 0) {
        *result = name_the_first(reducer, space, text, capacity);
        return;
    }
    switch (space->rule.kind) {
    case COP_REDUCE_SUM:
        *result = sum_result(reducer);
        return;
    case COP_REDUCE_COUNT:
        *result = cop_i64(reducer->count);
        return;
    case COP_REDUCE_MEAN:
        *result = mean_result(reducer);
        return;
    case COP_REDUCE_MIN:
    case COP_REDUCE_MAX:
        *result = least_or_greatest(reducer, space);
        return;
    case COP_REDUCE_TOP:
        *result = cop_array();
        return;
    case COP_REDUCE_CUSTOM:
        *result = custom_result(reducer, space);
        return;
    }
}

void
cop__top_begin(const cop__reducer *reducer, const cop__reduce_space *space, cop__top_walk *walk)
{
    walk->nodes = &space->nodes;
    walk->next = cop__treap_first(&reducer->main, &space->nodes);
    walk->left = reducer->others.root == 0 ? space->rule.k : 0;
}

const cop__treap_node *
cop__top_next(cop__top_walk *walk)
{
    if (walk->left == 0 || walk->next == 0)
        return NULL;
    const cop__treap_node *node = cop__treap_node_at(walk->nodes, walk->next);
    walk->next = cop__treap_next(walk->nodes, walk->next);
    walk->left--;
    return node;
}
