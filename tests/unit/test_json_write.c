/* SPDX-License-Identifier: MIT */
/* JSON out: numbers, single values, branches as exact bytes; single values read back. */
#include <float.h>
#include <locale.h>
#include <math.h>

#include "serialize/json_internal.h"
#include "serialize/json_number.h"
#include "tests/support/json_test.h"

/* --- numbers ------------------------------------------------------------------------------- */

static void
check_f64(double f, const char *expected)
{
    char text[COP__JSON_NUMBER_MAX + 1];
    text[cop__json_f64(text, f)] = '\0';
    ck_assert_str_eq(text, expected);
}

START_TEST(floats_are_shortest)
{
    check_f64(0.0, "0.0");
    check_f64(-0.0, "-0.0");
    check_f64(1.0, "1.0");
    check_f64(-12.5, "-12.5");
    check_f64(0.1, "0.1");
    check_f64(0.1 + 0.2, "0.30000000000000004");
    check_f64(0.0001, "0.0001");
    check_f64(0.00001, "1e-05");
    check_f64(0.00012345678901234567, "0.00012345678901234567");
    check_f64(1e15, "1000000000000000.0");
    check_f64(1e16, "1e+16");
    check_f64(123456789012345680.0, "1.2345678901234568e+17");
    check_f64(9007199254740992.0, "9007199254740992.0");
    check_f64(1e22, "1e+22");
    check_f64(1e23, "1e+23");
    check_f64(5e-324, "5e-324");
    check_f64(DBL_MAX, "1.7976931348623157e+308");
    check_f64(DBL_MIN, "2.2250738585072014e-308");
    check_f64(2.2250738585072009e-308, "2.225073858507201e-308");
    check_f64(0x1p-44, "5.684341886080802e-14");
    check_f64(100.0, "100.0");
}
END_TEST

/* Every exponent, at the ends and in the middle of its range: strtod must read back the same. */
START_TEST(floats_round_trip)
{
    static const uint64_t fractions[] = {
        0, 1, 2, 0x8000000000000, 0xfffffffffffff, 0x5555555555555};
    for (uint64_t exponent = 0; exponent < 2047; exponent++) {
        for (size_t i = 0; i < sizeof fractions / sizeof fractions[0]; i++) {
            uint64_t bits = exponent << 52 | fractions[i];
            char text[COP__JSON_NUMBER_MAX + 1];
            double f, back;
            memcpy(&f, &bits, sizeof f);
            text[cop__json_f64(text, f)] = '\0';
            back = strtod(text, NULL);
            ck_assert_msg(memcmp(&back, &f, sizeof f) == 0, "%a is written %s", f, text);
            ck_assert_msg(strpbrk(text, ".e") != NULL, "%s looks like an integer", text);
        }
    }
}
END_TEST

static void
check_i64(int64_t i, const char *expected)
{
    char text[COP__JSON_NUMBER_MAX + 1];
    text[cop__json_i64(text, i)] = '\0';
    ck_assert_str_eq(text, expected);
}

START_TEST(integers)
{
    check_i64(0, "0");
    check_i64(-1, "-1");
    check_i64(1234567890, "1234567890");
    check_i64(INT64_MAX, "9223372036854775807");
    check_i64(INT64_MIN, "-9223372036854775808");
}
END_TEST

START_TEST(numbers_whatever_the_locale)
{
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "de_DE", "fr_FR.UTF-8"};
    cop_store *store = t_open();
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (setlocale(LC_ALL, names[i]))
            break;
    j_load(store, "doc", "[1.5,-2.25e-10,1e300,1.0]");
    ck_assert_str_eq(j_text(store, "doc", NULL), "[1.5,-2.25e-10,1e+300,1.0]");
    setlocale(LC_ALL, "C");
    t_close(store);
}
END_TEST

/* --- single values ------------------------------------------------------------------------- */

