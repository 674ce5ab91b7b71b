/* SPDX-License-Identifier: MIT */
/* Commands and answers are structs written to pipes between processes of one program. */
#include "bench/store_child.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/report.h"

static bool
write_all(int fd, const void *data, size_t n)
{
    const char *p = data;
    while (n) {
        ssize_t written = write(fd, p, n);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return false;
        p += written;
        n -= (size_t)written;
    }
    return true;
}

static bool
read_all(int fd, void *data, size_t n)
{
    char *p = data;
    while (n) {
        ssize_t got = read(fd, p, n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        p += got;
        n -= (size_t)got;
    }
    return true;
}

/* Ends with the process: what it measured is too large to be worth taking apart. */
static _Noreturn void
child_main(bench_child *child, int command_fd, int answer_fd)
{
    bench_command command;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (read_all(command_fd, &command, sizeof command) && command.step != BENCH_STEPS) {
        bench_answer answer = bench_step_run(child, &command);
        if (!write_all(answer_fd, &answer, sizeof answer))
            break;
    }
    _exit(0);
}

static bool
spawn(bench_process *process, const bench_work *work)
{
    int command[2], answer[2];
    bench_child child = {.system = process->system, .work = work, .config = process->config};
    if (pipe(command) != 0)
        return false;
    if (pipe(answer) != 0) {
        close(command[0]);
        close(command[1]);
        return false;
    }
    fflush(stdout);
    process->pid = fork();
    if (process->pid == 0) {
        close(command[1]);
        close(answer[0]);
        child_main(&child, command[0], answer[1]);
    }
    close(command[0]);
    close(answer[1]);
    process->command_fd = command[1];
    process->answer_fd = answer[0];
    if (process->pid > 0)
        return true;
    process->pid = 0;
    close(process->command_fd);
    close(process->answer_fd);
    return false;
}

bool
bench_process_start(bench_process *process, const bench_system *system, const bench_config *config,
                    const bench_work *work, bench_answer *answer)
{
    bench_command load = {.step = STEP_LOAD};
    *process = (bench_process){.system = system, .config = *config};
    if (!spawn(process, work)) {
        report_note("%s: no process: %m", system->name);
        return false;
    }
    if (!bench_process_run(process, &load, answer))
        return false;
    process->config = answer->config;
    return true;
}

bool
bench_process_run(bench_process *process, const bench_command *command, bench_answer *answer)
{
    static const char *const names[BENCH_STEPS] = {"load",    "lookup", "pin_lookup", "pin",
                                                   "scan",    "update", "beside",     "threads",
                                                   "counter", "stall"};
    if (!process->pid)
        return false;
    if (!write_all(process->command_fd, command, sizeof *command) ||
        !read_all(process->answer_fd, answer, sizeof *answer)) {
        report_note("%s: its process ended during %s; the rest of its cases is left out",
                    process->system->name, names[command->step]);
        bench_process_end(process);
        return false;
    }
    if (answer->ok)
        return true;
    report_note("%s: %s failed; left out", process->system->name, names[command->step]);
    if (command->step == STEP_LOAD)
        bench_process_end(process);
    return false;
}

/* Closing the pipe would not do: children started later hold its other end open, too. */
void
bench_process_end(bench_process *process)
{
    bench_command end = {.step = BENCH_STEPS};
    if (!process->pid)
        return;
    (void)write_all(process->command_fd, &end, sizeof end);
    close(process->command_fd);
    close(process->answer_fd);
    waitpid(process->pid, NULL, 0);
    process->pid = 0;
}
