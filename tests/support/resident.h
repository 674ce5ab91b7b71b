/* SPDX-License-Identifier: MIT */
/* What this process has in memory, in bytes. 0 when it cannot be told. */
#ifndef COP_TESTS_RESIDENT_H
#define COP_TESTS_RESIDENT_H

#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

static inline uint64_t
resident_bytes(void)
{
    unsigned long all = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");

    if (file == NULL)
        return 0;
    if (fscanf(file, "%lu %lu", &all, &resident) != 2)
        resident = 0;
    fclose(file);
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

#endif
