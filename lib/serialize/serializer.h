/* SPDX-License-Identifier: MIT */
/* The serializer as the store sees it: see fragments.h. */
#ifndef COP_SERIALIZE_SERIALIZER_H
#define COP_SERIALIZE_SERIALIZER_H

#include <coppice/rope.h>
#include <coppice/stats.h>

struct cop__serializer;

/* No text is kept any more, and no version held. Without the commit right, or a hold that must end
 * first. NULL is legal, as in all of these. */
void cop__serializer_closing(struct cop__serializer *s);
/* Nobody else is left. */
void cop__serializer_end(struct cop__serializer *s);
/* Memory is short: everything that is kept goes, now, or as soon as who writes has done. Does not
 * wait. True when something went. */
bool cop__serializer_press(struct cop__serializer *s);
/* The same for about so many bytes: those branches whose texts were not asked for again, as when their
 * bound is reached; when none is left, all the rest and the version that is held, which counts for a byte.
 * How many went; 0 also when somebody is writing, for whom it does not wait. With the right or without. */
uint64_t cop__serializer_give_way(struct cop__serializer *s, uint64_t bytes);
void cop__serializer_counts(struct cop__serializer *s, cop_stats *stats);

#endif
