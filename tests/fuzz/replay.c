/* SPDX-License-Identifier: MIT */
/*
 * Puts the kept inputs of a fuzzing program to it, and each of them cut short at some places.
 *
 *     fuzz_X FILE...    files of records: "LENGTH\n", so many bytes, "\n" (corpus.py packs them)
 */
#include "tests/fuzz/fuzz.h"

enum { CUTS = 16 };

/* In memory of its own size, so that a sanitizer sees what reads beyond it. */
static void
put(const char *bytes, size_t length)
{
    uint8_t *copy = malloc(length + 1);
    FUZZ_CHECK(copy != NULL);
    uint8_t *input = copy + 1; /* ends where the block ends */
    memcpy(input, bytes, length);
    LLVMFuzzerTestOneInput(input, length);
    free(copy);
}

static size_t
replay_records(const char *text, size_t length)
{
    const char *at = text, *end = text + length;
    size_t n = 0;
    while (at < end) {
        char *digits_end;
        size_t size = strtoull(at, &digits_end, 10);
        FUZZ_CHECK(*digits_end == '\n' && size < (size_t)(end - digits_end - 1));
        at = digits_end + 1;
        for (size_t cut = 0; cut < CUTS; cut++)
            put(at, size * cut / CUTS);
        put(at, size);
        FUZZ_CHECK(at[size] == '\n');
        at += size + 1;
        n++;
    }
    return n;
}

static size_t
replay(const char *name)
{
    fuzz_text text = {NULL, 0, 0};
    char buffer[65536];
    size_t got, n;
    FILE *file = fopen(name, "rb");
    if (file == NULL) {
        perror(name);
        exit(1);
    }
    while ((got = fread(buffer, 1, sizeof buffer, file)) > 0)
        fuzz_append(&text, buffer, got);
    fclose(file);
    n = replay_records(text.bytes, text.length);
    free(text.bytes);
    return n;
}

int
main(int argc, char **argv)
{
    size_t n = 0;
    for (int i = 1; i < argc; i++)
        n += replay(argv[i]);
    printf("%zu inputs, each whole and cut at %d places\n", n, CUTS);
    return n > 0 ? 0 : 1;
}