static void
check_value(cop_value value, const char *expected)
{
    char text[1024];
    size_t length, needed = strlen(expected);
    CHECK_OK(cop_json_value(&value, text, sizeof text, &length));
    ck_assert_str_eq(text, expected);
    ck_assert_uint_eq(length, needed);
    CHECK_OK(cop_json_value(&value, text, needed + 1, NULL));
    CHECK_STATUS(cop_json_value(&value, text, needed, &length), COP_E_RANGE);
    ck_assert_uint_eq(length, needed);
    ck_assert_str_eq(text, "");
    CHECK_STATUS(cop_json_value(&value, NULL, 0, &length), COP_E_RANGE);
    ck_assert_uint_eq(length, needed);
}

START_TEST(value_to_text)
{
    char longer[401], quoted[403];
    memset(longer, 'x', sizeof longer);
    snprintf(quoted, sizeof quoted, "\"%.400s\"", longer);
    check_value(cop_null(), "null");
    check_value(cop_bool(true), "true");
    check_value(cop_bool(false), "false");
    check_value(cop_i64(-7), "-7");
    check_value(cop_f64(2), "2.0");
    check_value(cop_f64((double)NAN), "null");
    check_value(cop_f64(-(double)INFINITY), "null");
    check_value(cop_string("", 0), "\"\"");
    check_value(cop_string("a\"\\\b\f\n\r\t\x01\x1f\x7f/~1\xc3\xa9\0z", 18),
                "\"a\\\"\\\\\\b\\f\\n\\r\\t\\u0001\\u001f\x7f/~1\xc3\xa9\\u0000z\"");
    check_value(cop_string(longer, 400), quoted);
    check_value(cop_string("a\xff\xc3\xa9\xe2\x82", 6),
                "\"a\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\"");
    check_value(cop_object(), "{}");
    check_value(cop_array(), "[]");
    check_value(cop_error_value("bad \"x\"", 7), "{\"$error\":\"bad \\\"x\\\"\"}");
    check_value(cop_bytes("", 0), "{\"$bytes\":\"\"}");
    check_value(cop_bytes("f", 1), "{\"$bytes\":\"Zg==\"}");
    check_value(cop_bytes("fo", 2), "{\"$bytes\":\"Zm8=\"}");
    check_value(cop_bytes("foo", 3), "{\"$bytes\":\"Zm9v\"}");
    check_value(cop_bytes("\xff\xfe\xfd\x00", 4), "{\"$bytes\":\"//79AA==\"}");
}
END_TEST

START_TEST(value_to_text_refused)
{
    cop_value none = cop_null(), unknown = cop_null(), null = cop_null();
    char text[8];
    none.type = COP_NONE;
    unknown.type = COP_ARRAY + 1;
    CHECK_STATUS(cop_json_value(NULL, text, sizeof text, NULL), COP_E_INVALID);
    CHECK_STATUS(cop_json_value(&none, text, sizeof text, NULL), COP_E_INVALID);
    CHECK_STATUS(cop_json_value(&unknown, text, sizeof text, NULL), COP_E_INVALID);
    CHECK_STATUS(cop_json_value(&null, NULL, 8, NULL), COP_E_INVALID);
}
END_TEST

static void
check_scalar(const char *text, cop_value expected)
{
    cop_value value;
    CHECK_OK(cop_json_scalar(P(text), &value, NULL));
    ck_assert_msg(cop_value_equal(&value, &expected), "%s", text);
    cop_value_free(&value);
}

START_TEST(text_to_value)
{
    check_scalar(" null\n", cop_null());
    check_scalar("true", cop_bool(true));
    check_scalar("false", cop_bool(false));
    check_scalar("1", cop_i64(1));
    check_scalar("-0", cop_i64(0));
    check_scalar("1.0", cop_f64(1));
    check_scalar("-0.0", cop_f64(-0.0));
    check_scalar("1e2", cop_f64(100));
    check_scalar("1e-999", cop_f64(0));
    check_scalar("9223372036854775807", cop_i64(INT64_MAX));
    check_scalar("-9223372036854775808", cop_i64(INT64_MIN));
    check_scalar("\"a\\u0000b\"", cop_string("a\0b", 3));
    check_scalar("\"\\ud83d\\ude00 \\/ longer than inline\"",
                 cop_string("\xf0\x9f\x98\x80 / longer than inline", 25));
    check_scalar("{\"$bytes\":\"AP8=\"}", cop_bytes("\0\xff", 2));
    check_scalar("{ \"\\u0024bytes\" : \"\" }", cop_bytes("", 0));
    check_scalar("{\"$error\":\"no luck\"}", cop_error_value("no luck", 7));
}
END_TEST

