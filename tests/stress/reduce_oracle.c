/* SPDX-License-Identifier: MIT */
/* See reduce_oracle.h. */
#include "tests/stress/reduce_oracle.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__extension__ typedef __int128 wide;
__extension__ typedef unsigned __int128 uwide;

enum { PATH_BYTES = 96, MEMBERS_MAX = 512 };

typedef struct member {
    char path[PATH_BYTES];
    char group[PATH_BYTES];
    bool grouped;
    cop_value value;
} member;

typedef struct members {
    member *at;
    size_t n;
} members;

cop_status
oracle_compose(void *context, cop_value *accumulator, const cop_value *value)
{
    (void)context;
    if (accumulator->type != COP_I64 || value->type != COP_I64)
        return COP_E_TYPE;
    uint64_t a = (uint64_t)cop_value_i64(accumulator), b = (uint64_t)cop_value_i64(value);
    uint64_t ma = a >> 16 & 0xffff, ca = a & 0xffff, mb = b >> 16 & 0xffff, cb = b & 0xffff;
    uint64_t m = ma * mb & 0xffff, c = (mb * ca + cb) & 0xffff;
    *accumulator = cop_i64((int64_t)(m << 16 | c));
    return COP_OK;
}

/* ---- gathering ---- */

static bool
key_text(const cop_snapshot *snapshot, cop_atom object, const char *key, char *text)
{
    cop_atom atom;
    cop_value value;
    if (cop_child_named(snapshot, object, key, strlen(key), &atom) != COP_OK ||
        cop_get(snapshot, atom, &value) != COP_OK)
        return false;
    if (value.type == COP_STRING)
        (void)snprintf(text, PATH_BYTES, "%.*s", (int)cop_value_length(&value),
                       cop_value_data(&value));
    else if (value.type == COP_I64)
        (void)snprintf(text, PATH_BYTES, "%lld", (long long)cop_value_i64(&value));
    else if (value.type == COP_BOOL)
        (void)snprintf(text, PATH_BYTES, "%s", cop_value_bool(&value) ? "true" : "false");
    else
        return false;
    return true;
}

static void
take(const cop_snapshot *snapshot, const reduce_spec *spec, cop_atom atom, const cop_value *value,
     const char *path, members *all)
{
    if (all->n == MEMBERS_MAX)
        abort();
    member *m = &all->at[all->n++];
    memset(m, 0, sizeof *m);
    (void)snprintf(m->path, sizeof m->path, "%s", path);
    m->value = *value;
    if (spec->key == NULL)
        return;
    cop_atom child;
    m->value = cop_null();
    m->grouped = value->type == COP_OBJECT && key_text(snapshot, atom, spec->key, m->group);
    if (value->type == COP_OBJECT &&
        cop_child_named(snapshot, atom, spec->value, strlen(spec->value), &child) == COP_OK)
        (void)cop_get(snapshot, child, &m->value);
}

static void
gather(const cop_snapshot *snapshot, const reduce_spec *spec, cop_atom branch, const char *path,
       const char *pattern, members *all)
{
    const char *slash = strchr(pattern, '/');
    size_t n = slash != NULL ? (size_t)(slash - pattern) : strlen(pattern);
    cop_cursor cursor;
    cop_child child;
    if (cop_cursor_open(snapshot, branch, &cursor) != COP_OK)
        return;
    while (cop_cursor_next(&cursor, &child)) {
        char below[PATH_BYTES];
        if (child.key == NULL)
            continue;
        if (!(n == 1 && pattern[0] == '*') &&
            !(child.key_length == n && memcmp(child.key, pattern, n) == 0))
            continue;
        (void)snprintf(below, sizeof below, "%s%s%.*s", path, path[0] != 0 ? "/" : "",
                       (int)child.key_length, child.key);
        if (strcmp(below, spec->path) == 0)
            continue;
        if (slash == NULL)
            take(snapshot, spec, child.atom, &child.value, below, all);
        else if (child.value.type == COP_OBJECT)
            gather(snapshot, spec, child.atom, below, slash + 1, all);
    }
}

