/* SPDX-License-Identifier: MIT */
/* Options: the table made from COP_OPTIONS_MAP, and what is read from text and environment. */
#include "store/options_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/letters.h"
#include "store/log.h"

#define CHOICES_MAX 8

/* --- the table -------------------------------------------------------------------------------- */

enum row_number {
#define ROW_NUMBER(field, name, kind, def, min, max, live, help) ROW_##field,
    COP_OPTIONS_MAP(ROW_NUMBER)
#undef ROW_NUMBER
        ROWS
};

static const char *const choices[ROWS][CHOICES_MAX] = {
#define ROW_CHOICE(field, index, text) [ROW_##field][index] = text,
    COP_CHOICES_MAP(ROW_CHOICE)
#undef ROW_CHOICE
};

static const char environment_names[ROWS][8 + 32 + 1] = {
#define ROW_VARIABLE(field, name, kind, def, min, max, live, help) \
    {'C', 'O', 'P', 'P', 'I', 'C', 'E', '_', COP_UPPER_32(#field), 0},
    COP_OPTIONS_MAP(ROW_VARIABLE)
#undef ROW_VARIABLE
};

#define ROW_FITS(field, name, kind, def, min, max, live, help) \
    _Static_assert(sizeof #field <= 33, "the name of an option is too long: " #field);
COP_OPTIONS_MAP(ROW_FITS)
#undef ROW_FITS

#define CHOICES_OF_BOOL(field) NULL
#define CHOICES_OF_U64(field) NULL
#define CHOICES_OF_ENUM(field) choices[ROW_##field]

static const cop_option_info table[ROWS] = {
#define ROW(field, name, kind, def, min, max, live, help)                           \
    {name, environment_names[ROW_##field], help, COP_OPTION_##kind, def, min, \
     max,  CHOICES_OF_##kind(field), live},
    COP_OPTIONS_MAP(ROW)
#undef ROW
};

static const size_t offsets[ROWS] = {
#define ROW_OFFSET(field, name, kind, def, min, max, live, help) offsetof(cop_options, field),
    COP_OPTIONS_MAP(ROW_OFFSET)
#undef ROW_OFFSET
};

size_t
cop_options_count(void)
{
    return ROWS;
}

const cop_option_info *
cop_options_info(size_t index)
{
    return index < ROWS ? &table[index] : NULL;
}

size_t
cop__option_find(const char *name)
{
    size_t row = 0;
    while (row < ROWS && (!name || strcmp(table[row].name, name) != 0))
        row++;
    return row;
}

static uint64_t
field_get(const cop_options *options, size_t row)
{
    uint64_t value;
    memcpy(&value, (const char *)options + offsets[row], sizeof value);
    return value;
}

static void
field_set(cop_options *options, size_t row, uint64_t value)
{
    memcpy((char *)options + offsets[row], &value, sizeof value);
}

void
cop_options_init(cop_options *options)
{
    const cop_options defaults = COP_OPTIONS_INIT;
    *options = defaults;
}

size_t
cop_options_differ(const cop_options *a, const cop_options *b, size_t first)
{
    size_t row = first;
    while (row < ROWS && field_get(a, row) == field_get(b, row))
        row++;
    return row < ROWS ? row : ROWS;
}

cop_status
cop_options_copy(cop_options *to, const cop_options *from, size_t row)
{
    if (row >= ROWS)
        return COP_E_INVALID;
    field_set(to, row, field_get(from, row));
    return COP_OK;
}

size_t
cop__options_fixed(const cop_options *now, const cop_options *next)
{
    size_t row = cop_options_differ(now, next, 0);
    while (row < ROWS && table[row].live)
        row = cop_options_differ(now, next, row + 1);
    return row;
}

void
cop__options_copy_live(cop_options *to, const cop_options *from)
{
    for (size_t row = 0; row < ROWS; row++)
        if (table[row].live)
            field_set(to, row, field_get(from, row));
}

/* --- complaints ------------------------------------------------------------------------------- */

/* "lazy, full or incremental" */
static void
list_choices(const cop_option_info *info, char *text, size_t capacity)
{
    size_t used = 0;
    text[0] = '\0';
    for (uint64_t i = 0; i <= info->maximum && used < capacity; i++) {
        const char *before = i == 0 ? "" : i == info->maximum ? " or " : ", ";
        int n = snprintf(text + used, capacity - used, "%s%s", before, info->choices[i]);
        used += n > 0 ? (size_t)n : 0;
    }
}

static void
expectation(const cop_option_info *info, char *text, size_t capacity)
{
    switch (info->kind) {
    case COP_OPTION_BOOL:
        snprintf(text, capacity, "true, false, on, off, 1 or 0");
        break;
    case COP_OPTION_U64:
        snprintf(text, capacity, "a whole number, with k, M, G, Ki, Mi, Gi or no unit");
        break;
    case COP_OPTION_ENUM:
        list_choices(info, text, capacity);
        break;
    }
}

static cop_status
fail_malformed(const cop_option_info *info, const char *subject, const char *text, cop_error *error)
{
    char expected[96];
    expectation(info, expected, sizeof expected);
    return cop__fail(error, COP_E_INVALID, "%s: expected %s, not \"%.40s\"", subject, expected,
                     text);
}

static cop_status
fail_range(const cop_option_info *info, const char *subject, const char *text, cop_error *error)
{
    return cop__fail(error, COP_E_RANGE, "%s: %.40s is out of range: %" PRIu64 " to %" PRIu64,
                     subject, text, info->minimum, info->maximum);
}

static cop_status
fail_unknown(const char *name, cop_error *error)
{
    return cop__fail(error, COP_E_INVALID, "unknown option \"%.60s\"", name ? name : "");
}

cop_status
cop__options_known(const cop_options *options, cop_error *error)
{
    if (!options)
        return cop__fail(error, COP_E_INVALID, "the options are NULL");
    if (options->size != sizeof *options)
        return cop__fail(error, COP_E_INVALID,
                         "the options are %zu bytes, this library knows %zu: use COP_OPTIONS_INIT",
                         options->size, sizeof *options);
    return COP_OK;
}

/* --- text to value ---------------------------------------------------------------------------- */

static cop_status
parse_bool(const char *text, uint64_t *value)
{
    static const char *const words[] = {"false", "true", "off", "on", "0", "1"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(text, words[i]) != 0)
            continue;
        *value = i & 1;
        return COP_OK;
    }
    return COP_E_INVALID;
}

/* The factor that a unit stands for; 0 when there is no such unit. */
static uint64_t
unit_factor(const char *unit)
{
    static const struct {
        const char *name;
        uint64_t factor;
    } units[] = {{"", 1},
                 {"k", UINT64_C(1000)},
                 {"M", UINT64_C(1000000)},
                 {"G", UINT64_C(1000000000)},
                 {"Ki", UINT64_C(1) << 10},
                 {"Mi", UINT64_C(1) << 20},
                 {"Gi", UINT64_C(1) << 30}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(unit, units[i].name) == 0)
            return units[i].factor;
    return 0;
}

/* A negative number is well formed but below every minimum. */
static cop_status
parse_u64(const char *text, uint64_t *value)
{
    bool negative = text[0] == '-', overflow = false;
    const char *digits = text + negative, *p = digits;
    uint64_t n = 0;
    for (; *p >= '0' && *p <= '9'; p++) {
        overflow |= __builtin_mul_overflow(n, 10, &n);
        overflow |= __builtin_add_overflow(n, (uint64_t)(*p - '0'), &n);
    }
    uint64_t factor = unit_factor(p);
    if (p == digits || factor == 0)
        return COP_E_INVALID;
    overflow |= __builtin_mul_overflow(n, factor, &n);
    if (negative || overflow)
        return COP_E_RANGE;
    *value = n;
    return COP_OK;
}

static cop_status
parse_choice(const cop_option_info *info, const char *text, uint64_t *value)
{
    for (uint64_t i = 0; i <= info->maximum; i++) {
        if (strcmp(text, info->choices[i]) != 0)
            continue;
        *value = i;
        return COP_OK;
    }
    return COP_E_INVALID;
}

static cop_status
parse_kind(const cop_option_info *info, const char *text, uint64_t *value)
{
    switch (info->kind) {
    case COP_OPTION_BOOL:
        return parse_bool(text, value);
    case COP_OPTION_ENUM:
        return parse_choice(info, text, value);
    case COP_OPTION_U64:
        break;
    }
    return parse_u64(text, value);
}

static bool
in_bounds(const cop_option_info *info, uint64_t value)
{
    return value >= info->minimum && value <= info->maximum;
}

cop_status
cop__option_parse(cop_options *options, size_t row, const char *text, const char *subject,
                  cop_error *error)
{
    const cop_option_info *info = &table[row];
    uint64_t value = 0;
    cop_status status = parse_kind(info, text, &value);
    if (status == COP_E_INVALID)
        return fail_malformed(info, subject, text, error);
    if (status != COP_OK || !in_bounds(info, value))
        return fail_range(info, subject, text, error);
    field_set(options, row, value);
    return COP_OK;
}

/* --- the public readers ----------------------------------------------------------------------- */

cop_status
cop_options_set(cop_options *options, const char *name, const char *text, cop_error *error)
{
    size_t row = cop__option_find(name);
    cop_status status = cop__options_known(options, error);
    if (status != COP_OK)
        return status;
    if (row == ROWS)
        return fail_unknown(name, error);
    if (!text)
        return fail_malformed(&table[row], name, "", error);
    return cop__option_parse(options, row, text, name, error);
}

/* A choice or bool that is out of bounds (set by hand, not checked yet) is shown as its number. */
static int
print_value(const cop_option_info *info, uint64_t value, char *buffer, size_t capacity)
{
    if (in_bounds(info, value) && info->kind == COP_OPTION_BOOL)
        return snprintf(buffer, capacity, "%s", value ? "true" : "false");
    if (in_bounds(info, value) && info->kind == COP_OPTION_ENUM)
        return snprintf(buffer, capacity, "%s", info->choices[value]);
    return snprintf(buffer, capacity, "%" PRIu64, value);
}

cop_status
cop_options_get(const cop_options *options, const char *name, char *buffer, size_t capacity)
{
    size_t row = cop__option_find(name);
    if (capacity == 0)
        return COP_E_RANGE;
    buffer[0] = '\0';
    if (row == ROWS || cop__options_known(options, NULL) != COP_OK)
        return COP_E_INVALID;
    int n = print_value(&table[row], field_get(options, row), buffer, capacity);
    return n >= 0 && (size_t)n < capacity ? COP_OK : COP_E_RANGE;
}

cop_status
cop_options_load_environment(cop_options *options, cop_error *error)
{
    cop_status status = cop__options_known(options, error);
    if (status != COP_OK)
        return status;
    cop_options loaded = *options;
    for (size_t row = 0; row < ROWS; row++) {
        const char *name = table[row].environment, *text = getenv(name);
        if (!text)
            continue;
        status = cop__option_parse(&loaded, row, text, name, error);
        if (status != COP_OK)
            return status;
    }
    *options = loaded;
    return COP_OK;
}

cop_status
cop_options_check(const cop_options *options, cop_error *error)
{
    cop_status status = cop__options_known(options, error);
    if (status != COP_OK)
        return status;
    for (size_t row = 0; row < ROWS; row++) {
        const cop_option_info *info = &table[row];
        uint64_t value = field_get(options, row);
        char text[24];
        if (in_bounds(info, value))
            continue;
        print_value(info, value, text, sizeof text);
        return fail_range(info, info->name, text, error);
    }
    if (!options->allocator.allocate != !options->allocator.release)
        return cop__fail(error, COP_E_INVALID, "allocator: give both allocate and release");
    return COP_OK;
}
