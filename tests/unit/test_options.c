/* SPDX-License-Identifier: MIT */
/*
 * Options: the table, text there and back, environment, files with the line of each fault. What
 * fails leaves the struct as it was.
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/options_internal.h"
#include "tests/support/quick_check.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(COP_LEAK_SANITIZER)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

/* Asked by a leak sanitizer: libconfig 1.5 loses a string that stands where none may. */
/* Visible, or the sanitizer's shared library does not find it. */
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);
const char *
__lsan_default_suppressions(void)
{
    return "leak:libconfig.so";
}

static cop_options options;
static cop_error error;

static void
fresh(void)
{
    static const cop_error none = COP_ERROR_INIT;
    cop_options_init(&options);
    error = none;
}

/* Whether two structs hold the same; their padding is of no interest. */
static bool
same(const cop_options *a, const cop_options *b)
{
#define SAME_FIELD(field, name, kind, def, min, max, live, help) \
    if (a->field != b->field)                              \
        return false;
    COP_OPTIONS_MAP(SAME_FIELD)
#undef SAME_FIELD
    return a->size == b->size && a->log == b->log && a->log_context == b->log_context;
}

/* The value of an option as text. */
static const char *
value_of(const char *name)
{
    static char text[64];
    ck_assert_int_eq(cop_options_get(&options, name, text, sizeof text), COP_OK);
    return text;
}

/* --- the table -------------------------------------------------------------------------------- */

static void
check_names(const cop_option_info *info)
{
    char expected[80] = "COPPICE_";
    size_t n = strlen(expected);
    int dots = 0;
    for (const char *c = info->name; *c; c++) {
        ck_assert(islower((unsigned char)*c) || *c == '_' || *c == '.');
        expected[n++] = *c == '.' ? '_' : (char)toupper((unsigned char)*c);
        dots += *c == '.';
    }
    expected[n] = '\0';
    ck_assert_str_eq(info->environment, expected);
    ck_assert_int_eq(dots, 1); /* one group and a name: so files nest once */
    ck_assert_uint_gt(strlen(info->help), 0);
}

static void
check_choices(const cop_option_info *info)
{
    if (info->kind != COP_OPTION_ENUM) {
        ck_assert_ptr_null(info->choices);
        return;
    }
    for (uint64_t i = 0; i <= info->maximum; i++) {
        ck_assert_ptr_nonnull(info->choices[i]);
        for (uint64_t j = 0; j < i; j++)
            ck_assert_str_ne(info->choices[i], info->choices[j]);
    }
}

START_TEST(table)
{
    ck_assert_uint_gt(cop_options_count(), 10);
    ck_assert_ptr_null(cop_options_info(cop_options_count()));
    ck_assert_ptr_null(cop_options_info(SIZE_MAX));
    for (size_t row = 0; row < cop_options_count(); row++) {
        const cop_option_info *info = cop_options_info(row);
        ck_assert_ptr_nonnull(info);
        ck_assert_uint_ge(info->default_value, info->minimum);
        ck_assert_uint_le(info->default_value, info->maximum);
        check_names(info);
        check_choices(info);
        ck_assert_uint_eq(cop__option_find(info->name), row);
        if (info->kind == COP_OPTION_BOOL)
            ck_assert_uint_eq(info->maximum, 1);
    }
}
END_TEST

START_TEST(defaults)
{
    cop_options initialised = COP_OPTIONS_INIT;
    memset(&options, 0xff, sizeof options);
    cop_options_init(&options);
    ck_assert(same(&options, &initialised));
    ck_assert_uint_eq(options.size, sizeof options);
    ck_assert(options.allocator.allocate == NULL && options.allocator.release == NULL);
    ck_assert(options.allocator.destroy == NULL && options.allocator.context == NULL);
    ck_assert(options.log == NULL && options.log_context == NULL && options.log_destroy == NULL);
    ck_assert_int_eq(cop_options_check(&options, &error), COP_OK);
    ck_assert_uint_eq(options.history_max_snapshots, 50);
    ck_assert_str_eq(value_of("batch.updates"), "true");
    ck_assert_str_eq(value_of("serialization.strategy"), "lazy");
    ck_assert_str_eq(value_of("memory.chunk_bytes"), "2097152");
}
END_TEST

/* --- text ------------------------------------------------------------------------------------- */

