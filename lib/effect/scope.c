/* SPDX-License-Identifier: MIT */
/*
 * Scopes: what is added is disposed of together, last added first.
 *
 * A scope has two lists, each newest first. What is added goes into `added`. A PASS (an emptying,
 * or the disposal) moves all of it in front of `leaving` and then takes one link after the other
 * from there, under the lock, and disposes of it without. So cop_scope_remove still finds what the
 * pass has not come to, and what is added during an emptying stays.
 *
 * ONE PASS. `busy` says that a thread is in a pass. Whoever comes meanwhile moves what was added
 * since to `leaving` (and sets `disposed`) and leaves: the pass ends only by finding `leaving`
 * empty and clearing `busy` under the same lock, so it takes that too. Waiting for it instead would
 * deadlock: an effect that disposes of the scope it is in, while another thread disposes of that
 * scope and therefore waits for the effect's run to end.
 *
 * NESTED SCOPES are links of their parent's lists. A pass that comes to one goes down into it and
 * up again by `above`, in a loop: the stack does not grow with the depth. Locks are never nested.
 *
 * REFERENCES. A scope's memory is held by
 *  - its not being disposed: the one reference that it is born with. Who sets `disposed`, once,
 *    under the lock, takes it over;
 *  - its parent's link to it. Who takes the link out, under the parent's lock, takes that over:
 *    the child's own disposal drops it, a pass of the parent keeps it in `ended` (see below);
 *  - each child that is not disposed, so that the child finds its parent's lock there. Who sets
 *    the child's `disposed` drops it;
 *  - a pass that empties (one that disposes has taken over the first);
 *  - cop_scope_keep.
 * The first two are two, because a child and its parent can be disposed of by two threads at once:
 * whichever comes first does it, and the other still looks under the child's lock. Child and
 * parent refer to each other; the disposal of either ends both references.
 *
 * ENDED CHILDREN. Dispose functions that run later in the same pass (of what was added before the
 * child, and perhaps owns it) may still name a child that went with it. So the children stay,
 * empty, in `ended`: to the end of an emptying, and after a disposal until the scope itself is
 * freed, which happens in turn no earlier than the end of the pass above.
 *
 * PROGRESS. A short lock; keep and drop are wait-free. cop_scope_remove searches under the lock.
 *
 *   at the same time, one scope   add, open below   remove   empty   dispose   keep, drop
 *   any but the last drop         yes               yes      yes     yes       yes
 */
#include <coppice/effect.h>

#include <pthread.h>

#include "base/atomic.h"
#include "base/base.h"

typedef struct link {
    struct link *next, *previous; /* next NULL: in no list */
    cop_destructor dispose;       /* NULL: the link of a nested scope, within it */
    void *object;
} link;

struct cop_scope {
    link in_parent;
    cop_scope *parent; /* under the own lock; NULL: none, or disposed */
    pthread_mutex_t lock;
    link added, leaving; /* heads of rings, newest first */
    cop_scope *ended;    /* children disposed with this one, by next_ended */
    cop_scope *next_ended;
    cop_scope *above; /* the pass's own: where it goes on after this one */
    bool busy, disposed;
    _Atomic uint32_t references;
};

/* ---- rings ---- */

static void
ring_init(link *ring)
{
    ring->next = ring->previous = ring;
}

static bool
ring_empty(const link *ring)
{
    return ring->next == ring;
}

static void
link_put_first(link *ring, link *one)
{
    one->next = ring->next;
    one->previous = ring;
    ring->next->previous = one;
    ring->next = one;
}

static void
link_take(link *one)
{
    one->previous->next = one->next;
    one->next->previous = one->previous;
    one->next = one->previous = NULL;
}

/* All of `from`, in its order, comes before what is in `to`. */
static void
ring_move(link *to, link *from)
{
    if (ring_empty(from))
        return;
    from->previous->next = to->next;
    to->next->previous = from->previous;
    to->next = from->next;
    from->next->previous = to;
    ring_init(from);
}

static link *
ring_find(link *ring, cop_destructor dispose, const void *object)
{
    for (link *one = ring->next; one != ring; one = one->next)
        if (one->dispose == dispose && one->object == object)
            return one;
    return NULL;
}

/* ---- memory ---- */

static cop_scope *
scope_new(void)
{
    cop_scope *scope = calloc(1, sizeof *scope);
    if (scope == NULL)
        return NULL;
    pthread_mutex_init(&scope->lock, NULL);
    ring_init(&scope->added);
    ring_init(&scope->leaving);
    atomic_init(&scope->references, 1);
    return scope;
}

void
cop_scope_keep(cop_scope *scope)
{
    cop__add_relaxed(&scope->references, 1u);
}

/* Drops the reference of the list to each. The children of what is freed join the list: no
 * recursion, however deep they are nested. */
static void
ended_drop(cop_scope *list)
{
    while (list != NULL) {
        cop_scope *scope = list;
        list = scope->next_ended;
        scope->next_ended = NULL;
        if (cop__sub_acq_rel(&scope->references, 1u) != 1)
            continue;
        COP_ASSERT(scope->disposed && !scope->busy);
        COP_ASSERT(ring_empty(&scope->added) && ring_empty(&scope->leaving));
        cop_scope *last = scope->ended;
        while (last != NULL && last->next_ended != NULL)
            last = last->next_ended;
        if (last != NULL) {
            last->next_ended = list;
            list = scope->ended;
        }
        pthread_mutex_destroy(&scope->lock);
        free(scope);
    }
}

