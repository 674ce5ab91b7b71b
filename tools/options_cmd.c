/* SPDX-License-Identifier: MIT */
/* `coppice options`, and where every command that opens a store gets its options from. */
#include "tools/commands.h"
#include "tools/store_options.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static cop_status
set_one(cop_options *options, const char *setting)
{
    char name[128];
    cop_error error = COP_ERROR_INIT;
    const char *equals = strchr(setting, '=');
    if (!equals || (size_t)(equals - setting) >= sizeof name) {
        complain("--set %s: name=value is wanted", setting);
        return COP_E_INVALID;
    }
    memcpy(name, setting, (size_t)(equals - setting));
    name[equals - setting] = '\0';
    cop_status status = cop_options_set(options, name, equals + 1, &error);
    if (status != COP_OK)
        complain("--set %s: %s", setting, error.message);
    return status;
}

cop_status
store_options_load(cop_options *options, const char *config, const struct arg_list *settings,
                   bool *usage)
{
    cop_error error = COP_ERROR_INIT;
    cop_status status = COP_OK;
    *usage = false;
    cop_options_init(options);
    if (config)
        status = cop_options_load_file(options, config, &error);
    if (status == COP_OK)
        status = cop_options_load_environment(options, &error);
    if (status != COP_OK) {
        complain("%s", error.message);
        return status;
    }
    for (size_t i = 0; i < settings->count && status == COP_OK; i++)
        status = set_one(options, settings->items[i]);
    *usage = status != COP_OK;
    return status;
}

static const char *
kind_name(cop_option_kind kind)
{
    return kind == COP_OPTION_BOOL ? "bool" : kind == COP_OPTION_U64 ? "number" : "choice";
}

static void
choices_text(const cop_option_info *info, char *text, size_t size)
{
    size_t at = 0;
    text[0] = '\0';
    for (uint64_t i = 0; i <= info->maximum && at < size; i++)
        at += (size_t)snprintf(text + at, size - at, "%s%s", i ? "|" : "", info->choices[i]);
}

static void
bounds_text(const cop_option_info *info, char *text, size_t size)
{
    if (info->kind == COP_OPTION_ENUM)
        choices_text(info, text, size);
    else if (info->kind == COP_OPTION_BOOL)
        snprintf(text, size, "true|false");
    else if (info->maximum == UINT64_MAX)
        snprintf(text, size, "%llu or more", (unsigned long long)info->minimum);
    else
        snprintf(text, size, "%llu to %llu", (unsigned long long)info->minimum,
                 (unsigned long long)info->maximum);
}

static void
print_table(const cop_options *options)
{
    char value[64], bounds[96];
    for (size_t i = 0; i < cop_options_count(); i++) {
        const cop_option_info *info = cop_options_info(i);
        cop_options_get(options, info->name, value, sizeof value);
        bounds_text(info, bounds, sizeof bounds);
        printf("%s = %s%s\n    %s\n    %s; environment %s\n", info->name, value,
               info->live ? "  (live)" : "", info->help, bounds, info->environment);
    }
}

static json_t *
describe(const cop_options *options, const cop_option_info *info)
{
    char value[64], preset[64];
    cop_options defaults;
    cop_options_init(&defaults);
    cop_options_get(options, info->name, value, sizeof value);
    cop_options_get(&defaults, info->name, preset, sizeof preset);
    json_t *json =
        json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:b}", "name", info->name, "type",
                  kind_name(info->kind), "value", value, "default", preset, "environment",
                  info->environment, "help", info->help, "live", info->live);
    if (info->kind == COP_OPTION_U64) {
        char maximum[32]; /* text: it may exceed what JSON readers keep exact */
        snprintf(maximum, sizeof maximum, "%llu", (unsigned long long)info->maximum);
        json_object_set_new(json, "minimum", json_integer((json_int_t)info->minimum));
        json_object_set_new(json, "maximum", json_string(maximum));
    }
    if (info->kind == COP_OPTION_ENUM) {
        json_t *choices = json_array();
        for (uint64_t i = 0; i <= info->maximum; i++)
            json_array_append_new(choices, json_string(info->choices[i]));
        json_object_set_new(json, "choices", choices);
    }
    return json;
}

static void
print_json(const cop_options *options)
{
    json_t *list = json_array();
    for (size_t i = 0; i < cop_options_count(); i++)
        json_array_append_new(list, describe(options, cop_options_info(i)));
    json_dumpf(list, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(list);
}

int
run_options(const struct command *command, int argc, char **argv)
{
    bool json = false, usage;
    const char *config = NULL;
    struct arg_list settings = {NULL, 0};
    cop_options options;
    int code;
    const struct arg args[] = {
        {"config", ARG_TEXT, &config, 0, 0, "FILE", "read this configuration file"},
        {"set", ARG_LIST, &settings, 0, 0, "NAME=VALUE", "set an option; may be repeated"},
        {"json", ARG_FLAG, &json, 0, 0, NULL, "as JSON"},
        {NULL, ARG_FLAG, NULL, 0, 0, NULL, NULL},
    };
#ifdef COP_HAVE_HTTP
    if (argc > 0 && strcmp(argv[0], "set") == 0)
        return run_options_set(argc - 1, argv + 1);
    if (argc > 0 && strcmp(argv[0], "get") == 0)
        return run_options_get(argc - 1, argv + 1);
#endif
    if (args_parse(command, args, argc, argv, &argc, &code)) {
        if (argc)
            code = usage_error(command, "there is no 'options %s'", argv[0]);
        else if (store_options_load(&options, config, &settings, &usage) != COP_OK)
            code = usage ? EXIT_USAGE : EXIT_FAILED;
        else if (json)
            print_json(&options);
        else
            print_table(&options);
    }
    free(settings.items);
    return code;
}
