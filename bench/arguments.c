/* SPDX-License-Identifier: MIT */
/* The table of arguments, read by getopt_long. */
#include "bench/arguments.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/report.h"

#define ARGUMENTS_MAX 16

_Noreturn void
bench_usage(int status, const bench_argument *table)
{
    FILE *to = status ? stderr : stdout;
    fputs(program_invocation_short_name, to);
    for (const bench_argument *a = table; a->name != NULL; a++)
        fprintf(to, a->what != NULL ? " [--%s %s]" : " [--%s]", a->name, a->what);
    fputc('\n', to);
    exit(status);
}

static uint32_t
number(const char *text, const bench_argument *a, const bench_argument *table)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || n < a->least || n > a->most) {
        report_note("--%s: %s is not a number from %u to %u", a->name, text, a->least, a->most);
        bench_usage(2, table);
    }
    return (uint32_t)n;
}

void
bench_arguments(int argc, char **argv, const bench_argument *table)
{
    struct option options[ARGUMENTS_MAX + 2] = {{"help", no_argument, NULL, 'h'}};
    int n = 1, at, c;
    for (const bench_argument *a = table; a->name != NULL && n <= ARGUMENTS_MAX; a++)
        options[n++] =
            (struct option){a->name, a->what != NULL ? required_argument : no_argument, NULL, 0};
    while ((c = getopt_long(argc, argv, "", options, &at)) != -1) {
        if (c != 0)
            bench_usage(c == 'h' ? 0 : 2, table);
        const bench_argument *a = &table[at - 1];
        if (a->flag != NULL)
            *a->flag = true;
        else if (a->number != NULL)
            *a->number = number(optarg, a, table);
        else
            *a->word = optarg;
    }
    if (optind != argc)
        bench_usage(2, table);
}