static void
check_no_scalar(const char *text, cop_status expected, uint32_t line, uint32_t column)
{
    cop_value value = cop_i64(1);
    cop_error error = COP_ERROR_INIT;
    CHECK_STATUS(cop_json_scalar(P(text), &value, &error), expected);
    CHECK_STATUS(error.status, expected);
    ck_assert_uint_eq(error.line, line);
    ck_assert_uint_eq(error.column, column);
    ck_assert_int_eq(cop_value_type(&value), COP_NONE);
}

START_TEST(text_to_value_refused)
{
    check_no_scalar(" []", COP_E_TYPE, 1, 2);
    check_no_scalar("{}", COP_E_TYPE, 1, 1);
    check_no_scalar("{\"$bytes\":\"A\"}", COP_E_TYPE, 1, 1);
    check_no_scalar("{\"$error\":1}", COP_E_TYPE, 1, 1);
    check_no_scalar("{\"$other\":\"\"}", COP_E_TYPE, 1, 1);
    check_no_scalar("", COP_E_SYNTAX, 1, 1);
    check_no_scalar("\n nul", COP_E_SYNTAX, 2, 2);
    CHECK_STATUS(cop_json_scalar("1", 1, NULL, NULL), COP_E_INVALID);
}
END_TEST

/* --- writing ------------------------------------------------------------------------------- */

static const char everything[] =
    "{\"z\":[1,1.0,-0.0,true,null,\"s\"],\"a\":{\"\":{},\"/\":[],\"*\":[[]],\"~\":{\"~1\":0}},"
    "\"\\u0001\":\"\\\"\",\"\xc3\xa9\xf0\x9f\x98\x80\":\"\xe2\x82\xac\x7f\",\"b\":{\"$bytes\":\"AA="
    "=\"},"
    "\"e\":{\"$error\":\"x\"}}";

START_TEST(written_as_read)
{
    static const char *const documents[] = {everything,
                                            "{}",
                                            "[]",
                                            "[{}]",
                                            "1",
                                            "\"\"",
                                            "null",
                                            "[[],{},[{}],{\"a\":[]}]",
                                            "{\"b\":1,\"a\":2,\"0\":3,\"-\":4,\"007\":5}",
                                            "{\"$bytes\":\"A\"}",
                                            "{\"$bytes\":\"AB==\"}",
                                            "{\"$bytes\":\"A===\"}",
                                            "{\"$bytes\":\"AA=A\"}",
                                            "{\"$bytes\":\"=AAA\"}",
                                            "{\"$bytes\":\"A-==\"}",
                                            "{\"$bytes\":1}",
                                            "{\"$error\":null}",
                                            "{\"$error\":\"a\",\"b\":1}",
                                            "{\"$bytes\":{\"$bytes\":\"az09+/==\"}}",
                                            "{\"$bytes\":\"az09+/Zz\"}"};
    cop_store *store = t_open();
    for (size_t i = 0; i < sizeof documents / sizeof documents[0]; i++) {
        j_load(store, "doc", documents[i]);
        ck_assert_str_eq(j_text(store, "doc", NULL), documents[i]);
    }
    j_load(store, "", everything);
    ck_assert_str_eq(j_text(store, "", NULL), everything);
    ck_assert_str_eq(j_text(store, "a/~3", NULL), "{}");
    ck_assert_str_eq(j_text(store, "a/~2/0", NULL), "[]");
    ck_assert_str_eq(j_text(store, "a/~0/~01", NULL), "0");
    t_close(store);
}
END_TEST

