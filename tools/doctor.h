/* SPDX-License-Identifier: MIT */
/* What `coppice doctor` concludes from what a server tells. */
#ifndef COP_TOOLS_DOCTOR_H
#define COP_TOOLS_DOCTOR_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* What the server answered. */
struct doctor_page {
    json_t *memory;  /* /v1/memory */
    json_t *options; /* /v1/options */
    json_t *monitor; /* /v1/monitor */
    json_t *leases;  /* /v1/snapshots */
    bool trimmed;    /* just before */
};

#define DOCTOR_SIZE_TEXT 24

/* "1.5 MiB"; text has DOCTOR_SIZE_TEXT bytes. */
const char *doctor_size(uint64_t bytes, char *text);

uint64_t doctor_number(const json_t *object, const char *name);
const char *doctor_text(const json_t *object, const char *name);

/* Of the version that a client's lease holds; 0: none does. */
uint64_t doctor_lease(const struct doctor_page *page, uint64_t version);

/* Whether the version that is held is an old one. */
bool doctor_old(const struct doctor_page *page, const json_t *holder);

/*
 * What is wrong, what frees most first: a list of {"what", "frees" (bytes, about; 0: not known),
 * "stalled", "do": [...]}. Empty: nothing.
 */
json_t *doctor_findings(const struct doctor_page *page);

#endif
