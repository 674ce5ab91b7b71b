/* SPDX-License-Identifier: MIT */
/*
 * What reduce_property.py drives: a line in, and for `?` the result out.
 *
 *     open RULE [grouped]      a rule of tests/support/reduce_functions.h; closes what was open
 *     i ID PATH VALUE [KEY]    insert
 *     c ID VALUE               change the value
 *     g ID KEY                 change the key
 *     r ID                     remove
 *     m, b, k                  mark, take back, keep
 *     ?                        the result: a VALUE, a top's rows "[PATH=VALUE ...]", or all groups,
 *                              "NAME:SIZE:RESULT ..."
 *
 * PATH, NAME and text are hexadecimal with a letter before them, values type:payload, doubles by
 * their bits. The end of input closes; the exit status is non-zero when a byte is still held.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coppice/path.h>

#include "reduce/group.h"
#include "reduce/reduction.h"
#include "tests/support/path_names.h"
#include "tests/support/reduce_functions.h"

enum { IDS = 4096, LINE = 65536, WORDS = 6 };

static cop__memory *memory;
static cop__reduction *reduction;
static cop__grouping *grouping;
static const cop__name *name_of[IDS]; /* referenced: kept to the end */
static char text_room[LINE], key_room[LINE];

static void
die(const char *what, const char *line)
{
    fprintf(stderr, "reduce_driver: %s: %s\n", what, line);
    exit(2);
}

static void
want(cop_status status, const char *line)
{
    if (status != COP_OK)
        die(cop_status_name(status), line);
}

/* "x6162" -> "ab" in `out`, which has room. */
static size_t
unhex(const char *hex, char *out)
{
    size_t n = strlen(hex) / 2;
    for (size_t i = 0; i < n; i++) {
        char pair[3] = {hex[1 + 2 * i], hex[2 + 2 * i], 0};
        out[i] = (char)strtoul(pair, NULL, 16);
    }
    return n;
}

static cop_value
parse(const char *word, char *room)
{
    uint64_t bits = strtoull(word + 2, NULL, 16);
    double f;
    memcpy(&f, &bits, sizeof f);
    switch (word[0]) {
    case 'i':
        return cop_i64(strtoll(word + 2, NULL, 10));
    case 'f':
        return cop_f64(f);
    case 't':
        return cop_bool(word[2] == '1');
    case 's':
        return cop_string(room, unhex(word + 1, room));
    case 'y':
        return cop_bytes(room, unhex(word + 1, room));
    case 'e':
        return cop_error_value(room, unhex(word + 1, room));
    case 'o':
        return cop_object();
    case 'a':
        return cop_array();
    case 'n':
        return cop_null();
    default:
        return (cop_value){0};
    }
}

static void
print_hex(const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        printf("%02x", (unsigned char)bytes[i]);
}

static void
print_value(const cop_value *v)
{
    double f = cop_value_f64(v);
    uint64_t bits;
    memcpy(&bits, &f, sizeof bits);
    switch (cop_value_type(v)) {
    case COP_I64:
        printf("i:%" PRId64, cop_value_i64(v));
        break;
    case COP_F64:
        printf("f:%016" PRIx64, bits);
        break;
    case COP_BOOL:
        printf("t:%d", cop_value_bool(v));
        break;
    case COP_NULL:
        printf("n");
        break;
    case COP_STRING:
    case COP_ERROR:
        printf(v->type == COP_STRING ? "s:" : "e:");
        print_hex(cop_value_data(v), cop_value_length(v));
        break;
    default:
        printf("?%s", cop_type_name(cop_value_type(v)));
    }
}

static void
print_result(const cop_value *v, cop__top_walk *walk)
{
    const cop__treap_node *node;
    if (v->type != COP_ARRAY) {
        print_value(v);
        return;
    }
    printf("[");
    for (const char *space = ""; (node = cop__top_next(walk)) != NULL; space = ",") {
        printf("%s", space);
        char path[COP_PATH_MAX];
        print_hex(path, cop__name_path(node->name, path, sizeof path));
        printf("=");
        print_value(&node->value);
    }
    printf("]");
}

