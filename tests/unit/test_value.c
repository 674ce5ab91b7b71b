/* SPDX-License-Identifier: MIT */
/* Values: makers and readers, equality, owned copies, names of types. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <coppice/value.h>

#include "tests/support/quick_check.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(COP_LEAK_SANITIZER)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

static const char long_text[] = "a text that is too long for the inside of a value";

static cop_value
text_of(cop_type type, const char *text)
{
    return cop_text(type, text, strlen(text));
}

START_TEST(numbers_read_back)
{
    static const int64_t integers[] = {0, 1, -1, INT64_MAX, INT64_MIN, 1234567890123};
    static const double floats[] = {0.0, -0.0, 1.5, -1e300, 5e-324, INFINITY, -INFINITY};
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
        cop_value v = cop_i64(integers[i]);
        ck_assert_int_eq(cop_value_type(&v), COP_I64);
        ck_assert_int_eq(cop_value_i64(&v), integers[i]);
        ck_assert(!cop_value_is_text(&v));
    }
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++) {
        cop_value v = cop_f64(floats[i]);
        double back = cop_value_f64(&v);
        ck_assert_int_eq(cop_value_type(&v), COP_F64);
        ck_assert_int_eq(memcmp(&back, &floats[i], sizeof back), 0);
    }
}
END_TEST

START_TEST(simple_values)
{
    cop_value yes = cop_bool(true), no = cop_bool(false), null = cop_null();
    cop_value object = cop_object(), array = cop_array();
    ck_assert(cop_value_bool(&yes) && !cop_value_bool(&no));
    ck_assert_int_eq(cop_value_type(&yes), COP_BOOL);
    ck_assert_int_eq(cop_value_type(&null), COP_NULL);
    ck_assert_int_eq(cop_value_type(&object), COP_OBJECT);
    ck_assert_int_eq(cop_value_type(&array), COP_ARRAY);
    ck_assert(!cop_value_is_text(&null) && !cop_value_is_text(&object));
}
END_TEST

START_TEST(text_inside_and_outside)
{
    char bytes[64];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 7);
    for (size_t n = 0; n <= sizeof bytes; n++) {
        cop_value v = cop_bytes(bytes, n);
        bool inside = n <= COP_INLINE_MAX;
        ck_assert(cop_value_is_text(&v));
        ck_assert_int_eq(cop_value_type(&v), COP_BYTES);
        ck_assert_uint_eq(cop_value_length(&v), n);
        ck_assert_int_eq(memcmp(cop_value_data(&v), bytes, n), 0);
        ck_assert_int_eq(cop_value_data(&v) != bytes, inside);
    }
    cop_value empty = cop_string(NULL, 0), error = cop_error_value("no", 2);
    ck_assert_uint_eq(cop_value_length(&empty), 0);
    ck_assert_int_eq(cop_value_type(&error), COP_ERROR);
}
END_TEST

START_TEST(text_beyond_the_limit_is_no_value)
{
    cop_value most = cop_string("x", COP_VALUE_MAX);
    cop_value more = cop_string("x", (size_t)COP_VALUE_MAX + 1);
    ck_assert_int_eq(cop_value_type(&most), COP_STRING);
    ck_assert_uint_eq(cop_value_length(&most), COP_VALUE_MAX);
    ck_assert_int_eq(cop_value_type(&more), COP_NONE);
}
END_TEST

/* Values of which no two are equal. */
static size_t
different_values(cop_value *v)
{
    static const char other[] = "a text that is too long for the inside of a valuE";
    size_t n = 0;
    memset(&v[n++], 0, sizeof *v);
    v[n++] = cop_null();
    v[n++] = cop_bool(false);
    v[n++] = cop_bool(true);
    v[n++] = cop_i64(0);
    v[n++] = cop_i64(1);
    v[n++] = cop_i64(INT64_MIN);
    v[n++] = cop_f64(0.0);
    v[n++] = cop_f64(-0.0);
    v[n++] = cop_f64(1.0);
    v[n++] = cop_f64((double)NAN);
    v[n++] = cop_object();
    v[n++] = cop_array();
    for (cop_type type = COP_STRING; type <= COP_ERROR; type++) {
        v[n++] = text_of(type, "");
        v[n++] = text_of(type, "short");
        v[n++] = text_of(type, "shorT");
        v[n++] = text_of(type, "exactly 12 b");
        v[n++] = text_of(type, "exactly 13 by");
        v[n++] = text_of(type, long_text);
        v[n++] = text_of(type, other);
    }
    return n;
}

START_TEST(equality)
{
    cop_value v[64];
    size_t n = different_values(v);
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n; j++)
            ck_assert_int_eq(cop_value_equal(&v[i], &v[j]), i == j);
    }
}
END_TEST