/* What every value of the table is written as is read as the same value. */
static void
check_there_and_back(const cop_option_info *info, uint64_t value)
{
    char text[64], again[64];
    size_t field = cop__option_find(info->name);
    fresh();
    snprintf(text, sizeof text, "%" PRIu64, value);
    if (info->kind == COP_OPTION_ENUM)
        snprintf(text, sizeof text, "%s", info->choices[value]);
    ck_assert_int_eq(cop_options_set(&options, info->name, text, &error), COP_OK);
    ck_assert_int_eq(cop_options_get(&options, info->name, again, sizeof again), COP_OK);
    if (info->kind == COP_OPTION_BOOL)
        ck_assert_str_eq(again, value ? "true" : "false");
    else
        ck_assert_str_eq(again, text);
    ck_assert_int_eq(cop_options_set(&options, info->name, again, &error), COP_OK);
    ck_assert_int_eq(cop__option_parse(&options, field, again, "x", &error), COP_OK);
    ck_assert_int_eq(cop_options_check(&options, &error), COP_OK);
}

START_TEST(bounds_there_and_back)
{
    for (size_t row = 0; row < cop_options_count(); row++) {
        const cop_option_info *info = cop_options_info(row);
        check_there_and_back(info, info->minimum);
        check_there_and_back(info, info->default_value);
        check_there_and_back(info, info->maximum);
        for (uint64_t i = 0; info->kind == COP_OPTION_ENUM && i <= info->maximum; i++)
            check_there_and_back(info, i);
    }
}
END_TEST

typedef struct setting {
    const char *name, *text;
    cop_status status;
    const char *result; /* the value as text, or a part of the message */
} setting;

static const setting settings[] = {
    {"batch.updates", "true", COP_OK, "true"},
    {"batch.updates", "on", COP_OK, "true"},
    {"batch.updates", "1", COP_OK, "true"},
    {"batch.updates", "false", COP_OK, "false"},
    {"batch.updates", "off", COP_OK, "false"},
    {"batch.updates", "0", COP_OK, "false"},
    {"batch.updates", "True", COP_E_INVALID, "expected true, false, on, off, 1 or 0, not \"True\""},
    {"batch.updates", "", COP_E_INVALID, "batch.updates: expected"},
    {"batch.updates", "2", COP_E_INVALID, "not \"2\""},
    {"batch.window_ms", "8", COP_OK, "8"},
    {"batch.window_ms", "0", COP_OK, "0"},
    {"batch.window_ms", "0008", COP_OK, "8"},
    {"batch.window_ms", "60000", COP_OK, "60000"},
    {"batch.window_ms", "60k", COP_OK, "60000"},
    {"batch.window_ms", "1Ki", COP_OK, "1024"},
    {"batch.window_ms", "60001", COP_E_RANGE, "batch.window_ms: 60001 is out of range: 0 to 60000"},
    {"batch.window_ms", "-1", COP_E_RANGE, "-1 is out of range"},
    {"batch.window_ms", "-1k", COP_E_RANGE, "-1k is out of range"},
    {"batch.window_ms", "", COP_E_INVALID, "expected a whole number"},
    {"batch.window_ms", "-", COP_E_INVALID, "expected a whole number"},
    {"batch.window_ms", "--1", COP_E_INVALID, "expected a whole number"},
    {"batch.window_ms", "+1", COP_E_INVALID, "expected a whole number"},
    {"batch.window_ms", "k", COP_E_INVALID, "expected a whole number"},
    {"batch.window_ms", "1K", COP_E_INVALID, "k, M, G, Ki, Mi, Gi"},
    {"batch.window_ms", "1 k", COP_E_INVALID, "not \"1 k\""},
    {"batch.window_ms", " 1", COP_E_INVALID, "not \" 1\""},
    {"batch.window_ms", "1 ", COP_E_INVALID, "not \"1 \""},
    {"batch.window_ms", "1.5", COP_E_INVALID, "not \"1.5\""},
    {"batch.window_ms", "0x10", COP_E_INVALID, "not \"0x10\""},
    {"batch.window_ms", "1ms", COP_E_INVALID, "not \"1ms\""},
    {"batch.window_ms", "18446744073709551616", COP_E_RANGE, "out of range"},
    {"batch.window_ms", "99999999999999999999999", COP_E_RANGE, "out of range"},
    {"history.max_bytes", "18446744073709551615", COP_OK, "18446744073709551615"},
    {"history.max_bytes", "18446744073709551616", COP_E_RANGE, "0 to 18446744073709551615"},
    {"history.max_bytes", "18446744073709552k", COP_E_RANGE, "out of range"},
    {"history.max_bytes", "17179869183Gi", COP_OK, "18446744072635809792"},
    {"history.max_bytes", "17179869184Gi", COP_E_RANGE, "out of range"},
    {"memory.limit_bytes", "3M", COP_OK, "3000000"},
    {"memory.limit_bytes", "3Mi", COP_OK, "3145728"},
    {"memory.limit_bytes", "3G", COP_OK, "3000000000"},
    {"memory.limit_bytes", "3Gi", COP_OK, "3221225472"},
    {"memory.chunk_bytes", "4095", COP_E_RANGE, "4096 to 1073741824"},
    {"memory.chunk_bytes", "4Ki", COP_OK, "4096"},
    {"serialization.strategy", "full", COP_OK, "full"},
    {"serialization.strategy", "incremental", COP_OK, "incremental"},
    {"serialization.strategy", "eager", COP_E_INVALID,
     "serialization.strategy: expected lazy, full or incremental, not \"eager\""},
    {"serialization.strategy", "1", COP_E_INVALID, "expected lazy"},
    {"serialization.strategy", "", COP_E_INVALID, "expected lazy"},
    {"memory.on_limit", "fail", COP_OK, "fail"},
    {"memory.on_limit", "Fail", COP_E_INVALID, "expected wait or fail, not \"Fail\""},
    {"memory", "1", COP_E_INVALID, "unknown option \"memory\""},
    {"", "1", COP_E_INVALID, "unknown option \"\""},
    {"batch.window_ms ", "1", COP_E_INVALID, "unknown option"},
    {"batch_window_ms", "1", COP_E_INVALID, "unknown option"},
    {NULL, "1", COP_E_INVALID, "unknown option"},
    {"batch.window_ms", NULL, COP_E_INVALID, "batch.window_ms: expected"},
};

