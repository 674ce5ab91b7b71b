/* SPDX-License-Identifier: MIT */
/*
 * Options from a file, through libconfig, whose text is screened first.
 *
 * libconfig's scanner ends the process when a read fails (its default fatal error, exit(2)), for
 * one when the file is a directory. So the file is read here and parsed from memory, and @include,
 * which would let the scanner open files again, is refused. A NUL byte would end the text unseen.
 *
 * Numbers that libconfig (1.5) does not report as they stand are refused as well: decimal ones
 * beyond 32 bits without the suffix L, and hexadecimal ones, are cut without a word; with the
 * suffix, those beyond 64 bits become the greatest.
 */
#include "store/options_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <libconfig.h>
#include <stdlib.h>
#include <string.h>

#include "store/log.h"

#define FILE_BYTES_MAX ((size_t)1 << 20)
#define LINES_MAX 65535u /* libconfig counts the lines of settings in 16 bits */
#define FILE_NAME_MAX 100
#define NAME_MAX_BYTES 64

typedef struct reader {
    const char *file; /* as it is shown */
    cop_options *options;
    cop_error *error;
} reader;

/* A name too long for a message is shown by its end, which tells more than its beginning. */
static void
show_file(const char *file, char *shown)
{
    size_t n = strlen(file);
    if (n < FILE_NAME_MAX)
        memcpy(shown, file, n + 1);
    else
        snprintf(shown, FILE_NAME_MAX, "...%s", file + n - (FILE_NAME_MAX - 4));
}

static cop_status
fail_here(const reader *r, cop_status status, uint32_t line, const char *what, const char *detail)
{
    return cop__fail_line(r->error, status, line, 0, "%s:%" PRIu32 ": %s%.70s", r->file, line, what,
                          detail);
}

/* --- the text --------------------------------------------------------------------------------- */

/* The whole file, terminated; *length without the terminator. The caller frees it. */
static cop_status
read_stream(const reader *r, FILE *stream, char **text, size_t *length)
{
    *text = malloc(FILE_BYTES_MAX + 2);
    if (!*text)
        return fail_here(r, COP_E_MEMORY, 0, "out of memory", "");
    *length = fread(*text, 1, FILE_BYTES_MAX + 1, stream);
    if (ferror(stream))
        return fail_here(r, COP_E_IO, 0, "cannot be read: ", strerror(errno));
    if (*length > FILE_BYTES_MAX)
        return fail_here(r, COP_E_RANGE, 0, "the file is longer than 1 MiB", "");
    (*text)[*length] = '\0';
    return COP_OK;
}

static cop_status
read_file(const reader *r, const char *file, char **text, size_t *length)
{
    FILE *stream = fopen(file, "re");
    if (!stream)
        return fail_here(r, COP_E_IO, 0, "cannot be opened: ", strerror(errno));
    cop_status status = read_stream(r, stream, text, length);
    fclose(stream);
    return status;
}

/* --- the screen ------------------------------------------------------------------------------- */

/* A place in the text. libconfig's own tokens, as far as they matter here. */
typedef struct place {
    const char *at, *end;
    uint32_t line;
} place;

static bool
starts(const place *p, const char *word)
{
    size_t n = strlen(word);
    return (size_t)(p->end - p->at) >= n && memcmp(p->at, word, n) == 0;
}

/* Steps behind the next `mark`, or to the end. */
static bool
skip_past(place *p, const char *mark)
{
    for (; p->at < p->end; p->at++) {
        if (starts(p, mark)) {
            p->at += strlen(mark);
            return true;
        }
        p->line += *p->at == '\n';
    }
    return false;
}

/* libconfig loses the memory of a string that has no end, so such a one does not get there. */
static cop_status
screen_string(const reader *r, place *p)
{
    uint32_t begin = p->line;
    for (p->at++; p->at < p->end; p->at++) {
        if (*p->at == '"') {
            p->at++;
            return COP_OK;
        }
        if (*p->at == '\\' && p->at + 1 < p->end)
            p->at++;
        p->line += *p->at == '\n';
    }
    return fail_here(r, COP_E_SYNTAX, begin, "a string without an end", "");
}

static bool
is_word_byte(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c && strchr("_.*+-", c));
}

static cop_status
screen_word(const reader *r, place *p)
{
    const char *begin = p->at;
    char *stop;
    while (p->at < p->end && is_word_byte(*p->at))
        p->at++;
    long long n = strtoll(begin, &stop, 10);
    if (stop != p->at || (n >= INT32_MIN && n <= INT32_MAX))
        return COP_OK;
    return fail_here(r, COP_E_RANGE, p->line,
                     "a number beyond 32 bits ends in L (5000000000L) or is text (\"5G\")", "");
}

static cop_status
screen_token(const reader *r, place *p)
{
    if (*p->at == '"')
        return screen_string(r, p);
    if (is_word_byte(*p->at))
        return screen_word(r, p);
    if (starts(p, "@include"))
        return fail_here(r, COP_E_SYNTAX, p->line, "@include is not supported", "");
    if (starts(p, "/*")) {
        skip_past(p, "*/");
    } else if (*p->at == '#' || starts(p, "//")) {
        skip_past(p, "\n");
        p->line++;
    } else {
        p->line += *p->at++ == '\n';
    }
    return COP_OK;
}

