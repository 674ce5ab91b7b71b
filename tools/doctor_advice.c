/* SPDX-License-Identifier: MIT */
/* What is wrong with a server's memory, and what to do about it: a function for each thing that can
 * be. */
#include "tools/doctor.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MIB ((uint64_t)1 << 20)
#define FREE_MUCH (8 * MIB) /* in chunks, from here on worth a word whatever the level */
#define STALL_MS 10000      /* when memory.stall_ms is off */
#define WORTH_SHARE 64      /* of the limit: what is less is not worth a word */
#define TEXT_MAX 1024       /* a path and a sentence */
#define STREAM \
    "cop_json_stream_open" /* takes the snapshots of answers that are sent piece by piece */

const char *
doctor_size(uint64_t bytes, char *text)
{
    if (bytes < 1024)
        snprintf(text, DOCTOR_SIZE_TEXT, "%" PRIu64 " B", bytes);
    else if (bytes < MIB)
        snprintf(text, DOCTOR_SIZE_TEXT, "%.1f KiB", (double)bytes / 1024);
    else
        snprintf(text, DOCTOR_SIZE_TEXT, "%.1f MiB", (double)bytes / (double)MIB);
    return text;
}

uint64_t
doctor_number(const json_t *object, const char *name)
{
    return (uint64_t)json_integer_value(json_object_get(object, name));
}

const char *
doctor_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

uint64_t
doctor_lease(const struct doctor_page *page, uint64_t version)
{
    size_t i;
    json_t *lease;
    json_array_foreach(json_object_get(page->leases, "snapshots"), i, lease)
    {
        if (doctor_number(lease, "version") == version)
            return doctor_number(lease, "id");
    }
    return 0;
}

bool
doctor_old(const struct doctor_page *page, const json_t *holder)
{
    return doctor_number(holder, "version") < doctor_number(page->memory, "version");
}

/* ---- findings ---- */

