/* SPDX-License-Identifier: MIT */
/*
 * `coppice top`: a page of a server's rates, percentiles and warnings, written anew while it runs.
 * What happened since the page before is told, on the first page since the server began.
 */
#include "tools/client.h"
#include "tools/commands.h"
#include "tools/top.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

struct top {
    const char *server;
    uint64_t interval_ms, pages;
    bool once, json;
};

static json_t *
ask(const char *server, const char *target)
{
    const struct http_request request = {.server = server, .method = "GET", .target = target};
    struct http_answer answer;
    if (!client_call(&request, target, &answer))
        return NULL;
    json_t *json = json_loadb(answer.body, answer.length, 0, NULL);
    free(answer.body);
    if (!json)
        complain("the server's answer to %s is no JSON", target);
    return json;
}

static void
drop_page(struct top_page *page)
{
    json_decref(page->stats);
    json_decref(page->monitor);
    memset(page, 0, sizeof *page);
}

static bool
take_page(const char *server, struct top_page *page)
{
    struct timespec t;
    page->stats = ask(server, "/v1/stats");
    clock_gettime(CLOCK_MONOTONIC, &t);
    page->time_s = (double)t.tv_sec + (double)t.tv_nsec / 1e9;
    page->monitor = page->stats ? ask(server, "/v1/monitor?buckets") : NULL;
    return page->monitor != NULL;
}

static bool
print_page(const struct top *top, const struct top_page *page, const struct top_page *before)
{
    struct winsize size = {0};
    bool terminal = isatty(STDOUT_FILENO);
    if (top->json)
        return top_print_json(page, before);
    if (terminal) /* it may have another size now */
        (void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    return top_print(page, before, terminal && !top->once, size.ws_col,
                     top->once ? 0 : size.ws_row);
}

static bool
show_pages(const struct top *top)
{
    const struct timespec interval = {.tv_sec = (time_t)(top->interval_ms / 1000),
                                      .tv_nsec = (long)(top->interval_ms % 1000) * 1000000};
    struct top_page page = {0}, before = {0};
    uint64_t pages = top->once ? 1 : top->pages;
    bool good = true;
    if (!top->once && !top->json && isatty(STDOUT_FILENO))
        printf("\033[2J");
    for (uint64_t i = 0; good && (!pages || i < pages); i++) {
        if (i)
            nanosleep(&interval, NULL);
        good = take_page(top->server, &page) && print_page(top, &page, &before);
        drop_page(&before);
        before = page;
        memset(&page, 0, sizeof page);
    }
    drop_page(&before);
    return good;
}

int
run_top(const struct command *command, int argc, char **argv)
{
    struct top top = {.server = client_server(), .interval_ms = 1000};
    int code;
    const struct arg args[] = {
        {"server", ARG_TEXT, &top.server, 0, 0, "URL",
         "the server (COPPICE_SERVER, else http://127.0.0.1:7227)"},
        {"interval-ms", ARG_U64, &top.interval_ms, 50, 3600000, "MS", "between two pages (1000)"},
        {"pages", ARG_U64, &top.pages, 0, UINT64_MAX, "N",
         "how many; 0: until it is interrupted (0)"},
        {"once", ARG_FLAG, &top.once, 0, 0, NULL, "one page: what was since the server's start"},
        {"json", ARG_FLAG, &top.json, 0, 0, NULL, "each page as a line of JSON"},
        {NULL, ARG_FLAG, NULL, 0, 0, NULL, NULL},
    };
    if (!args_parse(command, args, argc, argv, &argc, &code))
        return code;
    if (argc)
        return usage_error(command, "top takes no argument");
    if (top.once && top.pages)
        return usage_error(command, "--once and --pages exclude each other");
    return show_pages(&top) ? EXIT_DONE : EXIT_FAILED;
}