static int
by_path(const void *a, const void *b)
{
    const member *x = a, *y = b;
    return strcmp(x->path, y->path);
}

/* ---- one reduction of members in order of path ---- */

static bool
is_number(const cop_value *value)
{
    return value->type == COP_I64 || value->type == COP_F64;
}

static bool
is_nothing(const cop_value *value)
{
    return value->type == COP_NULL || value->type >= COP_OBJECT || value->type == COP_NONE;
}

/* In 2^-20ths; of a finite number. */
static wide
units(const cop_value *value)
{
    if (value->type == COP_I64)
        return (wide)cop_value_i64(value) * (1 << 20);
    return (wide)(int64_t)(cop_value_f64(value) * ORACLE_UNIT);
}

static bool
is_finite(const cop_value *value)
{
    return value->type != COP_F64 || isfinite(cop_value_f64(value));
}

static bool
is_nan(const cop_value *value)
{
    return value->type == COP_F64 && isnan(cop_value_f64(value));
}

static bool
greater(const cop_value *a, const cop_value *b)
{
    if (!is_finite(a) || !is_finite(b)) {
        double x = is_finite(a) ? 0 : cop_value_f64(a), y = is_finite(b) ? 0 : cop_value_f64(b);
        return x > y;
    }
    return units(a) > units(b);
}

/* value / 2^20 / n, rounded once, to even. */
static double
quotient(wide value, uint64_t n)
{
    uwide top = value < 0 ? -(uwide)value : (uwide)value, bottom = (uwide)n << 20;
    int shift = 0;
    if (top == 0)
        return 0;
    while (top >> 126 == 0) {
        top <<= 1;
        shift++;
    }
    uwide q = top / bottom;
    q = q << 1 | (top % bottom != 0); /* far more bits than a double has: the last one only says "more" */
    double result = ldexp((double)q, -shift - 1);
    return value < 0 ? -result : result;
}

static cop_value
error_of(const char *part)
{
    return cop_error_value(part, strlen(part));
}

static cop_value
sum_of(const member *const *m, size_t n, bool mean)
{
    wide sum = 0;
    uint64_t count = 0;
    bool whole = true, finite = true;
    for (size_t i = 0; i < n; i++) {
        const cop_value *value = &m[i]->value;
        if (is_nothing(value))
            continue;
        count++;
        whole &= value->type == COP_I64;
        finite &= is_finite(value);
        sum += is_finite(value) ? units(value) : 0;
    }
    if (mean && count == 0)
        return error_of("");
    if (!finite)
        return error_of("finite");
    if (mean)
        return cop_f64(quotient(sum, count));
    if (!whole)
        return cop_f64(quotient(sum, 1));
    sum >>= 20;
    return sum < INT64_MIN || sum > INT64_MAX ? error_of("") : cop_i64((int64_t)sum);
}

static cop_value
extreme_of(const member *const *m, size_t n, bool least)
{
    const cop_value *best = NULL;
    for (size_t i = 0; i < n; i++) {
        const cop_value *value = &m[i]->value;
        if (is_nothing(value) || is_nan(value))
            continue;
        if (best == NULL || (least ? greater(best, value) : greater(value, best)))
            best = value;
    }
    if (best == NULL)
        return cop_null();
    return is_finite(best) ? *best : error_of("finite");
}

static cop_value
fold_of(const member *const *m, size_t n)
{
    cop_value total = cop_i64(1 << 16);
    cop_status status = COP_OK;
    for (size_t i = 0; i < n; i++) {
        const cop_value *value = &m[i]->value;
        if (is_nothing(value))
            continue;
        if (status == COP_OK)
            status = oracle_compose(NULL, &total, value);
    }
    return status == COP_OK ? total : error_of("");
}

