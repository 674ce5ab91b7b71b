/* SPDX-License-Identifier: MIT */
/*
 * Who holds versions: pins, snapshots, the history, watchers, kept texts.
 *
 * Memory of a version that was replaced is free again when nobody holds it any more. When it is not, this
 * tells why: which versions are held, by whom, since when, and what each keeps.
 *
 *     static int show(void *context, const cop_holder *holder)
 *     {
 *         char line[COP_HOLDER_TEXT];
 *         cop_holder_write(holder, line, sizeof line);
 *         return puts(line) < 0;
 *     }
 *     cop_holders_each(store, cop_deadline_in_ms(1000), show, NULL);
 */
#ifndef COPPICE_HOLDERS_H
#define COPPICE_HOLDERS_H

#include <coppice/store.h>

#ifdef __cplusplus
extern "C" {
#endif

/* X(NAME, "name", "what to do") */
#define COP_HOLDER_MAP(X)                                                                             \
    X(PIN, "pin", "end it: a pin is for a moment, a snapshot for longer")                              \
    X(SNAPSHOT, "snapshot", "drop it, or set snapshots.max_age_ms so that it is revoked")              \
    X(HISTORY, "history", "see history.max_snapshots and history.max_bytes")                           \
    X(WATCHERS, "watchers", "see which watcher is behind")                                             \
    X(TEXTS, "kept texts", "ask for a newer text, or see serialization.cache_bytes")                   \
    X(LIBRARY, "call", "a call of the library is using it: it ends with the call")

typedef enum cop_holder_kind {
#define COP_HOLDER_ENUM(name, text, advice) COP_HOLDER_##name,
    COP_HOLDER_MAP(COP_HOLDER_ENUM)
#undef COP_HOLDER_ENUM
        COP_HOLDER_KINDS
} cop_holder_kind;

#define COP_HOLDER_NAME 16  /* of a thread */
#define COP_HOLDER_SITE 160 /* "function+0x12 (library)" */
#define COP_HOLDER_TEXT 512

typedef struct cop_holder {
    size_t size; /* sizeof(cop_holder) of the library */
    cop_holder_kind kind;
    bool revocable; /* a snapshot that can be revoked: taken with snapshots.max_age_ms set */
    bool revoked;   /* it has been; whoever reads it at this moment still holds the version */
    uint64_t version;
    uint64_t holds;       /* how many holds are told here as one */
    uint64_t others;      /* holders of the same version that are told apart */
    uint64_t held_ms;     /* since it was taken; of a pin and of the library's: no less than that */
    uint64_t replaced_ms; /* since a newer version was published; 0: it is the newest */
    uint64_t bytes;       /* that nobody but the holders of this version needs, at this moment, about */
    uint32_t thread;      /* that took it (gettid), of several the first; 0: not known */
    char thread_name[COP_HOLDER_NAME]; /* "" when that thread is gone */
    char site[COP_HOLDER_SITE]; /* where it was taken; "": not known, as of pins in production builds */
    const char *name, *advice;  /* of its kind */
} cop_holder;

/* Return non-zero to stop. The holder lives for the call; the store may be used, pins and snapshots too. */
typedef int (*cop_holder_function)(void *context, const cop_holder *holder);

/*
 * All holders of versions, the oldest version first, the newest one's too. Those that come or go during the
 * call may be missing. COP_E_TIMEOUT (a commit is under way), COP_E_MEMORY, COP_E_INVALID,
 * COP_E_IN_EVALUATION, COP_E_CLOSING, COP_E_FORKED. Thread-safe; blocking: it waits for the commit right and runs a scan.
 * O(readers + held versions).
 */
COP_PUBLIC cop_status cop_holders_each(cop_store *store, uint64_t deadline,
                                       cop_holder_function function, void *context);

/* One line of text about a holder, terminated, cut if need be. Thread-safe. */
COP_PUBLIC void cop_holder_write(const cop_holder *holder, char *buffer, size_t size);

#ifdef __cplusplus
}
#endif
#endif
