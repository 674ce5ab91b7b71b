/* SPDX-License-Identifier: MIT */
/* Recording a trace, and writing it in the Chrome trace-event format. */
#include <inttypes.h>
#include <unistd.h>

#include "monitor/monitor.h"
#include "monitor/text.h"
#include "reclaim/gate.h"

#define SPANS_DEFAULT ((size_t)65536)
#define SPANS_MAX ((size_t)16777216)

void
cop__trace_init(cop__trace *trace)
{
    pthread_mutex_init(&trace->lock, NULL);
}

static void
spans_free(cop__trace *trace, cop__memory *memory)
{
    cop__memory_free(memory, COP_MEMORY_MONITOR, trace->span, trace->capacity * sizeof *trace->span,
                     16);
    trace->span = NULL;
    trace->capacity = 0;
}

void
cop__trace_end(cop__trace *trace, cop__memory *memory)
{
    spans_free(trace, memory);
    pthread_mutex_destroy(&trace->lock);
}

void
cop__trace_add(cop__trace *trace, int what, cop_atom atom, uint64_t from_ns, uint64_t to_ns)
{
    uint32_t thread = (uint32_t)gettid();
    pthread_mutex_lock(&trace->lock);
    if (cop__trace_on(trace) && from_ns >= trace->began_ns && from_ns <= to_ns)
        trace->span[trace->added++ % trace->capacity] = (cop__trace_span){
            .from_ns = from_ns, .to_ns = to_ns, .atom = atom, .thread = thread, .what = what};
    pthread_mutex_unlock(&trace->lock);
}

/* ---- starting and stopping ---- */

/* Gives the trace a ring of that size. */
static cop_status
trace_start(cop_store *store, cop__trace *trace, size_t spans)
{
    cop_status status = COP_OK;
    pthread_mutex_lock(&trace->lock);
    cop__store_relaxed(&trace->on, false);
    spans_free(trace, store->memory);
    trace->span =
        cop__memory_alloc(store->memory, COP_MEMORY_MONITOR, spans * sizeof *trace->span, 16);
    if (trace->span != NULL) {
        trace->capacity = spans;
        trace->added = 0;
        trace->began_ns = cop__clock_ns();
        cop__store_relaxed(&trace->on, true);
    } else {
        status = COP_E_MEMORY;
    }
    pthread_mutex_unlock(&trace->lock);
    return status;
}

cop_status
cop_trace_start(cop_store *store, size_t spans)
{
    cop_status status = cop__store_may_wait(store);
    if (status == COP_OK && spans > SPANS_MAX)
        status = COP_E_INVALID;
    if (status != COP_OK)
        return status;
    struct cop__gate *gate = store->gate;
    cop__gate_use(gate);
    cop__monitor *monitor = cop__load_acquire(&store->monitor);
    status = monitor != NULL
                 ? trace_start(store, monitor->trace, spans != 0 ? spans : SPANS_DEFAULT)
                 : COP_E_STATE;
    cop__gate_end_use(gate);
    return status;
}

cop_status
cop_trace_stop(cop_store *store)
{
    cop_status status = cop__store_usable(store);
    if (status != COP_OK)
        return status;
    struct cop__gate *gate = store->gate;
    cop__gate_use(gate);
    cop__monitor *monitor = cop__load_acquire(&store->monitor_home);
    if (monitor != NULL)
        cop__store_relaxed(&monitor->trace->on, false);
    cop__gate_end_use(gate);
    return COP_OK;
}

/* ---- writing ---- */

static void
put_escaped(cop__text *text, const char *path)
{
    for (; *path != '\0'; path++) {
        unsigned char c = (unsigned char)*path;
        if (c == '"' || c == '\\')
            cop__text_put(text, "\\%c", c);
        else if (c < 0x20)
            cop__text_put(text, "\\u%04x", c);
        else
            cop__text_put(text, "%c", c);
    }
}

static void
put_span(cop__text *text, const cop__trace_span *span, uint64_t began_ns,
         const cop_snapshot *snapshot, bool first)
{
    char path[COP_OVERRUN_PATH];
    uint64_t from = span->from_ns - began_ns, took = span->to_ns - span->from_ns;
    bool run = span->what == COP_TRACE_RUN;
    cop__text_put(text,
                  "%s\n{\"name\":\"%s\",\"cat\":\"%s\",\"ph\":\"X\",\"pid\":%ld,\"tid\":%" PRIu32
                  ",\"ts\":%" PRIu64 ".%03" PRIu64 ",\"dur\":%" PRIu64 ".%03" PRIu64,
                  first ? "" : ",", run ? "run" : cop_measure_name((cop_measure)span->what),
                  run ? "computed" : "commit", (long)getpid(), span->thread, from / 1000,
                  from % 1000, took / 1000, took % 1000);
    if (run) {
        cop__monitor_path(snapshot, span->atom, path);
        cop__text_put(text, ",\"args\":{\"path\":\"");
        put_escaped(text, path);
        cop__text_put(text, "\"}");
    }
    cop__text_put(text, "}");
}

/* Needs the lock. */
static cop_status
write_spans(cop_store *store, const cop__trace *trace, cop_sink_function sink, void *context)
{
    cop__text text;
    uint64_t first = trace->added > trace->capacity ? trace->added - trace->capacity : 0;
    cop_pin_t pin = cop_pin(store);
    cop__text_begin(&text, sink, context);
    cop__text_put(
        &text, "{\"displayTimeUnit\":\"ns\",\"otherData\":{\"lost\":%" PRIu64 "},\"traceEvents\":[",
        first);
    for (uint64_t i = first; i < trace->added && !text.stopped; i++)
        put_span(&text, &trace->span[i % trace->capacity], trace->began_ns, pin.snapshot,
                 i == first);
    cop__text_put(&text, "\n]}\n");
    cop_unpin(pin);
    return cop__text_end(&text);
}

static cop_status
trace_write(cop_store *store, cop__trace *trace, cop_sink_function sink, void *context)
{
    pthread_mutex_lock(&trace->lock);
    cop_status status = trace->span == NULL || cop__trace_on(trace)
                            ? COP_E_STATE
                            : write_spans(store, trace, sink, context);
    pthread_mutex_unlock(&trace->lock);
    return status;
}

cop_status
cop_trace_write(cop_store *store, cop_sink_function sink, void *context)
{
    if (sink == NULL)
        return COP_E_INVALID;
    cop_status status = cop__store_usable(store);
    if (status != COP_OK)
        return status;
    struct cop__gate *gate = store->gate;
    cop__gate_use(gate);
    cop__monitor *monitor = cop__load_acquire(&store->monitor_home);
    status = monitor != NULL ? trace_write(store, monitor->trace, sink, context) : COP_E_STATE;
    cop__gate_end_use(gate);
    return status;
}
