/* SPDX-License-Identifier: MIT */
/*
 * Who holds versions.
 *
 * With the commit right, behind a scan: nothing that is held then is freed before the right is given back. Pins are
 * asked slot by slot, each a small scan of its own (pin.h), since only the slot says whose they are; snapshots
 * are read from their lists under the snapshot lock. What is found is described when neither is held any more.
 *
 * "Since when" of a pin is not written down when it begins, which would cost it a look at the clock: a pin begins
 * when its version is the newest, so it is at least as old as the publication that replaced that.
 */
#include "reclaim/holders.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "commit/combiner.h"
#include "reclaim/gate.h"

#define MILLION UINT64_C(1000000)

/* A holder as it is found. */
typedef struct found {
    uint64_t stamp, version, replaced_ns, held_ns, holds, bytes;
    const void *site;
    cop_holder_kind kind;
    uint32_t thread;
    bool revocable, revoked;
} found;

typedef struct search {
    cop_store *store;
    found *list; /* NULL: only counted */
    size_t count, capacity;
    uint64_t only; /* stamp; 0: all */
    struct cop__pin_slot *slot; /* of the pins that are being asked for */
} search;

/* ---- threads ---- */

uint32_t
cop__thread_id(void)
{
    static _Thread_local uint32_t own;
    if (own == 0)
        own = (uint32_t)syscall(SYS_gettid);
    return own;
}

void
cop__thread_name(uint32_t thread, char *name, size_t size)
{
    char path[64];
    name[0] = '\0';
    (void)snprintf(path, sizeof path, "/proc/self/task/%u/comm", thread);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t n = read(fd, name, size - 1);
    (void)close(fd);
    n = n > 0 ? n : 0;
    name[n > 0 && name[n - 1] == '\n' ? n - 1 : n] = '\0';
}

/* ---- finding, with the right ---- */

static found *
add(search *s, const cop_snapshot *record, cop_holder_kind kind, uint64_t holds)
{
    if (holds == 0 || (s->only != 0 && record->stamp != s->only) || s->count == s->capacity)
        return NULL;
    found *f = &s->list[s->count++];
    *f = (found){.stamp = record->stamp,
                 .version = record->version,
                 .replaced_ns = record->replaced_ns,
                 .bytes = cop__dead_alone_bytes(&s->store->tree.dead, record->stamp),
                 .kind = kind,
                 .holds = holds};
    return f;
}

/* A site that belongs to a pin may be one pin late: it is a hint. */
static const void *
site_of(struct cop__pin_slot *slot, uint64_t state)
{
    for (unsigned i = 0; i < COP__PIN_NESTED; i++)
        if (cop__load_relaxed(&slot->state[i]) == state)
            return atomic_load_explicit(&slot->site[i], memory_order_relaxed);
    return NULL;
}

static void
add_pin(void *context, void *reported)
{
    search *s = context;
    struct cop__handle_pins *named = cop__handle_named(reported);
    const cop_snapshot *record = reported;
    if (named != NULL) {
        cop__handle *handle = (cop__handle *)(void *)((char *)named - offsetof(cop__handle, pins));
        record = cop__load_relaxed(&handle->of); /* NULL: the name is a stale one */
    }
    found *f = record != NULL ? add(s, record, COP_HOLDER_PIN, 1) : NULL;
    if (f == NULL)
        return;
    f->thread = s->slot->thread;
    f->site = site_of(s->slot, (uint64_t)(uintptr_t)reported);
}

static void
heavy_barrier(void *context)
{
    (void)context;
    cop__membarrier();
}

static void
find_pins(search *s)
{
    cop_store *store = s->store;
    cop__gate *gate = store->gate;
    pthread_mutex_lock(&gate->lock);
    for (size_t i = 0; i < gate->count; i++) {
        uint64_t any = 0;
        s->slot = gate->slots[i];
        for (unsigned k = 0; k < COP__PIN_NESTED; k++)
            any |= cop__load_relaxed(&s->slot->state[k]);
        if (any != 0)
            cop__pin_collect(&s->slot, 1, store->tree.root, heavy_barrier, s, add_pin, store->fence,
                             NULL);
    }
    pthread_mutex_unlock(&gate->lock);
}

