/* SPDX-License-Identifier: MIT */
/*
 * Paths: each kind of fault and its place, the limits, escaping there and back, UTF-8, segments.
 * The random tests compare with a second, slow description of what a path is.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/support/quick_check.h"
#include "tree/path.h"

#define NOWHERE SIZE_MAX

/* ck_assert tells the runner of each success; this one is for loops. */
#define REQUIRE(x)                          \
    do {                                    \
        if (!(x))                           \
            ck_abort_msg("failed: %s", #x); \
    } while (0)

/* xorshift64; the same sequence in every run. */
static uint64_t
next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* --- faults ----------------------------------------------------------------------------------- */

typedef struct example {
    const char *text;
    size_t length; /* 0: strlen */
    size_t fault;  /* NOWHERE: none */
    const char *message;
} example;

static size_t
example_length(const example *e)
{
    return e->length ? e->length : strlen(e->text);
}

#define EMPTY "an empty segment"
#define NUL "NUL byte"
#define STAR "written ~2"
#define TILDE "followed by 0, 1, 2 or 3"
#define ALONE "stands alone"
#define UTF8 "not UTF-8"

static const example examples[] = {
    {"", 0, NOWHERE, NULL},
    {"a", 0, NOWHERE, NULL},
    {"host/mem/free", 0, NOWHERE, NULL},
    {"~0", 0, NOWHERE, NULL},
    {"a~0b~1c~2d/~1", 0, NOWHERE, NULL},
    {"~3", 0, NOWHERE, NULL},
    {"~3/~3/a", 0, NOWHERE, NULL},
    {"a/~3", 0, NOWHERE, NULL},
    {"0/-/007", 0, NOWHERE, NULL},
    {" /\n/\x7f/\x01", 0, NOWHERE, NULL},
    {"gr\xc3\xbc\xc3\x9f/\xe2\x82\xac/\xf0\x9f\x8c\xb3", 0, NOWHERE, NULL},
    {"\xf4\x8f\xbf\xbf/\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf", 0, NOWHERE, NULL},
    {"/", 0, 0, EMPTY},
    {"//", 0, 0, EMPTY},
    {"/a", 0, 0, EMPTY},
    {"a/", 0, 1, EMPTY},
    {"abc/de/", 0, 6, EMPTY},
    {"a//b", 0, 2, EMPTY},
    {"abc///", 0, 4, EMPTY},
    {"a\0b", 3, 1, NUL},
    {"\0", 1, 0, NUL},
    {"abcdefghijkl/m\0", 15, 14, NUL},
    {"*", 0, 0, STAR},
    {"ab/c*", 0, 4, STAR},
    {"~", 0, 0, TILDE},
    {"a~", 0, 1, TILDE},
    {"a~/b", 0, 1, TILDE},
    {"~4", 0, 0, TILDE},
    {"a/b~~0", 0, 3, TILDE},
    {"~a", 0, 0, TILDE},
    {"~3a", 0, 0, ALONE},
    {"a~3", 0, 1, ALONE},
    {"~3~3", 0, 0, ALONE},
    {"x/~0~3/y", 0, 4, ALONE},
    {"\x80", 0, 0, UTF8},
    {"a/\xbf"
     "b",
     0, 2, UTF8},
    {"\xc0\x80", 0, 0, UTF8},         /* overlong NUL */
    {"a\xc1\xbf", 0, 1, UTF8},        /* overlong */
    {"\xe0\x9f\xbf", 0, 0, UTF8},     /* overlong */
    {"\xf0\x8f\xbf\xbf", 0, 0, UTF8}, /* overlong */
    {"ab\xed\xa0\x80", 0, 2, UTF8},   /* the first surrogate */
    {"\xed\xbf\xbf", 0, 0, UTF8},     /* the last one */
    {"\xf4\x90\x80\x80", 0, 0, UTF8}, /* U+110000 */
    {"\xf5\x80\x80\x80", 0, 0, UTF8},
    {"\xff", 0, 0, UTF8},
    {"a\xc3", 0, 1, UTF8},
    {"a\xc3/b", 0, 1, UTF8},
    {"\xe2\x82", 0, 0, UTF8},
    {"\xe2\x82x", 0, 0, UTF8},
    {"\xf0\x9f\x8c", 0, 0, UTF8},
    {"\xf0\x9f\x8c\xc3", 0, 0, UTF8},
    {"\xf0\xc3\x8c\xb3", 0, 0, UTF8},
};
#define EXAMPLES (sizeof examples / sizeof *examples)

START_TEST(path_faults)
{
    const example *e = &examples[_i];
    size_t length = example_length(e);
    cop_error error = COP_ERROR_INIT;
    cop_status status = cop_path_check(e->text, length, &error);
    ck_assert_int_eq(cop_path_check(e->text, length, NULL), status);
    ck_assert_int_eq(status, e->fault == NOWHERE ? COP_OK : COP_E_PATH);
    ck_assert_int_eq(error.status, status);
    ck_assert_uint_eq(error.position, e->fault);
    if (e->message)
        ck_assert_msg(strstr(error.message, e->message) != NULL, "%s", error.message);
}
END_TEST

START_TEST(null_path)
{
    cop_error error = COP_ERROR_INIT;
    ck_assert_int_eq(cop_path_check(NULL, 0, &error), COP_OK);
    ck_assert_int_eq(cop_path_check(NULL, 5, &error), COP_E_PATH);
    ck_assert_uint_eq(error.position, 0);
}
END_TEST

/* --- limits ----------------------------------------------------------------------------------- */

static char buffer[600 * 5000];

/* Checks a path, and that a fault (if any) is where it should be. */
static void
check_limit(size_t length, cop_status status, size_t position)
{
    cop_error error = COP_ERROR_INIT;
    ck_assert_int_eq(cop_path_check(buffer, length, &error), status);
    ck_assert_uint_eq(error.position, position);
    ck_assert_int_eq(error.status, status);
}

START_TEST(limit_on_bytes)
{
    memset(buffer, 'a', sizeof buffer);
    check_limit(COP_PATH_MAX, COP_OK, NOWHERE);
    check_limit(COP_PATH_MAX + 1, COP_E_LIMIT, COP_PATH_MAX);
    check_limit(sizeof buffer, COP_E_LIMIT, COP_PATH_MAX);
    buffer[2000] = '/';
    check_limit(COP_PATH_MAX, COP_OK, NOWHERE);
    check_limit(COP_PATH_MAX + 1, COP_E_LIMIT, COP_PATH_MAX);
    memcpy(buffer + COP_PATH_MAX - 1, "\xc3\xbc", 2); /* one character on both sides */
    check_limit(COP_PATH_MAX + 1, COP_E_LIMIT, COP_PATH_MAX);
    buffer[4000] = '*'; /* the first fault counts */
    check_limit(COP_PATH_MAX + 100, COP_E_PATH, 4000);
}
END_TEST

START_TEST(limit_on_bytes_starts_again_below_a_position)
{
    memset(buffer, 'a', sizeof buffer);
    memcpy(buffer + 4000, "/17/", 4);
    check_limit(4004 + COP_PATH_MAX, COP_OK, NOWHERE);
    check_limit(4004 + COP_PATH_MAX + 1, COP_E_LIMIT, 4004 + COP_PATH_MAX);
    memcpy(buffer + 4000, "/-/a", 4);
    check_limit(4003 + COP_PATH_MAX, COP_OK, NOWHERE);
    check_limit(4003 + COP_PATH_MAX + 1, COP_E_LIMIT, 4003 + COP_PATH_MAX);
    memcpy(buffer + 4000, "/01/", 4); /* is none */
    check_limit(4004 + 200, COP_E_LIMIT, COP_PATH_MAX);
    /* An array may lie at the end of the longest path; its elements are not named. */
    buffer[4000] = buffer[4003] = 'a';
    memcpy(buffer + COP_PATH_MAX, "/4294967294", 11);
    check_limit(COP_PATH_MAX + 11, COP_OK, NOWHERE);
    memcpy(buffer + COP_PATH_MAX, "/4294967295", 11);
    check_limit(COP_PATH_MAX + 11, COP_E_LIMIT, COP_PATH_MAX);
}
END_TEST

START_TEST(limit_on_segments)
{
    size_t n = 0;
    for (unsigned i = 0; i < COP_DEPTH_MAX + 1; i++) {
        buffer[n++] = 'x';
        buffer[n++] = '/';
    }
    check_limit(2 * COP_DEPTH_MAX - 1, COP_OK, NOWHERE);
    check_limit(2 * COP_DEPTH_MAX, COP_E_LIMIT, 2 * COP_DEPTH_MAX);
    check_limit(n - 1, COP_E_LIMIT, 2 * COP_DEPTH_MAX);
}
END_TEST

/* --- escaping --------------------------------------------------------------------------------- */

/* Escapes a good key, checks the segment, unescapes it again. */
static void
check_round_trip(const char *key, size_t length)
{
    char segment[600], back[600];
    size_t n = NOWHERE, m = NOWHERE;
    REQUIRE(2 * length + 2 <= sizeof segment);
    REQUIRE(cop_path_escape(key, length, segment, 2 * length + 2, &n, NULL) == COP_OK);
    REQUIRE(n <= 2 * length + 2);
    REQUIRE(cop_path_check(segment, n, NULL) == COP_OK);
    REQUIRE(!memchr(segment, '/', n));
    REQUIRE(cop_path_unescape(segment, n, back, n, &m, NULL) == COP_OK);
    REQUIRE(m == length);
    REQUIRE(memcmp(back, key, length) == 0);
}

static void
check_bad_key(const char *key, size_t length, size_t fault)
{
    char segment[64];
    size_t n = NOWHERE;
    cop_error error = COP_ERROR_INIT;
    REQUIRE(cop_path_escape(key, length, segment, sizeof segment, &n, &error) == COP_E_PATH);
    REQUIRE(error.position == fault);
    REQUIRE(n == 0);
}

START_TEST(escape_all_short_keys)
{
    char key[2];
    check_round_trip("", 0);
    for (int a = 0; a < 256; a++) {
        key[0] = (char)a;
        if (a == 0 || a >= 0x80)
            check_bad_key(key, 1, 0);
        else
            check_round_trip(key, 1);
        for (int b = 0; b < 256; b++) {
            bool pair = a >= 0xc2 && a <= 0xdf && b >= 0x80 && b <= 0xbf;
            key[1] = (char)b;
            if (pair || (a > 0 && a < 0x80 && b > 0 && b < 0x80))
                check_round_trip(key, 2);
            else
                check_bad_key(key, 2, a > 0 && a < 0x80 ? 1 : 0);
        }
    }
}
END_TEST

/* A random character that may stand in a key. */
static size_t
random_character(uint64_t *state, char *out)
{
    static const char special[] = "~/*03-~";
    uint32_t c = (uint32_t)(next_random(state) % 0x110000);
    switch (next_random(state) % 5) {
    case 0:
        out[0] = special[c % 7];
        return 1;
    case 1:
        out[0] = (char)(c % 0x7f + 1);
        return 1;
    case 2:
        c = c % 0x780 + 0x80;
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    case 3:
        c = c % 0xd000 + 0x800; /* up to the surrogates */
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    default:
        c = c % 0x100000 + 0x10000;
        out[0] = (char)(0xf0 | c >> 18);
        out[1] = (char)(0x80 | (c >> 12 & 0x3f));
        out[2] = (char)(0x80 | (c >> 6 & 0x3f));
        out[3] = (char)(0x80 | (c & 0x3f));
        return 4;
    }
}

START_TEST(escape_random_keys)
{
    uint64_t state = 42;
    for (int round = 0; round < 20000; round++) {
        char key[160];
        size_t n = 0, wanted = next_random(&state) % 150;
        while (n < wanted)
            n += random_character(&state, key + n);
        check_round_trip(key, n);
    }
}
END_TEST

START_TEST(escape_spelling)
{
    char out[16];
    size_t n;
    ck_assert_int_eq(cop_path_escape("a~b/c*", 6, out, sizeof out, &n, NULL), COP_OK);
    ck_assert_uint_eq(n, 9);
    ck_assert_int_eq(memcmp(out, "a~0b~1c~2", 9), 0);
    ck_assert_int_eq(cop_path_escape(NULL, 0, out, sizeof out, &n, NULL), COP_OK);
    ck_assert_uint_eq(n, 2);
    ck_assert_int_eq(memcmp(out, "~3", 2), 0);
    ck_assert_int_eq(cop_path_escape("~3", 2, out, sizeof out, NULL, NULL), COP_OK);
    ck_assert_int_eq(memcmp(out, "~03", 3), 0);
}
END_TEST

START_TEST(escape_reports_the_first_fault)
{
    check_bad_key("ab\0\xff", 4, 2);
    check_bad_key("ab\xff\0", 4, 2);
    check_bad_key("0123456789\xed\xa0\x80", 13, 10);
    check_bad_key("abc\0", 4, 3);
}
END_TEST

START_TEST(escape_without_room)
{
    char out[8] = "unused";
    size_t n = 0;
    cop_error error = COP_ERROR_INIT;
    ck_assert_int_eq(cop_path_escape("a/b", 3, out, 3, &n, &error), COP_E_RANGE);
    ck_assert_uint_eq(n, 4);
    ck_assert_str_eq(out, "unused");
    ck_assert_ptr_nonnull(strstr(error.message, "4 bytes are needed"));
    ck_assert_int_eq(cop_path_escape("", 0, out, 1, &n, NULL), COP_E_RANGE);
    ck_assert_uint_eq(n, 2);
    ck_assert_int_eq(cop_path_escape("abc", 3, NULL, 0, &n, NULL), COP_E_RANGE);
    ck_assert_uint_eq(n, 3);
    ck_assert_int_eq(cop_path_escape("a/b", 3, out, 4, NULL, NULL), COP_OK);
    ck_assert_int_eq(memcmp(out, "a~1bed", 6), 0);
}
END_TEST

START_TEST(unescape_without_room)
{
    char out[8] = "unused";
    size_t n = 0;
    ck_assert_int_eq(cop_path_unescape("a~1b", 4, out, 2, &n, NULL), COP_E_RANGE);
    ck_assert_uint_eq(n, 3);
    ck_assert_str_eq(out, "unused");
    ck_assert_int_eq(cop_path_unescape("a~1b", 4, out, 3, NULL, NULL), COP_OK);
    ck_assert_int_eq(memcmp(out, "a/bsed", 6), 0);
    ck_assert_int_eq(cop_path_unescape("~3", 2, NULL, 0, &n, NULL), COP_OK);
    ck_assert_uint_eq(n, 0);
}
END_TEST

/* A segment is a path without '/': the same faults, and '/' itself. */
START_TEST(unescape_faults)
{
    const example *e = &examples[_i];
    size_t length = example_length(e), n = NOWHERE, fault = e->fault;
    const char *slash = memchr(e->text, '/', length);
    char out[64];
    cop_error error = COP_ERROR_INIT;
    if (slash && (size_t)(slash - e->text) < fault)
        fault = (size_t)(slash - e->text);
    if (length == 0)
        fault = 0;
    cop_status status = cop_path_unescape(e->text, length, out, sizeof out, &n, &error);
    ck_assert_int_eq(status, fault == NOWHERE ? COP_OK : COP_E_PATH);
    ck_assert_uint_eq(error.position, fault);
    if (status != COP_OK)
        ck_assert_uint_eq(n, 0);
    if (fault != e->fault && length)
        ck_assert_ptr_nonnull(strstr(error.message, "written ~1"));
}
END_TEST

/* --- segments --------------------------------------------------------------------------------- */

static void
check_segments(const char *path, const char *const *expected)
{
    cop__path_walk walk = cop__path_walk_open(path, strlen(path));
    const char *segment;
    size_t length;
    for (; *expected; expected++) {
        ck_assert(!cop__path_walk_ended(&walk));
        ck_assert(cop__segment_next(&walk, &segment, &length));
        ck_assert_uint_eq(length, strlen(*expected));
        ck_assert_int_eq(memcmp(segment, *expected, length), 0);
    }
    ck_assert(cop__path_walk_ended(&walk));
    ck_assert(!cop__segment_next(&walk, &segment, &length));
    ck_assert(!cop__segment_next(&walk, &segment, &length));
}

START_TEST(segments)
{
    check_segments("", (const char *const[]){NULL});
    check_segments("a", (const char *const[]){"a", NULL});
    check_segments("host/mem/~1free", (const char *const[]){"host", "mem", "~1free", NULL});
    check_segments("0/~3/1", (const char *const[]){"0", "~3", "1", NULL});
    cop__path_walk walk = cop__path_walk_open(NULL, 0);
    ck_assert(cop__path_walk_ended(&walk));
}
END_TEST

START_TEST(positions)
{
    static const struct {
        const char *text;
        bool good;
        uint32_t index;
    } cases[] = {
        {"0", true, 0},
        {"1", true, 1},
        {"10", true, 10},
        {"4294967294", true, 4294967294u},
        {"4294967295", false, 0},
        {"4294967296", false, 0},
        {"9999999999", false, 0},
        {"99999999999", false, 0},
        {"18446744073709551617", false, 0},
        {"", false, 0},
        {"00", false, 0},
        {"01", false, 0},
        {"-", false, 0},
        {"-1", false, 0},
        {"+1", false, 0},
        {"1a", false, 0},
        {"a", false, 0},
        {" 1", false, 0},
        {"1 ", false, 0},
        {"1:", false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t index = 77;
        bool good = cop__segment_index(cases[i].text, strlen(cases[i].text), &index);
        ck_assert_int_eq(good, cases[i].good);
        ck_assert_uint_eq(index, good ? cases[i].index : 77);
    }
}
END_TEST

/* --- UTF-8 ------------------------------------------------------------------------------------ */

/* Decodes the plain way, from the definition. */
static size_t
slow_sequence(const unsigned char *p, size_t left)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = p[0] < 0x80 ? 1 : p[0] >> 5 == 6 ? 2 : p[0] >> 4 == 14 ? 3 : p[0] >> 3 == 30 ? 4 : 0;
    if (n == 0 || n > left)
        return 0;
    uint32_t c = n == 1 ? p[0] : p[0] & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if (p[i] >> 6 != 2)
            return 0;
        c = c << 6 | (p[i] & 0x3f);
    }
    bool surrogate = c >= 0xd800 && c <= 0xdfff;
    return c < least[n] || c > 0x10ffff || surrogate ? 0 : n;
}