/* Each character at each of four places: its six bits, or a refusal. */
START_TEST(every_digit_of_base64)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char bytes[3];
    size_t n;

    for (unsigned c = 0; c < 256; c++)
        for (unsigned place = 0; place < 4; place++) {
            const char *digit = c ? strchr(digits, (int)c) : NULL;
            char text[] = "BBBB", again[4];
            uint32_t word = 0x41041; /* BBBB */
            text[place] = (char)c;
            if (c == '=' && place == 3)
                continue;
            ck_assert_msg(cop__json_base64_decode(text, 4, bytes, &n) == (digit != NULL),
                          "character %u at %u", c, place);
            if (digit == NULL)
                continue;
            word &= ~((uint32_t)63 << (18 - 6 * place));
            word |= (uint32_t)(digit - digits) << (18 - 6 * place);
            ck_assert_uint_eq(n, 3);
            ck_assert_uint_eq((uint32_t)bytes[0] << 16 | (uint32_t)bytes[1] << 8 | bytes[2], word);
            cop__json_base64_encode(bytes, 3, again);
            ck_assert_mem_eq(again, text, 4);
        }
}
END_TEST

/* One and two bytes: the bits that nothing carries are zero, or it is no base64. */
START_TEST(every_end_of_base64)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char bytes[3];
    char again[4];
    size_t n;

    for (unsigned six = 0; six < 64; six++) {
        char one[] = {'k', digits[six], '=', '='}, two[] = {'k', 'k', digits[six], '='};
        ck_assert_int_eq(cop__json_base64_decode(one, 4, bytes, &n), six % 16 == 0);
        if (six % 16 == 0) {
            ck_assert_uint_eq(n, 1);
            ck_assert_uint_eq(bytes[0], 36u << 2 | six >> 4);
            cop__json_base64_encode(bytes, 1, again);
            ck_assert_mem_eq(again, one, 4);
        }
        ck_assert_int_eq(cop__json_base64_decode(two, 4, bytes, &n), six % 4 == 0);
        if (six % 4 == 0) {
            ck_assert_uint_eq(n, 2);
            ck_assert_uint_eq(bytes[1], (36u << 4 | six >> 2) & 255u);
            cop__json_base64_encode(bytes, 2, again);
            ck_assert_mem_eq(again, two, 4);
        }
    }
}
END_TEST

