/* SPDX-License-Identifier: MIT */
/* Whole files as text, pipes included. */
#include "tools/file.h"
#include "tools/args.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool
read_stream(FILE *stream, struct file_text *text)
{
    size_t capacity = 65536;
    text->bytes = malloc(capacity);
    text->length = 0;
    while (text->bytes) {
        text->length += fread(text->bytes + text->length, 1, capacity - text->length - 1, stream);
        text->bytes[text->length] = '\0';
        if (text->length < capacity - 1)
            return !ferror(stream);
        char *more = realloc(text->bytes, capacity *= 2);
        if (!more)
            break;
        text->bytes = more;
    }
    errno = ENOMEM;
    return false;
}

bool
file_read(const char *name, struct file_text *text)
{
    bool standard = strcmp(name, "-") == 0;
    FILE *stream = standard ? stdin : fopen(name, "rb");
    text->bytes = NULL;
    bool good = stream && read_stream(stream, text);
    if (!good) {
        complain("%s: %s", name, strerror(errno));
        free(text->bytes);
        text->bytes = NULL;
    }
    if (stream && !standard)
        fclose(stream);
    return good;
}