static cop_value
reduced(const reduce_spec *spec, const member *const *m, size_t n)
{
    int64_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += !is_nothing(&m[i]->value);
    if (spec->reduction == COP_REDUCE_COUNT)
        return cop_i64(count);
    if (spec->reduction == COP_REDUCE_CUSTOM)
        return fold_of(m, n);
    for (size_t i = 0; i < n; i++)
        if (!is_nothing(&m[i]->value) && !is_number(&m[i]->value))
            return error_of(m[i]->path);
    switch (spec->reduction) {
    case COP_REDUCE_SUM:
        return sum_of(m, n, false);
    case COP_REDUCE_MEAN:
        return sum_of(m, n, true);
    case COP_REDUCE_MIN:
        return extreme_of(m, n, true);
    case COP_REDUCE_MAX:
        return extreme_of(m, n, false);
    default:
        return cop_object(); /* top: rows */
    }
}

/* ---- comparing ---- */

static bool
error_says(const cop_value *got, const cop_value *want)
{
    char text[512];
    (void)snprintf(text, sizeof text, "%.*s", (int)cop_value_length(got), cop_value_data(got));
    char part[128];
    (void)snprintf(part, sizeof part, "%.*s", (int)cop_value_length(want), cop_value_data(want));
    return strstr(text, part) != NULL;
}

static bool
same(const cop_value *got, const cop_value *want)
{
    if (got->type == COP_ERROR && want->type == COP_ERROR)
        return error_says(got, want);
    return cop_value_equal(got, want);
}

static const char *
say(char *text, size_t capacity, const reduce_spec *spec, const char *where, const cop_value *got,
    const cop_value *want)
{
    (void)snprintf(text, capacity, "%s (%s, rule %u) %s: %s %lld %.17g %.*s, should be %s %lld %.17g %.*s",
                   spec->path, spec->pattern, (unsigned)spec->reduction, where,
                   cop_type_name((cop_type)got->type), (long long)cop_value_i64(got),
                   got->type == COP_F64 ? cop_value_f64(got) : 0.0,
                   cop_value_is_text(got) ? (int)cop_value_length(got) : 0, cop_value_data(got),
                   cop_type_name((cop_type)want->type), (long long)cop_value_i64(want),
                   want->type == COP_F64 ? cop_value_f64(want) : 0.0,
                   cop_value_is_text(want) ? (int)cop_value_length(want) : 0, cop_value_data(want));
    return text;
}

static int
by_number(const void *a, const void *b)
{
    const member *x = *(const member *const *)a, *y = *(const member *const *)b;
    if (greater(&x->value, &y->value))
        return -1;
    if (greater(&y->value, &x->value))
        return 1;
    return strcmp(x->path, y->path);
}

static const char *
row_disagrees(const cop_snapshot *snapshot, const reduce_spec *spec, const char *path,
              const cop_value *want, char *text, size_t capacity)
{
    cop_value got = {0};
    (void)cop_get_at(snapshot, path, strlen(path), &got);
    return same(&got, want) ? NULL : say(text, capacity, spec, path, &got, want);
}

static const char *
rows_disagree(const cop_snapshot *snapshot, const reduce_spec *spec, const char *branch,
              const member **m, size_t n, char *text, size_t capacity)
{
    size_t rows = 0;
    uint32_t count = 0;
    cop_atom atom;
    for (size_t i = 0; i < n; i++)
        if (is_number(&m[i]->value) && !is_nan(&m[i]->value))
            m[rows++] = m[i];
    qsort(m, rows, sizeof *m, by_number);
    if (rows > spec->k)
        rows = spec->k;
    for (size_t i = 0; i < rows; i++) {
        char path[2 * PATH_BYTES];
        cop_value value = is_finite(&m[i]->value) ? m[i]->value : error_of("finite");
        cop_value name = cop_string(m[i]->path, strlen(m[i]->path));
        (void)snprintf(path, sizeof path, "%s/%zu/path", branch, i);
        const char *wrong = row_disagrees(snapshot, spec, path, &name, text, capacity);
        (void)snprintf(path, sizeof path, "%s/%zu/value", branch, i);
        if (wrong == NULL)
            wrong = row_disagrees(snapshot, spec, path, &value, text, capacity);
        if (wrong != NULL)
            return wrong;
    }
    if (cop_find(snapshot, branch, strlen(branch), &atom) != COP_OK ||
        cop_count(snapshot, atom, &count) != COP_OK || count != rows) {
        (void)snprintf(text, capacity, "%s has %u rows, should have %zu", branch, count, rows);
        return text;
    }
    return NULL;
}

