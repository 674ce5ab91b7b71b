/* SPDX-License-Identifier: MIT */
/*
 * From a URL to a path of the store: percent-decoding by segment. What comes out is in the syntax
 * of coppice/path.h, escapes with '~' included. An encoded slash is refused: some clients and
 * proxies mean a separator by it and others a character of the name.
 */
#include "http/internal.h"

static int
hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static bool
decode(const char **at, char *byte, bool slash, struct cop__problem *problem)
{
    const char *p = *at;
    if (*p != '%') {
        *byte = *p;
        *at = p + 1;
        return true;
    }
    int high = hex(p[1]);
    int low = high < 0 ? -1 : hex(p[2]);
    if (low < 0)
        return cop__problem_set(problem, COP_PROBLEM_PATH, "%% is followed by two hex digits");
    *byte = (char)(high * 16 + low);
    *at = p + 3;
    if (*byte == '/' && !slash)
        return cop__problem_set(problem, COP_PROBLEM_PATH,
                                "%%2F is ambiguous: write ~1 for a '/' inside a segment");
    return true;
}

static bool
decode_all(const char *at, bool slash, char path[COP_PATH_MAX + 1], size_t *length,
           struct cop__problem *problem)
{
    size_t n = 0;
    while (*at) {
        if (n >= COP_PATH_MAX)
            return cop__problem_set(problem, COP_PROBLEM_PATH, "a path has at most %u bytes",
                                    COP_PATH_MAX);
        if (!decode(&at, &path[n], slash, problem))
            return false;
        n++;
    }
    path[n] = '\0';
    *length = n;
    return true;
}

static bool
read_path(const char *at, bool slash, char path[COP_PATH_MAX + 1], size_t *length,
          struct cop__problem *problem)
{
    cop_error error = COP_ERROR_INIT;
    if (!decode_all(at, slash, path, length, problem))
        return false;
    if (cop_path_check(path, *length, &error) == COP_OK)
        return true;
    cop__problem_set(problem, COP_PROBLEM_PATH, "%s", error.message);
    problem->error = error;
    return false;
}

bool
cop__http_path(const char *rest, char path[COP_PATH_MAX + 1], size_t *length,
               struct cop__problem *problem)
{
    return read_path(*rest == '/' ? rest + 1 : rest, false, path, length, problem);
}

bool
cop__http_pattern(const char *rest, char path[COP_PATH_MAX + 1], size_t *length,
                  struct cop__problem *problem)
{
    return decode_all(*rest == '/' ? rest + 1 : rest, false, path, length, problem);
}

bool
cop__http_argument(const char *text, char decoded[COP_PATH_MAX + 1], size_t *length,
                   struct cop__problem *problem)
{
    return decode_all(text, true, decoded, length, problem);
}

bool
cop__http_path_argument(const char *text, char path[COP_PATH_MAX + 1], size_t *length,
                        struct cop__problem *problem)
{
    return read_path(text, true, path, length, problem);
}
