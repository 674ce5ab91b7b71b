/* SPDX-License-Identifier: MIT */
/*
 * Static probes (USDT), for bpftrace, perf and SystemTap to attach to a running process:
 *
 *     bpftrace -e 'usdt:./libcoppice.so:coppice:commit { @commits = count(); }' -p PID
 *
 *   commit   version                        a batch has published it and told those who wait
 *   wave     waves, runs                    counts since open, when a wave has ended
 *   publish  version                        readers can see it
 *   reclaim  scanned (0 or 1), quota        so many dead things may be freed now
 *   stall    version, took ns, budget ns    a commit went over its budget; the monitor must be on
 *
 * Each is one instruction that does nothing, where <sys/sdt.h> was there to build with
 * (Debian: systemtap-sdt-dev); nothing at all otherwise.
 */
#ifndef COP_BASE_PROBES_H
#define COP_BASE_PROBES_H

#ifdef HAVE_SYS_SDT_H
#include <sys/sdt.h>
#define COP_PROBE1(name, a) DTRACE_PROBE1(coppice, name, a)
#define COP_PROBE2(name, a, b) DTRACE_PROBE2(coppice, name, a, b)
#define COP_PROBE3(name, a, b, c) DTRACE_PROBE3(coppice, name, a, b, c)
#else
#define COP_PROBE1(name, a) ((void)0)
#define COP_PROBE2(name, a, b) ((void)0)
#define COP_PROBE3(name, a, b, c) ((void)0)
#endif

#endif
