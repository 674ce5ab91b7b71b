/* SPDX-License-Identifier: MIT */
/*
 * `coppice doctor`: what holds a server's memory, and what to do about it. Exit codes, unlike those
 * of other commands: 0 healthy, 1 the memory is full or something is stalled, 2 the server could
 * not be asked.
 */
#include <coppice/memory.h>

#include "tools/client.h"
#include "tools/commands.h"
#include "tools/doctor.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LISTED 20 /* holders */

enum { EXIT_HEALTHY = 0, EXIT_ILL = 1, EXIT_UNKNOWN = 2 };

/* ---- asking ---- */

/* NULL: complained of. What may be missing when memory is short is empty then. */
static json_t *
ask(const char *server, const char *method, const char *target, bool needed)
{
    const bool post = method[0] == 'P';
    const struct http_request request = {.server = server,
                                         .method = method,
                                         .target = target,
                                         .type = post ? "application/json" : NULL,
                                         .body = post ? "" : NULL};
    struct http_answer answer;
    if (!(needed ? client_call(&request, target, &answer) : http_exchange(&request, &answer)))
        return NULL;
    json_t *json =
        answer.status < 300 ? json_loadb(answer.body, answer.length, 0, NULL) : json_object();
    if (!json)
        complain("%s: the server's answer is no JSON", target);
    free(answer.body);
    return json;
}

static bool
page_ask(struct doctor_page *page, const char *server)
{
    page->memory = ask(server, "GET", "/v1/memory", true);
    if (page->memory)
        page->options = ask(server, "GET", "/v1/options", true);
    if (page->options)
        page->monitor = ask(server, "GET", "/v1/monitor?branches=3&hottest=0&worst=0", false);
    if (page->monitor)
        page->leases = ask(server, "GET", "/v1/snapshots", true);
    return page->leases != NULL;
}

static void
page_free(struct doctor_page *page)
{
    json_decref(page->memory);
    json_decref(page->options);
    json_decref(page->monitor);
    json_decref(page->leases);
}

/* ---- the state ---- */

static double
percent(uint64_t part, uint64_t whole)
{
    return whole ? 100.0 * (double)part / (double)whole : 0;
}

static void
print_state(const json_t *memory)
{
    char held[DOCTOR_SIZE_TEXT], limit[DOCTOR_SIZE_TEXT], peak[DOCTOR_SIZE_TEXT],
        used[DOCTOR_SIZE_TEXT], soft[DOCTOR_SIZE_TEXT];
    const json_t *transactions = json_object_get(memory, "transactions");
    uint64_t bytes = doctor_number(memory, "held"), most = doctor_number(memory, "limit");
    printf("memory %s: %s held of a limit of %s (%.0f %%), peak %s; %s used, soft from %s\n",
           doctor_text(memory, "level"), doctor_size(bytes, held), doctor_size(most, limit),
           percent(bytes, most), doctor_size(doctor_number(memory, "peak"), peak),
           doctor_size(doctor_number(memory, "used"), used),
           doctor_size(doctor_number(memory, "soft"), soft));
    if (doctor_number(transactions, "waited") || doctor_number(transactions, "refused"))
        printf("transactions that did not fit: waiting now %" PRIu64 ", had to wait %" PRIu64
               ", refused %" PRIu64 "\n",
               doctor_number(transactions, "waiting"), doctor_number(transactions, "waited"),
               doctor_number(transactions, "refused"));
}

static void
print_gave(const json_t *memory)
{
    const char *name, *between = "what gave way since the start: ";
    json_t *bytes;
    char size[DOCTOR_SIZE_TEXT];
    json_object_foreach(json_object_get(memory, "gave_way"), name, bytes)
    {
        if (json_integer_value(bytes) == 0)
            continue;
        printf("%s%s %s", between, name, doctor_size((uint64_t)json_integer_value(bytes), size));
        between = ", ";
    }
    if (between[0] == ',')
        putchar('\n');
}