static void
print_groups(void)
{
    static char message[COP_REDUCER_TEXT];
    const char *space = "";
    for (uint32_t i = cop__grouping_first(grouping); i; i = cop__grouping_next(grouping, i)) {
        size_t length;
        cop__top_walk walk;
        cop_value v;
        const char *name = cop__group_name(grouping, i, &length);
        printf("%s", space);
        print_hex(name, length);
        printf(":%" PRIu32 ":", cop__group_size(grouping, i));
        cop__group_result(grouping, i, message, sizeof message, &v);
        cop__group_top(grouping, i, &walk);
        print_result(&v, &walk);
        space = " ";
    }
}

static void
answer(void)
{
    static char message[COP_REDUCER_TEXT];
    if (grouping) {
        print_groups();
    } else {
        cop__top_walk walk;
        cop_value v;
        cop__reduction_result(reduction, message, sizeof message, &v);
        cop__reduction_top(reduction, &walk);
        print_result(&v, &walk);
    }
    printf("\n");
}

static void
close_all(void)
{
    cop__reduction_close(reduction);
    cop__grouping_close(grouping);
    reduction = NULL;
    grouping = NULL;
    path_names_free();
    memset(name_of, 0, sizeof name_of);
}

static void
open_one(char **word, const char *line)
{
    cop__reduce_rule rule;
    close_all();
    if (!reduce_rule(word[1], &rule))
        die("no such rule", line);
    if (word[2])
        want(cop__grouping_open(memory, &rule, &grouping), line);
    else
        want(cop__reduction_open(memory, &rule, &reduction), line);
}

/* An id has the same path as long as something is open. */
static cop_status
insert(char **word, uint32_t id)
{
    cop_value value = parse(word[3], text_room), key;
    if (!name_of[id]) {
        char path[COP_PATH_MAX];
        unhex(word[2], path);
        name_of[id] = path_name(path, strlen(word[2]) / 2);
    }
    if (!grouping)
        return cop__reduction_insert(reduction, id, name_of[id], &value);
    key = parse(word[4], key_room);
    return cop__grouping_insert(grouping, id, name_of[id], &key, &value);
}

static cop_status
operate(char **word)
{
    uint32_t id = word[1] ? (uint32_t)strtoul(word[1], NULL, 10) % IDS : 0;
    cop_value value = word[1] && word[2] ? parse(word[2], text_room) : cop_null();
    switch (word[0][0]) {
    case 'i':
        return insert(word, id);
    case 'c':
        return grouping ? cop__grouping_change_value(grouping, id, &value)
                        : cop__reduction_change(reduction, id, &value);
    case 'g':
        return cop__grouping_change_key(grouping, id, &value);
    case 'r':
        return grouping ? cop__grouping_remove(grouping, id) : cop__reduction_remove(reduction, id);
    default:
        return COP_E_INVALID;
    }
}

static bool
marked(char letter)
{
    if (letter == 'm')
        grouping ? cop__grouping_mark(grouping) : cop__reduction_mark(reduction);
    else if (letter == 'b')
        grouping ? cop__grouping_rollback(grouping) : cop__reduction_rollback(reduction);
    else if (letter == 'k')
        grouping ? cop__grouping_commit(grouping) : cop__reduction_commit(reduction);
    else
        return false;
    return true;
}

static void
obey(char *line)
{
    char *word[WORDS + 1] = {0}, *rest = NULL;
    unsigned n = 0;
    for (char *w = strtok_r(line, " \n", &rest); w && n < WORDS; w = strtok_r(NULL, " \n", &rest))
        word[n++] = w;
    if (n == 0)
        return;
    if (strcmp(word[0], "open") == 0)
        open_one(word, line);
    else if (word[0][0] == '?')
        answer();
    else if (!marked(word[0][0]))
        want(operate(word), line);
}

int
main(void)
{
    static char line[LINE];
    memory = cop__memory_new(NULL, UINT64_MAX);
    if (!memory)
        return 2;
    while (fgets(line, sizeof line, stdin))
        obey(line);
    close_all();
    bool clean = cop__load_relaxed(&memory->by_kind[COP_MEMORY_GRAPH]) == 0;
    cop__memory_unref(memory);
    return clean ? 0 : 1;
}
