/* SPDX-License-Identifier: MIT */
/* Values: comparing, owning, and the names of types. */
#include <coppice/value.h>

#include <stdlib.h>

bool
cop_value_equal(const cop_value *a, const cop_value *b)
{
    if (a->type != b->type)
        return false;
    switch (cop_value_type(a)) {
    case COP_NONE:
    case COP_NULL:
    case COP_OBJECT:
    case COP_ARRAY:
        return true;
    case COP_BOOL:
    case COP_I64:
    case COP_F64:
        return cop_value_i64(a) == cop_value_i64(b);
    case COP_STRING:
    case COP_BYTES:
    case COP_ERROR:
        break;
    }
    size_t n = cop_value_length(a);
    return n == cop_value_length(b) && memcmp(cop_value_data(a), cop_value_data(b), n) == 0;
}

static bool
is_outside(const cop_value *v)
{
    return cop_value_is_text(v) && v->inlined == COP_VALUE_OUTSIDE;
}

cop_status
cop_value_copy(const cop_value *v, cop_value *copy)
{
    if (!is_outside(v)) {
        *copy = *v;
        return COP_OK;
    }
    size_t n = cop_value_length(v);
    void *bytes = malloc(n ? n : 1);
    if (!bytes) {
        memset(copy, 0, sizeof *copy);
        return COP_E_MEMORY;
    }
    memcpy(bytes, cop_value_data(v), n);
    *copy = *v;
    memcpy(&copy->small.words[1], &bytes, sizeof bytes);
    return COP_OK;
}

void
cop_value_free(cop_value *v)
{
    if (is_outside(v)) {
        void *bytes;
        memcpy(&bytes, &v->small.words[1], sizeof bytes);
        free(bytes);
    }
    memset(v, 0, sizeof *v);
}

const char *
cop_type_name(cop_type type)
{
    static const char *const names[] = {"none",   "null",  "bool",  "i64",    "f64",
                                        "string", "bytes", "error", "object", "array"};
    if ((unsigned)type >= sizeof names / sizeof *names)
        return "unknown";
    return names[type];
}