/* ---- what holds the memory ---- */

static void
print_row(uint64_t bytes, uint64_t held, const char *what)
{
    char size[DOCTOR_SIZE_TEXT];
    if (bytes)
        printf("%14s %4.0f %%  %s\n", doctor_size(bytes, size), percent(bytes, held), what);
}

struct kind {
    uint64_t bytes;
    const char *text;
};

static int
compare(const void *a, const void *b)
{
    const struct kind *x = a, *y = b;
    return x->bytes < y->bytes ? 1 : x->bytes > y->bytes ? -1 : 0;
}

static void
print_kinds(const json_t *memory)
{
    static const char *const texts[] = {
#define KIND_TEXT(name, text) text,
        COP_MEMORY_MAP(KIND_TEXT)
#undef KIND_TEXT
    };
    const json_t *by_kind = json_object_get(memory, "by_kind");
    uint64_t held = doctor_number(memory, "held");
    struct kind kinds[COP_MEMORY_KINDS];
    for (int i = 0; i < COP_MEMORY_KINDS; i++)
        kinds[i] = (struct kind){doctor_number(by_kind, cop_memory_kind_name((cop_memory_kind)i)),
                                 texts[i]};
    qsort(kinds, COP_MEMORY_KINDS, sizeof *kinds, compare);
    printf("\nwhat the memory is for:\n");
    for (int i = 0; i < COP_MEMORY_KINDS; i++)
        print_row(kinds[i].bytes, held, kinds[i].text);
    printf("  of these:\n");
    print_row(doctor_number(json_object_get(memory, "old"), "page_bytes"), held,
              "pages of old versions, held or not freed yet");
    print_row(doctor_number(json_object_get(memory, "history"), "bytes"), held,
              "what only versions in the history need");
    print_row(doctor_number(json_object_get(memory, "chunks"), "free"), held,
              "free in chunks of pages, values and names");
}

/* ---- who holds old versions ---- */

static void
print_holder(const struct doctor_page *page, const json_t *holder)
{
    char size[DOCTOR_SIZE_TEXT];
    uint64_t version = doctor_number(holder, "version"), holds = doctor_number(holder, "holds");
    uint64_t lease =
        strcmp(doctor_text(holder, "kind"), "snapshot") ? 0 : doctor_lease(page, version);
    const char *thread = doctor_text(holder, "thread_name"), *site = doctor_text(holder, "site");
    printf("%12" PRIu64 " %8.1f s %8.1f s %12s  %s%s", version,
           (double)doctor_number(holder, "replaced_ms") / 1000,
           (double)doctor_number(holder, "held_ms") / 1000,
           doctor_size(doctor_number(holder, "bytes"), size),
           json_is_true(json_object_get(holder, "revoked")) ? "revoked " : "",
           doctor_text(holder, "kind"));
    if (holds > 1)
        printf(" (%" PRIu64 " times)", holds);
    if (lease)
        printf(", lease %" PRIu64 " of an HTTP client", lease);
    else if (doctor_number(holder, "thread"))
        printf(", thread %" PRIu64 "%s%s", doctor_number(holder, "thread"), *thread ? " " : "",
               thread);
    if (!lease && *site)
        printf(", at %s", site);
    putchar('\n');
}

static void
print_holders(const struct doctor_page *page)
{
    size_t i, old = 0;
    json_t *holder;
    const json_t *holders = json_object_get(page->memory, "holders");
    json_array_foreach(holders, i, holder)
    {
        if (!doctor_old(page, holder))
            continue;
        if (old == 0)
            printf("\nwho holds old versions, the oldest first:\n%12s %10s %10s %12s\n", "version",
                   "replaced", "held for", "keeps alone");
        if (old++ < LISTED)
            print_holder(page, holder);
    }
    if (old > LISTED)
        printf("%12s and %zu more%s: --json lists them\n", "...", old - LISTED,
               json_is_false(json_object_get(page->memory, "holders_complete")) ? " at least" : "");
}

