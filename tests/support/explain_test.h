/* SPDX-License-Identifier: MIT */
/* A store with computed atoms that read what a list of words says; explanations and nodes of its
 * graph as texts, every field of them but the times. For Check programs. */
#ifndef COP_TESTS_EXPLAIN_TEST_H
#define COP_TESTS_EXPLAIN_TEST_H

#include <stdarg.h>

#include <coppice/graph.h>

#include "store/store_internal.h"
#include "tests/support/store_test.h"

static cop_store *store;

static inline void
setup(void)
{
    store = t_open();
}

static inline void
teardown(void)
{
    t_close(store);
}

/* --- texts ------------------------------------------------------------------------------------ */

static char text[8192];

static inline void __attribute__((format(printf, 1, 2))) say(const char *format, ...)
{
    size_t used = strlen(text);
    va_list list;

    va_start(list, format);
    vsnprintf(text + used, sizeof text - used, format, list);
    va_end(list);
}

static inline void
say_value(const cop_value *value)
{
    if (cop_value_is_text(value))
        say("%s'%.*s'", value->type == COP_ERROR ? "!" : "", (int)cop_value_length(value),
            (const char *)cop_value_data(value));
    else if (value->type == COP_I64)
        say("%" PRId64, cop_value_i64(value));
    else
        say("%s", value->type == COP_NONE ? "-" : cop_type_name((cop_type)value->type));
}

static inline void
say_seen(const char *head, const cop_explained *seen, size_t count, size_t total)
{
    for (size_t i = 0; i < count; i++) {
        const cop_explained *s = &seen[i];
        say("\n %s %s of %s%s%s ", head, cop_depends_name(s->what), s->path,
            s->computed ? " (computed)" : "", s->changed ? " changed" : "");
        say_value(&s->before);
        say(" > ");
        say_value(&s->value);
        say(" in %u, since %u", (unsigned)s->changed_version, (unsigned)s->unchanged_since);
        if (s->outcome != COP_RUN_NONE)
            say(" ran %s in %u", cop_run_outcome_name(s->outcome), (unsigned)s->ran_version);
    }
    if (total != count)
        say("\n %s %zu in all", head, total);
}

static inline const char *
told(const cop_explanation *e)
{
    text[0] = '\0';
    say("%s[%s] %s %u%s = ", e->path, e->label, cop_graph_kind_name(e->kind), e->height,
        e->cycle ? " circle" : "");
    say_value(&e->value);
    say(" in %u, %u above, ran %u, %u cut off", (unsigned)e->value_version, e->dependents,
        (unsigned)e->runs, (unsigned)e->cutoffs);
    if (e->ran) {
        say("\n %s in %u after %u for %s: ", cop_run_outcome_name(e->outcome), (unsigned)e->version,
            e->discarded, cop_run_cause_name(e->cause));
        say_value(&e->before);
        say(" > ");
        say_value(&e->after);
    }
    say_seen("for", e->causes, e->cause_count, e->cause_total);
    say_seen("reads", e->dependencies, e->dependency_count, e->dependency_total);
    return text;
}

/* What is known now. */
static inline void
explains(cop_atom atom, const char *expected)
{
    cop_explanation *e = NULL;

    CHECK_STATUS(cop_graph_explain(store, atom, 0, &e), COP_E_TIMEOUT);
    ck_assert_str_eq(told(e), expected);
    ck_assert_uint_le(e->duration_ns, e->longest_ns);
    ck_assert_uint_le(e->longest_ns, e->total_ns);
    cop_explanation_free(e);
}

static inline void
look(cop_atom atom)
{
    CHECK_OK(cop_graph_look(store, atom, true, COP_FOREVER));
}

static inline int
say_node(void *context, const cop_graph_node *node)
{
    (void)context;
    say("%s%s[%s] %s %u at %u%s%s, %u above", text[0] ? "\n" : "", node->path, node->label,
        cop_graph_kind_name(node->kind), node->height, node->distance, node->cycle ? " circle" : "",
        node->looked ? " looked" : "", node->dependents);
    for (size_t i = 0; i < node->edge_count; i++) {
        const cop_graph_edge *edge = &node->edges[i];
        const cop_snapshot *root = store->tree.root;
        char path[64] = "?";
        size_t length = 0;
        if (edge->atom.generation != 0 &&
            cop_atom_path(root, edge->atom, path, 63, &length) == COP_OK)
            path[length] = '\0';
        say(", %u %s %s%s%s", edge->reads, cop_depends_name(edge->what), path,
            edge->path ? " by " : "", edge->path ? edge->path : "");
    }
    return 0;
}

static inline void
nodes_are(const cop_graph_query *query, const char *expected)
{
    text[0] = '\0';
    CHECK_OK(cop_graph_each(store, query, say_node, NULL, NULL));
    ck_assert_str_eq(text, expected);
}

/* --- functions -------------------------------------------------------------------------------- */

/* Reads what a list names: "v:path" an atom's value, "l:path" its children, "p:path" by path. The
 * atoms are found when it is defined. The sum of the integers; a text longer than 9 counts 100. */
typedef struct reader {
    const char *words[8];
    cop_atom atom[8];
    int64_t below; /* the result is at least this */
    uint64_t busy_ns;
} reader;

static inline int
count_child(void *context, const cop_child *child)
{
    (void)child;
    ++*(int64_t *)context;
    return 0;
}

static inline cop_status
reads(cop_evaluation *evaluation, void *context, cop_value *result)
{
    const reader *r = context;
    cop_status status = COP_OK;
    int64_t sum = 0;

    for (uint64_t end = cop__clock_ns() + r->busy_ns; cop__clock_ns() < end;)
        ;
    for (int i = 0; i < 8 && r->words[i] != NULL && status == COP_OK; i++) {
        cop_value value = cop_null();
        const char *path = r->words[i] + 2;
        if (r->words[i][0] == 'l')
            status = cop_read_each(evaluation, r->atom[i], count_child, &sum, NULL);
        else if (r->words[i][0] == 'v')
            status = cop_read(evaluation, r->atom[i], &value);
        else
            status = cop_read_at(evaluation, path, strlen(path), &value);
        if (status == COP_E_ABSENT || status == COP_E_GONE)
            status = COP_OK;
        if (value.type == COP_I64)
            sum += cop_value_i64(&value);
        else if (cop_value_is_text(&value) && cop_value_length(&value) > 9)
            sum += 100;
    }
    *result = cop_i64(sum > r->below ? sum : r->below);
    return status;
}

static inline cop_atom
define(const char *path, const char *label, cop_computed_kind kind, reader *r)
{
    cop_computed_options options = COP_COMPUTED_OPTIONS_INIT;
    cop_atom atom;

    for (int i = 0; i < 8 && r->words[i] != NULL; i++)
        if (r->words[i][0] != 'p')
            r->atom[i] = t_find(store, r->words[i] + 2);
    options.kind = kind;
    options.label = label;
    CHECK_OK(
        cop_computed_define(store, path, path ? strlen(path) : 0, reads, r, &options, &atom, NULL));
    return atom;
}

#endif
