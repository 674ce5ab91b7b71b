/* SPDX-License-Identifier: MIT */
/* The biggest branches of a version. */
#ifndef COP_HTTP_BRANCHES_H
#define COP_HTTP_BRANCHES_H

#include <coppice/coppice.h>

struct cop__branch {
    cop_atom atom;
    uint64_t atoms;  /* below it, as far as they were counted */
    uint32_t parent; /* among what was looked at */
};

/* Up to `most` branches but the root, the biggest first, an outer one before an inner one of the same
 * size; how many. *whole: all atoms were looked at. SIZE_MAX: no memory. O(1): about 100,000 children
 * are looked at. */
size_t cop__branches_biggest(const cop_snapshot *snapshot, struct cop__branch *biggest, size_t most,
                             bool *whole);

#endif
