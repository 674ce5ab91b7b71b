/* SPDX-License-Identifier: MIT */
/* Command lines from tables: --name value, --name=value, -- ends the options. */
#include "tools/args.h"
#include "tools/status.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void
complain_with(const char *format, va_list arguments)
{
    char line[1024];
    vsnprintf(line, sizeof line, format, arguments);
    status_clear();
    fprintf(stderr, "coppice: %s\n", line);
}

void
complain(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    complain_with(format, arguments);
    va_end(arguments);
}

int
usage_error(const struct command *command, const char *format, ...)
{
    va_list arguments;
    char line[512];
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    complain("%s (coppice %s --help)", line, command->name);
    return EXIT_USAGE;
}

static void
print_help(const struct command *command, const struct arg *args)
{
    printf("usage: coppice %s %s\n\n%s.\n", command->name, command->usage, command->help);
    if (command->more)
        printf("\n%s", command->more);
    printf("\noptions:\n");
    for (; args->name; args++) {
        char left[64];
        snprintf(left, sizeof left, "--%s%s%s", args->name, args->value ? " " : "",
                 args->value ? args->value : "");
        printf("  %-28s %s\n", left, args->help);
    }
    printf("  %-28s %s\n", "--help", "this text");
}

static bool
take_u64(const struct arg *arg, const char *text)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (errno || end == text || *end || text[0] == '-' || n < arg->minimum || n > arg->maximum)
        return false;
    *(uint64_t *)arg->to = n;
    return true;
}

static bool
take_number(const struct arg *arg, const char *text)
{
    char *end;
    double n = strtod(text, &end);
    if (end == text || *end || !isfinite(n) || n <= 0 || n > (double)arg->maximum)
        return false;
    *(double *)arg->to = n;
    return true;
}

static bool
take_item(struct arg_list *list, const char *text)
{
    const char **items = realloc(list->items, (list->count + 1) * sizeof *items);
    if (!items)
        return false;
    items[list->count++] = text;
    list->items = items;
    return true;
}

static bool
take_value(const struct arg *arg, const char *text)
{
    switch (arg->kind) {
    case ARG_FLAG:
        *(bool *)arg->to = true;
        return true;
    case ARG_TEXT:
        *(const char **)arg->to = text;
        return true;
    case ARG_U64:
        return take_u64(arg, text);
    case ARG_NUMBER:
        return take_number(arg, text);
    case ARG_LIST:
        return take_item(arg->to, text);
    }
    return false;
}

static const struct arg *
find_arg(const struct arg *args, const char *name, size_t n)
{
    for (; args->name; args++)
        if (strlen(args->name) == n && memcmp(args->name, name, n) == 0)
            return args;
    return NULL;
}

static int
bad_value(const struct command *command, const struct arg *arg, const char *text)
{
    if (arg->kind == ARG_U64)
        return usage_error(command, "--%s: a number from %llu to %llu is wanted, not '%s'",
                           arg->name, (unsigned long long)arg->minimum,
                           (unsigned long long)arg->maximum, text);
    return usage_error(command, "--%s: '%s' is not a good value", arg->name, text);
}

/* argv[*at] is an option; *at is moved to the last argument that it takes. 0, or the exit code. */
static int
take_option(const struct command *command, const struct arg *args, int argc, char **argv, int *at)
{
    const char *name = argv[*at] + 2;
    const char *equals = strchr(name, '=');
    const struct arg *arg = find_arg(args, name, equals ? (size_t)(equals - name) : strlen(name));
    const char *text = equals ? equals + 1 : NULL;
    if (!arg)
        return usage_error(command, "unknown option '%s'", argv[*at]);
    if (arg->kind == ARG_FLAG && equals)
        return usage_error(command, "--%s takes no value", arg->name);
    if (arg->kind != ARG_FLAG && !text) {
        if (*at + 1 == argc)
            return usage_error(command, "--%s wants a value", arg->name);
        text = argv[++*at];
    }
    return take_value(arg, text) ? 0 : bad_value(command, arg, text);
}

bool
args_parse(const struct command *command, const struct arg *args, int argc, char **argv,
           int *positional, int *code)
{
    bool options = true;
    *positional = 0;
    *code = 0;
    for (int i = 0; i < argc; i++) {
        if (options && strcmp(argv[i], "--") == 0) {
            options = false;
        } else if (options && (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))) {
            print_help(command, args);
            return false;
        } else if (options && strncmp(argv[i], "--", 2) == 0) {
            *code = take_option(command, args, argc, argv, &i);
            if (*code)
                return false;
        } else {
            argv[(*positional)++] = argv[i];
        }
    }
    return true;
}