START_TEST(set)
{
    const setting *s = &settings[_i];
    fresh();
    cop_options before = options;
    ck_assert_int_eq(cop_options_set(&options, s->name, s->text, &error), s->status);
    if (s->status == COP_OK) {
        ck_assert_str_eq(value_of(s->name), s->result);
        return;
    }
    ck_assert(same(&options, &before));
    ck_assert_int_eq(error.status, s->status);
    ck_assert_msg(strstr(error.message, s->result) != NULL, "%s", error.message);
    ck_assert_int_eq(cop_options_set(&options, s->name, s->text, NULL), s->status);
}
END_TEST

START_TEST(set_quotes_shortly)
{
    char longest[2000];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    for (size_t row = 0; row < cop_options_count(); row++) {
        const char *name = cop_options_info(row)->name;
        ck_assert_int_eq(cop_options_set(&options, name, longest, &error), COP_E_INVALID);
        ck_assert_uint_lt(strlen(error.message), sizeof error.message - 1);
        ck_assert_int_eq(error.message[strlen(error.message) - 1], '"');
    }
    memset(longest, '9', sizeof longest - 1);
    ck_assert_int_eq(cop_options_set(&options, "memory.chunk_bytes", longest, &error), COP_E_RANGE);
    ck_assert_ptr_nonnull(strstr(error.message, "4096 to 1073741824"));
    cop_options_set(&options, longest, "1", &error);
    ck_assert_uint_lt(strlen(error.message), 100);
}
END_TEST

START_TEST(get)
{
    char text[64];
    memset(text, 'x', sizeof text);
    ck_assert_int_eq(cop_options_get(&options, "no.such", text, sizeof text), COP_E_INVALID);
    ck_assert_str_eq(text, "");
    ck_assert_int_eq(cop_options_get(&options, NULL, text, sizeof text), COP_E_INVALID);
    ck_assert_int_eq(cop_options_get(&options, "memory.chunk_bytes", text, 8), COP_OK);
    ck_assert_int_eq(cop_options_get(&options, "memory.chunk_bytes", text, 7), COP_E_RANGE);
    ck_assert_uint_lt(strlen(text), 7);
    ck_assert_int_eq(cop_options_get(&options, "memory.chunk_bytes", text, 1), COP_E_RANGE);
    ck_assert_int_eq(cop_options_get(&options, "memory.chunk_bytes", NULL, 0), COP_E_RANGE);
    /* What is out of bounds is shown as it is. */
    options.batch_updates = 7;
    options.serialization_strategy = 9;
    ck_assert_str_eq(value_of("batch.updates"), "7");
    ck_assert_str_eq(value_of("serialization.strategy"), "9");
}
END_TEST

/* --- check ------------------------------------------------------------------------------------ */

START_TEST(check_bounds)
{
    for (size_t row = 0; row < cop_options_count(); row++) {
        const cop_option_info *info = cop_options_info(row);
        uint64_t *field = (uint64_t *)(void *)((char *)&options + sizeof(size_t)) + row;
        fresh();
        ck_assert_uint_eq(*field, info->default_value);
        if (info->maximum < UINT64_MAX) {
            *field = info->maximum + 1;
            ck_assert_int_eq(cop_options_check(&options, &error), COP_E_RANGE);
            char text[160];
            snprintf(text, sizeof text, "%s: %" PRIu64 " is out of range: %" PRIu64 " to %" PRIu64,
                     info->name, *field, info->minimum, info->maximum);
            ck_assert_str_eq(error.message, text);
            ck_assert_int_eq(cop_options_check(&options, NULL), COP_E_RANGE);
        }
        if (info->minimum > 0) {
            *field = info->minimum - 1;
            ck_assert_int_eq(cop_options_check(&options, &error), COP_E_RANGE);
        }
    }
}
END_TEST

