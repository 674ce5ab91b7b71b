/* SPDX-License-Identifier: MIT */
/*
 * ETags.
 *
 *   branch   "VERSION-INSTANCE" and "-p" for ?pretty, "-dN" for ?depth=N: the last version in which
 *            the branch changed; the instance tells servers apart, whose versions all begin at 0
 *   value    "h-HASH": a keyed hash of type and bytes
 *
 * Reads compare whole tags. Writes ask about the state, not about one form of it: for a branch any
 * form's tag of the same version will do.
 */
#ifndef COP_HTTP_ETAG_H
#define COP_HTTP_ETAG_H

#include "http/internal.h"

struct cop__etag_form {
    bool pretty;
    uint32_t depth; /* 0: all */
};

void cop__etag_branch(const struct cop_http_server *server, uint64_t changed,
                      const struct cop__etag_form *form, char etag[COP_HTTP_ETAG_MAX]);
void cop__etag_value(const struct cop_http_server *server, const cop_value *value,
                     char etag[COP_HTTP_ETAG_MAX]);

/* Is the tag in an If-None-Match list (weak comparison)? "*" lists all. */
bool cop__etag_listed(const char *list, const char *etag);
/* Is the tag of this state, in any form, in an If-Match list (strong comparison)? */
bool cop__etag_listed_state(const char *list, const char *etag);

#endif