START_TEST(indented)
{
    cop_json_write_options options = COP_JSON_WRITE_OPTIONS_INIT;
    cop_store *store = t_open();
    j_load(store, "d", "{\"a\":[1,{}],\"b\":{\"$bytes\":\"\"},\"c\":{\"d\":[]}}");
    options.indent = 2;
    ck_assert_str_eq(j_text(store, "d", &options),
                     "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": {\n    \"$bytes\": \"\"\n  },\n"
                     "  \"c\": {\n    \"d\": []\n  }\n}");
    options.indent = 16;
    j_load(store, "d", "[[[1]]]");
    j_text(store, "d", &options);
    ck_assert_uint_eq(j_sink.length, 7 + 6 + 16 * (1 + 2 + 3 + 2 + 1));
    t_close(store);
}
END_TEST

START_TEST(to_a_depth)
{
    cop_json_write_options options = COP_JSON_WRITE_OPTIONS_INIT;
    cop_store *store = t_open();
    j_load(store, "d", "{\"a\":[1,[2]],\"b\":{\"c\":{\"d\":1}},\"e\":3}");
    options.depth = 1;
    ck_assert_str_eq(j_text(store, "d", &options), "{\"a\":[],\"b\":{},\"e\":3}");
    options.depth = 2;
    ck_assert_str_eq(j_text(store, "d", &options), "{\"a\":[1,[]],\"b\":{\"c\":{}},\"e\":3}");
    options.depth = 3;
    ck_assert_str_eq(j_text(store, "d/b", &options), "{\"c\":{\"d\":1}}");
    t_close(store);
}
END_TEST

START_TEST(as_ascii)
{
    cop_json_write_options options = COP_JSON_WRITE_OPTIONS_INIT;
    cop_store *store = t_open();
    options.ascii = true;
    j_load(store, "d", "{\"\xc3\xa9~\":\"\x7f\xe2\x82\xac\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf.\"}");
    ck_assert_str_eq(j_text(store, "d", &options),
                     "{\"\\u00e9~\":\"\\u007f\\u20ac\\ud83d\\ude00\\udbff\\udfff.\"}");
    t_set_at(store, "e", cop_string("\xc3\xa9\xed\xa0\x80.\xf0\x9f", 8));
    ck_assert_str_eq(j_text(store, "e", &options),
                     "\"\\u00e9\\ufffd\\ufffd\\ufffd.\\ufffd\\ufffd\"");
    t_set_at(store, "f", cop_string("\xef\xbf\xbf\xf0\x90\x80\x80", 7)); /* U+FFFF, U+10000 */
    ck_assert_str_eq(j_text(store, "f", &options), "\"\\uffff\\ud800\\udc00\"");
    t_close(store);
}
END_TEST

/* The first and last character of each length, what would be one of another length, surrogates,
 * what lies behind the last character, and what ends too early: one U+FFFD for each stray byte. */
START_TEST(edges_of_utf8)
{
    static const struct {
        const char *bytes;
        const char *ascii; /* of a good one; NULL: every byte is stray */
    } edges[] = {
        {"\x7f", "\\u007f"},
        {"\xc2\x80", "\\u0080"},
        {"\xdf\xbf", "\\u07ff"},
        {"\xe0\xa0\x80", "\\u0800"},
        {"\xe1\x80\x80", "\\u1000"},
        {"\xed\x9f\xbf", "\\ud7ff"},
        {"\xee\x80\x80", "\\ue000"},
        {"\xef\xbf\xbf", "\\uffff"},
        {"\xf0\x90\x80\x80", "\\ud800\\udc00"},
        {"\xf3\xbf\xbf\xbf", "\\udbbf\\udfff"},
        {"\xf4\x8f\xbf\xbf", "\\udbff\\udfff"},
        {"\x80", NULL},
        {"\xbf", NULL},
        {"\xc0\x80", NULL},
        {"\xc1\xbf", NULL},
        {"\xc2", NULL},
        {"\xe0\x80\x80", NULL},
        {"\xe0\x9f\xbf", NULL},
        {"\xe0\xa0", NULL},
        {"\xed\xa0\x80", NULL},
        {"\xed\xbf\xbf", NULL},
        {"\xef\xbf", NULL},
        {"\xf0\x80\x80\x80", NULL},
        {"\xf0\x8f\xbf\xbf", NULL},
        {"\xf0\x90\x80", NULL},
        {"\xf4\x90\x80\x80", NULL},
        {"\xf5\x80\x80\x80", NULL},
        {"\xff", NULL},
    };
    cop_json_write_options options = COP_JSON_WRITE_OPTIONS_INIT;
    cop_store *store = t_open();

    for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++) {
        const char *bytes = edges[i].bytes;
        char text[16], utf8[64] = "\"", ascii[64] = "\"";
        size_t stray = edges[i].ascii ? 0 : strlen(bytes);
        sprintf(text, "%sz\xff", bytes); /* the end is broken, so that each byte is looked at */
        strcat(utf8, edges[i].ascii ? bytes : "");
        strcat(ascii, edges[i].ascii ? edges[i].ascii : "");
        for (size_t k = 0; k < stray; k++) {
            strcat(utf8, "\xef\xbf\xbd");
            strcat(ascii, "\\ufffd");
        }
        strcat(utf8, "z\xef\xbf\xbd\"");
        strcat(ascii, "z\\ufffd\"");
        t_set_at(store, "s", cop_string(text, (uint32_t)strlen(text)));
        options.ascii = false;
        ck_assert_str_eq(j_text(store, "s", &options), utf8);
        options.ascii = true;
        ck_assert_str_eq(j_text(store, "s", &options), ascii);
    }
    t_close(store);
}
END_TEST

