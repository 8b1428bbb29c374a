/* SPDX-License-Identifier: MIT */
#include "options.h"

#include "term.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NAMES_MAX = 64, WORD_MAX = 64 };

static const cli_option help_option = {CLI_FLAG, "help", 'h', NULL, 0, NULL, 0, 0, "show this text"};

/* --- suggestions ---- */

static int min3(int a, int b, int c)
{
    int m = a < b ? a : b;
    return m < c ? m : c;
}

/* Insertions, deletions and substitutions between two words. */
static int edit_distance(const char *a, const char *b)
{
    int row[WORD_MAX + 1];
    size_t na = strlen(a), nb = strlen(b);
    if (na > WORD_MAX || nb > WORD_MAX) return WORD_MAX;
    for (size_t j = 0; j <= nb; j++)
        row[j] = (int)j;
    for (size_t i = 1; i <= na; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= nb; j++) {
            int above = row[j];
            row[j] = min3(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[nb];
}

const char *cli_nearest(const char *word, const char *const *names)
{
    const char *best = NULL;
    int best_distance = (int)strlen(word) / 3 + 1; /* one slip per three letters */
    for (; *names; names++) {
        int d = edit_distance(word, *names);
        if (strlen(word) >= 3 && strncmp(word, *names, strlen(word)) == 0) d = 1; /* abbreviated */
        if (d <= best_distance && (!best || d < best_distance)) {
            best = *names;
            best_distance = d;
        }
    }
    return best;
}

/* --- values ---- */

static bool bad_value(const cli_option *o, const char *text, const char *why)
{
    cli_error("--%s: '%s' %s", o->name, text, why);
    return false;
}

static bool out_of_range(const cli_option *o, const char *text)
{
    cli_error("--%s: '%s' is outside %.15g .. %.15g", o->name, text, o->min, o->max);
    return false;
}

static bool set_int(const cli_option *o, const char *text, int64_t *out)
{
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (end == text || *end || !(*text == '-' || (*text >= '0' && *text <= '9')))
        return bad_value(o, text, "is not a whole number");
    if (errno || (double)v < o->min || (double)v > o->max) return out_of_range(o, text);
    *out = v;
    return true;
}

static bool set_u64(const cli_option *o, const char *text, uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno)
        return bad_value(o, text, "is not a whole number from 0 to 2^64 - 1");
    *out = v;
    return true;
}

static bool set_real(const cli_option *o, const char *text, double *out)
{
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end || *text <= ' ' || strpbrk(text, "xXnN") || !isfinite(v)) /* no hex, nan, inf */
        return bad_value(o, text, "is not a number");
    if (v < o->min || v > o->max) return out_of_range(o, text);
    *out = v;
    return true;
}

static bool set_value(const cli_option *o, void *options, const char *text)
{
    void *p = (char *)options + o->offset;
    cli_list *list = p;
    switch (o->kind) {
    case CLI_FLAG:
        *(bool *)p = true;
        return true;
    case CLI_INT:
        return set_int(o, text, p);
    case CLI_U64:
        return set_u64(o, text, p);
    case CLI_REAL:
        return set_real(o, text, p);
    case CLI_TEXT:
        *(const char **)p = text;
        return true;
    case CLI_LIST:
        if (list->n == CLI_LIST_MAX) return bad_value(o, text, "is one too many");
        list->text[list->n++] = text;
        return true;
    case CLI_END:
        break;
    }
    return false;
}

/* --- parsing ---- */

typedef struct parser {
    const cli_command *c;
    int argc, i;
    char *const *argv;
    void *options;
    bool seen[NAMES_MAX]; /* by row */
    bool help;
} parser;

static const cli_option *find_long(const cli_command *c, const char *name, size_t n)
{
    for (const cli_option *o = c->options; o->kind != CLI_END; o++)
        if (strlen(o->name) == n && strncmp(o->name, name, n) == 0) return o;
    return strlen(help_option.name) == n && strncmp(help_option.name, name, n) == 0 ? &help_option : NULL;
}

static const cli_option *find_letter(const cli_command *c, char letter)
{
    for (const cli_option *o = c->options; o->kind != CLI_END; o++)
        if (o->letter == letter) return o;
    return letter == help_option.letter ? &help_option : NULL;
}

static bool unknown_option(const cli_command *c, const char *arg, size_t n)
{
    const char *names[NAMES_MAX + 2];
    int count = 0;
    char word[WORD_MAX + 1];
    for (const cli_option *o = c->options; o->kind != CLI_END && count < NAMES_MAX; o++)
        names[count++] = o->name;
    names[count++] = help_option.name;
    names[count] = NULL;
    snprintf(word, sizeof word, "%.*s", (int)(n < WORD_MAX ? n : WORD_MAX), arg);
    const char *near = word[0] == '-' && word[1] == '-' ? cli_nearest(word + 2, names) : NULL;
    cli_error("%s: unknown option '%s'", c->name, word);
    if (near)
        cli_hint("did you mean --%s?", near);
    else
        cli_hint("zmlx %s --help lists the options", c->name);
    return false;
}