static void
add_handles(search *s, const cop__handle *handle)
{
    for (; handle != NULL; handle = (const cop__handle *)(const void *)handle->face.next_held) {
        const cop_snapshot *record =
            cop__load_relaxed(&((cop__handle *)(uintptr_t)handle)->of);
        found *f = add(s, record, COP_HOLDER_SNAPSHOT, handle->face.holds);
        if (f == NULL)
            continue;
        f->held_ns = handle->face.held_ns;
        f->thread = handle->face.held_thread;
        f->site = handle->face.held_site;
        f->revocable = true;
        f->revoked = handle->life == COP_HANDLE_REVOKED;
    }
}

static void
find_held(search *s)
{
    cop_store *store = s->store;
    pthread_mutex_lock(&store->snapshot_lock);
    for (const cop_snapshot *r = store->held_first; r != NULL; r = r->next_held) {
        uint32_t library = r->kept + r->for_watchers + r->for_texts + r->for_library;
        found *f = add(s, r, COP_HOLDER_SNAPSHOT, r->holds - library - r->for_handles);
        if (f != NULL) {
            f->held_ns = r->held_ns;
            f->thread = r->held_thread;
            f->site = r->held_site;
        }
        (void)add(s, r, COP_HOLDER_HISTORY, r->kept);
        (void)add(s, r, COP_HOLDER_WATCHERS, r->for_watchers);
        (void)add(s, r, COP_HOLDER_TEXTS, r->for_texts);
        (void)add(s, r, COP_HOLDER_LIBRARY, r->for_library);
    }
    add_handles(s, store->handles.live_first);
    add_handles(s, store->handles.revoked);
    pthread_mutex_unlock(&store->snapshot_lock);
}

/* ---- describing ---- */

static void
describe_site(const void *site, char *text, size_t size)
{
    Dl_info info;
    text[0] = '\0';
    if (site == NULL)
        return;
    if (dladdr(site, &info) == 0 || info.dli_fname == NULL) {
        (void)snprintf(text, size, "%p", site);
        return;
    }
    const char *file = strrchr(info.dli_fname, '/');
    file = file != NULL ? file + 1 : info.dli_fname;
    if (info.dli_sname != NULL)
        (void)snprintf(text, size, "%s+0x%zx (%s)", info.dli_sname,
                       (size_t)((const char *)site - (const char *)info.dli_saddr), file);
    else
        (void)snprintf(text, size, "%s+0x%zx", file,
                       (size_t)((const char *)site - (const char *)info.dli_fbase));
}

static const struct {
    const char *name, *advice;
} kinds[] = {
#define KIND_ROW(name, text, advice) {text, advice},
    COP_HOLDER_MAP(KIND_ROW)
#undef KIND_ROW
};

static void
describe(const found *f, cop_holder *holder)
{
    uint64_t now = cop__realtime_ns();
    memset(holder, 0, sizeof *holder);
    holder->size = sizeof *holder;
    holder->kind = f->kind;
    holder->name = kinds[f->kind].name;
    holder->advice = kinds[f->kind].advice;
    holder->revocable = f->revocable;
    holder->revoked = f->revoked;
    holder->version = f->version;
    holder->holds = f->holds;
    holder->bytes = f->bytes;
    holder->thread = f->thread;
    if (f->replaced_ns != 0 && now > f->replaced_ns)
        holder->replaced_ms = (now - f->replaced_ns) / MILLION;
    holder->held_ms = f->held_ns != 0 ? (cop__clock_ns() - f->held_ns) / MILLION : holder->replaced_ms;
    if (f->thread != 0)
        cop__thread_name(f->thread, holder->thread_name, sizeof holder->thread_name);
    describe_site(f->site, holder->site, sizeof holder->site);
}

void
cop_holder_write(const cop_holder *holder, char *buffer, size_t size)
{
    char who[96] = "";
    if (size == 0)
        return;
    if (holder->thread != 0)
        (void)snprintf(who, sizeof who, ", thread %" PRIu32 "%s%s%s", holder->thread,
                       holder->thread_name[0] ? " (" : "", holder->thread_name,
                       holder->thread_name[0] ? ")" : "");
    (void)snprintf(buffer, size,
                   "version %" PRIu64 ", replaced %" PRIu64 ".%" PRIu64 " s ago, is held by a %s%s%s%s%s "
                   "for %" PRIu64 ".%" PRIu64 " s: %" PRIu64 " bytes that nothing newer needs; %s",
                   holder->version, holder->replaced_ms / 1000, holder->replaced_ms / 100 % 10,
                   holder->revoked ? "revoked " : "", holder->name, who,
                   holder->site[0] ? " at " : "", holder->site, holder->held_ms / 1000,
                   holder->held_ms / 100 % 10, holder->bytes, holder->advice);
}

