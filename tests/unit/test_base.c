/* SPDX-License-Identifier: MIT */
/* The base: clocks, futex, seeds, assertions, letters; status codes and messages; perturbation. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/base.h"
#include "base/letters.h"
#include "store/log.h"
#include "tests/support/quick_check.h"
#include "tree/path.h"

#define MS UINT64_C(1000000)

/* --- clocks and seeds ------------------------------------------------------------------------- */

START_TEST(clock_grows)
{
    uint64_t before = cop__clock_ns();
    for (int i = 0; i < 1000; i++) {
        uint64_t now = cop__clock_ns();
        ck_assert_uint_ge(now, before);
        before = now;
    }
    struct timespec nap = {0, 2 * (long)MS};
    nanosleep(&nap, NULL);
    ck_assert_uint_ge(cop__clock_ns(), before + 2 * MS);
}
END_TEST

START_TEST(realtime_is_now)
{
    uint64_t seconds = cop__realtime_ns() / 1000000000u;
    uint64_t now = (uint64_t)time(NULL);
    ck_assert_uint_le(seconds, now + 1);
    ck_assert_uint_ge(seconds + 2, now);
}
END_TEST

static bool random_fails;

/* In the place of libc's, so that the fallback can be seen. */
ssize_t
getrandom(void *buffer, size_t n, unsigned flags)
{
    if (random_fails) {
        errno = EAGAIN;
        return -1;
    }
    return syscall(SYS_getrandom, buffer, n, flags);
}

static void
check_seeds_differ(void)
{
    uint64_t seeds[64];
    for (int i = 0; i < 64; i++) {
        seeds[i] = cop__random_seed();
        for (int j = 0; j < i; j++)
            ck_assert_uint_ne(seeds[i], seeds[j]);
    }
}

START_TEST(seeds_differ)
{
    check_seeds_differ();
}
END_TEST

START_TEST(seeds_differ_without_the_system)
{
    random_fails = true;
    check_seeds_differ();
    random_fails = false;
}
END_TEST

/* --- futex ------------------------------------------------------------------------------------ */

START_TEST(futex_returns_when_the_word_differs)
{
    _Atomic uint32_t word = 1;
    cop__futex_wait(&word, 2, UINT64_MAX);
}
END_TEST

START_TEST(futex_deadline)
{
    _Atomic uint32_t word = 7;
    uint64_t before = cop__clock_ns();
    cop__futex_wait(&word, 7, 0);
    cop__futex_wait(&word, 7, before);
    ck_assert_uint_lt(cop__clock_ns() - before, 5000 * MS);
    uint64_t deadline = cop__clock_ns() + 20 * MS;
    /* A signal may cut one wait short. */
    while (cop__clock_ns() < deadline)
        cop__futex_wait(&word, 7, deadline);
    ck_assert_uint_ge(cop__clock_ns(), deadline);
}
END_TEST

static _Atomic uint32_t gate;
static _Atomic uint32_t through;

static void *
wait_at_gate(void *deadline)
{
    while (atomic_load(&gate) == 0)
        cop__futex_wait(&gate, 0, *(uint64_t *)deadline);
    atomic_fetch_add(&through, 1);
    return NULL;
}

static void
check_wake(uint64_t deadline)
{
    pthread_t threads[3];
    struct timespec nap = {0, 10 * (long)MS};
    atomic_store(&gate, 0);
    atomic_store(&through, 0);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, wait_at_gate, &deadline), 0);
    nanosleep(&nap, NULL);
    ck_assert_uint_eq(atomic_load(&through), 0);
    atomic_store(&gate, 1);
    cop__futex_wake(&gate, 3);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(atomic_load(&through), 3);
}

START_TEST(futex_wakes)
{
    check_wake(UINT64_MAX);
    check_wake(cop__clock_ns() + 60000 * MS);
    check_wake(UINT64_MAX - 1); /* no time, but not "for ever" either */
}
END_TEST

/* --- assertions and planted faults ------------------------------------------------------------ */

static sigjmp_buf behind_abort;

static void
leave_abort(int signal_number)
{
    siglongjmp(behind_abort, signal_number);
}

/* What a function that aborts wrote to stderr; false when it did not abort. In this process, so
 * that its lines count as run. */
static bool
aborts(void (*function)(void), char *said, size_t capacity)
{
    struct sigaction catch = {.sa_handler = leave_abort}, before;
    volatile bool aborted = true;
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    volatile int saved = dup(STDERR_FILENO);
    ck_assert_int_ge(dup2(ends[1], STDERR_FILENO), 0);
    ck_assert_int_eq(sigaction(SIGABRT, &catch, &before), 0);
    if (sigsetjmp(behind_abort, 1) == 0) {
        function();
        aborted = false;
    }
    sigaction(SIGABRT, &before, NULL);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(ends[1]);
    ssize_t n = read(ends[0], said, capacity - 1);
    close(ends[0]);
    said[n > 0 ? n : 0] = '\0';
    return aborted;
}

