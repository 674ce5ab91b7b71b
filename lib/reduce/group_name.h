/* SPDX-License-Identifier: MIT */
/* The text of a key, which names its group. */
#ifndef COP_REDUCE_GROUP_NAME_H
#define COP_REDUCE_GROUP_NAME_H

#include <coppice/value.h>

#include "serialize/json_number.h"

typedef struct cop__group_text {
    const char *bytes; /* in `own`, or the key's own: valid no longer than the key */
    size_t length;
    uint32_t hash;
    char own[COP__JSON_NUMBER_MAX];
} cop__group_text;

/* False when the key names no group. *text may not be moved. */
bool cop__group_text_of(const cop_value *key, cop__group_text *text);

#endif