/* Each call refuses a struct of another size, and NULL. */
static void
check_refused(cop_options *o)
{
    char text[8];
    ck_assert_int_eq(cop_options_check(o, &error), COP_E_INVALID);
    ck_assert_int_eq(cop_options_set(o, "batch.window_ms", "1", &error), COP_E_INVALID);
    ck_assert_int_eq(cop_options_get(o, "batch.window_ms", text, sizeof text), COP_E_INVALID);
    ck_assert_int_eq(cop_options_load_environment(o, &error), COP_E_INVALID);
    ck_assert_int_eq(cop_options_load_file(o, "/dev/null", &error), COP_E_INVALID);
    ck_assert_uint_gt(strlen(error.message), 0);
}

START_TEST(check_size)
{
    check_refused(NULL);
    options.size = 0;
    check_refused(&options);
    options.size = sizeof options + 8;
    check_refused(&options);
}
END_TEST

START_TEST(check_allocator)
{
    options.allocator = cop_allocator_libc();
    ck_assert_int_eq(cop_options_check(&options, &error), COP_OK);
    options.allocator.release = NULL;
    ck_assert_int_eq(cop_options_check(&options, &error), COP_E_INVALID);
    options.allocator = cop_allocator_libc();
    options.allocator.allocate = NULL;
    ck_assert_int_eq(cop_options_check(&options, &error), COP_E_INVALID);
}
END_TEST

START_TEST(differ_and_copy)
{
    cop_options other = options;
    size_t last = cop_options_count() - 1;

    ck_assert_uint_eq(cop_options_differ(&options, &other, 0), cop_options_count());
    other.batch_window_ms++; /* the second row */
    other.watch_log_bytes++; /* the last */
    ck_assert_uint_eq(cop_options_differ(&options, &other, 0), 1);
    ck_assert_uint_eq(cop_options_differ(&options, &other, 1), 1);
    ck_assert_uint_eq(cop_options_differ(&options, &other, 2), last);
    ck_assert_uint_eq(cop_options_differ(&options, &other, last + 1), cop_options_count());
    ck_assert_uint_eq(cop_options_differ(&options, &other, SIZE_MAX), cop_options_count());
    ck_assert_int_eq(cop_options_copy(&other, &options, 1), COP_OK);
    ck_assert_uint_eq(other.batch_window_ms, options.batch_window_ms);
    ck_assert_uint_eq(cop_options_differ(&options, &other, 0), last);
    ck_assert_int_eq(cop_options_copy(&other, &options, last + 1), COP_E_INVALID);
    ck_assert_uint_eq(cop_options_differ(&options, &other, 0), last);
}
END_TEST

/* --- environment ------------------------------------------------------------------------------ */

static void
clear_environment(void)
{
    for (size_t row = 0; row < cop_options_count(); row++)
        unsetenv(cop_options_info(row)->environment);
    unsetenv("COPPICE_NO_SUCH");
}

START_TEST(environment)
{
    ck_assert_int_eq(cop_options_load_environment(&options, &error), COP_OK);
    cop_options plain = COP_OPTIONS_INIT;
    ck_assert(same(&options, &plain));
    setenv("COPPICE_NO_SUCH", "ignored", 1);
    setenv("COPPICE_BATCH_UPDATES", "off", 1); /* the first of the table */
    setenv("COPPICE_BATCH_WINDOW_MS", "12", 1);
    setenv("COPPICE_MEMORY_ON_LIMIT", "fail", 1);
    setenv("COPPICE_READERS_MEMBARRIER", "off", 1);
    ck_assert_int_eq(cop_options_load_environment(&options, &error), COP_OK);
    ck_assert_uint_eq(options.batch_updates, 0);
    ck_assert_uint_eq(options.batch_window_ms, 12);
    ck_assert_uint_eq(options.memory_on_limit, 1);
    ck_assert_uint_eq(options.readers_membarrier, 0);
    plain.batch_updates = 0;
    plain.batch_window_ms = 12;
    plain.memory_on_limit = 1;
    plain.readers_membarrier = 0;
    ck_assert(same(&options, &plain));
}
END_TEST

