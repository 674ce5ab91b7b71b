/* SPDX-License-Identifier: MIT */
/* The status line. One per process, as there is one terminal. */
#include "tools/status.h"

#include <coppice/coppice.h>

#include <pthread.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct {
    cop_store *store;
    bool terminal;
    bool shown; /* the cursor stands behind a live line */
    uint64_t commits;
    uint64_t time_ns;
} status;

static uint64_t
now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

unsigned
status_open(cop_store *store)
{
    status.store = store;
    status.terminal = isatty(STDOUT_FILENO);
    status.time_ns = now_ns();
    return status.terminal ? 500 : 10000;
}

static const char *
bytes_text(uint64_t bytes, char *text, size_t size)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double n = (double)bytes;
    size_t unit = 0;
    for (; n >= 1024 && unit < 4; unit++)
        n /= 1024;
    snprintf(text, size, unit ? "%.1f %s" : "%.0f %s", n, units[unit]);
    return text;
}

static void
format_line(char *line, size_t size)
{
    cop_stats stats = COP_STATS_INIT;
    char bytes[32];
    if (cop_stats_take(status.store, &stats) != COP_OK)
        return;
    uint64_t time_ns = now_ns();
    double seconds = (double)(time_ns - status.time_ns) / 1e9;
    double rate = seconds > 0 ? (double)(stats.commits - status.commits) / seconds : 0;
    status.commits = stats.commits;
    status.time_ns = time_ns;
    snprintf(line, size,
             "version %llu  atoms %llu  %.1f commits/s  %s  readers %llu  oldest held %llu",
             (unsigned long long)stats.version, (unsigned long long)stats.atoms, rate,
             bytes_text(stats.bytes_held, bytes, sizeof bytes), (unsigned long long)stats.readers,
             (unsigned long long)stats.oldest_held_version);
}

static int
columns(void)
{
    struct winsize size = {0};
    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    return size.ws_col > 1 ? size.ws_col - 1 : 79;
}

void
status_show(void)
{
    char line[256] = "";
    format_line(line, sizeof line); /* what the store says meanwhile clears the line, under the lock */
    pthread_mutex_lock(&mutex);
    if (status.terminal)
        printf("\r%.*s\033[K", columns(), line); /* cut to one line, or it could not be replaced */
    else
        printf("%s\n", line);
    status.shown = status.terminal;
    fflush(stdout);
    pthread_mutex_unlock(&mutex);
}

void
status_clear(void)
{
    pthread_mutex_lock(&mutex);
    if (status.shown) {
        printf("\r\033[K");
        fflush(stdout);
    }
    status.shown = false;
    pthread_mutex_unlock(&mutex);
}