/* `value` is what stood in the same argument, or NULL. */
static bool apply(parser *p, const cli_option *o, const char *value)
{
    if (o == &help_option) return p->help = true;
    ptrdiff_t row = o - p->c->options;
    if (p->seen[row] && o->kind != CLI_LIST) {
        cli_error("--%s is given twice", o->name);
        return false;
    }
    p->seen[row] = true;
    if (o->kind == CLI_FLAG && value) {
        cli_error("--%s takes no value", o->name);
        return false;
    }
    if (o->kind != CLI_FLAG && !value) {
        if (p->i + 1 >= p->argc) {
            cli_error("--%s needs a value (%s)", o->name, o->arg);
            return false;
        }
        value = p->argv[++p->i];
    }
    return set_value(o, p->options, value);
}

static bool parse_long(parser *p, const char *arg)
{
    const char *eq = strchr(arg, '=');
    size_t n = eq ? (size_t)(eq - arg) : strlen(arg);
    const cli_option *o = find_long(p->c, arg + 2, n - 2);
    return o ? apply(p, o, eq ? eq + 1 : NULL) : unknown_option(p->c, arg, n);
}

/* -n5, -n 5; flags may share one dash. */
static bool parse_letters(parser *p, const char *arg)
{
    for (const char *s = arg + 1; *s; s++) {
        const cli_option *o = find_letter(p->c, *s);
        if (!o) return unknown_option(p->c, arg, strlen(arg));
        if (o->kind != CLI_FLAG) return apply(p, o, s[1] ? s + 1 : NULL);
        if (!apply(p, o, NULL)) return false;
    }
    return true;
}

static bool parse_args(parser *p, const char **args, int *n)
{
    bool options = true;
    for (; p->i < p->argc && !p->help; p->i++) {
        const char *a = p->argv[p->i];
        bool ok = true;
        if (options && strcmp(a, "--") == 0)
            options = false;
        else if (options && a[0] == '-' && a[1] == '-')
            ok = parse_long(p, a);
        else if (options && a[0] == '-' && a[1])
            ok = parse_letters(p, a);
        else if (*n < p->c->n_args)
            args[(*n)++] = a;
        else {
            cli_error("%s: unexpected argument '%s'", p->c->name, a);
            ok = false;
        }
        if (!ok) return false;
    }
    return true;
}

bool cli_parse(const cli_command *c, int argc, char *const *argv, void *options, const char **args, int *exit_code)
{
    parser p = {.c = c, .argc = argc, .argv = argv, .options = options};
    int n = 0;
    *exit_code = 2;
    for (const cli_option *o = c->options; o->kind != CLI_END; o++)
        if (o->dflt && !set_value(o, options, o->dflt)) return false;
    if (!parse_args(&p, args, &n)) return false;
    if (p.help) {
        cli_print_help(c, stdout);
        *exit_code = 0;
        return false;
    }
    if (n == c->n_args) return true;
    cli_error("%s: %s needed", c->name, c->args);
    cli_hint("usage: zmlx %s %s [options]; zmlx %s --help", c->name, c->args, c->name);
    return false;
}

/* --- help ---- */

static void print_option(const cli_option *o, FILE *f)
{
    char left[64], letter[8] = "    ";
    if (o->letter) snprintf(letter, sizeof letter, "-%c, ", o->letter);
    snprintf(left, sizeof left, "%s--%s%s%s", letter, o->name, o->arg ? " " : "", o->arg ? o->arg : "");
    if (strlen(left) > 24)
        fprintf(f, "  %s\n  %24s  ", left, "");
    else
        fprintf(f, "  %-24s  ", left);
    fputs(o->help, f);
    if (o->dflt) fprintf(f, " (default: %s)", o->dflt);
    fputc('\n', f);
}

/* Line by line, so that tables need neither indent nor end their texts. */
static void print_block(const char *text, const char *indent, FILE *f)
{
    for (const char *end; *text; text = *end ? end + 1 : end) {
        end = text + strcspn(text, "\n");
        fprintf(f, "%s%.*s\n", indent, (int)(end - text), text);
    }
}

void cli_print_help(const cli_command *c, FILE *f)
{
    fprintf(f, "zmlx %s: %s\n\nExamples:\n", c->name, c->summary);
    print_block(c->examples, "  ", f);
    fprintf(f, "\nUsage: zmlx %s%s%s [options]\n\nOptions:\n", c->name, c->n_args ? " " : "", c->n_args ? c->args : "");
    for (const cli_option *o = c->options; o->kind != CLI_END; o++)
        print_option(o, f);
    print_option(&help_option, f);
    if (!c->notes) return;
    fputc('\n', f);
    print_block(c->notes, "", f);
}