START_TEST(environment_all_or_nothing)
{
    cop_options before = options;
    setenv("COPPICE_BATCH_WINDOW_MS", "12", 1);
    setenv("COPPICE_SNAPSHOTS_MAX", "0", 1);
    ck_assert_int_eq(cop_options_load_environment(&options, &error), COP_E_RANGE);
    ck_assert_str_eq(error.message, "COPPICE_SNAPSHOTS_MAX: 0 is out of range: 1 to 1000000");
    ck_assert(same(&options, &before));
    setenv("COPPICE_SNAPSHOTS_MAX", "many", 1);
    ck_assert_int_eq(cop_options_load_environment(&options, NULL), COP_E_INVALID);
    ck_assert(same(&options, &before));
    setenv("COPPICE_SNAPSHOTS_MAX", "", 1);
    ck_assert_int_eq(cop_options_load_environment(&options, NULL), COP_E_INVALID);
    setenv("COPPICE_SNAPSHOTS_MAX", "5", 1);
    ck_assert_int_eq(cop_options_load_environment(&options, NULL), COP_OK);
    ck_assert_uint_eq(options.snapshots_max, 5);
    ck_assert_uint_eq(options.batch_window_ms, 12);
}
END_TEST

/* --- files ------------------------------------------------------------------------------------ */

static char directory[64];
static char file[128];

