/* SPDX-License-Identifier: MIT */
/* A task of a pool, as it lies in its queues. */
#ifndef COP_WORKERS_TASK_H
#define COP_WORKERS_TASK_H

#include <coppice/pool.h>

#include "base/queue.h"

typedef struct cop__task {
    cop__queue_node node; /* first: the injection queue's */
    cop_task_function function;
    void *context;
    bool kept; /* lies in something of its owner's, who submits it again only after it has begun to
                  run */
} cop__task;

#endif
