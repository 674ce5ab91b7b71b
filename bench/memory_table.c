/* SPDX-License-Identifier: MIT */
/* Rows and the promises: counted below the limit, resident below 1.25 of it, nothing lost. */
#include "bench/memory_table.h"

#include <stdio.h>
#include <string.h>

#include "bench/report.h"

static double
mib(uint64_t bytes)
{
    return (double)bytes / (double)MIB;
}

static bool
is_coppice(const memory_case *c)
{
    return strcmp(c->system, "coppice") == 0;
}

/* The first promise that was broken, or NULL. */
static const char *
broken(const memory_case *c, const memory_figures *f, const char *ended)
{
    if (ended != NULL)
        return ended;
    if (!is_coppice(c))
        return NULL;
    if (f->counted_peak > c->limit)
        return "counted over the limit";
    if (f->resident_peak > c->limit / 4 * 5)
        return "resident over 1.25 of the limit";
    if (!f->verified || f->verdict.wrong > 0)
        return "accepted transactions lost";
    return f->recovered ? NULL : "refuses after the trouble";
}

void
memory_table_head(const memory_case *c)
{
    printf("\nlimit %.0f MiB: %u writers, filled to %u %% of it as the store counts it, values of "
           "8, 64, "
           "300\nand 4096 bytes; trouble from second %u of %u on; memory.on_limit=%s\n",
           mib(c->limit), c->writers, c->live_percent, memory_calm(c->seconds), c->seconds,
           c->wait ? "wait" : "fail");
    printf(
        "MiB, peaks in %% of the limit, transactions accepted a second before the trouble and in "
        "its second\nhalf; base: resident before the store is opened, which is in no other figure; "
        "stop: the longest\ntime in which nothing was accepted; age: snapshots.max_age_ms\n");
    printf("%-13s %-9s %6s %5s %12s %15s %15s %8s %8s %9s %8s %8s %6s %13s\n", "system", "trouble",
           "age", "base", "live/resid.", "counted peak", "resident peak", "alone/s", "with/s",
           "refused", "call ms", "stop ms", "lost", "1 s after");
}

static void
print_notes(const memory_case *c, const memory_figures *f)
{
    for (unsigned i = 0; i < f->messages; i++)
        printf("    %llu x %s\n", (unsigned long long)f->message[i].times, f->message[i].text);
    if (f->totals.refused_erasures > 0)
        printf("    %llu of the refused only erased\n",
               (unsigned long long)f->totals.refused_erasures);
    if (f->totals.failed > 0)
        printf("    %llu failed for another reason\n", (unsigned long long)f->totals.failed);
    if (f->verdict.wrong > 0)
        printf("    %llu of %llu wrong; the first: %s\n", (unsigned long long)f->verdict.wrong,
               (unsigned long long)f->verdict.compared, f->verdict.first);
    if (f->capped)
        printf("    ended at a resident GiB\n");
    if (is_coppice(c) && f->held[0] != '\0' && (f->totals.refused > 0 || f->with_per_s < 1))
        printf("    held at the end, MiB: %s\n", f->held);
}

static void
print_row(const memory_case *c, const memory_figures *f, const char *bad)
{
    char live[32], counted[32], resident[32], after[32], alone[32], with[32], lost[32] = "-",
                                                                              age[16] = "-";
    double limit = (double)c->limit / 100;
    (void)snprintf(live, sizeof live, "%.1f/%.1f", mib(f->live_counted), mib(f->live_resident));
    (void)snprintf(counted, sizeof counted, "%.1f %5.1f%%", mib(f->counted_peak),
                   (double)f->counted_peak / limit);
    (void)snprintf(resident, sizeof resident, "%.1f %5.1f%%", mib(f->resident_peak),
                   (double)f->resident_peak / limit);
    (void)snprintf(after, sizeof after, "%.1f/%.1f", mib(f->counted_after), mib(f->resident_after));
    if (c->max_age_ms > 0)
        (void)snprintf(age, sizeof age, "%u", (unsigned)c->max_age_ms);
    if (f->verified)
        (void)snprintf(lost, sizeof lost, "%llu", (unsigned long long)f->verdict.wrong);
    printf("%-13s %-9s %6s %5.1f %12s %15s %15s %8s %8s %9llu %8.1f %8.0f %6s %13s%s%s\n",
           c->system, c->scenario, age, mib(f->baseline), live, counted, resident,
           report_number(f->alone_per_s, alone, sizeof alone),
           report_number(f->with_per_s, with, sizeof with), (unsigned long long)f->totals.refused,
           (double)f->totals.longest_ns / 1e6, (double)f->longest_gap_ns / 1e6, lost, after,
           bad != NULL ? "  BROKEN: " : "", bad != NULL ? bad : "");
    if (bad != NULL && !f->finished)
        printf("    it was at: %s\n", f->stage);
    print_notes(c, f);
    fflush(stdout);
}

/* Quotes become apostrophes: all that is printed here is of this program. */
static void
plain(const char *text, char *out, size_t n)
{
    size_t i = 0;
    for (; text[i] != '\0' && i + 1 < n; i++)
        out[i] = text[i] == '"' || text[i] == '\\' ? '\'' : text[i];
    out[i] = '\0';
}

static void
json_rows(const memory_case *c, const memory_figures *f, const char *bad)
{
    const struct {
        const char *name, *unit;
        double value;
    } rows[] = {
        {"counted_peak", "bytes", (double)f->counted_peak},
        {"resident_peak", "bytes", (double)f->resident_peak},
        {"accepted_alone", "/s", f->alone_per_s},
        {"accepted_with", "/s", f->with_per_s},
        {"refused", "count", (double)f->totals.refused},
        {"refused_erasures", "count", (double)f->totals.refused_erasures},
        {"longest_call", "ms", (double)f->totals.longest_ns / 1e6},
        {"longest_stop", "ms", (double)f->longest_gap_ns / 1e6},
        {"lost", "count", (double)f->verdict.wrong},
        {"counted_after", "bytes", (double)f->counted_after},
        {"resident_after", "bytes", (double)f->resident_after},
    };
    char fields[1200], held[sizeof f->held], said[sizeof f->message[0].text];
    plain(f->held, held, sizeof held);
    plain(f->messages > 0 ? f->message[0].text : "", said, sizeof said);
    (void)snprintf(fields, sizeof fields,
                   ",\"trouble\":\"%s\",\"limit\":%llu,\"seconds\":%u,\"writers\":%u,"
                   "\"on_limit\":\"%s\",\"max_age_ms\":%u,\"baseline\":%llu,\"live_counted\":%llu,"
                   "\"live_resident\":%llu,\"atoms\":%llu,\"broken\":\"%s\",\"said\":\"%s\","
                   "\"held\":\"%s\"",
                   c->scenario, (unsigned long long)c->limit, c->seconds, c->writers,
                   c->wait ? "wait" : "fail", (unsigned)c->max_age_ms,
                   (unsigned long long)f->baseline, (unsigned long long)f->live_counted,
                   (unsigned long long)f->live_resident, (unsigned long long)f->live_atoms,
                   bad != NULL ? bad : "", said, held);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        report_samples one = {1, {rows[i].value}};
        report_row row = {"memory", rows[i].name, c->system, rows[i].unit, fields, &one};
        report_json(&row);
    }
}

bool
memory_table_row(const memory_case *c, const memory_figures *f, const char *ended, bool json)
{
    const char *bad = broken(c, f, ended);
    if (json)
        json_rows(c, f, bad);
    else
        print_row(c, f, bad);
    return bad == NULL;
}
