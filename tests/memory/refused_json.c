/* SPDX-License-Identifier: MIT */
/* Without memory: JSON out of a version: written at once, in steps, and as ropes. */
#include "tests/memory/refused.h"

static void
done_value(world *w)
{
    cop_value_free(&w->value);
}

static cop_status
json_write(world *w)
{
    cop_json_write_options lazy = COP_JSON_WRITE_OPTIONS_INIT;
    cop_pin_t pin = cop_pin(w->store);

    lazy.lazy = true;
    cop_status status = cop_json_write(pin.snapshot, cop_root(), &lazy, refused_sink, &w->figure);
    cop_unpin(pin);
    return status;
}

static void
ready_deep(world *w)
{
    static const char deep[] =
        "d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d";
    cop_value value = cop_i64(1);

    ready_txn(w);
    REQUIRE_OK(cop_txn_set_at(w->txn, P(deep), &value, NULL));
    done_commit(w);
}

static cop_status
json_value(world *w)
{
    cop_value text = cop_string(w->letters, 100);
    char out[256];
    size_t length;

    return cop_json_value(&text, out, sizeof out, &length);
}

static cop_status
json_scalar(world *w)
{
    static const char text[] = "\"a text that is too long to lie inside\"";

    return cop_json_scalar(text, sizeof text - 1, &w->value, NULL);
}

static cop_status
stream_open(world *w)
{
    cop_pin_t pin = cop_pin(w->store);
    cop_status status =
        cop_json_stream_open(pin.snapshot, cop_root(), NULL, (cop_json_stream **)&w->made);

    REQUIRE((status == COP_OK) == (w->made != NULL));
    cop_unpin(pin);
    return status;
}

static cop_status
stream_close(world *w)
{
    cop_json_stream_close(w->made);
    w->made = NULL;
    return COP_OK;
}

static void
done_stream(world *w)
{
    (void)stream_close(w);
}

static void
ready_stream(world *w)
{
    ready_deep(w);
    REQUIRE_OK(stream_open(w));
}

/* To its end; a step that failed is tried again by the same call. */
static cop_status
stream_next(world *w)
{
    bool more = true;
    char buffer[64];
    size_t written;

    while (more) {
        cop_status status = cop_json_stream_next(w->made, buffer, sizeof buffer, &written, &more);
        if (status != COP_OK)
            return status;
        (void)refused_sink(&w->figure, buffer, written);
    }
    return COP_OK;
}

static cop_status
rope(world *w)
{
    cop_pin_t pin = cop_pin(w->store);
    cop_status status = cop_json_rope(pin.snapshot, cop_root(), (cop_rope **)&w->made);

    REQUIRE((status == COP_OK) == (w->made != NULL));
    cop_unpin(pin);
    return status;
}

/* Of which only some is to be written. */
static void
ready_rope_kept(world *w)
{
    REQUIRE_OK(rope(w));
    cop_rope_drop(w->made);
    w->made = NULL;
    world_set(w, 9);
}

static void
ready_rope(world *w)
{
    REQUIRE_OK(rope(w));
}

static void
done_rope(world *w)
{
    cop_rope_drop(w->made);
    w->made = NULL;
}

static cop_status
rope_uses(world *w)
{
    char bytes[16];
    struct iovec ranges[4];

    REQUIRE(cop_rope_length(w->made) > 0);
    REQUIRE(cop_rope_copy(w->made, 0, bytes, sizeof bytes) == sizeof bytes);
    REQUIRE(cop_rope_ranges(w->made, 0, ranges, 4) > 0);
    cop_rope_drop(cop_rope_keep(w->made));
    return COP_OK;
}

static const refused_call calls[] = {
    {"cop_json_write", NULL, json_write, 0, ready_deep, NULL, 0},
    {"cop_json_value", NULL, json_value, ASKS_NOTHING, NULL, NULL, 0},
    {"cop_json_scalar", NULL, json_scalar, 0, NULL, done_value, 0},
    {"cop_json_stream_open", NULL, stream_open, 0, NULL, done_stream, 0},
    {"cop_json_stream_next", NULL, stream_next, 0, ready_stream, done_stream, 0},
    {"cop_json_stream_close", NULL, stream_close, ASKS_NOTHING, ready_stream, NULL, 0},
    {"cop_json_rope", "the first", rope, OWN_WAY, ready_deep, done_rope, 0},
    {"cop_json_rope", "after a change", rope, OWN_WAY, ready_rope_kept, done_rope, 0},
    {"cop_rope_length", NULL, rope_uses, ASKS_NOTHING, ready_rope, done_rope, 0},
    {"cop_rope_copy", NULL, rope_uses, ASKS_NOTHING, ready_rope, done_rope, 0},
    {"cop_rope_ranges", NULL, rope_uses, ASKS_NOTHING, ready_rope, done_rope, 0},
    {"cop_rope_keep", NULL, rope_uses, ASKS_NOTHING, ready_rope, done_rope, 0},
    {"cop_rope_drop", NULL, rope_uses, ASKS_NOTHING, ready_rope, done_rope, 0},
};

int
main(void)
{
    return refused_main(calls, sizeof calls / sizeof *calls);
}