static void
fail_plainly(void)
{
    cop__assert_failed("x > 0", "some.c", 12);
}

static void
fail_at_length(void)
{
    static char expression[2000];
    memset(expression, 'x', sizeof expression - 1);
    cop__assert_failed(expression, "some.c", 12);
}

static void
fail_by_macro(void)
{
    COP_ALWAYS(1 + 1 == 3);
}

static void
hold_by_macro(void)
{
    COP_ALWAYS(1 + 1 == 2);
}

START_TEST(failed_assertion_aborts)
{
    char said[4096];
    ck_assert(aborts(fail_plainly, said, sizeof said));
    ck_assert_str_eq(said, "coppice: some.c:12: assertion failed: x > 0\n");
    ck_assert(aborts(fail_at_length, said, sizeof said));
    ck_assert_ptr_nonnull(strstr(said, "assertion failed: xxxxxxxx"));
    ck_assert_uint_eq(strlen(said), 511);
    ck_assert(aborts(fail_by_macro, said, sizeof said));
    ck_assert_ptr_nonnull(strstr(said, "1 + 1 == 3"));
    ck_assert(!aborts(hold_by_macro, said, sizeof said));
    ck_assert_str_eq(said, "");
}
END_TEST

#ifdef COP_PLANTED_FAULTS
/* Runs function in a child; what it wrote to stderr is in said. The wait status. */
static int
in_child(void (*function)(void), char *said, size_t capacity)
{
    int ends[2], status;
    ck_assert_int_eq(pipe(ends), 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        function();
        _exit(0);
    }
    close(ends[1]);
    size_t used = 0;
    ssize_t n;
    while (used < capacity - 1 && (n = read(ends[0], said + used, capacity - 1 - used)) > 0)
        used += (size_t)n;
    said[used] = '\0';
    close(ends[0]);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return status;
}

static void
one_fault(void)
{
    setenv("COP_FAULT", "txn_dropped", 1);
    bool right = COP_FAULT(txn_dropped) && COP_FAULT(txn_dropped) && !COP_FAULT(pending_ignored);
    _exit(right ? 0 : 1);
}

static void
no_fault(void)
{
    unsetenv("COP_FAULT");
    _exit(COP_FAULT(txn_dropped) ? 1 : 0);
}

static void
misspelt_fault(void)
{
    setenv("COP_FAULT", "txn_droped", 1);
    _exit(COP_FAULT(txn_dropped) ? 1 : 0);
}

START_TEST(planted_faults)
{
    char said[1024];
    ck_assert_int_eq(in_child(one_fault, said, sizeof said), 0);
    ck_assert_int_eq(in_child(no_fault, said, sizeof said), 0);
    ck_assert(WIFSIGNALED(in_child(misspelt_fault, said, sizeof said)));
    ck_assert_ptr_nonnull(strstr(said, "COP_FAULT names a planted fault"));
}
END_TEST
#else
START_TEST(planted_faults)
{
    ck_assert(!COP_FAULT(txn_dropped));
}
END_TEST
#endif

/* --- letters ---------------------------------------------------------------------------------- */

START_TEST(letters)
{
    static const char upper[] = {COP_UPPER_32("batch_window_ms2"), 0};
    static const char lower[] = {COP_LOWER_16("PAGES_2a"), 0};
    static const char whole[] = {COP_UPPER_32("abcdefghijklmnopqrstuvwxyz012345"), 0};
    ck_assert_str_eq(upper, "BATCH_WINDOW_MS2");
    ck_assert_str_eq(lower, "pages_2a");
    ck_assert_str_eq(whole, "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345");
}
END_TEST

/* --- status codes ----------------------------------------------------------------------------- */

