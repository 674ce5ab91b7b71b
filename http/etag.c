/* SPDX-License-Identifier: MIT */
/* Making ETags, and finding them in the lists of conditional requests (RFC 9110, 13.1). */
#include "http/etag.h"
#include "http/siphash.h"

#include <stdio.h>
#include <string.h>

void
cop__etag_branch(const struct cop_http_server *server, uint64_t changed,
                 const struct cop__etag_form *form, char etag[COP_HTTP_ETAG_MAX])
{
    char depth[16] = "";
    if (form && form->depth)
        snprintf(depth, sizeof depth, "-d%u", form->depth);
    snprintf(etag, COP_HTTP_ETAG_MAX, "\"%llu-%08x%s%s\"", (unsigned long long)changed,
             server->instance, form && form->pretty ? "-p" : "", depth);
}

void
cop__etag_value(const struct cop_http_server *server, const cop_value *value,
                char etag[COP_HTTP_ETAG_MAX])
{
    const uint64_t key[2] = {server->hash_key[0] ^ value->type, server->hash_key[1]};
    uint64_t hash = cop_value_is_text(value)
                        ? cop__siphash(key, cop_value_data(value), cop_value_length(value))
                        : cop__siphash(key, &value->small.words[1], 8);
    snprintf(etag, COP_HTTP_ETAG_MAX, "\"h-%016llx\"", (unsigned long long)hash);
}

/* The next entity-tag of a list, quotes included; false at its end or where it is malformed. */
static bool
next_tag(const char **at, const char **tag, size_t *n, bool *weak)
{
    const char *p = *at + strspn(*at, " \t,");
    *weak = p[0] == 'W' && p[1] == '/';
    if (*weak)
        p += 2;
    if (*p != '"')
        return false;
    const char *end = strchr(p + 1, '"');
    if (!end)
        return false;
    *tag = p;
    *n = (size_t)(end - p) + 1;
    *at = end + 1;
    return true;
}

static bool
lists_all(const char *list)
{
    list += strspn(list, " \t");
    return list[0] == '*' && list[1 + strspn(list + 1, " \t")] == '\0';
}

bool
cop__etag_listed(const char *list, const char *etag)
{
    const char *tag;
    size_t n;
    bool weak;
    if (lists_all(list))
        return true;
    while (next_tag(&list, &tag, &n, &weak))
        if (n == strlen(etag) && memcmp(tag, etag, n) == 0)
            return true;
    return false;
}

bool
cop__etag_listed_state(const char *list, const char *etag)
{
    size_t stem = strlen(etag) - 1; /* without the closing quote */
    const char *tag;
    size_t n;
    bool weak;
    if (lists_all(list))
        return true;
    while (next_tag(&list, &tag, &n, &weak))
        if (!weak && n > stem && memcmp(tag, etag, stem) == 0 &&
            (tag[stem] == '"' || tag[stem] == '-'))
            return true;
    return false;
}
