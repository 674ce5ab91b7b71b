/* SPDX-License-Identifier: MIT */
/*
 * ./dev bench reduce: one changed child of many, beside adding all children up again. A case is a
 * rule and a number of children; change and result are timed together, as a wave does them, in a
 * random order of children. The peer goes over a plain array of doubles, rounding as it goes: what
 * a function that reads all children does at the least.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/arguments.h"
#include "bench/report.h"
#include "bench/store_work.h"
#include "reduce/group.h"
#include "reduce/reduction.h"

enum { NAME_BYTES = 40, TOP_ROWS = 10, MEMBERS = 10 };

typedef struct bench_case {
    const char *name;
    cop_reduction kind;
    bool custom_inverse, grouped,
        churn; /* churn: a removal and an insertion in place of a change */
} bench_case;

static const bench_case cases[] = {
    {"sum_change", COP_REDUCE_SUM, false, false, false},
    {"sum_churn", COP_REDUCE_SUM, false, false, true},
    {"count_churn", COP_REDUCE_COUNT, false, false, true},
    {"mean_change", COP_REDUCE_MEAN, false, false, false},
    {"min_change", COP_REDUCE_MIN, false, false, false},
    {"min_churn", COP_REDUCE_MIN, false, false, true},
    {"top_change", COP_REDUCE_TOP, false, false, false},
    {"custom_change", COP_REDUCE_CUSTOM, false, false, false},
    {"inverse_change", COP_REDUCE_CUSTOM, true, false, false},
    {"group_sum_change", COP_REDUCE_SUM, false, true, false},
    {"group_sum_churn", COP_REDUCE_SUM, false, true, true},
};
enum { CASES = sizeof cases / sizeof *cases };

static cop__memory *memory;
static cop__name *top, *procs; /* "host", "host/procs" */
static struct {
    char bytes[NAME_BYTES] __attribute__((aligned(8)));
} *processes, *leaves; /* "host/procs/123", "host/procs/123/rss" */
static double *numbers;
static uint32_t children, operations;
static uint64_t random_state = 88172645463325252u;
static volatile double sink;

static uint32_t
random_below(uint32_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)((random_state >> 32) * n >> 32);
}

static cop_value
random_number(void)
{
    return cop_f64((double)random_below(1000000) / 1000.0);
}

static cop_status
add_f64(void *context, cop_value *accumulator, const cop_value *value)
{
    (void)context;
    *accumulator = cop_f64(cop_value_f64(accumulator) + cop_value_f64(value));
    return COP_OK;
}

static cop_status
take_f64(void *context, cop_value *accumulator, const cop_value *value)
{
    (void)context;
    *accumulator = cop_f64(cop_value_f64(accumulator) - cop_value_f64(value));
    return COP_OK;
}

static cop__reduce_rule
rule_of(const bench_case *c)
{
    cop__reduce_rule rule = {.kind = c->kind, .k = TOP_ROWS};
    if (c->kind == COP_REDUCE_CUSTOM)
        rule.combine = add_f64;
    if (c->custom_inverse)
        rule.inverse = take_f64;
    return rule;
}

/* --- one of the two ----------------------------------------------------------------------------
 */

typedef struct subject {
    cop__reduction *reduction;
    cop__grouping *grouping;
} subject;

static bool
insert(subject s, uint32_t id, const cop_value *value)
{
    cop_value key = cop_i64(id / MEMBERS);
    const cop__name *name = (const void *)leaves[id].bytes;
    return (s.grouping ? cop__grouping_insert(s.grouping, id, name, &key, value)
                       : cop__reduction_insert(s.reduction, id, name, value)) == COP_OK;
}

static bool
operate(subject s, uint32_t id, bool churn, const cop_value *value)
{
    if (!churn)
        return (s.grouping ? cop__grouping_change_value(s.grouping, id, value)
                           : cop__reduction_change(s.reduction, id, value)) == COP_OK;
    return (s.grouping ? cop__grouping_remove(s.grouping, id)
                       : cop__reduction_remove(s.reduction, id)) == COP_OK &&
           insert(s, id, value);
}

/* The result as a wave takes it; a grouping's changed group is not looked for. */
static void
take_result(subject s)
{
    static char text[COP_REDUCER_TEXT];
    cop__top_walk walk;
    cop_value v = {0};
    const cop__treap_node *node;
    if (s.grouping)
        return;
    cop__reduction_result(s.reduction, text, sizeof text, &v);
    sink = cop_value_f64(&v);
    if (v.type != COP_ARRAY)
        return;
    cop__reduction_top(s.reduction, &walk);
    while ((node = cop__top_next(&walk)) != NULL)
        sink = cop_value_f64(&node->value);
}

static bool
open_subject(const bench_case *c, subject *s)
{
    cop__reduce_rule rule = rule_of(c);
    memset(s, 0, sizeof *s);
    return (c->grouped ? cop__grouping_open(memory, &rule, &s->grouping)
                       : cop__reduction_open(memory, &rule, &s->reduction)) == COP_OK;
}

/* --- rounds
 * ---------------------------------------------------------------------------------------- */

typedef struct figures {
    report_samples change, bytes;
} figures;