static size_t
slow_fault(const char *text, size_t length)
{
    for (size_t i = 0; i < length;) {
        size_t n = slow_sequence((const unsigned char *)text + i, length - i);
        if (n == 0)
            return i;
        i += n;
    }
    return NOWHERE;
}

static void
check_utf8(const char *text, size_t length)
{
    size_t fault = NOWHERE, expected = slow_fault(text, length);
    bool good = cop__utf8_valid(text, length, &fault);
    REQUIRE(good == (expected == NOWHERE));
    REQUIRE(fault == expected);
    REQUIRE(cop__utf8_valid(text, length, NULL) == good);
}

START_TEST(utf8_every_start)
{
    /* All pairs, with the continuations that matter behind them, at each place of an eight. */
    static const char tails[] = {0x00, 0x7f, (char)0x80, (char)0xbf, (char)0xc0};
    char text[16];
    for (int a = 0; a < 256; a++) {
        for (int b = 0; b < 256; b++) {
            for (size_t t = 0; t < sizeof tails * sizeof tails; t++) {
                memset(text, 'x', sizeof text);
                text[t % 11] = (char)a;
                text[t % 11 + 1] = (char)b;
                text[t % 11 + 2] = tails[t % sizeof tails];
                text[t % 11 + 3] = tails[t / sizeof tails];
                check_utf8(text, sizeof text);
            }
        }
    }
}
END_TEST