START_TEST(equality_looks_at_bytes_not_places)
{
    char copy[sizeof long_text];
    memcpy(copy, long_text, sizeof copy);
    cop_value a = text_of(COP_STRING, long_text), b = text_of(COP_STRING, copy);
    ck_assert(cop_value_equal(&a, &b));
    copy[20] ^= 1;
    ck_assert(!cop_value_equal(&a, &b));
    cop_value with_nul = cop_string("a\0b", 3), other = cop_string("a\0c", 3);
    ck_assert(!cop_value_equal(&with_nul, &other));
}
END_TEST

START_TEST(copies_own_their_bytes)
{
    cop_value v[64], copy;
    size_t n = different_values(v);
    for (size_t i = 0; i < n; i++) {
        ck_assert_int_eq(cop_value_copy(&v[i], &copy), COP_OK);
        ck_assert(cop_value_equal(&v[i], &copy));
        if (cop_value_is_text(&v[i]) && cop_value_length(&v[i]))
            ck_assert_ptr_ne(cop_value_data(&v[i]), cop_value_data(&copy));
        cop_value_free(&copy);
        ck_assert_int_eq(cop_value_type(&copy), COP_NONE);
        cop_value_free(&copy);
    }
}
END_TEST

START_TEST(copy_outlives_the_original)
{
    char *text = malloc(sizeof long_text);
    cop_value v, copy;
    ck_assert_ptr_nonnull(text);
    memcpy(text, long_text, sizeof long_text);
    v = text_of(COP_STRING, text);
    ck_assert_int_eq(cop_value_copy(&v, &copy), COP_OK);
    memset(text, 'x', sizeof long_text);
    free(text);
    ck_assert_uint_eq(cop_value_length(&copy), sizeof long_text - 1);
    ck_assert_int_eq(memcmp(cop_value_data(&copy), long_text, sizeof long_text - 1), 0);
    cop_value_free(&copy);
}
END_TEST

START_TEST(copy_onto_itself)
{
    cop_value v = text_of(COP_BYTES, long_text);
    ck_assert_int_eq(cop_value_copy(&v, &v), COP_OK);
    ck_assert_ptr_ne(cop_value_data(&v), long_text);
    ck_assert_int_eq(memcmp(cop_value_data(&v), long_text, sizeof long_text - 1), 0);
    cop_value_free(&v);
}
END_TEST

#ifndef SANITIZED
/* The sanitizers' malloc does not live within RLIMIT_AS. */
START_TEST(copy_without_memory)
{
    struct rlimit before, tight;
    cop_value v = cop_string(long_text, COP_VALUE_MAX), copy;
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &before), 0);
    tight = before;
    tight.rlim_cur = 1 << 20;
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &tight), 0);
    cop_status status = cop_value_copy(&v, &copy);
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &before), 0);
    ck_assert_int_eq(status, COP_E_MEMORY);
    ck_assert_int_eq(cop_value_type(&copy), COP_NONE);
    cop_value_free(&copy);
}
END_TEST
#endif

START_TEST(type_names)
{
    ck_assert_str_eq(cop_type_name(COP_NONE), "none");
    ck_assert_str_eq(cop_type_name(COP_NULL), "null");
    ck_assert_str_eq(cop_type_name(COP_BOOL), "bool");
    ck_assert_str_eq(cop_type_name(COP_I64), "i64");
    ck_assert_str_eq(cop_type_name(COP_F64), "f64");
    ck_assert_str_eq(cop_type_name(COP_STRING), "string");
    ck_assert_str_eq(cop_type_name(COP_BYTES), "bytes");
    ck_assert_str_eq(cop_type_name(COP_ERROR), "error");
    ck_assert_str_eq(cop_type_name(COP_OBJECT), "object");
    ck_assert_str_eq(cop_type_name(COP_ARRAY), "array");
    ck_assert_str_eq(cop_type_name((cop_type)10), "unknown");
    ck_assert_str_eq(cop_type_name((cop_type)-1), "unknown");
}
END_TEST

static Suite *
value_suite(void)
{
    Suite *suite = suite_create("value");
    TCase *values = tcase_create("values");
    tcase_set_timeout(values, 120);
    tcase_add_test(values, numbers_read_back);
    tcase_add_test(values, simple_values);
    tcase_add_test(values, text_inside_and_outside);
    tcase_add_test(values, text_beyond_the_limit_is_no_value);
    tcase_add_test(values, equality);
    tcase_add_test(values, equality_looks_at_bytes_not_places);
    tcase_add_test(values, copies_own_their_bytes);
    tcase_add_test(values, copy_outlives_the_original);
    tcase_add_test(values, copy_onto_itself);
#ifndef SANITIZED
    tcase_add_test(values, copy_without_memory);
#endif
    tcase_add_test(values, type_names);
    suite_add_tcase(suite, values);
    return suite;
}

int
main(void)
{
    SRunner *runner = srunner_create(value_suite());
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
