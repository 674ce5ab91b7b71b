/* SPDX-License-Identifier: MIT */
/* Warnings: each is provoked by its scenario and by no other, and none by the healthy one. */
#include "monitor/monitor.h"
#include "tests/fixtures/performance_scenarios/scenarios.h"
#include "tests/support/store_test.h"

#ifdef COP_PRODUCTION
#define LEFT_OUT(kind) ((kind) <= COP_WARNING_RELISTED)
#else
#define LEFT_OUT(kind) false
#endif

typedef struct seen {
    unsigned of[COP_WARNINGS], all, most;
    char path[COP_OVERRUN_PATH];
} seen;

static int
see(void *context, const cop_warning *warning)
{
    seen *s = context;
    s->of[warning->kind]++;
    s->all++;
    ck_assert(warning->name[0] != '\0' && warning->advice[0] != '\0' && warning->text[0] != '\0');
    ck_assert_uint_ge(warning->figure, warning->limit);
    memcpy(s->path, warning->path, sizeof s->path);
    return s->most > 0 && s->all >= s->most;
}

static cop_store *
measured(void)
{
    cop_monitor_options options = COP_MONITOR_OPTIONS_INIT;
    cop_store *store = t_open();
    options.sample_every = 1;
    CHECK_OK(cop_monitor_start(store, &options, NULL));
    atomic_load(&store->monitor)->armed = UINT32_MAX;
    return store;
}

START_TEST(each_scenario_provokes_its_own)
{
    const scenario *sc = &scenarios[_i];
    scenario_keep keep = {NULL, NULL, NULL, NULL, NULL};
    cop_warning_limits limits = scenario_limits();
    seen s = {{0}, 0, 0, ""};
    cop_store *store = measured();
    sc->run(store, &keep);
    CHECK_OK(cop_warnings_each(store, &limits, COP_FOREVER, see, &s));
    bool wanted = sc->warning >= 0 && !LEFT_OUT(sc->warning);
    ck_assert_msg(s.all == wanted, "%s: %u warnings", sc->name, s.all);
    if (wanted) {
        ck_assert_msg(s.of[sc->warning] == 1, "%s: another warning", sc->name);
        ck_assert_str_eq(s.path, sc->path);
    }
    scenario_end(store, &keep);
    t_close(store);
}
END_TEST

START_TEST(every_kind_has_a_scenario)
{
    for (int kind = 0; kind < COP_WARNINGS; kind++) {
        bool found = false;
        for (unsigned i = 0; i < scenarios_count; i++)
            found |= scenarios[i].warning == kind;
        ck_assert_msg(found, "warning %d", kind);
    }
}
END_TEST

START_TEST(only_the_worst_of_a_kind_are_told)
{
    const cop_snapshot *held[12];
    cop_warning_limits limits = COP_WARNING_LIMITS_INIT;
    seen s = {{0}, 0, 0, ""};
    cop_store *store = t_open(); /* never measured: what does not need it is found all the same */
    limits.snapshot_ms = 0;
    for (unsigned i = 0; i < 12; i++) {
        t_set_at(store, "x", cop_i64((int64_t)i));
        held[i] = t_take(store);
    }
    t_set_at(store, "x", cop_i64(99));
    CHECK_OK(cop_warnings_each(store, &limits, COP_FOREVER, see, &s));
    ck_assert_uint_eq(s.all, 8);
    ck_assert_uint_eq(s.of[COP_WARNING_SNAPSHOT], 8);
    s = (seen){.most = 3};
    CHECK_OK(cop_warnings_each(store, &limits, COP_FOREVER, see, &s));
    ck_assert_uint_eq(s.all, 3);
    for (unsigned i = 0; i < 12; i++)
        cop_snapshot_drop(held[i]);
    t_close(store);
}
END_TEST

static cop_status
constant(cop_evaluation *evaluation, void *context, cop_value *result)
{
    cop_value value;
    *result = cop_i64(1);
    return cop_read(evaluation, *(cop_atom *)context, &value);
}

START_TEST(kinds_are_told_together)
{
    cop_warning_limits limits = COP_WARNING_LIMITS_INIT;
    seen s = {{0}, 0, 0, ""};
    cop_store *store = measured();
    cop_atom x = t_make(store, "x", cop_i64(0)), made;
    const cop_snapshot *held = t_take(store);
    limits.snapshot_ms = 0;
    limits.memory_percent = 0;
    CHECK_OK(cop_computed_define(store, P("c"), constant, &x, NULL, &made, NULL));
    for (int64_t i = 1; i < 20; i++) /* too few runs to say anything of */
        t_set(store, x, cop_i64(i));
    CHECK_OK(cop_warnings_each(store, &limits, COP_FOREVER, see, &s));
    ck_assert_uint_eq(s.all, 2);
    ck_assert_uint_eq(s.of[COP_WARNING_SNAPSHOT], 1);
    ck_assert_uint_eq(s.of[COP_WARNING_MEMORY], 1);
    cop_snapshot_drop(held);
    t_close(store);
}
END_TEST

START_TEST(what_is_wrong_is_refused)
{
    cop_warning_limits limits = COP_WARNING_LIMITS_INIT;
    cop_store *store = measured();
    cop__monitor *monitor = atomic_load(&store->monitor);
    seen s = {{0}, 0, 0, ""};
    CHECK_STATUS(cop_warnings_each(store, NULL, COP_FOREVER, NULL, NULL), COP_E_INVALID);
    limits.size = 4;
    CHECK_STATUS(cop_warnings_each(store, &limits, COP_FOREVER, see, &s), COP_E_INVALID);
    CHECK_OK(cop_warnings_each(store, NULL, COP_FOREVER, see, &s));
    CHECK_OK(cop__monitor_lock(monitor, COP_FOREVER));
    CHECK_STATUS(cop_warnings_each(store, NULL, cop_deadline_in_ms(3), see, &s), COP_E_TIMEOUT);
    pthread_mutex_unlock(&monitor->reader->lock);
    fault_alloc_arm(&t_faults, 1, false);
    CHECK_STATUS(cop_warnings_each(store, NULL, COP_FOREVER, see, &s), COP_E_MEMORY);
    cop__evaluating = true;
    CHECK_STATUS(cop_warnings_each(store, NULL, COP_FOREVER, see, &s), COP_E_IN_EVALUATION);
    cop__evaluating = false;
    const cop_snapshot *held = t_take(store);
    cop_store_close(store);
    CHECK_STATUS(cop_warnings_each(store, NULL, COP_FOREVER, see, &s), COP_E_CLOSING);
    cop_snapshot_drop(held);
    t_all_released();
}
END_TEST

static void
add(TCase *tests)
{
    tcase_add_loop_test(tests, each_scenario_provokes_its_own, 0, (int)scenarios_count);
    tcase_add_test(tests, kinds_are_told_together);
    tcase_add_test(tests, every_kind_has_a_scenario);
    tcase_add_test(tests, only_the_worst_of_a_kind_are_told);
    tcase_add_test(tests, what_is_wrong_is_refused);
}

int
main(void)
{
    return t_run("monitor warnings", add);
}
