/* SPDX-License-Identifier: MIT */
/*
 * JSON text that can stop anywhere: what is to be written next stands in a short queue of pieces,
 * and goes into a window of the caller's, step by step.
 *
 * A piece is written by parts. A part is at least one character with its escape, and so may be
 * longer than the room that is left: what hangs over the end of the window is kept here and begins
 * the next one. Parts are cut so that it is never more than COP__JSON_OVERHANG bytes.
 *
 * Nothing here allocates, recurses or is shared. What a piece refers to outlives it: texts lie in
 * the version that is written, numbers and short texts in the queue itself.
 */
#ifndef COP_SERIALIZE_JSON_PIECES_H
#define COP_SERIALIZE_JSON_PIECES_H

#include "serialize/json_number.h"
#include "serialize/json_text.h"

#define COP__JSON_OVERHANG 128u
#define COP__JSON_PIECES 16u /* of one child; 15 are in use: a tagged value, indented */

typedef enum cop__json_piece_kind {
    COP__JSON_PIECE_BYTES,  /* as they are */
    COP__JSON_PIECE_SPACES, /* so many */
    COP__JSON_PIECE_TEXT,   /* of a string, without quotes */
    COP__JSON_PIECE_NAME,   /* a segment of a path, without quotes */
    COP__JSON_PIECE_BASE64
} cop__json_piece_kind;

typedef struct cop__json_piece {
    cop__json_piece_kind kind;
    const char *at;
    size_t left;
} cop__json_piece;

typedef struct cop__json_pieces {
    cop__json_out out;
    size_t size;    /* of the window */
    unsigned held;  /* bytes that hang over */
    unsigned first; /* piece in work */
    unsigned count;
    cop_value value; /* of the child in work: short texts lie in it */
    char number[COP__JSON_NUMBER_MAX];
    char overhang[COP__JSON_OVERHANG];
    cop__json_piece piece[COP__JSON_PIECES];
} cop__json_pieces;

void cop__json_pieces_init(cop__json_pieces *p, bool ascii);

/* A window of at least one byte; it begins with what hung over the last one. */
void cop__json_pieces_begin(cop__json_pieces *p, char *window, size_t size);
/* Bytes written into it. */
size_t cop__json_pieces_end(cop__json_pieces *p);

/* Bytes free in the window; what goes into `out` beyond them hangs over. */
static inline size_t
cop__json_pieces_room(const cop__json_pieces *p)
{
    return cop__likely(p->out.start != p->overhang) ? (size_t)(p->out.end - p->out.at) : 0;
}

/* What is behind: each joins the end of the queue. `bytes` are static. */
void cop__json_pieces_bytes(cop__json_pieces *p, const char *bytes, size_t n);
/* A new line at a level of indentation; nothing when compact. */
void cop__json_pieces_line(cop__json_pieces *p, uint64_t indent, uint64_t level);
/* A key and its colon; the segment lives in the version. */
void cop__json_pieces_name(cop__json_pieces *p, const char *segment, size_t n, uint32_t indent);
/* A value; a branch as an empty one. */
void cop__json_pieces_value(cop__json_pieces *p, const cop_value *value, uint32_t indent,
                            uint32_t level);

/* Puts what there is room for. */
void cop__json_pieces_put(cop__json_pieces *p);

#endif
