/* SPDX-License-Identifier: MIT */
/* JSON pointers and paths: see pointer.h. */
#include "patch/pointer.h"

#include "tree/path.h"

/* One that does not stand for itself in a JSON string. */
static void
json_escape(cop__bytes *out, unsigned char c)
{
    char text[8];
    if (c == '"' || c == '\\') {
        text[0] = '\\';
        text[1] = (char)c;
        cop__bytes_put(out, text, 2);
    } else {
        static const char digits[] = "0123456789abcdef";
        memcpy(text, "\\u00", 4);
        text[4] = digits[c >> 4];
        text[5] = digits[c & 15];
        cop__bytes_put(out, text, 6);
    }
}

/* Bytes that stand for themselves, in a path, in a pointer and in a JSON string. */
static size_t
plain_run(const char *text, size_t length)
{
    size_t n = 0;
    while (n < length && text[n] != '~' && text[n] != '"' && text[n] != '\\' &&
           (unsigned char)text[n] >= 0x20)
        n++;
    return n;
}

/* What an escape of a path stands for; '3' is the empty segment, which has no character. */
static void
put_segment(cop__bytes *out, const char *segment, size_t length, bool pointer)
{
    for (size_t i = 0; i < length; i++) {
        size_t plain = plain_run(segment + i, length - i);
        cop__bytes_put(out, segment + i, plain);
        i += plain;
        if (i == length)
            return;
        if (segment[i] != '~') {
            json_escape(out, (unsigned char)segment[i]);
            continue;
        }
        switch (segment[++i]) {
        case '0':
            cop__bytes_text(out, pointer ? "~0" : "~");
            break;
        case '1':
            cop__bytes_text(out, pointer ? "~1" : "/");
            break;
        case '2':
            cop__bytes_text(out, "*");
            break;
        default:
            break;
        }
    }
}

void
cop__pointer_token(cop__bytes *out, const char *segment, size_t length)
{
    put_segment(out, segment, length, true);
}

void
cop__pointer_key(cop__bytes *out, const char *segment, size_t length)
{
    put_segment(out, segment, length, false);
}

void
cop__pointer_of(cop__bytes *out, const char *path, size_t length)
{
    cop__path_walk walk = cop__path_walk_open(path, length);
    const char *segment;
    size_t n;
    while (cop__segment_next(&walk, &segment, &n)) {
        cop__bytes_text(out, "/");
        cop__pointer_token(out, segment, n);
    }
}

/* One token: the bytes up to the next '/'. */
static cop_status
append_token(cop__bytes *path, const char *token, size_t length)
{
    if (path->used > 0)
        cop__bytes_text(path, "/");
    if (length == 0)
        cop__bytes_text(path, "~3");
    for (size_t i = 0; i < length; i++) {
        if (token[i] == '*')
            cop__bytes_text(path, "~2");
        else
            cop__bytes_put(path, &token[i], 1);
        if (token[i] == '~' && (i + 1 == length || (token[i + 1] != '0' && token[i + 1] != '1')))
            return COP_E_PATH;
    }
    return path->status;
}

cop_status
cop__pointer_append(cop__bytes *path, const char *pointer, size_t length)
{
    cop_status status = COP_OK;
    if (length > 0 && pointer[0] != '/')
        return COP_E_PATH;
    for (size_t at = 0; at < length && status == COP_OK;) {
        const char *token = pointer + at + 1;
        const char *slash = memchr(token, '/', length - at - 1);
        size_t n = slash != NULL ? (size_t)(slash - token) : length - at - 1;
        status = append_token(path, token, n);
        at += n + 1;
    }
    return status;
}
