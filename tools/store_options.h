/* SPDX-License-Identifier: MIT */
/* Store options of a command line: --config FILE, the environment, --set name=value, in this order.
 */
#ifndef COP_TOOLS_STORE_OPTIONS_H
#define COP_TOOLS_STORE_OPTIONS_H

#include <coppice/options.h>

#include "tools/args.h"

/* COP_OK, or what is wrong has been complained of. A fault on the command line is COP_E_INVALID or
 * COP_E_RANGE with *usage true. config may be NULL. */
cop_status store_options_load(cop_options *options, const char *config,
                              const struct arg_list *settings, bool *usage);

#endif
