/* SPDX-License-Identifier: MIT */
/* The compact layout, as the plain writer has it: no indentation, lazy atoms not asked, UTF-8 as it is. */
#ifndef COP_SERIALIZE_JSON_COMPACT_H
#define COP_SERIALIZE_JSON_COMPACT_H

#include "serialize/json_text.h"

/* The children of a living branch with what is around them; depth: levels written, 0: all. What is
 * left in the buffer is not flushed. COP_E_MEMORY. Stops early when the sink does. */
cop_status cop__json_compact(cop__json_out *out, const cop_snapshot *snapshot, cop_atom branch,
                             uint32_t depth);

#endif