static void __attribute__((format(printf, 2, 3))) add_text(json_t *list, const char *format, ...)
{
    char text[TEXT_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    json_array_append_new(list, json_string(text));
}

/* Adds one behind those that free as much; what to do is then to be added to the list that is
 * given. */
static json_t *__attribute__((format(printf, 4, 5)))
add_finding(json_t *findings, uint64_t frees, bool stalled, const char *format, ...)
{
    char what[TEXT_MAX];
    size_t at = 0;
    json_t *finding = json_object(), *todo = json_array();
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    while (at < json_array_size(findings) &&
           doctor_number(json_array_get(findings, at), "frees") >= frees)
        at++;
    json_object_set_new(finding, "what", json_string(what));
    json_object_set_new(finding, "frees", json_integer((json_int_t)frees));
    json_object_set_new(finding, "stalled", json_boolean(stalled));
    json_object_set_new(finding, "do", todo);
    json_array_insert_new(findings, at, finding);
    return todo;
}

static const json_t *
part(const struct doctor_page *page, const char *name)
{
    return json_object_get(page->memory, name);
}

static uint64_t
option(const struct doctor_page *page, const char *name)
{
    return doctor_number(page->options, name);
}

static uint64_t
limit_of(const struct doctor_page *page)
{
    return doctor_number(page->memory, "limit");
}

static uint64_t
waiting(const struct doctor_page *page)
{
    return doctor_number(part(page, "transactions"), "waiting");
}

/* Memory is short. */
static bool
pressed(const struct doctor_page *page)
{
    return strcmp(doctor_text(page->memory, "level"), "normal") != 0 || waiting(page) > 0;
}

static uint64_t
stall_ms(const struct doctor_page *page)
{
    uint64_t ms = option(page, "memory.stall_ms");
    return ms ? ms : STALL_MS;
}

/* ---- old versions ---- */

/* The holders of old versions that somebody should let go. */
struct old {
    uint64_t leased, streamed, snapshots, pins, calls; /* holds */
    uint64_t fixed;           /* of the snapshots, those that cannot be revoked */
    uint64_t versions, bytes; /* each version once */
    uint64_t longest_ms;      /* since it was replaced */
    uint64_t counted;         /* the version counted last */
};

static uint64_t *
kind_of(const struct doctor_page *page, const json_t *holder, struct old *old)
{
    const char *kind = doctor_text(holder, "kind");
    if (strcmp(kind, "pin") == 0)
        return &old->pins;
    if (strcmp(kind, "call") == 0)
        return &old->calls;
    if (strcmp(kind, "snapshot") != 0)
        return NULL;
    if (doctor_lease(page, doctor_number(holder, "version")))
        return &old->leased;
    return strncmp(doctor_text(holder, "site"), STREAM, strlen(STREAM)) ? &old->snapshots
                                                                        : &old->streamed;
}

static struct old
find_old(const struct doctor_page *page)
{
    size_t i;
    json_t *holder;
    struct old old = {0};
    json_array_foreach(part(page, "holders"), i, holder)
    {
        uint64_t *kind = doctor_old(page, holder) ? kind_of(page, holder, &old) : NULL;
        uint64_t version = doctor_number(holder, "version"),
                 ms = doctor_number(holder, "replaced_ms");
        if (!kind)
            continue;
        *kind += doctor_number(holder, "holds");
        if (kind == &old.snapshots && !json_is_true(json_object_get(holder, "revocable")))
            old.fixed += doctor_number(holder, "holds");
        old.longest_ms = ms > old.longest_ms ? ms : old.longest_ms;
        if (old.versions > 0 && version == old.counted)
            continue;
        old.counted = version;
        old.versions++;
        old.bytes += doctor_number(holder, "bytes");
    }
    return old;
}

/* What several old versions need together is of no single one: then pages tell more than the
 * holders do. */
static uint64_t
freed_by_all(const struct doctor_page *page, const struct old *old)
{
    uint64_t pages = doctor_number(part(page, "old"), "page_bytes");
    uint64_t kept = doctor_number(part(page, "history"), "bytes");
    pages = pages > kept ? pages - kept : 0;
    return old->bytes > pages ? old->bytes : pages;
}

static void
advise_snapshots(const struct doctor_page *page, const struct old *old, json_t *todo)
{
    uint64_t age = option(page, "snapshots.max_age_ms");
    if (old->snapshots == 0)
        return;
    if (age == 0)
        add_text(todo,
                 "drop the snapshots where they were taken (the list says where), or have them "
                 "revoked, those "
                 "taken from then on: coppice options set snapshots.max_age_ms=%" PRIu64,
                 stall_ms(page));
    else if (old->fixed > 0)
        add_text(todo,
                 "%" PRIu64
                 " snapshots were taken before snapshots.max_age_ms was set and cannot be revoked: "
                 "drop them where they were taken (the list says where)",
                 old->fixed);
    else
        add_text(todo, "they are revoked when they are %" PRIu64 " ms old (snapshots.max_age_ms)",
                 age);
}

static void
advise_old(const struct doctor_page *page, const struct old *old, json_t *todo)
{
    if (old->leased)
        add_text(todo, "end the leases of HTTP clients: DELETE /v1/snapshots/ID, with the numbers "
                       "in the list; "
                       "they end by themselves when they are not renewed");
    if (old->streamed)
        add_text(
            todo,
            "let the clients read faster that are being sent a long answer, or end them: an answer "
            "ends at the latest with the request's deadline");
    advise_snapshots(page, old, todo);
    if (old->pins)
        add_text(todo, "end the pins sooner: a pin is for a moment, a snapshot for longer");
    if (old->calls)
        add_text(todo, "wait for the calls of the library that use them: they end with the call");
}

/* "2 leases, 1 pin" */
static void
write_holders(const struct old *old, char *text, size_t size)
{
    const struct {
        uint64_t count;
        const char *one, *many;
    } by[] = {{old->leased, "lease", "leases"},
              {old->streamed, "answer under way", "answers under way"},
              {old->snapshots, "snapshot", "snapshots"},
              {old->pins, "pin", "pins"},
              {old->calls, "call", "calls"}};
    text[0] = '\0';
    for (size_t i = 0; i < sizeof by / sizeof *by; i++)
        if (by[i].count)
            snprintf(text + strlen(text), size - strlen(text), "%s%" PRIu64 " %s",
                     *text ? ", " : "", by[i].count, by[i].count > 1 ? by[i].many : by[i].one);
}

static void
look_at_old(const struct doctor_page *page, json_t *findings)
{
    struct old old = find_old(page);
    bool stalled = old.longest_ms >= stall_ms(page);
    uint64_t bytes = freed_by_all(page, &old);
    char holders[200];
    if (old.versions == 0 || (!stalled && !(pressed(page) && bytes > 0)))
        return;
    write_holders(&old, holders, sizeof holders);
    advise_old(page, &old,
               add_finding(findings, bytes, stalled,
                           "%" PRIu64
                           " old version%s held, by %s; the oldest was replaced %.1f s ago",
                           old.versions, old.versions > 1 ? "s are" : " is", holders,
                           (double)old.longest_ms / 1000));
}

/* Bytes that only the holders of one kind keep. */
static uint64_t
kept_by(const struct doctor_page *page, const char *kind)
{
    size_t i;
    json_t *holder;
    uint64_t bytes = 0;
    json_array_foreach(part(page, "holders"), i, holder)
    {
        if (doctor_old(page, holder) && strcmp(doctor_text(holder, "kind"), kind) == 0 &&
            doctor_number(holder, "others") == 0)
            bytes += doctor_number(holder, "bytes");
    }
    return bytes;
}

/* ---- watchers, and others that are behind ---- */

static void
look_at_watchers(const struct doctor_page *page, json_t *findings)
{
    size_t i;
    json_t *warning;
    uint64_t bytes = kept_by(page, "watchers");
    const json_t *warnings = json_object_get(page->monitor, "warnings");
    if (!warnings)
        add_text(add_finding(findings, 0, false,
                             "it could not be found out whether a watcher is behind"),
                 "ask again");
    json_array_foreach(warnings, i, warning)
    {
        if (strcmp(doctor_text(warning, "name"), "watcher behind") != 0)
            continue;
        json_t *todo = add_finding(
            findings, bytes, true, "a watcher is behind: %s%s%s", doctor_text(warning, "path"),
            *doctor_text(warning, "path") ? ": " : "", doctor_text(warning, "text"));
        add_text(todo, "%s", doctor_text(warning, "advice"));
        bytes = 0; /* it is told once */
    }
}

static void
look_at_holders(const struct doctor_page *page, json_t *findings)
{
    const char *error = doctor_text(page->memory, "holders_error");
    if (!*error)
        return;
    json_t *todo = add_finding(findings, 0, strcmp(error, "COP_E_TIMEOUT") == 0,
                               "it could not be found out who holds versions (%s)", error);
    add_text(todo, strcmp(error, "COP_E_TIMEOUT") == 0
                       ? "a commit takes more than a second: coppice trace shows what it does"
                       : "ask again when something has been freed");
}

static void
look_at_waiting(const struct doctor_page *page, json_t *findings)
{
    if (waiting(page) == 0)
        return;
    json_t *todo = add_finding(findings, 0, true, "%" PRIu64 " transaction%s for memory",
                               waiting(page), waiting(page) > 1 ? "s wait" : " waits");
    add_text(todo,
             "free some, as said here: what erases goes on meanwhile. Whatever has waited for "
             "memory.wait_ms "
             "(%" PRIu64 ") is refused",
             option(page, "memory.wait_ms"));
}

/* ---- what is kept for convenience ---- */

static void
look_at_history(const struct doctor_page *page, json_t *findings)
{
    const json_t *history = part(page, "history");
    uint64_t bytes = doctor_number(history, "bytes"), pinned = doctor_number(history, "pinned");
    char size[DOCTOR_SIZE_TEXT];
    if (!pressed(page) || bytes < limit_of(page) / WORTH_SHARE)
        return;
    json_t *todo = add_finding(findings, bytes, false, "the history keeps %" PRIu64 " versions, %s",
                               doctor_number(history, "versions"), doctor_size(bytes, size));
    add_text(todo, "keep less: coppice options set history.max_bytes=%" PRIu64, bytes / 2);
    add_text(todo, "or drop what is not needed: coppice history --drop VERSION");
    if (pinned)
        add_text(todo, "%" PRIu64 " are pinned, and give way last: coppice history --unpin VERSION",
                 pinned);
}

static void
look_at_texts(const struct doctor_page *page, json_t *findings)
{
    uint64_t cached = doctor_number(part(page, "by_kind"), "fragments");
    uint64_t bytes = cached + kept_by(page, "kept texts");
    if (!pressed(page) || bytes < limit_of(page) / WORTH_SHARE)
        return;
    json_t *todo = add_finding(findings, bytes, false,
                               "JSON texts are kept so that they need not be made again");
    add_text(todo, "keep fewer: coppice options set serialization.cache_bytes=%" PRIu64,
             cached / 2 + 1);
}

static void
look_at_free(const struct doctor_page *page, json_t *findings)
{
    uint64_t bytes = doctor_number(part(page, "chunks"), "free");
    uint64_t share = doctor_number(page->memory, "held") / 4;
    uint64_t least = pressed(page)       ? limit_of(page) / WORTH_SHARE
                     : FREE_MUCH > share ? FREE_MUCH
                                         : share;
    if (page->trimmed || bytes < least)
        return;
    json_t *todo = add_finding(findings, bytes, false, "memory lies free in the store's chunks");
    add_text(todo, "give it back to the system: coppice doctor --trim");
}

/* ---- the limit itself ---- */

static void
advise_branches(const struct doctor_page *page, json_t *todo)
{
    size_t i;
    json_t *branch;
    char list[300] = "";
    json_array_foreach(json_object_get(page->monitor, "branches"), i, branch)
    {
        size_t used = strlen(list);
        if (used + strlen(doctor_text(branch, "path")) + 40 > sizeof list)
            break;
        snprintf(list + used, sizeof list - used, "%s%s (%" PRIu64 " atoms)", used ? ", " : "",
                 doctor_text(branch, "path"), doctor_number(branch, "atoms"));
    }
    if (*list)
        add_text(todo, "erase what is not needed: coppice erase PATH; the biggest are %s", list);
}

/* Half as much again as there is. */
static uint64_t
suggested_limit(const struct doctor_page *page)
{
    uint64_t held = doctor_number(page->memory, "held"), limit = limit_of(page);
    return (held > limit ? held : limit) / 2 * 3;
}

static void
look_at_limit(const struct doctor_page *page, json_t *findings)
{
    char used[DOCTOR_SIZE_TEXT], limit[DOCTOR_SIZE_TEXT];
    bool lowered = doctor_number(page->memory, "held") > limit_of(page);
    if (!pressed(page) && !lowered)
        return;
    json_t *todo = add_finding(
        findings, 0, lowered, "%s are used of a limit of %s%s",
        doctor_size(doctor_number(page->memory, "used"), used), doctor_size(limit_of(page), limit),
        lowered ? ", and more is held than that: it was lowered, and writes are refused" : "");
    add_text(todo, "raise it: coppice options set memory.limit_bytes=%" PRIu64,
             suggested_limit(page));
    advise_branches(page, todo);
}

json_t *
doctor_findings(const struct doctor_page *page)
{
    json_t *findings = json_array();
    look_at_waiting(page, findings);
    look_at_holders(page, findings);
    look_at_old(page, findings);
    look_at_watchers(page, findings);
    look_at_history(page, findings);
    look_at_texts(page, findings);
    look_at_free(page, findings);
    look_at_limit(page, findings);
    return findings;
}