void
cop_scope_drop(cop_scope *scope)
{
    if (scope == NULL || cop__sub_acq_rel(&scope->references, 1u) != 1)
        return;
    cop__store_relaxed(&scope->references, 1u); /* the list's: it was the last one */
    ended_drop(scope);
}

/* ---- adding and removing ---- */

/* COP_E_STATE when the scope is disposed; the link is then in no list. */
static cop_status
scope_put(cop_scope *scope, link *one)
{
    pthread_mutex_lock(&scope->lock);
    bool disposed = scope->disposed;
    if (!disposed)
        link_put_first(&scope->added, one);
    pthread_mutex_unlock(&scope->lock);
    return disposed ? COP_E_STATE : COP_OK;
}

cop_status
cop_scope_open(cop_scope *parent, cop_scope **scope)
{
    *scope = NULL;
    cop_scope *child = scope_new();
    if (child == NULL)
        return COP_E_MEMORY;
    if (parent != NULL) {
        child->in_parent.object = child;
        child->parent = parent;
        cop_scope_keep(child); /* the parent's link */
        cop_scope_keep(parent);
        if (scope_put(parent, &child->in_parent) != COP_OK) {
            cop_scope_drop(parent);
            pthread_mutex_destroy(&child->lock);
            free(child);
            return COP_E_STATE;
        }
    }
    *scope = child;
    return COP_OK;
}

cop_status
cop_scope_add(cop_scope *scope, cop_destructor dispose, void *object)
{
    if (dispose == NULL)
        return COP_E_INVALID;
    link *one = malloc(sizeof *one);
    if (one == NULL)
        return COP_E_MEMORY;
    *one = (link){NULL, NULL, dispose, object};
    cop_status status = scope_put(scope, one);
    if (status != COP_OK)
        free(one);
    return status;
}

bool
cop_scope_remove(cop_scope *scope, cop_destructor dispose, void *object)
{
    if (dispose == NULL)
        return false; /* the links of nested scopes are not the caller's */
    pthread_mutex_lock(&scope->lock);
    link *one = ring_find(&scope->added, dispose, object);
    if (one == NULL)
        one = ring_find(&scope->leaving, dispose, object);
    if (one != NULL)
        link_take(one);
    pthread_mutex_unlock(&scope->lock);
    free(one);
    return one != NULL;
}

/* ---- passes ---- */

/* Takes the scope out of its parent, which nobody but the one who set `disposed` does. */
static void
leave_parent(cop_scope *scope, cop_scope *parent)
{
    pthread_mutex_lock(&parent->lock);
    bool linked = scope->in_parent.next != NULL;
    if (linked)
        link_take(&scope->in_parent);
    pthread_mutex_unlock(&parent->lock);
    if (linked)
        cop_scope_drop(scope); /* never the last: this disposal has one */
    cop_scope_drop(parent);
}

/* True: the calling thread is to run the pass, and has the reference that goes with it. False:
 * there is nothing to do, or the pass under way does it. */
static bool
pass_begin(cop_scope *scope, bool for_good)
{
    cop_scope *parent = NULL;
    pthread_mutex_lock(&scope->lock);
    bool wanted = !scope->disposed, own = wanted && !scope->busy;
    if (wanted) {
        ring_move(&scope->leaving, &scope->added);
        scope->busy = true;
        if (for_good) {
            scope->disposed = true;
            parent = scope->parent;
            scope->parent = NULL;
        } else if (own) {
            cop_scope_keep(scope);
        }
    }
    pthread_mutex_unlock(&scope->lock);
    if (parent != NULL)
        leave_parent(scope, parent);
    if (wanted && for_good && !own)
        cop_scope_drop(scope); /* the pass under way has its own */
    return own;
}

/* The next link, which is then the caller's; NULL: the pass has ended, and the scope may be gone.
 */
static link *
pass_next(cop_scope *scope)
{
    cop_scope *ended = NULL;
    pthread_mutex_lock(&scope->lock);
    link *one = ring_empty(&scope->leaving) ? NULL : scope->leaving.next;
    if (one != NULL) {
        link_take(one);
        if (one->dispose == NULL) {
            cop_scope *child = one->object;
            child->next_ended = scope->ended;
            scope->ended = child;
        }
    } else {
        scope->busy = false;
        if (!scope->disposed) {
            ended = scope->ended;
            scope->ended = NULL;
        }
    }
    pthread_mutex_unlock(&scope->lock);
    if (one != NULL)
        return one;
    ended_drop(ended);
    cop_scope_drop(scope);
    return NULL;
}

static void
pass(cop_scope *scope)
{
    scope->above = NULL;
    while (scope != NULL) {
        cop_scope *above = scope->above;
        link *one = pass_next(scope);
        if (one == NULL) {
            scope = above;
        } else if (one->dispose == NULL) {
            cop_scope *child = one->object; /* stays in `ended` as long as this pass */
            if (pass_begin(child, true)) {
                child->above = scope;
                scope = child;
            }
        } else {
            cop_destructor dispose = one->dispose;
            void *object = one->object;
            free(one);
            dispose(object);
        }
    }
}

void
cop_scope_empty(cop_scope *scope)
{
    if (pass_begin(scope, false))
        pass(scope);
}

void
cop_scope_dispose(cop_scope *scope)
{
    if (scope != NULL && pass_begin(scope, true))
        pass(scope);
}