START_TEST(utf8_random)
{
    uint64_t state = 7;
    for (int round = 0; round < 50000; round++) {
        char text[64];
        size_t n = 0, wanted = next_random(&state) % 56;
        while (n < wanted)
            n += random_character(&state, text + n);
        check_utf8(text, n);
        if (n)
            text[next_random(&state) % n] ^= (char)(1 << next_random(&state) % 8);
        check_utf8(text, n);
        if (n)
            check_utf8(text, n - 1);
    }
    check_utf8("", 0);
}
END_TEST

/* --- random paths ----------------------------------------------------------------------------- */

/* The first fault of one segment by rule, from the place `at` on; the segment ends at `end`. */
static size_t
slow_segment_fault(const char *path, size_t at, size_t end)
{
    size_t utf8 = slow_fault(path + at, end - at);
    size_t fault = utf8 == NOWHERE ? NOWHERE : at + utf8;
    if (end - at == 2 && path[at] == '~' && path[at + 1] == '3')
        return NOWHERE;
    for (size_t i = at; i < end && i < fault; i++) {
        bool escape = path[i] == '~' && i + 1 < end && strchr("012", path[i + 1]) && path[i + 1];
        if (path[i] == '\0' || path[i] == '*' || (path[i] == '~' && !escape))
            return i;
    }
    return fault;
}