static const char *
one_disagrees(const cop_snapshot *snapshot, const reduce_spec *spec, const char *path,
              const member **m, size_t n, char *text, size_t capacity)
{
    cop_value want = reduced(spec, m, n);
    const char *wrong = row_disagrees(snapshot, spec, path, &want, text, capacity);
    if (wrong != NULL || want.type != COP_OBJECT)
        return wrong;
    return rows_disagree(snapshot, spec, path, m, n, text, capacity);
}

static const char *
groups_disagree(const cop_snapshot *snapshot, const reduce_spec *spec, const members *all,
                char *text, size_t capacity)
{
    const member *m[MEMBERS_MAX];
    char path[2 * PATH_BYTES];
    uint32_t groups = 0, count = 0;
    cop_atom branch, atom;
    (void)cop_find(snapshot, spec->path, strlen(spec->path), &branch);
    for (size_t i = 0; i < all->n; i++) {
        bool first = all->at[i].grouped;
        size_t n = 0;
        for (size_t j = 0; j < all->n; j++) {
            if (!all->at[i].grouped || !all->at[j].grouped ||
                strcmp(all->at[i].group, all->at[j].group) != 0)
                continue;
            first &= j >= i;
            m[n++] = &all->at[j];
        }
        if (!first)
            continue;
        (void)snprintf(path, sizeof path, "%s/%s", spec->path, all->at[i].group);
        const char *wrong = one_disagrees(snapshot, spec, path, m, n, text, capacity);
        if (wrong != NULL)
            return wrong;
        cop_atom here;
        if (cop_child_at(snapshot, branch, groups++, &atom) != COP_OK ||
            cop_find(snapshot, path, strlen(path), &here) != COP_OK || here.id != atom.id) {
            (void)snprintf(text, capacity, "%s is not group %u", path, groups - 1);
            return text;
        }
    }
    if (cop_count(snapshot, branch, &count) != COP_OK || count != groups) {
        (void)snprintf(text, capacity, "%s has %u groups, should have %u", spec->path, count, groups);
        return text;
    }
    return NULL;
}

const char *
oracle_disagrees(const cop_snapshot *snapshot, const reduce_spec *spec, char *text, size_t capacity)
{
    static const cop_atom root = {0, 1};
    const member *m[MEMBERS_MAX];
    members all = {malloc(MEMBERS_MAX * sizeof(member)), 0};
    cop_atom atom, top;
    const char *wrong;
    if (all.at == NULL)
        abort();
    if (cop_find(snapshot, spec->path, strlen(spec->path), &atom) != COP_OK) {
        free(all.at);
        return NULL;
    }
    if (cop_find(snapshot, "", 0, &top) != COP_OK)
        top = root;
    gather(snapshot, spec, top, "", spec->pattern, &all);
    qsort(all.at, all.n, sizeof *all.at, by_path);
    for (size_t i = 0; i < all.n; i++)
        m[i] = &all.at[i];
    wrong = spec->key != NULL
                ? groups_disagree(snapshot, spec, &all, text, capacity)
                : one_disagrees(snapshot, spec, spec->path, m, all.n, text, capacity);
    free(all.at);
    return wrong;
}