/* Text longer than the buffer, nesting deeper than the writer's first frames. */
START_TEST(streamed)
{
    cop_store *store = t_open();
    size_t n = 0, depth = 500;
    char *text = malloc(400000);
    ck_assert_ptr_nonnull(text);
    for (size_t i = 0; i < depth; i++)
        n += (size_t)sprintf(text + n, i % 2 ? "{\"\":" : "[");
    n += (size_t)sprintf(text + n, "[\"");
    memset(text + n, 'x', 50000);
    n += 50000;
    for (int i = 0; i < 20000; i++)
        n += (size_t)sprintf(text + n, "%s%d", i ? "," : "\",", i);
    text[n++] = ']';
    for (size_t i = depth; i-- > 0;)
        text[n++] = i % 2 ? '}' : ']';
    text[n] = '\0';
    j_load(store, "d", text);
    ck_assert_str_eq(j_text(store, "d", NULL), text);
    ck_assert_uint_eq(j_sink.largest, 16384);
    ck_assert_uint_eq(j_sink.calls, (n + 16383) / 16384);
    free(text);
    t_close(store);
}
END_TEST

/* A text as long as the buffer goes at once, and nothing after it. */
START_TEST(as_long_as_the_buffer)
{
    cop_store *store = t_open();
    char *text = malloc(16384 + 2);
    ck_assert_ptr_nonnull(text);
    for (size_t n = 16383; n <= 16385; n++) {
        memset(text, 'x', n);
        text[0] = text[n - 1] = '"';
        text[n] = '\0';
        j_load(store, "d", text);
        ck_assert_str_eq(j_text(store, "d", NULL), text);
        ck_assert_uint_eq(j_sink.calls, n > 16384 ? 2 : 1);
    }
    free(text);
    t_close(store);
}
END_TEST

/* The end of the buffer falls on every byte of what follows a long string. */
START_TEST(buffer_ends_anywhere)
{
    cop_store *store = t_open();
    char *text = t_bytes(16384, 2);
    for (uint32_t i = 0; i < 48; i++) {
        char tail[] = "[],{},-1.5,true,\"\\u0001\\\"\",{\"$bytes\":\"AAE=\"}]";
        char *document = malloc(16384 + sizeof tail + 8);
        ck_assert_ptr_nonnull(document);
        sprintf(document, "[\"%s\",%s", text + 4 + i, tail);
        j_load(store, "d", document);
        ck_assert_str_eq(j_text(store, "d", NULL), document);
        free(document);
    }
    free(text);
    t_close(store);
}
END_TEST

START_TEST(writing_refused)
{
    cop_json_write_options options = COP_JSON_WRITE_OPTIONS_INIT;
    struct {
        cop_json_write_options known;
        uint64_t more;
    } larger = {COP_JSON_WRITE_OPTIONS_INIT, 0};
    cop_atom gone = {123456, 1};
    cop_store *store = t_open();
    j_load(store, "d", "[1]");
    cop_pin_t pin = cop_pin(store);
    CHECK_STATUS(cop_json_write(NULL, cop_root(), NULL, j_take, &j_sink), COP_E_INVALID);
    CHECK_STATUS(cop_json_write(pin.snapshot, cop_root(), NULL, NULL, NULL), COP_E_INVALID);
    CHECK_STATUS(j_write(pin.snapshot, gone, NULL), COP_E_GONE);
    ck_assert_uint_eq(j_sink.calls, 0);
    options.indent = 17;
    CHECK_STATUS(j_write(pin.snapshot, cop_root(), &options), COP_E_INVALID);
    options.size = 4;
    options.indent = 0;
    CHECK_STATUS(j_write(pin.snapshot, cop_root(), &options), COP_E_INVALID);
    options.size = offsetof(cop_json_write_options, depth); /* of an older library */
    options.depth = 99;
    CHECK_OK(j_write(pin.snapshot, cop_root(), &options));
    larger.known.size = sizeof larger; /* of a newer one */
    CHECK_OK(j_write(pin.snapshot, cop_root(), &larger.known));
    ck_assert_str_eq(j_sink.text, "{\"d\":[1]}");
    larger.more = 1;
    CHECK_STATUS(j_write(pin.snapshot, cop_root(), &larger.known), COP_E_INVALID);
    j_sink.stops_at = 1;
    CHECK_STATUS(j_write(pin.snapshot, cop_root(), NULL), COP_E_IO);
    ck_assert_uint_eq(j_sink.calls, 1);
    cop_unpin(pin);
    j_sink.stops_at = 0;
    t_close(store);
}
END_TEST

