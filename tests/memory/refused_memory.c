/* SPDX-License-Identifier: MIT */
/* Memory itself, and who holds versions, without memory. See refused.h. */
#include "tests/memory/refused.h"

static cop_status
look(world *w)
{
    char text[512];
    size_t length;

    REQUIRE(cop_memory_level_now(w->store) <= COP_MEMORY_FULL);
    REQUIRE(strcmp(cop_memory_level_name(COP_MEMORY_NORMAL), "normal") == 0);
    REQUIRE(!cop_snapshot_expired(w->old));
    return cop_memory_explain(w->store, text, sizeof text, &length);
}

static void
heard(void *context, cop_store *store, cop_memory_level level, uint64_t used, uint64_t limit)
{
    (void)context;
    (void)store;
    (void)level;
    (void)used;
    (void)limit;
}

static cop_status
tell(world *w)
{
    return cop_memory_tell(w->store, heard, w, NULL);
}

static void
done_tell(world *w)
{
    REQUIRE_OK(cop_memory_tell(w->store, NULL, NULL, NULL));
}

static cop_status
trim(world *w)
{
    return cop_memory_trim(w->store, NULL);
}

static int
write_holder(void *context, const cop_holder *holder)
{
    char text[COP_HOLDER_TEXT];

    cop_holder_write(holder, text, sizeof text);
    *(unsigned *)context += strlen(text) > 0;
    return 0;
}

static cop_status
holders(world *w)
{
    unsigned told = 0;
    cop_status status = cop_holders_each(w->store, COP_FOREVER, write_holder, &told);

    REQUIRE(status != COP_OK || told > 0);
    return status;
}

static cop_status
snapshot_pin(world *w)
{
    cop_pin_t pin;
    cop_status status = cop_snapshot_pin(w->old, &pin);

    if (status == COP_OK)
        cop_unpin(pin);
    return status;
}

static cop_status
take_version(world *w)
{
    const cop_snapshot *snapshot = NULL;
    cop_status status =
        cop_snapshot_take_version(w->store, cop_snapshot_version(w->old), &snapshot);

    cop_snapshot_drop(snapshot);
    return status;
}

static cop_status
cursor_status(world *w)
{
    cop_cursor cursor;
    cop_child child;
    cop_status status = cop_cursor_open(w->old, cop_root(), &cursor);

    while (status == COP_OK && cop_cursor_next(&cursor, &child))
        ;
    return status == COP_OK ? cop_cursor_status(&cursor) : status;
}

static const refused_call calls[] = {
    {"cop_memory_level_now", NULL, look, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_memory_level_name", NULL, look, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_memory_explain", NULL, look, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_memory_tell", NULL, tell, ASKS_NOTHING, NULL, done_tell, 0},
    {"cop_memory_trim", "nothing is sparse", trim, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_holders_each", NULL, holders, 0, NULL, NULL, 0},
    {"cop_holder_write", NULL, holders, 0, NULL, NULL, 0},
    {"cop_snapshot_expired", NULL, look, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_snapshot_pin", NULL, snapshot_pin, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_snapshot_take_version", NULL, take_version, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_cursor_status", NULL, cursor_status, ASKS_NOTHING, NULL, NULL, 0},
};

int
main(void)
{
    return refused_main(calls, sizeof calls / sizeof *calls);
}