static void
make_directory(void)
{
    strcpy(directory, "/tmp/coppice-options-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(file, sizeof file, "%s/c.conf", directory);
    fresh();
}

static void
drop_directory(void)
{
    unlink(file);
    rmdir(directory);
}

static void
write_file(const char *text, size_t n)
{
    FILE *out = fopen(file, "w");
    ck_assert_ptr_nonnull(out);
    ck_assert_uint_eq(fwrite(text, 1, n, out), n);
    ck_assert_int_eq(fclose(out), 0);
}

static cop_status
load(const char *text)
{
    write_file(text, strlen(text));
    return cop_options_load_file(&options, file, &error);
}

START_TEST(file_good)
{
    ck_assert_int_eq(load("# a comment\n"
                          "batch = { window_ms = 8; updates = false; };\n"
                          "history : { max_bytes = 5000000000L; };\n"
                          "memory = {\n"
                          "    limit_bytes = \"64\" \"Mi\"; // another @include \"9999999999\n"
                          "    /* @include 9999999999 \" */ chunk_bytes = 2147483\n"
                          "    on_limit = \"fail\",\n"
                          "    huge_pages = 0\n"
                          "    wait_ms = \"7\"\n"
                          "};\n"
                          "serialization = { strategy = \"full\"; };\n"
                          "workers = { };\n"),
                     COP_OK);
    cop_options expected = COP_OPTIONS_INIT;
    expected.batch_window_ms = 8;
    expected.batch_updates = 0;
    expected.history_max_bytes = UINT64_C(5000000000);
    expected.memory_limit_bytes = 64 << 20;
    expected.memory_chunk_bytes = 2147483;
    expected.memory_on_limit = 1;
    expected.memory_huge_pages = 0;
    expected.memory_wait_ms = 7;
    expected.serialization_strategy = 1;
    ck_assert(same(&options, &expected));
    ck_assert_int_eq(load(""), COP_OK);
    ck_assert_int_eq(load("\n\n# nothing\n"), COP_OK);
    ck_assert(same(&options, &expected));
}
END_TEST

typedef struct bad_file {
    const char *text;
    cop_status status;
    uint32_t line;
    const char *message; /* begins so, behind "file:line: " */
} bad_file;

static const bad_file bad_files[] = {
    {"batch = { window_ms = 8; }\nhistory { }", COP_E_SYNTAX, 2, "syntax error"},
    {"batch = {\n", COP_E_SYNTAX, 2, "syntax error"},
    {"batch = { window_ms = ; };", COP_E_SYNTAX, 1, "syntax error"},
    {"batch.window_ms = 8;\n", COP_E_SYNTAX, 1, "syntax error"},
    {"= 8\n", COP_E_SYNTAX, 1, "syntax error"},
    {"batch = { updates = true;\n  updates = true; };", COP_E_SYNTAX, 2, "duplicate setting name"},
    {"batch = { };\n\nbatch = { };", COP_E_SYNTAX, 3, "duplicate setting name"},
    {"batch = { a = \n\"unfinished\n", COP_E_SYNTAX, 2, "a string without an end"},
    {"/* \n \" */\n\"a\nb\" \"unfinished\\\"", COP_E_SYNTAX, 4, "a string without an end"},
    {"batch = { a = \"\\", COP_E_SYNTAX, 1, "a string without an end"},
    {"a = \"b\" \"c\n\\\n\";\n/*\n*/@include", COP_E_SYNTAX, 5, "@include is not supported"},
    {"\n\nbatch = {\n  windowms = 8;\n};", COP_E_INVALID, 4, "unknown option batch.windowms"},
    {"window_ms = 8;", COP_E_INVALID, 1, "unknown option window_ms"},
    {"batch = 8;", COP_E_INVALID, 1, "unknown option batch"},
    {"batch = { window_ms = 1; };\nbatches = { };", COP_E_INVALID, 2, "unknown group batches"},
    {"\nbat = { window_ms = 1; };", COP_E_INVALID, 2, "unknown group bat"},
    {"batch = {\n inner = { window_ms = 8; };\n};", COP_E_INVALID, 2, "unknown option batch.inner"},
    {"batch = {\n\n window_ms = { };\n};", COP_E_INVALID, 3,
     "batch.window_ms: expected a whole number, a boolean or a string"},
    {"batch = { window_ms = 1.5; };", COP_E_INVALID, 1,
     "batch.window_ms: expected a whole number, a boolean or a string"},
    {"batch = { window_ms = [1, 2]; };", COP_E_INVALID, 1, "batch.window_ms: expected"},
    {"batch = { window_ms = (1, 2); };", COP_E_INVALID, 1, "batch.window_ms: expected"},
    {"batch = { window_ms = true; };", COP_E_INVALID, 1,
     "batch.window_ms: expected a whole number, with k, M, G, Ki, Mi, Gi or no unit, not \"true\""},
    {"batch = {\n window_ms = \"soon\";\n};", COP_E_INVALID, 2,
     "batch.window_ms: expected a whole number, with k, M, G, Ki, Mi, Gi or no unit, not \"soon\""},
    {"batch = { updates = 2; };", COP_E_INVALID, 1, "batch.updates: expected true"},
    {"serialization = {\n\n\n strategy = 1;\n};", COP_E_INVALID, 4,
     "serialization.strategy: expected lazy, full or incremental, not \"1\""},
    {"memory = {\n limit_bytes = 1;\n chunk_bytes = 4095;\n};", COP_E_RANGE, 3,
     "memory.chunk_bytes: 4095 is out of range: 4096 to 1073741824"},
    {"batch = { window_ms = -8; };", COP_E_RANGE, 1, "batch.window_ms: -8 is out of range"},
    {"batch = { window_ms = 60001L; };", COP_E_RANGE, 1, "batch.window_ms: 60001 is out of range"},
    {"history = { max_bytes = -9223372036854775808L; };", COP_E_RANGE, 1,
     "history.max_bytes: -9223372036854775808 is out of range"},
    /* Both would reach us as another number than was written. */
    {"history = { max_bytes = 0x1FFFFFFFF; };", COP_E_INVALID, 1,
     "history.max_bytes: numbers are decimal here"},
    {"history = {\n max_bytes = 99999999999999999999L; };", COP_E_RANGE, 2,
     "history.max_bytes: a number this great is written in quotes"},
    {"history = {\n max_bytes = 2147483648; };", COP_E_RANGE, 2, "a number beyond 32 bits"},
    {"# 2147483648\nhistory = { max_bytes = -2147483649; };", COP_E_RANGE, 2,
     "a number beyond 32 bits"},
    {"// \"\n/* \" */ history = [99999999999999999999];", COP_E_RANGE, 2,
     "a number beyond 32 bits"},
    {"\n\n@include \"other.conf\"\n", COP_E_SYNTAX, 3, "@include is not supported"},
    {"batch = {\n  \t@include \"/tmp\"\n};", COP_E_SYNTAX, 2, "@include is not supported"},
    {"@include", COP_E_SYNTAX, 1, "@include is not supported"},
};
#define BAD_FILES (sizeof bad_files / sizeof *bad_files)

START_TEST(file_bad)
{
    const bad_file *b = &bad_files[_i];
    char expected[400];
    cop_options before = options;
    ck_assert_int_eq(load(b->text), b->status);
    snprintf(expected, sizeof expected, "%s:%" PRIu32 ": %s", file, b->line, b->message);
    ck_assert_msg(strncmp(error.message, expected, strlen(expected)) == 0, "%s", error.message);
    ck_assert_int_eq(error.status, b->status);
    ck_assert_uint_eq(error.line, b->line);
    ck_assert(same(&options, &before));
    ck_assert_int_eq(cop_options_load_file(&options, file, NULL), b->status);
}
END_TEST

START_TEST(file_with_nul)
{
    static const char text[] = "batch = {\n  window_ms = 8;\0\n};\n";
    write_file(text, sizeof text - 1);
    ck_assert_int_eq(cop_options_load_file(&options, file, &error), COP_E_SYNTAX);
    ck_assert_uint_eq(error.line, 2);
    ck_assert_ptr_nonnull(strstr(error.message, "c.conf:2: a NUL byte"));
}
END_TEST

static void
check_unreadable(const char *name, const char *message)
{
    char expected[300];
    cop_options before = options;
    ck_assert_int_eq(cop_options_load_file(&options, name, &error), COP_E_IO);
    snprintf(expected, sizeof expected, "%s:0: %s", name, message);
    ck_assert_msg(strncmp(error.message, expected, strlen(expected)) == 0, "%s", error.message);
    ck_assert(same(&options, &before));
}

START_TEST(file_unreadable)
{
    check_unreadable("/nonexistent/c.conf", "cannot be opened: No such file");
    check_unreadable(directory, "cannot be read: Is a directory");
    ck_assert_int_eq(cop_options_load_file(&options, NULL, &error), COP_E_INVALID);
}
END_TEST

START_TEST(file_name_too_long_to_show)
{
    char longest[600];
    memset(longest, 'd', sizeof longest - 1);
    strcpy(longest + sizeof longest - 8, "/c.conf");
    ck_assert_int_eq(cop_options_load_file(&options, longest, &error), COP_E_IO);
    ck_assert_int_eq(strncmp(error.message, "...ddd", 6), 0);
    ck_assert_ptr_nonnull(strstr(error.message, "ddd/c.conf:0: cannot be opened: "));
}
END_TEST

/* 99 bytes are shown whole. */
START_TEST(longest_file_name_to_show)
{
    char name[101] = "", expected[128];
    for (size_t n = 97; n < sizeof name; n++) {
        memset(name, 'd', n);
        name[0] = '/';
        ck_assert_int_eq(cop_options_load_file(&options, name, &error), COP_E_IO);
        snprintf(expected, sizeof expected, "%s%s:0: ", n < 100 ? "" : "...",
                 n < 100 ? name : name + n - 96);
        ck_assert_int_eq(strncmp(error.message, expected, strlen(expected)), 0);
    }
}
END_TEST

START_TEST(file_too_long)
{
    size_t n = (1 << 20) + 1;
    char *text = malloc(n);
    ck_assert_ptr_nonnull(text);
    memset(text, ' ', n);
    write_file(text, n - 1);
    ck_assert_int_eq(cop_options_load_file(&options, file, &error), COP_OK);
    write_file(text, n);
    ck_assert_int_eq(cop_options_load_file(&options, file, &error), COP_E_RANGE);
    ck_assert_ptr_nonnull(strstr(error.message, "c.conf:0: the file is longer than 1 MiB"));
    memset(text, '\n', 65535);
    write_file(text, 65535);
    ck_assert_int_eq(cop_options_load_file(&options, file, &error), COP_OK);
    text[65535] = ' ';
    write_file(text, 65536);
    ck_assert_int_eq(cop_options_load_file(&options, file, &error), COP_E_RANGE);
    ck_assert_ptr_nonnull(strstr(error.message, "c.conf:65536: the file has more than"));
    free(text);
}
END_TEST

/* Nesting that no parser should follow for ever. */
START_TEST(file_too_deep)
{
    static const char *const openings[] = {"a={", "a=(", "a=["};
    for (size_t o = 0; o < 3; o++) {
        size_t n = 0, most = 300000;
        char *text = malloc(most);
        ck_assert_ptr_nonnull(text);
        n += (size_t)snprintf(text, most, "%s", openings[o]);
        while (n + 4 < most) {
            if (o == 0)
                n += (size_t)snprintf(text + n, most - n, "%s", openings[o]);
            else
                text[n++] = openings[o][2];
        }
        write_file(text, n);
        cop_options before = options;
        ck_assert_int_eq(cop_options_load_file(&options, file, &error), COP_E_SYNTAX);
        ck_assert_uint_eq(error.line, 1);
        ck_assert(same(&options, &before));
        free(text);
    }
}
END_TEST

#ifndef SANITIZED
/* The sanitizers' malloc does not live within RLIMIT_AS; jemalloc may have some left. */
START_TEST(file_without_memory)
{
    struct rlimit before, tight;
    write_file("", 0);
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &before), 0);
    tight = before;
    tight.rlim_cur = 1 << 20;
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &tight), 0);
    void *volatile probe = malloc((1 << 20) + 2);
    cop_status status = probe ? COP_E_MEMORY : cop_options_load_file(&options, file, &error);
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &before), 0);
    ck_assert_int_eq(status, COP_E_MEMORY);
    if (!probe)
        ck_assert_ptr_nonnull(strstr(error.message, "c.conf:0: out of memory"));
    free(probe);
}
END_TEST
#endif

