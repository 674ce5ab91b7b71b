/* SPDX-License-Identifier: MIT */
/*
 * The letters of a string literal in the other case, as constants.
 *
 * The X-macros give names in one case only. With these, a static table holds the other one without
 * a first use that would have to build it (and would need a lock).
 *
 *     static const char name[] = {COP_UPPER_32("batch_window_ms"), 0};    "BATCH_WINDOW_MS"
 *
 * What is past the literal's end is NUL.
 */
#ifndef COP_BASE_LETTERS_H
#define COP_BASE_LETTERS_H

#define COP_LETTER(s, i) ((i) < sizeof(s) ? (s)[(i) < sizeof(s) ? (i) : 0] : '\0')
#define COP_UPPER(c) ((c) >= 'a' && (c) <= 'z' ? (char)((c) - 'a' + 'A') : (c))
#define COP_LOWER(c) ((c) >= 'A' && (c) <= 'Z' ? (char)((c) - 'A' + 'a') : (c))

#define COP_LETTERS_4(change, s, i)                                                             \
    change(COP_LETTER(s, (i))), change(COP_LETTER(s, (i) + 1)), change(COP_LETTER(s, (i) + 2)), \
        change(COP_LETTER(s, (i) + 3))
#define COP_LETTERS_16(change, s, i)                                  \
    COP_LETTERS_4(change, s, (i)), COP_LETTERS_4(change, s, (i) + 4), \
        COP_LETTERS_4(change, s, (i) + 8), COP_LETTERS_4(change, s, (i) + 12)

#define COP_UPPER_32(s) COP_LETTERS_16(COP_UPPER, s, 0), COP_LETTERS_16(COP_UPPER, s, 16)
#define COP_LOWER_16(s) COP_LETTERS_16(COP_LOWER, s, 0)

#endif