static bool
run_case(const bench_case *c, figures *f)
{
    subject s;
    bool ok = open_subject(c, &s);
    for (uint32_t id = 0; ok && id < children; id++) {
        cop_value v = random_number();
        ok = insert(s, id, &v);
    }
    report_add(&f->bytes, (double)cop__load_relaxed(&memory->by_kind[COP_MEMORY_GRAPH]) / children);
    if (ok)
        take_result(s);
    uint64_t begin = bench_cpu_ns();
    for (uint32_t i = 0; ok && i < operations; i++) {
        cop_value v = random_number();
        ok = operate(s, random_below(children), c->churn, &v);
        take_result(s);
    }
    report_add(&f->change, (double)(bench_cpu_ns() - begin) / operations);
    cop__reduction_close(s.reduction);
    cop__grouping_close(s.grouping);
    return ok;
}

static void
run_naive(figures *f)
{
    uint32_t times = 1 + 20000000 / children;
    uint64_t begin = bench_cpu_ns();
    for (uint32_t i = 0; i < times; i++) {
        double sum = 0;
        numbers[random_below(children)] = (double)random_below(1000000) / 1000.0;
        for (uint32_t j = 0; j < children; j++)
            sum += numbers[j];
        sink = sum;
    }
    report_add(&f->change, (double)(bench_cpu_ns() - begin) / times);
}

/* --- output
 * ------------------------------------------------------------------------------------------ */

static const char *
size_name(uint32_t n, char *buffer, size_t capacity)
{
    const char *unit = n % 1000000 == 0 ? "m" : n % 1000 == 0 ? "k" : "";
    snprintf(buffer, capacity, "%u%s",
             *unit == 'm'   ? n / 1000000
             : *unit == 'k' ? n / 1000
                            : n,
             unit);
    return buffer;
}

static void
print_row(bool json, const char *name, const char *system, const figures *f, double naive)
{
    char full[64], size[16], fields[128], number[32];
    double ns = report_median(&f->change), bytes = report_median(&f->bytes);
    snprintf(full, sizeof full, "%s_%s", name, size_name(children, size, sizeof size));
    if (json) {
        report_row row = {"reduce", full, system, "ns/op", fields, &f->change};
        snprintf(fields, sizeof fields,
                 ",\"children\":%u,\"bytes_per_child\":%.1f,\"ratio_naive\":%.4g", children, bytes,
                 ns / naive);
        report_json(&row);
    } else {
        printf("%-24s %-9s %10s ns ±%3.0f%% %8.1f bytes/child %10.5fx naive\n", full, system,
               report_number(ns, number, sizeof number), report_spread(&f->change) * 100, bytes,
               ns / naive);
    }
}

static bool
run_size(uint32_t n, unsigned rounds, bool json)
{
    static figures of[CASES + 1];
    memset(of, 0, sizeof of);
    children = n;
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned i = 0; i < CASES; i++) {
            if (!run_case(&cases[i], &of[i]))
                return false;
        }
        run_naive(&of[CASES]);
    }
    double naive = report_median(&of[CASES].change);
    for (unsigned i = 0; i < CASES; i++)
        print_row(json, cases[i].name, "coppice", &of[i], naive);
    report_add(&of[CASES].bytes, sizeof *numbers);
    print_row(json, "sum_change", "naive", &of[CASES], naive);
    return true;
}

static void
name_init(cop__name *name, const cop__name *above, const char *segment)
{
    name->above = cop__name_way_up(above, 0, 1);
    name->shape = (uint16_t)strlen(segment);
    memcpy(name->text, segment, name->shape);
}

static bool
prepare(uint32_t most)
{
    memory = cop__memory_new(NULL, UINT64_MAX);
    top = calloc(1, NAME_BYTES);
    procs = calloc(1, NAME_BYTES);
    processes = calloc(most, sizeof *processes);
    leaves = calloc(most, sizeof *leaves);
    numbers = calloc(most, sizeof *numbers);
    if (!memory || !top || !procs || !processes || !leaves || !numbers)
        return false;
    name_init(top, NULL, "host");
    name_init(procs, top, "procs");
    for (uint32_t i = 0; i < most; i++) {
        char number[12];
        cop__name *process = (void *)processes[i].bytes;
        snprintf(number, sizeof number, "%u", i % 10000000);
        name_init(process, procs, number);
        name_init((void *)leaves[i].bytes, process, "rss");
    }
    return true;
}

int
main(int argc, char **argv)
{
    uint32_t rounds = 3;
    bool json = false, quick = false;
    const bench_argument table[] = {BENCH_FLAG("json", json),
                                    BENCH_NUMBER("rounds", rounds, 1, REPORT_ROUNDS_MAX),
                                    BENCH_FLAG("quick", quick), BENCH_END};
    bench_arguments(argc, argv, table);
    operations = quick ? 20000 : 1000000;
    bool ok = prepare(1000000) && run_size(1000, rounds, json) && run_size(100000, rounds, json) &&
              (quick || run_size(1000000, rounds, json));
    if (!ok)
        report_note("out of memory");
    free(numbers);
    free(leaves);
    free(processes);
    free(procs);
    free(top);
    if (memory)
        cop__memory_unref(memory);
    return ok ? 0 : 1;
}