START_TEST(status_names)
{
    int codes = 0;
#define CHECK_STATUS(name, number, message)                      \
    ck_assert_int_eq(COP_##name, number);                        \
    ck_assert_str_eq(cop_status_name(COP_##name), "COP_" #name); \
    ck_assert_str_eq(cop_status_message(COP_##name), message);   \
    ck_assert_int_eq(number, -codes);                            \
    ck_assert_int_ne((message)[strlen(message) - 1], '.');       \
    codes++;
    COP_STATUS_MAP(CHECK_STATUS)
    ck_assert_str_eq(cop_status_name((cop_status)1), "COP_E_UNKNOWN");
    ck_assert_str_eq(cop_status_name((cop_status)-codes), "COP_E_UNKNOWN");
    ck_assert_str_eq(cop_status_message((cop_status)-codes), "unknown status code");
}
END_TEST

START_TEST(library_version)
{
    ck_assert_uint_gt(strlen(cop_library_version()), 0);
    ck_assert_ptr_eq(cop_library_version(), cop_library_version());
}
END_TEST

/* --- messages --------------------------------------------------------------------------------- */

typedef struct heard {
    int count;
    cop_log_level level;
    char message[1024];
} heard;

static void
hear(void *context, cop_log_level level, const char *message)
{
    heard *h = context;
    h->count++;
    h->level = level;
    snprintf(h->message, sizeof h->message, "%s", message);
}

START_TEST(log_reaches_the_host)
{
    heard h = {0};
    cop__log log = {hear, &h, NULL};
    cop__log_write(&log, COP_LOG_WARNING, "%d of %s", 3, "four");
    ck_assert_int_eq(h.count, 1);
    ck_assert_int_eq(h.level, COP_LOG_WARNING);
    ck_assert_str_eq(h.message, "3 of four");
    log.function = NULL;
    cop__log_write(&log, COP_LOG_ERROR, "nobody hears");
    cop__log_write(NULL, COP_LOG_ERROR, "nobody hears");
    ck_assert_int_eq(h.count, 1);
}
END_TEST

/* The message that a string becomes. */
static const char *
cleaned(const char *text)
{
    static cop_error error;
    cop__fail(&error, COP_E_IO, "%s", text);
    return error.message;
}

START_TEST(messages_are_one_clean_line)
{
    heard h = {0};
    cop__log log = {hear, &h, NULL};
    cop__log_write(&log, COP_LOG_INFO,
                   "a\nb\rc\td\x7f"
                   "e\x1b[2J");
    ck_assert_str_eq(h.message, "a b c d e [2J");
    ck_assert_str_eq(cleaned("gr\xc3\xbc\xc3\x9f \xf0\x9f\x8c\xb3"),
                     "gr\xc3\xbc\xc3\x9f \xf0\x9f\x8c\xb3");
    ck_assert_str_eq(cleaned("\xff"), "?");
    ck_assert_str_eq(cleaned("a\xc3"), "a?");
    ck_assert_str_eq(cleaned("\xc0\x80"
                             "b\xed\xa0\x80"),
                     "??b???");
    ck_assert_str_eq(cleaned("\xe2\x82"
                             "x"),
                     "??x");
}
END_TEST

/* A message cut in the middle of a character loses the whole character. */
START_TEST(long_messages_are_cut_between_characters)
{
    static const char *const tails[] = {"x", "\xc3\xbc", "\xe2\x82\xac", "\xf0\x9f\x8c\xb3"};
    for (size_t t = 0; t < 4; t++) {
        for (size_t lead = 240; lead < 270; lead++) {
            char text[600];
            size_t n = strlen(tails[t]), whole = lead;
            memset(text, 'a', lead);
            text[lead] = '\0';
            for (int i = 0; i < 50; i++)
                strcat(text, tails[t]);
            const char *message = cleaned(text);
            while (whole + n <= 255)
                whole += n;
            if (whole > 255)
                whole = 255;
            ck_assert_uint_eq(strlen(message), whole);
            ck_assert(cop__utf8_valid(message, strlen(message), NULL));
            ck_assert_int_eq(memcmp(message, text, whole), 0);
        }
    }
    ck_assert_ptr_null(strchr(cleaned("a\xff"), '\xff'));
}
END_TEST

START_TEST(long_log_lines_are_cut)
{
    heard h = {0};
    cop__log log = {hear, &h, NULL};
    char text[2000];
    memset(text, 'y', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    cop__log_write(&log, COP_LOG_DEBUG, "%s", text);
    ck_assert_uint_eq(strlen(h.message), 511);
    memset(text, 0xff, 700); /* no character begins in it that could be cut */
    cop__log_write(&log, COP_LOG_DEBUG, "%s", text);
    ck_assert_uint_ge(strlen(h.message), 508);
}
END_TEST

START_TEST(errors_are_filled)
{
    cop_error error = {COP_OK, 9, 9, 9, "old"};
    ck_assert_int_eq(cop__fail(&error, COP_E_GONE, "atom %d", 5), COP_E_GONE);
    ck_assert_int_eq(error.status, COP_E_GONE);
    ck_assert_uint_eq(error.line, 0);
    ck_assert_uint_eq(error.column, 0);
    ck_assert_uint_eq(error.position, SIZE_MAX);
    ck_assert_str_eq(error.message, "atom 5");
    ck_assert_int_eq(cop__fail_at(&error, COP_E_PATH, 17, "there"), COP_E_PATH);
    ck_assert_uint_eq(error.position, 17);
    ck_assert_uint_eq(error.line, 0);
    ck_assert_int_eq(cop__fail_line(&error, COP_E_SYNTAX, 3, 4, "%s", "here"), COP_E_SYNTAX);
    ck_assert_uint_eq(error.line, 3);
    ck_assert_uint_eq(error.column, 4);
    ck_assert_uint_eq(error.position, SIZE_MAX);
}
END_TEST

START_TEST(errors_need_nobody_who_asks)
{
    ck_assert_int_eq(cop__fail(NULL, COP_E_GONE, "x"), COP_E_GONE);
    ck_assert_int_eq(cop__fail_at(NULL, COP_E_PATH, 1, "x"), COP_E_PATH);
    ck_assert_int_eq(cop__fail_line(NULL, COP_E_SYNTAX, 1, 1, "x"), COP_E_SYNTAX);
}
END_TEST

START_TEST(error_messages_are_never_empty)
{
    cop_error error = COP_ERROR_INIT;
    cop__fail(&error, COP_E_TIMEOUT, "%s", "");
    ck_assert_str_eq(error.message, cop_status_message(COP_E_TIMEOUT));
    /* A wide character that no locale "C" can print makes vsnprintf fail. */
    cop__fail(&error, COP_E_IO, "%ls", L"\x1f333");
    ck_assert_str_eq(error.message, cop_status_message(COP_E_IO));
}
END_TEST

/* --- perturbation ----------------------------------------------------------------------------- */

static _Atomic uint64_t word64;

static uint64_t
take_steps(void)
{
    uint64_t expected = 6;
    atomic_store(&word64, 0);
    cop__store_relaxed(&word64, 1);
    cop__store_release(&word64, cop__load_relaxed(&word64) + 1);
    cop__store_seq_cst(&word64, cop__load_acquire(&word64) + 1);
    cop__add_relaxed(&word64, 2);
    cop__add_acq_rel(&word64, 2);
    cop__sub_relaxed(&word64, 1);
    if (!cop__cas_seq_cst(&word64, &expected, 8))
        return 0;
    cop__sub_acq_rel(&word64, 1);
    if (cop__swap_seq_cst(&word64, 10) != 7 || cop__swap_acq_rel(&word64, 11) != 10)
        return 0;
    cop__light_barrier();
    return cop__load_seq_cst(&word64);
}

START_TEST(atomics_do_what_they_say)
{
    ck_assert_uint_eq(take_steps(), 11);
}
END_TEST

#ifdef COP_PERTURB
static int steps_seen;

static void
count_step(const char *where)
{
    steps_seen += where[0] != '\0';
    COP_STEP("from inside"); /* is no step: a scheduler may use the atomics itself */
}

START_TEST(scheduler_sees_each_step)
{
    cop__step_install(count_step);
    steps_seen = 0;
    ck_assert_uint_eq(take_steps(), 11);
    ck_assert_int_eq(steps_seen, 13);
    cop__step_install(NULL);
    ck_assert_uint_eq(take_steps(), 11);
    ck_assert_int_eq(steps_seen, 13);
}
END_TEST

static void *
step_often(void *unused)
{
    for (int i = 0; i < 5000; i++)
        cop__step("loop");
    return unused;
}

START_TEST(steps_of_many_threads)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, step_often, NULL), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}
END_TEST
#endif

static Suite *
base_suite(void)
{
    Suite *suite = suite_create("base");
    TCase *base = tcase_create("base"), *messages = tcase_create("messages");
    tcase_set_timeout(base, 60);
    tcase_add_test(base, clock_grows);
    tcase_add_test(base, realtime_is_now);
    tcase_add_test(base, seeds_differ);
    tcase_add_test(base, seeds_differ_without_the_system);
    tcase_add_test(base, futex_returns_when_the_word_differs);
    tcase_add_test(base, futex_deadline);
    tcase_add_test(base, futex_wakes);
    tcase_add_test(base, failed_assertion_aborts);
    tcase_add_test(base, planted_faults);
    tcase_add_test(base, letters);
    tcase_add_test(base, atomics_do_what_they_say);
#ifdef COP_PERTURB
    tcase_add_test(base, scheduler_sees_each_step);
    tcase_add_test(base, steps_of_many_threads);
#endif
    tcase_add_test(messages, status_names);
    tcase_add_test(messages, library_version);
    tcase_add_test(messages, log_reaches_the_host);
    tcase_add_test(messages, messages_are_one_clean_line);
    tcase_add_test(messages, long_messages_are_cut_between_characters);
    tcase_add_test(messages, long_log_lines_are_cut);
    tcase_add_test(messages, errors_are_filled);
    tcase_add_test(messages, errors_need_nobody_who_asks);
    tcase_add_test(messages, error_messages_are_never_empty);
    suite_add_tcase(suite, base);
    suite_add_tcase(suite, messages);
    return suite;
}

int
main(void)
{
    SRunner *runner = srunner_create(base_suite());
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
