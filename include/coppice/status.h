/* SPDX-License-Identifier: MIT */
/*
 * Status codes and error details.
 *
 * Every function that can fail returns a cop_status: COP_OK (0) or a negative code. Codes are one
 * X-macro, so that names, numbers and messages cannot drift apart. A call that takes a cop_error
 * fills it in when it fails; passing NULL is always legal.
 */
#ifndef COPPICE_STATUS_H
#define COPPICE_STATUS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define COP_PUBLIC __attribute__((visibility("default")))
#else
#define COP_PUBLIC
#endif

/* X(name, number, message) */
#define COP_STATUS_MAP(X)                                                       \
    X(OK, 0, "ok")                                                              \
    X(E_MEMORY, -1, "out of memory, or over the store's memory limit")          \
    X(E_CONFLICT, -2, "what the transaction read no longer holds")              \
    X(E_CANCELLED, -3, "cancelled before it was done")                          \
    X(E_CLOSING, -4, "the store is closing")                                    \
    X(E_GONE, -5, "the atom has been erased")                                   \
    X(E_ABSENT, -6, "no atom at this path")                                     \
    X(E_INVALID, -7, "invalid argument")                                        \
    X(E_PATH, -8, "malformed path")                                             \
    X(E_TYPE, -9, "the value has another type")                                 \
    X(E_BRANCH, -10, "the atom is a branch with children")                      \
    X(E_NOT_BRANCH, -11, "the atom is not a branch of this kind")               \
    X(E_RANGE, -12, "out of range")                                             \
    X(E_LIMIT, -13, "a documented limit is exceeded")                           \
    X(E_TIMEOUT, -14, "the deadline passed")                                    \
    X(E_FORKED, -15, "opened before a fork, in another process")                \
    X(E_IN_EVALUATION, -16, "not allowed inside an evaluation")                 \
    X(E_SYNTAX, -17, "malformed input")                                         \
    X(E_IO, -18, "input or output failed")                                      \
    X(E_UNSUPPORTED, -19, "not supported by this build or machine")             \
    X(E_PINS, -20, "this reader holds as many pins as it may")                  \
    X(E_STATE, -21, "the object is not in a state that allows this call")       \
    X(E_PENDING, -22, "not decided yet, or not ready yet in this wave")         \
    X(E_FAILED, -23, "the function of a computed atom failed")                  \
    X(E_CYCLE, -24, "computed atoms read each other in a cycle")                \
    X(E_COMPUTED, -25, "the atom is computed: it can be disposed of, not written") \
    X(E_EXPIRED, -26, "the snapshot was held too long and has been revoked")

typedef enum cop_status {
#define COP_STATUS_ENUM(name, number, message) COP_##name = (number),
    COP_STATUS_MAP(COP_STATUS_ENUM)
#undef COP_STATUS_ENUM
} cop_status;

/*
 * Details of a failure. Owned by the caller; initialise with COP_ERROR_INIT.
 *   line, column  1-based place in a text (JSON, configuration file), 0 when there is none
 *   position      byte offset of the fault (in a path or a text), or SIZE_MAX when there is none
 *   message       what was wrong, where, and what was expected; never empty after a failure
 */
typedef struct cop_error {
    cop_status status;
    uint32_t line;
    uint32_t column;
    size_t position;
    char message[256];
} cop_error;

#define COP_ERROR_INIT {COP_OK, 0, 0, SIZE_MAX, {0}}

/* The name of a code ("COP_E_GONE"); "COP_E_UNKNOWN" for a number that is none.
 * Static storage. Thread-safe, wait-free. */
COP_PUBLIC const char *cop_status_name(cop_status status);

/* One English sentence without a full stop. Static storage. Thread-safe, wait-free. */
COP_PUBLIC const char *cop_status_message(cop_status status);

/* The library's version as "major.minor.patch". Static storage. Thread-safe, wait-free. */
COP_PUBLIC const char *cop_library_version(void);

#ifdef __cplusplus
}
#endif
#endif
