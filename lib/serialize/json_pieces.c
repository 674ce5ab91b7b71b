/* SPDX-License-Identifier: MIT */
/* Text that can stop anywhere: see json_pieces.h. */
#include "serialize/json_pieces.h"

#define LEAST_PART \
    16u /* bytes of a text: with their escapes, and a character more, they fit the overhang */

_Static_assert((LEAST_PART + 3) * 6 < COP__JSON_OVERHANG, "a part that does not fit can hang over");

/* ---- the window ---- */

/* The window is full: what comes hangs over. */
static int
hang_over(void *context, const char *bytes, size_t n)
{
    cop__json_pieces *p = context;
    (void)bytes;
    (void)n;
    COP_ALWAYS(p->out.start != p->overhang); /* a part is no longer */
    p->out.start = p->overhang;
    p->out.end = p->overhang + sizeof p->overhang;
    return 0;
}

void
cop__json_pieces_init(cop__json_pieces *p, bool ascii)
{
    p->out = cop__json_out_to(p->overhang, sizeof p->overhang, hang_over, p);
    p->out.mask |= ascii ? COP__JSON_ASCII : 0;
    p->held = p->first = p->count = 0;
}

void
cop__json_pieces_begin(cop__json_pieces *p, char *window, size_t size)
{
    size_t n = p->held < size ? p->held : size;
    memcpy(window, p->overhang, n);
    memmove(p->overhang, p->overhang + n, p->held - n);
    p->held -= (unsigned)n;
    p->size = size;
    p->out.start = window;
    p->out.at = window + n;
    p->out.end = window + size;
}

size_t
cop__json_pieces_end(cop__json_pieces *p)
{
    if (p->out.start != p->overhang)
        return (size_t)(p->out.at - p->out.start);
    p->held = (unsigned)(p->out.at - p->out.start);
    return p->size;
}

/* ---- the queue ---- */

static void
add(cop__json_pieces *p, cop__json_piece_kind kind, const char *at, size_t n)
{
    COP_ASSERT(p->count < COP__JSON_PIECES);
    p->piece[p->count++] = (cop__json_piece){kind, at, n};
}

void
cop__json_pieces_bytes(cop__json_pieces *p, const char *bytes, size_t n)
{
    add(p, COP__JSON_PIECE_BYTES, bytes, n);
}

#define ADD_LITERAL(p, text) cop__json_pieces_bytes((p), (text), sizeof(text) - 1)

void
cop__json_pieces_line(cop__json_pieces *p, uint64_t indent, uint64_t level)
{
    if (!indent)
        return;
    ADD_LITERAL(p, "\n");
    add(p, COP__JSON_PIECE_SPACES, NULL, indent * level);
}

void
cop__json_pieces_name(cop__json_pieces *p, const char *segment, size_t n, uint32_t indent)
{
    ADD_LITERAL(p, "\"");
    add(p, COP__JSON_PIECE_NAME, segment, n);
    cop__json_pieces_bytes(p, "\": ", indent ? 3 : 2);
}

static void
add_quoted(cop__json_pieces *p, cop__json_piece_kind kind)
{
    ADD_LITERAL(p, "\"");
    add(p, kind, cop_value_data(&p->value), cop_value_length(&p->value));
    ADD_LITERAL(p, "\"");
}

/* {"$bytes":"..."} or {"$error":"..."}, laid out as the object it looks like. */
static void
add_tagged(cop__json_pieces *p, uint32_t indent, uint32_t level)
{
    bool bytes = p->value.type == COP_BYTES;
    ADD_LITERAL(p, "{");
    cop__json_pieces_line(p, indent, level + 1);
    cop__json_pieces_bytes(p, bytes ? "\"$bytes\": " : "\"$error\": ", indent ? 10 : 9);
    add_quoted(p, bytes ? COP__JSON_PIECE_BASE64 : COP__JSON_PIECE_TEXT);
    cop__json_pieces_line(p, indent, level);
    ADD_LITERAL(p, "}");
}

/* All other values fit where a number does: nothing is ever flushed. */
static void
add_short(cop__json_pieces *p)
{
    cop__json_out out = cop__json_out_to(p->number, sizeof p->number, NULL, NULL);
    cop__json_value_text(&out, &p->value, 0, 0);
    cop__json_pieces_bytes(p, p->number, (size_t)(out.at - out.start));
}

void
cop__json_pieces_value(cop__json_pieces *p, const cop_value *value, uint32_t indent, uint32_t level)
{
    p->value = *value;
    switch (cop_value_type(value)) {
    case COP_STRING:
        add_quoted(p, COP__JSON_PIECE_TEXT);
        break;
    case COP_BYTES:
    case COP_ERROR:
        add_tagged(p, indent, level);
        break;
    default:
        add_short(p);
        break;
    }
}

/* ---- parts ---- */

/* Up to n bytes, and the rest of what must stay together: a character of several bytes, or an
 * escape of a segment ("~0"). More than three bytes that continue a character belong to none. */
static size_t
whole(const cop__json_piece *piece, size_t n)
{
    const unsigned char *at = (const unsigned char *)piece->at;
    if (piece->kind == COP__JSON_PIECE_NAME && n < piece->left && at[n - 1] == '~')
        n++;
    for (unsigned i = 0; i < 3 && n < piece->left && (at[n] & 0xc0) == 0x80; i++)
        n++;
    return n;
}

/* How much of a piece is written now: all that surely fits, and at least something. */
static size_t
part_of(const cop__json_piece *piece, size_t room)
{
    size_t n = room;
    if (piece->kind == COP__JSON_PIECE_BASE64) {
        n = room / 4 * 3;
        n = n > 0 ? n : 3;
    } else if (piece->kind >= COP__JSON_PIECE_TEXT) {
        n = room / 6;
        n = n > LEAST_PART ? n : LEAST_PART;
    }
    if (n >= piece->left)
        return piece->left;
    return piece->kind == COP__JSON_PIECE_TEXT || piece->kind == COP__JSON_PIECE_NAME
               ? whole(piece, n)
               : n;
}

static void
put_part(cop__json_pieces *p, cop__json_piece *piece)
{
    size_t n = part_of(piece, cop__json_pieces_room(p));
    switch (piece->kind) {
    case COP__JSON_PIECE_BYTES:
        cop__json_bytes(&p->out, piece->at, n);
        break;
    case COP__JSON_PIECE_SPACES:
        memset(p->out.at, ' ', n);
        p->out.at += n;
        piece->left -= n;
        return;
    case COP__JSON_PIECE_TEXT:
        cop__json_text_part(&p->out, piece->at, n);
        break;
    case COP__JSON_PIECE_NAME:
        cop__json_name_part(&p->out, piece->at, n);
        break;
    case COP__JSON_PIECE_BASE64:
        cop__json_base64_part(&p->out, piece->at, n);
        break;
    }
    piece->at += n;
    piece->left -= n;
}

void
cop__json_pieces_put(cop__json_pieces *p)
{
    while (p->first < p->count) {
        cop__json_piece *piece = &p->piece[p->first];
        while (piece->left > 0) {
            if (cop__json_pieces_room(p) == 0)
                return;
            put_part(p, piece);
        }
        p->first++;
    }
    p->first = p->count = 0;
}