/* ---- what to do ---- */

static void
print_finding(size_t number, const json_t *finding)
{
    char size[DOCTOR_SIZE_TEXT], line[24];
    size_t i;
    json_t *todo;
    uint64_t frees = doctor_number(finding, "frees");
    snprintf(line, sizeof line, "%zu.", number);
    printf("%4s %s", line, doctor_text(finding, "what"));
    if (frees)
        printf(" (frees about %s)", doctor_size(frees, size));
    putchar('\n');
    json_array_foreach(json_object_get(finding, "do"), i, todo)
        printf("     - %s\n", json_string_value(todo));
}

static void
print_findings(const json_t *findings)
{
    size_t i;
    json_t *finding;
    if (json_array_size(findings) == 0) {
        printf("\nnothing wrong\n");
        return;
    }
    printf("\nwhat to do, what frees most first:\n");
    json_array_foreach(findings, i, finding) print_finding(i + 1, finding);
}

static void
print_json(const struct doctor_page *page, json_t *findings, json_t *given_back, bool healthy)
{
    json_t *told = json_pack("{s:b,s:O,s:O}", "healthy", healthy, "findings", findings, "memory",
                             page->memory);
    if (given_back)
        json_object_set(told, "given_back", given_back);
    char *text = json_dumps(told, JSON_COMPACT);
    printf("%s\n", text ? text : "");
    free(text);
    json_decref(told);
}

static void
print_page(const struct doctor_page *page, const json_t *findings, const json_t *given_back)
{
    char size[DOCTOR_SIZE_TEXT];
    if (given_back)
        printf("%s given back to the system\n",
               doctor_size((uint64_t)json_integer_value(given_back), size));
    print_state(page->memory);
    print_gave(page->memory);
    print_kinds(page->memory);
    print_holders(page);
    print_findings(findings);
}

static bool
healthy_is(const struct doctor_page *page, const json_t *findings)
{
    size_t i;
    json_t *finding;
    bool healthy = strcmp(doctor_text(page->memory, "level"), "full") != 0;
    json_array_foreach(findings, i, finding) healthy =
        healthy && !json_is_true(json_object_get(finding, "stalled"));
    return healthy;
}

static int
examine(const char *server, bool json, bool trim)
{
    struct doctor_page page = {.trimmed = trim};
    json_t *trimmed = trim ? ask(server, "POST", "/v1/memory/trim", true) : NULL;
    int code = EXIT_UNKNOWN;
    if ((!trim || trimmed) && page_ask(&page, server)) {
        json_t *findings = doctor_findings(&page),
               *given_back = json_object_get(trimmed, "given_back");
        bool healthy = healthy_is(&page, findings);
        if (json)
            print_json(&page, findings, given_back, healthy);
        else
            print_page(&page, findings, given_back);
        json_decref(findings);
        code = healthy ? EXIT_HEALTHY : EXIT_ILL;
    }
    page_free(&page);
    json_decref(trimmed);
    return code;
}

int
run_doctor(const struct command *command, int argc, char **argv)
{
    const char *server = client_server();
    bool json = false, trim = false;
    int code;
    const struct arg args[] = {
        {"server", ARG_TEXT, &server, 0, 0, "URL",
         "the server (COPPICE_SERVER, else http://127.0.0.1:7227)"},
        {"json", ARG_FLAG, &json, 0, 0, NULL, "as JSON"},
        {"trim", ARG_FLAG, &trim, 0, 0, NULL, "give back to the system what is free, first"},
        {NULL, ARG_FLAG, NULL, 0, 0, NULL, NULL},
    };
    if (!args_parse(command, args, argc, argv, &argc, &code))
        return code;
    if (argc)
        return usage_error(command, "doctor takes no argument");
    return examine(server, json, trim);
}
