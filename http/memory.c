/* SPDX-License-Identifier: MIT */
/*
 * What holds the memory, and giving it back.
 *
 *   GET   /v1/memory        the level, the bytes by what they are for, what gave way, who holds
 * versions POST  /v1/memory/trim   gives back to the system what is free
 */
#include "http/internal.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define HOLDERS_MS 1000
#define HOLDERS_MAX 1000
#define EXPLANATION_MAX 512 /* cop_memory_explain's is no longer */
#define PAGE_BYTES 512      /* coppice/stats.h */

static void
set_number(json_t *json, const char *name, uint64_t n)
{
    json_object_set_new(json, name, json_integer((json_int_t)n));
}

static void
set_text(json_t *json, const char *name, const char *text)
{
    json_object_set_new(json, name, cop__json_text(text, strlen(text)));
}

/* ---- the figures ---- */

/* A statistic, told by what follows `prefix` in its name. */
#define SET(group, prefix, name) set_number(group, #name, stats->prefix##name)

static json_t *
describe_kinds(const cop_stats *stats)
{
    json_t *kinds = json_object();
    for (int kind = 0; kind < COP_MEMORY_KINDS; kind++)
        set_number(kinds, cop_memory_kind_name((cop_memory_kind)kind), stats->bytes_by_kind[kind]);
    return kinds;
}

static json_t *
describe_levels(const cop_stats *stats)
{
    json_t *levels = json_object();
    SET(levels, memory_, soft);
    SET(levels, memory_, full);
    return levels;
}

static json_t *
describe_chunks(const cop_stats *stats)
{
    json_t *chunks = json_object();
    set_number(chunks, "count", stats->chunks);
    SET(chunks, chunk_, bytes);
    SET(chunks, chunk_, free);
    SET(chunks, chunk_, given_back);
    return chunks;
}

static json_t *
describe_gave(const cop_stats *stats)
{
    json_t *gave = json_object();
    SET(gave, gave_, fragments);
    SET(gave, gave_, lazy);
    SET(gave, gave_, history);
    SET(gave, gave_, pages);
    SET(gave, gave_, watch);
    return gave;
}

static json_t *
describe_transactions(const cop_stats *stats)
{
    json_t *transactions = json_object();
    SET(transactions, memory_, waiting);
    SET(transactions, memory_, waited);
    SET(transactions, memory_, refused);
    return transactions;
}

static json_t *
describe_old(const cop_stats *stats)
{
    json_t *old = json_object();
    set_number(old, "versions", stats->held_versions);
    set_number(old, "page_bytes", stats->pages_dead * PAGE_BYTES);
    set_number(old, "values", stats->values_dead);
    return old;
}

static json_t *
describe_history(const cop_stats *stats)
{
    json_t *history = json_object();
    SET(history, history_, versions);
    SET(history, history_, pinned);
    SET(history, history_, bytes);
    SET(history, history_, lost);
    return history;
}

/* The two are of different moments. */
static uint64_t
used_bytes(const cop_stats *stats)
{
    return stats->bytes_held > stats->chunk_free ? stats->bytes_held - stats->chunk_free : 0;
}

static json_t *
describe_figures(const cop_stats *stats)
{
    json_t *json = json_object();
    set_text(json, "level", cop_memory_level_name((cop_memory_level)stats->memory_level));
    SET(json, bytes_, held);
    set_number(json, "used", used_bytes(stats));
    SET(json, bytes_, limit);
    SET(json, bytes_, soft);
    SET(json, bytes_, reserve);
    SET(json, bytes_, peak);
    set_number(json, "version", stats->version);
    json_object_set_new(json, "levels", describe_levels(stats));
    json_object_set_new(json, "by_kind", describe_kinds(stats));
    json_object_set_new(json, "chunks", describe_chunks(stats));
    json_object_set_new(json, "old", describe_old(stats));
    json_object_set_new(json, "history", describe_history(stats));
    json_object_set_new(json, "gave_way", describe_gave(stats));
    json_object_set_new(json, "transactions", describe_transactions(stats));
    return json;
}

/* ---- the holders ---- */

static json_t *
describe_holder(const cop_holder *holder)
{
    json_t *json = json_object();
    set_text(json, "kind", holder->name);
    set_number(json, "version", holder->version);
    set_number(json, "holds", holder->holds);
    set_number(json, "others", holder->others);
    set_number(json, "held_ms", holder->held_ms);
    set_number(json, "replaced_ms", holder->replaced_ms);
    set_number(json, "bytes", holder->bytes);
    set_number(json, "thread", holder->thread);
    set_text(json, "thread_name", holder->thread_name);
    set_text(json, "site", holder->site);
    json_object_set_new(json, "revocable", json_boolean(holder->revocable));
    json_object_set_new(json, "revoked", json_boolean(holder->revoked));
    set_text(json, "advice", holder->advice);
    return json;
}

struct listing {
    json_t *list;
    bool whole;
};

static int
add_holder(void *context, const cop_holder *holder)
{
    struct listing *listing = context;
    listing->whole = json_array_size(listing->list) < HOLDERS_MAX;
    return listing->whole ? json_array_append_new(listing->list, describe_holder(holder)) : 1;
}

/* Instead of them why they are not known: the commit right was not to be had soon, or no memory. */
static void
add_holders(json_t *json, cop_store *store)
{
    struct listing listing = {json_array(), true};
    cop_status status =
        cop_holders_each(store, cop_deadline_in_ms(HOLDERS_MS), add_holder, &listing);
    if (status == COP_OK) {
        json_object_set(json, "holders", listing.list);
        json_object_set_new(json, "holders_complete", json_boolean(listing.whole));
    } else {
        set_text(json, "holders_error", cop_status_name(status));
    }
    json_decref(listing.list);
}

/* ---- answering ---- */

static enum MHD_Result
refuse(struct cop__http_request *r, cop_status status)
{
    cop__problem_status(&r->problem, status, NULL);
    return cop__http_reply_problem(r, &r->problem);
}

enum MHD_Result
cop__http_memory(struct cop__http_request *r)
{
    char explanation[EXPLANATION_MAX];
    size_t length;
    cop_stats stats = COP_STATS_INIT;
    cop_store *store = r->server->store;
    cop_status status = cop_memory_explain(store, explanation, sizeof explanation, &length);
    if (status == COP_OK)
        status = cop_stats_take(store, &stats);
    if (status != COP_OK)
        return refuse(r, status);
    json_t *json = describe_figures(&stats);
    set_text(json, "explanation", explanation);
    add_holders(json, store);
    return cop__http_reply_json(r, MHD_HTTP_OK, json, NULL);
}

enum MHD_Result
cop__http_memory_trim(struct cop__http_request *r)
{
    uint64_t given_back = 0;
    cop_status status = cop_memory_trim(r->server->store, &given_back);
    if (status != COP_OK)
        return refuse(r, status);
    return cop__http_reply_json(r, MHD_HTTP_OK,
                                json_pack("{s:I}", "given_back", (json_int_t)given_back), NULL);
}
