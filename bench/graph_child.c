/* SPDX-License-Identifier: MIT */
/* A line asks for a round, a line of JSON answers. */
#include "bench/graph_child.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/report.h"
#include "bench/store_work.h"

static const graph_engine *
engine_of(graph_system system)
{
    switch (system) {
    case GRAPH_COPPICE:
        return graph_coppice;
    case GRAPH_FLOOR_SWEEP:
        return &graph_floor_sweep;
    case GRAPH_FLOOR_BITSET:
        return &graph_floor_bitset;
    case GRAPH_INDEPENDENT:
        return &graph_independent;
    default:
        return NULL;
    }
}

static void
run_program(const graph_programs *programs, graph_system system, const graph_case *c,
            unsigned threads, unsigned burn)
{
    char number[6][16];
    const char *name = graph_system_names[system];
    const unsigned figures[] = {c->size, c->layers, c->inputs, c->body_ns, burn, threads};
    for (int i = 0; i < 6; i++)
        snprintf(number[i], sizeof number[i], "%u", figures[i]);
    if (system == GRAPH_TBB_FLOW || system == GRAPH_TBB_FOR)
        execl(programs->tbb, programs->tbb, name, c->name, number[0], number[1], number[2],
              number[3], number[4], number[5], (char *)NULL);
    else
        execlp("node", "node", "--expose-gc", programs->signals, name, c->name, (char *)NULL);
    report_note("%s: the program cannot be run", name);
}

static _Noreturn void
child_main(int in, int out, const graph_programs *programs, graph_system system,
           const graph_case *c, unsigned threads, unsigned burn)
{
    const graph_engine *engine = engine_of(system);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0)
        _exit(1);
    if (engine)
        _exit(graph_run(engine, system, c, threads, burn));
    run_program(programs, system, c, threads, burn);
    _exit(1);
}

bool
graph_child_start(graph_child *child, const graph_programs *programs, graph_system system,
                  const graph_case *c, unsigned threads, unsigned burn)
{
    int to[2], from[2];
    fflush(stdout);
    if (pipe2(to, O_CLOEXEC) != 0)
        return false;
    if (pipe2(from, O_CLOEXEC) != 0) {
        close(to[0]);
        close(to[1]);
        return false;
    }
    *child = (graph_child){.system = system, .threads = threads};
    child->pid = fork();
    if (child->pid == 0) {
        close(to[1]);
        close(from[0]);
        child_main(to[0], from[1], programs, system, c, threads, burn);
    }
    close(to[0]);
    close(from[1]);
    child->to = fdopen(to[1], "w");
    child->from = fdopen(from[0], "r");
    if (child->pid < 0 || !child->to || !child->from) {
        report_note("%s cannot be started", graph_system_names[system]);
        return false;
    }
    kill(child->pid, SIGSTOP);
    return true;
}

static int
wait_end(graph_child *child)
{
    int status = 0;
    fclose(child->to);
    fclose(child->from);
    waitpid(child->pid, &status, 0);
    child->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

graph_answer
graph_child_round(graph_child *child, json_t **row)
{
    json_error_t error;
    int status;
    kill(child->pid, SIGCONT);
    fputs("go\n", child->to);
    fflush(child->to);
    *row = json_loadf(child->from, JSON_DISABLE_EOF_CHECK, &error);
    if (*row) {
        kill(child->pid, SIGSTOP);
        return GRAPH_ROW;
    }
    status = wait_end(child);
    if (status == GRAPH_CANNOT)
        return GRAPH_LEFT_OUT;
    report_note("%s failed (%d)", graph_system_names[child->system], status);
    return GRAPH_FAILED;
}

void
graph_child_end(graph_child *child)
{
    if (!child->pid)
        return;
    kill(child->pid, SIGKILL);
    wait_end(child);
}

pid_t
graph_foreign_start(void)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    bench_pin_cpu(bench_cpus() - 1);
    for (volatile uint64_t i = 0;; i++)
        ;
}

void
graph_foreign_end(pid_t pid)
{
    if (pid <= 0)
        return;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}
