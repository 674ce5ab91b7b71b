/* SPDX-License-Identifier: MIT */
/* The program `coppice`: finds the command and runs it. */
#include <coppice/coppice.h>

#include "tools/commands.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#ifdef COP_HAVE_HTTP
#define OPTIONS_USAGE "[OPTION...] | get [NAME...] | set NAME=VALUE..."
#define OPTIONS_MORE "'get' and 'set' are of a running server: 'coppice options set --help'.\n"
#else
#define OPTIONS_USAGE "[OPTION...]"
#define OPTIONS_MORE ""
#endif

static const struct command commands[] = {
#ifdef COP_HAVE_HTTP
    {"serve", "[OPTION...]", "Serves a store over HTTP, and feeds it", run_serve, NULL},
    {"get", "[OPTION...] [PATH]", "Prints the value at a path, or a branch as JSON", run_get,
     "A plain value is printed bare, a branch as indented JSON. Without PATH: everything.\n"},
    {"set", "[OPTION...] PATH VALUE", "Sets the value at a path", run_set,
     "VALUE is JSON, and a string when it is not JSON; '-' reads it from standard input.\n"},
    {"erase", "[OPTION...] PATH", "Erases a path and what is below it", run_erase, NULL},
    {"load", "[OPTION...] FILE [PATH]", "Makes the branch at a path equal to a JSON file", run_load,
     "FILE '-' is standard input. Without PATH the whole state is replaced.\n"},
    {"diff", "[OPTION...] FROM TO [PATH]", "Prints the patch between two versions", run_diff,
     "FROM and TO are versions that the history keeps ('coppice history --keep') or that a client\n"
     "holds (POST /v1/snapshots): a number or a label, or 'newest'.\n"},
    {"patch", "[OPTION...] FILE [PATH]", "Applies a JSON Patch to what is at a path", run_patch,
     "FILE '-' is standard input. All of the patch is applied, or nothing.\n"},
    {"watch", "[OPTION...] [PATH]", "Prints what changes at a path, a line each", run_watch,
     "Begins with all that there is. PATH may have * for any one segment. Until SIGINT.\n"},
    {"why", "[OPTION...] PATH", "Says why a computed atom ran, and what it depends on", run_why,
     "Waits for its next run: what happens is written down only while somebody looks.\n"},
    {"graph", "[OPTION...]", "Lists the graph of computed atoms, or draws it", run_graph, NULL},
    {"history", "[OPTION...] [VERSION]", "Lists the kept versions; keeps, labels, pins, drops one",
     run_history, "Which versions are kept by themselves is the server's option history.keep.\n"},
    {"restore", "[OPTION...] VERSION|LABEL", "Goes back to a kept version, as a new one",
     run_restore, "What computed atoms make follows by itself.\n"},
    {"export", "[OPTION...] FILE", "Writes the kept versions into a file", run_export,
     "FILE '-' is standard output.\n"},
    {"import", "[OPTION...] FILE", "Makes the versions of such a file again, as new ones",
     run_import,
     "FILE '-' is standard input. The first one replaces what there is. A damaged file changes "
     "nothing.\n"},
    {"stats", "[OPTION...]", "Prints the statistics of the server's store", run_stats, NULL},
    {"trace", "[OPTION...]", "Records what the server's commits do", run_trace,
     "Needs the server's option performance.monitor. The file opens in\n"
     "the Performance panel of Chromium's developer tools and in Perfetto.\n"},
    {"top", "[OPTION...]", "Shows a server's rates, percentiles and warnings, live", run_top,
     "Percentiles need the server's option performance.monitor.\n"},
    {"doctor", "[OPTION...]", "Says what holds a server's memory, and what to do", run_doctor,
     "Exit codes: 0 healthy, 1 the memory is full or something is stalled, 2 wrong usage, or the\n"
     "server could not be asked.\n"},
#endif
    {"options", OPTIONS_USAGE, "Lists the store's options; gets or sets those of a server",
     run_options,
     "Values come from the defaults, then the file, then the environment, then "
     "--set.\n" OPTIONS_MORE},
    {"stress", "[OPTION...]", "Loads a store, and checks the library's promises meanwhile",
     run_stress,
     "The store is in a process of its own; servers cannot be loaded. When a promise is found to "
     "be\n"
     "broken it is named, and the exit code is 1.\n"},
    {"tune", "[OPTION...]", "Finds worker threads and a batch window for this machine", run_tune,
     "Runs the load of 'coppice stress' over both, and says what it chose and why. The "
     "configuration\n"
     "is for --config; it is printed, or written to --output.\n"},
    {"version", "[OPTION...]", "Prints the version of the library", run_version, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

int
run_version(const struct command *command, int argc, char **argv)
{
    bool json = false;
    const struct arg args[] = {{"json", ARG_FLAG, &json, 0, 0, NULL, "as JSON"},
                               {NULL, ARG_FLAG, NULL, 0, 0, NULL, NULL}};
    int code;
    if (!args_parse(command, args, argc, argv, &argc, &code))
        return code;
    if (argc)
        return usage_error(command, "version takes no argument");
    printf(json ? "{\"version\":\"%s\"}\n" : "coppice %s\n", cop_library_version());
    return EXIT_DONE;
}

static void
print_usage(FILE *to)
{
    fprintf(to, "usage: coppice COMMAND [OPTION...] [ARGUMENT...]\n\n");
    for (const struct command *command = commands; command->name; command++)
        fprintf(to, "  %-10s %s\n", command->name, command->help);
    fprintf(to, "\n'coppice COMMAND --help' says more about a command. Exit codes: 0 done,\n"
                "1 failed, 2 wrong usage; 'doctor' has its own.\n");
}

/* What is still in stdio's buffer must get out for the command to have succeeded. */
static int
finish(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    complain("cannot write to standard output");
    return code ? code : EXIT_FAILED;
}

int
main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is a failed write, and said as one */
    if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) {
        print_usage(stdout);
        return finish(EXIT_DONE);
    }
    if (!strcmp(name, "--version"))
        name = "version";
    for (const struct command *command = commands; command->name; command++)
        if (strcmp(command->name, name) == 0)
            return finish(command->run(command, argc - 2, argv + 2));
    if (*name)
        complain("unknown command '%s' (coppice --help)", name);
    else
        print_usage(stderr);
    return EXIT_USAGE;
}