#ifndef J_MALLOC_IS_TAKEN
START_TEST(writing_without_memory)
{
    cop_store *store = t_open();
    j_load(store, "d", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]");
    cop_pin_t pin = cop_pin(store);
    for (uint32_t indent = 0; indent < 2; indent++) {
        cop_json_write_options options = COP_JSON_WRITE_OPTIONS_INIT;
        options.indent = indent;
        for (long k = 1; k <= 3; k++) { /* the writer, and its frames growing twice */
            j_fails_in = k;
            CHECK_STATUS(j_write(pin.snapshot, cop_root(), &options), COP_E_MEMORY);
        }
        j_fails_in = 0;
        CHECK_OK(j_write(pin.snapshot, cop_root(), &options));
    }
    cop_unpin(pin);
    t_close(store);
}
END_TEST

START_TEST(value_without_memory)
{
    static const char text[] = "{\"$bytes\":\"AAAAAAAAAAAAAAAAAAAAAAAA\"}";
    cop_value value;
    j_fails_in = 1000;
    cop_status status = cop_json_scalar(P(text), &value, NULL);
    long last = 1000 - j_fails_in; /* the copy; before it the decoded bytes */
    for (long k = last; !status && k > last - 2; k--) {
        cop_value_free(&value);
        j_fails_in = k;
        status = cop_json_scalar(P(text), &value, NULL) == COP_E_MEMORY ? COP_OK : COP_E_STATE;
    }
    j_fails_in = 0;
    CHECK_OK(status);
}
END_TEST
#endif

/* A sink that stops in the middle is not called again. */
START_TEST(sink_stops)
{
    cop_store *store = t_open();
    char *text = t_bytes(100000, 1);
    cop_value value = cop_string(text, 100000);
    t_set_at(store, "a", value);
    t_set_at(store, "b", value);
    cop_pin_t pin = cop_pin(store);
    j_sink.stops_at = 2;
    CHECK_STATUS(j_write(pin.snapshot, cop_root(), NULL), COP_E_IO);
    ck_assert_uint_eq(j_sink.calls, 2);
    j_sink.stops_at = 0;
    cop_unpin(pin);
    free(text);
    t_close(store);
}
END_TEST

/* The compact layout has a walk of its own; that of the other layouts, which is also taken when lazy atoms
 * are asked for, says the same of a store without any. */
static void
check_both_walks(cop_store *store)
{
    static char expected[sizeof j_sink.text];
    for (uint32_t depth = 0; depth < 3; depth++) {
        cop_json_write_options slow = COP_JSON_WRITE_OPTIONS_INIT, fast = COP_JSON_WRITE_OPTIONS_INIT;
        slow.lazy = true;
        slow.depth = fast.depth = depth;
        strcpy(expected, j_text(store, "", &slow));
        ck_assert_msg(strcmp(j_text(store, "", &fast), expected) == 0, "the walks differ");
    }
}

