/* SPDX-License-Identifier: MIT */
/* `coppice graph`: the graph of computed atoms as a table, as JSON, or for Graphviz. */
#include "tools/client.h"
#include "tools/commands.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *
text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static long long
number_of(const json_t *object, const char *key)
{
    return (long long)json_integer_value(json_object_get(object, key));
}

/* How people know a node: its path, else its label, else its number. */
static const char *
name_of(const json_t *node)
{
    const char *path = text_of(node, "path"), *label = text_of(node, "label");
    return *path ? path : *label ? label : text_of(node, "id");
}

/* ---- Graphviz ---- */

static void
print_quoted(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            putchar('\\');
        putchar((unsigned char)*text < ' ' ? ' ' : *text);
    }
    putchar('"');
}

static const char *
style_of(const json_t *node)
{
    static const char *const styles[][2] = {
        {"source", "shape=box,color=gray50"},
        {"eager", "shape=ellipse"},
        {"lazy", "shape=ellipse,style=dashed"},
        {"background", "shape=ellipse,style=dotted"},
        {"branch", "shape=folder"},
        {"effect", "shape=cds"},
    };
    for (size_t i = 0; i < sizeof styles / sizeof *styles; i++)
        if (strcmp(text_of(node, "kind"), styles[i][0]) == 0)
            return styles[i][1];
    return "shape=ellipse";
}

static void
print_dot_node(const json_t *node, const char *around)
{
    printf("  ");
    print_quoted(text_of(node, "id"));
    printf(" [label=");
    print_quoted(name_of(node));
    printf(",%s", style_of(node));
    if (json_is_true(json_object_get(node, "cycle")))
        printf(",color=red");
    if (around && strcmp(around, text_of(node, "path")) == 0)
        printf(",penwidth=2");
    printf("];\n");
}

static void
print_dot_edge(const json_t *edge)
{
    const char *on = text_of(edge, "on");
    long long reads = number_of(edge, "reads");
    printf("  ");
    print_quoted(text_of(edge, "from"));
    printf(" -> ");
    print_quoted(text_of(edge, "to"));
    if (reads > 1)
        printf(" [label=\"%s x%lld\"]", on, reads);
    else if (strcmp(on, "value") != 0)
        printf(" [label=\"%s\"]", on);
    printf(";\n");
}

/* Paths that lead nowhere yet are no nodes of the answer. */
static void
print_dot_absent(const json_t *edge)
{
    const char *from = text_of(edge, "from");
    if (strncmp(from, "absent:", 7) != 0)
        return;
    printf("  ");
    print_quoted(from);
    printf(" [label=");
    print_quoted(from + 7);
    printf(",shape=box,style=dotted];\n");
}

static void
print_dot(const json_t *graph, const char *around)
{
    size_t i;
    json_t *item;
    printf("digraph coppice {\n  rankdir=LR;\n  node [fontsize=10,fontname=\"sans-serif\"];\n"
           "  edge [fontsize=8,fontname=\"sans-serif\"];\n");
    json_array_foreach(json_object_get(graph, "nodes"), i, item) print_dot_node(item, around);
    json_array_foreach(json_object_get(graph, "edges"), i, item) print_dot_absent(item);
    json_array_foreach(json_object_get(graph, "edges"), i, item) print_dot_edge(item);
    printf("}\n");
}

/* ---- a table ---- */

static void
print_table(const json_t *graph)
{
    size_t i, k;
    json_t *node, *edge;
    json_array_foreach(json_object_get(graph, "nodes"), i, node)
    {
        if (strcmp(text_of(node, "kind"), "source") == 0)
            continue;
        printf("%s  %s, height %lld, read by %lld%s\n", name_of(node), text_of(node, "kind"),
               number_of(node, "height"), number_of(node, "dependents"),
               json_is_true(json_object_get(node, "cycle")) ? ", in a circle" : "");
        json_array_foreach(json_object_get(graph, "edges"), k, edge)
        {
            if (strcmp(text_of(edge, "to"), text_of(node, "id")) != 0)
                continue;
            const char *from = text_of(edge, "from");
            size_t n;
            json_t *source;
            json_array_foreach(json_object_get(graph, "nodes"), n, source)
            {
                if (strcmp(text_of(source, "id"), from) == 0)
                    from = name_of(source);
            }
            printf("    %s  %s", from, text_of(edge, "on"));
            if (number_of(edge, "reads") > 1)
                printf(" x%lld", number_of(edge, "reads"));
            putchar('\n');
        }
    }
}

/* ---- the command ---- */

static char *
target_of(const char *around, uint64_t depth, uint64_t most)
{
    size_t room = 128 + (around ? 3 * strlen(around) : 0);
    char *target = malloc(room);
    if (!target)
        return NULL;
    int n = snprintf(target, room, "/v1/graph?depth=%llu&most=%llu", (unsigned long long)depth,
                     (unsigned long long)most);
    if (around) {
        n += snprintf(target + n, room - (size_t)n, "&around=");
        http_encode_path(around, target + n);
    }
    return target;
}

static bool
print_answer(const struct http_answer *answer, bool dot, bool json, const char *around)
{
    json_t *graph = json_loadb(answer->body, answer->length, 0, NULL);
    if (!graph) {
        complain("the server's answer is no JSON");
        return false;
    }
    if (json)
        printf("%s\n", answer->body);
    else if (dot)
        print_dot(graph, around);
    else
        print_table(graph);
    if (!json_is_true(json_object_get(graph, "complete")))
        complain("there are more nodes: --most");
    json_decref(graph);
    return true;
}

int
run_graph(const struct command *command, int argc, char **argv)
{
    const char *server = client_server(), *around = NULL;
    bool dot = false, json = false;
    uint64_t depth = 1, most = 10000;
    int code;
    const struct arg args[] = {
        {"server", ARG_TEXT, &server, 0, 0, "URL",
         "the server (COPPICE_SERVER, else http://127.0.0.1:7227)"},
        {"dot", ARG_FLAG, &dot, 0, 0, NULL, "for Graphviz: coppice graph --dot | dot -Tsvg"},
        {"around", ARG_TEXT, &around, 0, 0, "PATH", "only what is near this atom"},
        {"depth", ARG_U64, &depth, 0, 64, "N", "edges away from it (1)"},
        {"most", ARG_U64, &most, 1, 1000000, "N", "nodes, sources included (10000)"},
        {"json", ARG_FLAG, &json, 0, 0, NULL, "as JSON"},
        {NULL, ARG_FLAG, NULL, 0, 0, NULL, NULL},
    };
    if (!args_parse(command, args, argc, argv, &argc, &code))
        return code;
    if (argc)
        return usage_error(command, "graph takes no argument");
    if (dot && json)
        return usage_error(command, "--dot and --json exclude each other");
    char *target = target_of(around, depth, most);
    struct http_answer answer;
    if (!target) {
        complain("out of memory");
        return EXIT_FAILED;
    }
    const struct http_request request = {.server = server, .method = "GET", .target = target};
    bool good = client_call(&request, around ? around : "graph", &answer);
    free(target);
    if (!good)
        return EXIT_FAILED;
    good = print_answer(&answer, dot, json, around);
    free(answer.body);
    return good ? EXIT_DONE : EXIT_FAILED;
}
