/* SPDX-License-Identifier: MIT */
/* A benchmark goes no further when a call fails. */
#ifndef COPPICE_BENCH_NEED_H
#define COPPICE_BENCH_NEED_H

#include <stdlib.h>

#include <coppice/status.h>

#include "bench/report.h"

/* Unless it is COP_OK, ends the program with 1 and a line that says what failed and why. */
static inline void
need(cop_status status, const char *what)
{
    if (status == COP_OK)
        return;
    report_note("%s: %s", what, cop_status_message(status));
    exit(1);
}

#endif