static void
add_text(cop_txn *txn, const char *bytes, size_t n)
{
    char path[256] = "keys/";
    size_t written;
    cop_value value = cop_string(bytes, n);
    CHECK_OK(cop_txn_set_at(txn, "values/-", 8, &value, NULL));
    if (cop_path_escape(bytes, n, path + 5, sizeof path - 5, &written, NULL) == COP_OK)
        CHECK_OK(cop_txn_set_at(txn, path, 5 + written, &value, NULL));
}

/* Every kind of byte that needs care, at every place of texts of every length around the eight bytes that
 * are looked at in one go, as values and as keys. */
START_TEST(special_bytes_anywhere)
{
    static const char special[] = {'a', '"', '\\', '\n', 0x1f, ' ', 0x7f, '~', '/', '*', '\xff', '!'};
    cop_store *store = t_open();
    j_load(store, "", "{\"values\":[],\"keys\":{},\"empty\":{},\"none\":[]}");
    for (size_t n = 0; n <= 27; n++) {
        cop_txn *txn = t_begin(store);
        for (size_t at = 0; at < (n ? n : 1); at++) {
            for (size_t i = 0; i < sizeof special; i++) {
                char text[32];
                memset(text, 'x', sizeof text);
                text[at] = special[i];
                add_text(txn, text, n);
            }
        }
        t_commit(txn);
    }
    check_both_walks(store);
    t_close(store);
}
END_TEST

/* DEL is the one byte that is special in ASCII and nowhere else. */
START_TEST(delete_as_ascii)
{
    cop_store *store = t_open();
    cop_json_write_options options = COP_JSON_WRITE_OPTIONS_INIT;
    options.ascii = true;
    j_load(store, "", "{\"a\x7f\":[\"\x7f\",\"a longer one with \x7f\"]}");
    ck_assert_str_eq(j_text(store, "", &options),
                     "{\"a\\u007f\":[\"\\u007f\",\"a longer one with \\u007f\"]}");
    ck_assert_str_eq(j_text(store, "", NULL),
                     "{\"a\x7f\":[\"\x7f\",\"a longer one with \x7f\"]}");
    t_close(store);
}
END_TEST

START_TEST(every_scalar_both_ways)
{
    cop_store *store = t_open();
    j_load(store, "", "{\"a\":[0,9,10,99,100,-1,12345,123456789012,1.5,true,false,null,\"\",[],{}]}");
    t_set_at(store, "nan", cop_f64(NAN));
    t_set_at(store, "infinite", cop_f64(-INFINITY));
    t_set_at(store, "bytes", cop_bytes("abc", 3));
    t_set_at(store, "error", cop_error_value("failed", 6));
    check_both_walks(store);
    t_close(store);
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_test(tests, floats_are_shortest);
    tcase_add_test(tests, floats_round_trip);
    tcase_add_test(tests, integers);
    tcase_add_test(tests, numbers_whatever_the_locale);
    tcase_add_test(tests, value_to_text);
    tcase_add_test(tests, value_to_text_refused);
    tcase_add_test(tests, text_to_value);
    tcase_add_test(tests, text_to_value_refused);
    tcase_add_test(tests, written_as_read);
    tcase_add_test(tests, every_digit_of_base64);
    tcase_add_test(tests, every_end_of_base64);
    tcase_add_test(tests, indented);
    tcase_add_test(tests, to_a_depth);
    tcase_add_test(tests, as_ascii);
    tcase_add_test(tests, edges_of_utf8);
    tcase_add_test(tests, streamed);
    tcase_add_test(tests, as_long_as_the_buffer);
    tcase_add_test(tests, buffer_ends_anywhere);
    tcase_add_test(tests, writing_refused);
    tcase_add_test(tests, special_bytes_anywhere);
    tcase_add_test(tests, delete_as_ascii);
    tcase_add_test(tests, every_scalar_both_ways);
    tcase_add_test(tests, sink_stops);
#ifndef J_MALLOC_IS_TAKEN
    tcase_add_test(tests, writing_without_memory);
    tcase_add_test(tests, value_without_memory);
#endif
}

int
main(void)
{
    return t_run("json_write", add);
}