/* --- random ----------------------------------------------------------------------------------- */

static uint64_t
next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

START_TEST(random_texts)
{
    static const char letters[] = "0123456789kMGi-+. xtruefalsonwil\n\xff";
    uint64_t state = 11;
    int good = 0;
    for (int round = 0; round < 200000; round++) {
        char text[24];
        size_t n = next_random(&state) % 6;
        const cop_option_info *info =
            cop_options_info((size_t)(next_random(&state) % cop_options_count()));
        if (round % 100 == 0)
            n = 20;
        for (size_t i = 0; i < n; i++)
            text[i] = letters[next_random(&state) % (n > 6 ? 10 : sizeof letters - 1)];
        text[n] = '\0';
        cop_status status = cop_options_set(&options, info->name, text, &error);
        if (status != COP_OK && status != COP_E_INVALID && status != COP_E_RANGE)
            ck_abort_msg("%s for %s = %s", cop_status_name(status), info->name, text);
        good += status == COP_OK;
        if (cop_options_check(&options, &error) != COP_OK)
            ck_abort_msg("out of bounds after %s = %s", info->name, text);
    }
    ck_assert_int_gt(good, 1000);
}
END_TEST

static const char *const words[] = {
    "batch",
    "memory",
    "window_ms",
    "updates",
    "limit_bytes",
    "on_limit",
    "=",
    ":",
    "{",
    "}",
    ";",
    ",",
    "\n",
    "8",
    "true",
    "false",
    "\"64Mi\"",
    "\"fail\"",
    "\"",
    "(",
    ")",
    "[",
    "]",
    "1.5",
    "0x7",
    "5L",
    "#",
    "//",
    "/*",
    "*/",
    "@include",
    "\\",
    "99999999999999",
    "\xc3",
    "-1",
    "batch = {",
    "};",
    "memory = {",
    "window_ms = 8;",
    "on_limit = \"fail\";",
};