static size_t
slow_path_fault(const char *path, size_t length)
{
    for (size_t at = 0; length;) {
        const char *slash = memchr(path + at, '/', length - at);
        size_t end = slash ? (size_t)(slash - path) : length;
        size_t fault = slow_segment_fault(path, at, end);
        if (fault != NOWHERE)
            return fault;
        if (at == end)
            return at == length ? at - 1 : at;
        if (end == length)
            return NOWHERE;
        at = end + 1;
    }
    return NOWHERE;
}

/* Bytes that meet often at the edges of the rules. */
static size_t
random_path(uint64_t *state, char *path, size_t most)
{
    static const char often[] =
        "aaaaaaaa////~~~~0123*\0\xc3\xbc\xe2\x82\xac\xf0\x9f\x8c\xb3\xed\xa0";
    size_t n = 0, wanted = next_random(state) % most;
    bool wild = next_random(state) % 2;
    while (n + 4 < wanted) {
        if (wild)
            path[n++] = often[next_random(state) % (sizeof often - 1)];
        else
            n += random_character(state, path + n);
    }
    return n;
}

START_TEST(random_paths)
{
    uint64_t state = 99;
    int good = 0;
    for (int round = 0; round < 300000; round++) {
        char *path = malloc(64);
        cop_error error = COP_ERROR_INIT;
        ck_assert_ptr_nonnull(path);
        size_t n = random_path(&state, path, round % 3 ? 12 : 64);
        /* Exactly as long as it is, so that a sanitizer sees a read behind it. */
        path = realloc(path, n ? n : 1);
        cop_status status = cop_path_check(path, n, &error);
        size_t fault = slow_path_fault(path, n);
        if (error.position != fault || (status == COP_OK) != (fault == NOWHERE))
            ck_abort_msg("round %d: position %zu, expected %zu", round, error.position, fault);
        good += status == COP_OK;
        free(path);
    }
    ck_assert_int_gt(good, 10000);
}
END_TEST