static cop_status
screen_bytes(const reader *r, const char *text, size_t length)
{
    uint32_t line = 1;
    for (size_t i = 0; i < length; i++) {
        if (line > LINES_MAX)
            return fail_here(r, COP_E_RANGE, line, "the file has more than 65535 lines", "");
        if (text[i] == '\0')
            return fail_here(r, COP_E_SYNTAX, line, "a NUL byte", "");
        line += text[i] == '\n';
    }
    return COP_OK;
}

/* Refuses what must not reach libconfig, with its line. */
static cop_status
screen(const reader *r, const char *text, size_t length)
{
    place p = {text, text + length, 1};
    cop_status status = screen_bytes(r, text, length);
    while (status == COP_OK && p.at < p.end)
        status = screen_token(r, &p);
    return status;
}

/* --- settings to options ---------------------------------------------------------------------- */

static uint32_t
line_of(const config_setting_t *setting)
{
    return (uint32_t)config_setting_source_line(setting);
}

/* The setting's number as text, as if it stood in quotes. INT64_MAX is libconfig's answer to all
 * that is greater, so it is not believed. */
static cop_status
number_text(const reader *r, const config_setting_t *setting, const char *name, char *text,
            size_t capacity)
{
    long long n = config_setting_type(setting) == CONFIG_TYPE_INT
                      ? config_setting_get_int(setting)
                      : config_setting_get_int64(setting);
    if (config_setting_get_format(setting) != CONFIG_FORMAT_DEFAULT)
        return fail_here(r, COP_E_INVALID, line_of(setting), name, ": numbers are decimal here");
    if (n == INT64_MAX)
        return fail_here(r, COP_E_RANGE, line_of(setting), name,
                         ": a number this great is written in quotes");
    snprintf(text, capacity, "%lld", n);
    return COP_OK;
}

static cop_status
apply_scalar(reader *r, const config_setting_t *setting, const char *name, size_t row)
{
    char buffer[24], subject[FILE_NAME_MAX + NAME_MAX_BYTES + 16];
    const char *text = buffer;
    uint32_t line = line_of(setting);
    cop_status status = COP_OK;
    switch (config_setting_type(setting)) {
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        status = number_text(r, setting, name, buffer, sizeof buffer);
        break;
    case CONFIG_TYPE_BOOL:
        text = config_setting_get_bool(setting) ? "true" : "false";
        break;
    case CONFIG_TYPE_STRING:
        text = config_setting_get_string(setting);
        break;
    default:
        return fail_here(r, COP_E_INVALID, line, name,
                         ": expected a whole number, a boolean or a string");
    }
    if (status != COP_OK)
        return status;
    snprintf(subject, sizeof subject, "%s:%" PRIu32 ": %s", r->file, line, name);
    status = cop__option_parse(r->options, row, text, subject, r->error);
    if (status != COP_OK && r->error)
        r->error->line = line;
    return status;
}

static cop_status
apply_setting(reader *r, const config_setting_t *setting, const char *group)
{
    char name[NAME_MAX_BYTES];
    snprintf(name, sizeof name, "%s%s%s", group ? group : "", group ? "." : "",
             config_setting_name(setting));
    size_t row = cop__option_find(name);
    if (row == cop_options_count())
        return fail_here(r, COP_E_INVALID, line_of(setting), "unknown option ", name);
    return apply_scalar(r, setting, name, row);
}

static bool
is_known_group(const char *group)
{
    size_t n = strlen(group);
    for (size_t row = 0; row < cop_options_count(); row++) {
        const char *name = cop_options_info(row)->name;
        if (strncmp(name, group, n) == 0 && name[n] == '.')
            return true;
    }
    return false;
}

static cop_status
apply_group(reader *r, const config_setting_t *group)
{
    const char *name = config_setting_name(group);
    cop_status status = COP_OK;
    if (!is_known_group(name))
        return fail_here(r, COP_E_INVALID, line_of(group), "unknown group ", name);
    for (int i = 0; i < config_setting_length(group) && status == COP_OK; i++)
        status = apply_setting(r, config_setting_get_elem(group, (unsigned)i), name);
    return status;
}

static cop_status
apply_root(reader *r, const config_setting_t *root)
{
    cop_status status = COP_OK;
    for (int i = 0; i < config_setting_length(root) && status == COP_OK; i++) {
        const config_setting_t *setting = config_setting_get_elem(root, (unsigned)i);
        status = config_setting_is_group(setting) ? apply_group(r, setting)
                                                  : apply_setting(r, setting, NULL);
    }
    return status;
}

static cop_status
parse(reader *r, const char *text)
{
    config_t config;
    cop_status status;
    config_init(&config);
    if (config_read_string(&config, text) == CONFIG_TRUE)
        status = apply_root(r, config_root_setting(&config));
    else
        status = fail_here(r, COP_E_SYNTAX, (uint32_t)config_error_line(&config),
                           config_error_text(&config), "");
    config_destroy(&config);
    return status;
}

cop_status
cop_options_load_file(cop_options *options, const char *file, cop_error *error)
{
    char shown[FILE_NAME_MAX], *text = NULL;
    size_t length = 0;
    cop_status status = cop__options_known(options, error);
    if (status != COP_OK)
        return status;
    if (!file)
        return cop__fail(error, COP_E_INVALID, "the file's name is NULL");
    cop_options loaded = *options;
    reader r = {shown, &loaded, error};
    show_file(file, shown);
    status = read_file(&r, file, &text, &length);
    if (status == COP_OK)
        status = screen(&r, text, length);
    if (status == COP_OK)
        status = parse(&r, text);
    free(text);
    if (status == COP_OK)
        *options = loaded;
    return status;
}
