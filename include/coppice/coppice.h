/* SPDX-License-Identifier: MIT */
/* Coppice: live state for multithreaded servers. This header includes all the others. */
#ifndef COPPICE_COPPICE_H
#define COPPICE_COPPICE_H

#include <coppice/computed.h>
#include <coppice/effect.h>
#include <coppice/graph.h>
#include <coppice/history.h>
#include <coppice/holders.h>
#include <coppice/json.h>
#include <coppice/json_stream.h>
#include <coppice/memory.h>
#include <coppice/monitor.h>
#include <coppice/options.h>
#include <coppice/patch.h>
#include <coppice/path.h>
#include <coppice/pool.h>
#include <coppice/pressure.h>
#include <coppice/reduce.h>
#include <coppice/snapshot.h>
#include <coppice/stats.h>
#include <coppice/status.h>
#include <coppice/store.h>
#include <coppice/rope.h>
#include <coppice/txn.h>
#include <coppice/value.h>
#include <coppice/watch.h>

#endif