static Suite *
path_suite(void)
{
    Suite *suite = suite_create("path");
    TCase *check = tcase_create("check"), *escape = tcase_create("escape");
    TCase *inside = tcase_create("inside");
    tcase_set_timeout(inside, 60);
    tcase_set_timeout(escape, 60);
    tcase_add_loop_test(check, path_faults, 0, EXAMPLES);
    tcase_add_test(check, null_path);
    tcase_add_test(check, limit_on_bytes);
    tcase_add_test(check, limit_on_bytes_starts_again_below_a_position);
    tcase_add_test(check, limit_on_segments);
    tcase_add_test(escape, escape_all_short_keys);
    tcase_add_test(escape, escape_random_keys);
    tcase_add_test(escape, escape_spelling);
    tcase_add_test(escape, escape_reports_the_first_fault);
    tcase_add_test(escape, escape_without_room);
    tcase_add_test(escape, unescape_without_room);
    tcase_add_loop_test(escape, unescape_faults, 0, EXAMPLES);
    tcase_add_test(inside, segments);
    tcase_add_test(inside, positions);
    tcase_add_test(inside, utf8_every_start);
    tcase_add_test(inside, utf8_random);
    tcase_add_test(inside, random_paths);
    suite_add_tcase(suite, check);
    suite_add_tcase(suite, escape);
    suite_add_tcase(suite, inside);
    return suite;
}

int
main(void)
{
    SRunner *runner = srunner_create(path_suite());
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