/* ---- asking ---- */

static int
compare(const void *a, const void *b)
{
    const found *x = a, *y = b;
    if (x->stamp != y->stamp)
        return x->stamp < y->stamp ? -1 : 1;
    return x->held_ns < y->held_ns ? -1 : x->held_ns > y->held_ns;
}

/* With the right. More may come meanwhile: those are left out. */
static cop_status
search_all(search *s)
{
    cop_store *store = s->store;
    (void)cop__reclaim(store, true, 0);
    pthread_mutex_lock(&store->gate->lock);
    size_t pins = store->gate->count * COP__PIN_NESTED * 2;
    pthread_mutex_unlock(&store->gate->lock);
    pthread_mutex_lock(&store->snapshot_lock);
    s->capacity = pins + store->held_records * COP_HOLDER_KINDS + store->holds;
    pthread_mutex_unlock(&store->snapshot_lock);
    /* Of the kind that may have of the reserve: who holds the memory is asked when there is none. */
    s->list = cop__memory_alloc(store->memory, COP_MEMORY_READERS, (s->capacity + 1) * sizeof *s->list, 16);
    if (s->list == NULL)
        return COP_E_MEMORY;
    find_pins(s);
    find_held(s);
    return COP_OK;
}

static void
tell(const search *s, cop_holder_function function, void *context)
{
    cop_holder holder;
    size_t first = 0, end = 0; /* those of one version */
    for (size_t i = 0; i < s->count; i++) {
        if (i == end)
            for (first = i; end < s->count && s->list[end].stamp == s->list[first].stamp;)
                end++;
        describe(&s->list[i], &holder);
        holder.others = end - first - 1;
        if (function(context, &holder) != 0)
            return;
    }
}

cop_status
cop_holders_each(cop_store *store, uint64_t deadline, cop_holder_function function, void *context)
{
    search s = {.store = store};
    if (function == NULL)
        return COP_E_INVALID;
    cop_status status = cop__store_may_wait(store);
    if (status != COP_OK)
        return status;
    struct cop__gate *gate = store->gate;
    cop__gate_use(gate);
    status = cop__right_wait(store, deadline);
    if (status == COP_OK) {
        status = search_all(&s);
        cop__right_leave(store);
    }
    if (status == COP_OK) {
        qsort(s.list, s.count, sizeof *s.list, compare);
        tell(&s, function, context);
        cop__memory_free(store->memory, COP_MEMORY_READERS, s.list, (s.capacity + 1) * sizeof *s.list,
                         16);
    }
    cop__gate_end_use(gate);
    return status;
}

/* ---- stalls ---- */

#define TOLD 8

/* A snapshot or pin says more than the library's own. */
static const found *
foremost(const search *s)
{
    const found *best = NULL;
    for (size_t i = 0; i < s->count; i++)
        if (best == NULL || s->list[i].kind < best->kind)
            best = &s->list[i];
    return best;
}

static void
stall_tell(cop_store *store, const cop_snapshot *oldest)
{
    found list[TOLD];
    char text[COP_HOLDER_TEXT];
    cop_holder holder;
    search s = {.store = store, .list = list, .capacity = TOLD, .only = oldest->stamp};
    find_pins(&s);
    find_held(&s);
    const found *f = foremost(&s);
    if (f == NULL)
        return; /* it has been let go this moment */
    describe(f, &holder);
    cop_holder_write(&holder, text, sizeof text);
    cop__log_write(&store->log, COP_LOG_WARNING, "%s", text);
}

/* The oldest one alone, each once, and no more than one in the time that counts as a stall. A step of the
 * system's clock may make a version look older than it is; it is told of too early then. */
void
cop__stall_look(cop_store *store)
{
    cop__stall *stall = &store->stall;
    const cop_snapshot *oldest = stall->oldest;
    uint64_t limit = store->options.memory_stall_ms * MILLION, now = cop__realtime_ns();
    if (cop__likely(oldest == NULL || limit == 0 || oldest->replaced_ns == 0 ||
                    now < oldest->replaced_ns + limit || oldest->stamp == stall->told_stamp))
        return;
    if (cop__clock_ns() < stall->quiet_until)
        return;
    stall->told_stamp = oldest->stamp;
    stall->quiet_until = cop__clock_ns() + limit;
    stall_tell(store, oldest);
}
