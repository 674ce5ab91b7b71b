/* SPDX-License-Identifier: MIT */
/* Names of groups: see group.h for the rule. */
#include "reduce/group_name.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

static void
set(cop__group_text *text, const char *bytes)
{
    text->bytes = bytes;
    text->length = strlen(bytes);
}

static void
set_f64(cop__group_text *text, double f)
{
    if (f != f) {
        set(text, "NaN");
    } else if (f - f != 0) {
        set(text, f < 0 ? "-Infinity" : "Infinity");
    } else {
        text->bytes = text->own;
        text->length = cop__json_f64(text->own, f);
    }
}

bool
cop__group_text_of(const cop_value *key, cop__group_text *text)
{
    switch (cop_value_type(key)) {
    case COP_STRING:
        text->bytes = cop_value_data(key);
        text->length = cop_value_length(key);
        break;
    case COP_BOOL:
        set(text, cop_value_bool(key) ? "true" : "false");
        break;
    case COP_I64:
        text->bytes = text->own;
        text->length = cop__json_i64(text->own, cop_value_i64(key));
        break;
    case COP_F64:
        set_f64(text, cop_value_f64(key));
        break;
    default:
        return false;
    }
    text->hash = (uint32_t)XXH3_64bits(text->bytes, text->length);
    return true;
}