/* A file of words; every other one well formed up to its last words. */
static size_t
random_file(uint64_t *state, char *text, size_t capacity)
{
    size_t n = 0, count = next_random(state) % 20, all = sizeof words / sizeof *words;
    text[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        const char *word = words[next_random(state) % all];
        n += (size_t)snprintf(text + n, capacity - n, "%s ", word);
    }
    return n;
}

START_TEST(random_files)
{
    uint64_t state = 5;
    int good = 0;
    for (int round = 0; round < 4000; round++) {
        char text[1024], prefix[160];
        size_t n = random_file(&state, text, sizeof text);
        cop_options before;
        fresh();
        before = options;
        write_file(text, n);
        cop_status status = cop_options_load_file(&options, file, &error);
        good += status == COP_OK;
        if (cop_options_check(&options, NULL) != COP_OK)
            ck_abort_msg("out of bounds after %s", text);
        snprintf(prefix, sizeof prefix, "%s:%" PRIu32 ": ", file, error.line);
        if (status == COP_OK)
            continue;
        if (!same(&options, &before) || strncmp(error.message, prefix, strlen(prefix)) != 0)
            ck_abort_msg("%s for %s", error.message, text);
    }
    ck_assert_int_gt(good, 100);
}
END_TEST

static TCase *
file_tests(void)
{
    TCase *files = tcase_create("files");
    tcase_set_timeout(files, 60);
    tcase_add_checked_fixture(files, make_directory, drop_directory);
    tcase_add_test(files, file_good);
    tcase_add_loop_test(files, file_bad, 0, BAD_FILES);
    tcase_add_test(files, file_with_nul);
    tcase_add_test(files, file_unreadable);
    tcase_add_test(files, file_name_too_long_to_show);
    tcase_add_test(files, longest_file_name_to_show);
    tcase_add_test(files, file_too_long);
    tcase_add_test(files, file_too_deep);
#ifndef SANITIZED
    tcase_add_test(files, file_without_memory);
#endif
    tcase_add_test(files, random_files);
    return files;
}

static Suite *
options_suite(void)
{
    Suite *suite = suite_create("options");
    TCase *text = tcase_create("text"), *environ_case = tcase_create("environment");
    tcase_set_timeout(text, 60);
    tcase_add_checked_fixture(text, fresh, NULL);
    tcase_add_test(text, table);
    tcase_add_test(text, defaults);
    tcase_add_test(text, bounds_there_and_back);
    tcase_add_loop_test(text, set, 0, sizeof settings / sizeof *settings);
    tcase_add_test(text, set_quotes_shortly);
    tcase_add_test(text, get);
    tcase_add_test(text, check_bounds);
    tcase_add_test(text, check_size);
    tcase_add_test(text, check_allocator);
    tcase_add_test(text, differ_and_copy);
    tcase_add_test(text, random_texts);
    tcase_add_checked_fixture(environ_case, fresh, NULL);
    tcase_add_checked_fixture(environ_case, clear_environment, clear_environment);
    tcase_add_test(environ_case, environment);
    tcase_add_test(environ_case, environment_all_or_nothing);
    suite_add_tcase(suite, text);
    suite_add_tcase(suite, environ_case);
    suite_add_tcase(suite, file_tests());
    return suite;
}

int
main(void)
{
    SRunner *runner = srunner_create(options_suite());
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
