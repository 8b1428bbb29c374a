/* SPDX-License-Identifier: MIT */
#include "explain.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- collecting ---- */

static char *copy(explanation *e, const char *s)
{
    char *c = strdup(s ? s : "");
    if (!c) e->failed = true;
    return c;
}

static void count(explanation *e, const char *name)
{
    int i = 0;
    while (i < e->n_counts && strcmp(e->count[i].name, name) != 0)
        i++;
    if (i == (int)(sizeof e->count / sizeof e->count[0])) return; /* more kinds of op than there are kernels */
    if (i == e->n_counts) e->count[e->n_counts++].name = name;
    e->count[i].n[e->patched]++;
}

static void on_event(void *user, const char *kind, const char *where, const char *name, const char *what)
{
    explanation *e = user;
    if (e->failed) return;
    if (e->n_events == e->cap_events) {
        int cap = e->cap_events ? 2 * e->cap_events : 256;
        event *bigger = realloc(e->event, (size_t)cap * sizeof *bigger);
        e->failed = !bigger;
        if (!bigger) return;
        e->event = bigger;
        e->cap_events = cap;
    }
    event *v = &e->event[e->n_events++];
    *v = (event){.kind = copy(e, kind),
                 .where = copy(e, where),
                 .name = copy(e, name),
                 .what = copy(e, what),
                 .is_op = strcmp(kind, "op") == 0,
                 .patched = e->patched};
    if (v->is_op && !e->failed) count(e, v->name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b); /* the name is the first member */
}

zmlx_status explain_collect(explanation *e, const zmlx_model *m, const zmlx_patch_options *o, zmlx_err *err)
{
    const zmlx_patch_options none = {.patterns = "none"};
    zmlx_status s = zmlx_model_explain(m, &none, on_event, e, NULL, err);
    e->patched = true;
    if (s == ZMLX_OK) s = zmlx_model_explain(m, o, on_event, e, &e->patch, err);
    if (s == ZMLX_OK && e->failed) {
        *err = (zmlx_err){.code = ZMLX_E_NOMEM, .pos = -1, .msg = "out of memory"};
        s = ZMLX_E_NOMEM;
    }
    qsort(e->count, (size_t)e->n_counts, sizeof e->count[0], by_name);
    return s;
}

void explain_clear(explanation *e)
{
    for (int i = 0; i < e->n_events; i++) {
        free(e->event[i].kind);
        free(e->event[i].where);
        free(e->event[i].name);
        free(e->event[i].what);
    }
    free(e->event);
    *e = (explanation){0};
}

/* --- printing ---- */

/* A stretch of events at one place: a layer as a rule. */
typedef struct stretch {
    int begin, end;
    long base; /* the first number after a '%' in it: results are numbered through the whole plan */
} stretch;

static stretch next_stretch(const event *const *v, int n, int begin)
{
    stretch s = {.begin = begin, .end = begin + 1};
    while (s.end < n && strcmp(v[s.end]->where, v[begin]->where) == 0)
        s.end++;
    const char *percent = strchr(v[begin]->what, '%');
    s.base = percent ? strtol(percent + 1, NULL, 10) : 0;
    return s;
}

/* Equal but for the layer's number after "layers.", in names of weights, and for where the numbering of results starts.
 */
static bool alike_text(const char *a, const char *b, long base_a, long base_b)
{
    static const char mark[] = "layers.";
    const size_t n = sizeof mark - 1;
    while (*a && *a == *b) {
        bool name = strncmp(a, mark, n) == 0 && strncmp(b, mark, n) == 0, result = *a == '%';
        a += name ? n : 1;
        b += name ? n : 1;
        if (!name && !result) continue;
        char *end_a, *end_b;
        long x = strtol(a, &end_a, 10), y = strtol(b, &end_b, 10);
        if (result && x - base_a != y - base_b) return false;
        a = end_a;
        b = end_b;
    }
    return *a == *b;
}

static bool alike(const event *const *v, stretch a, stretch b)
{
    if (a.end - a.begin != b.end - b.begin || !alike_text(v[a.begin]->where, v[b.begin]->where, 0, 0)) return false;
    for (int i = 0; i < a.end - a.begin; i++) {
        const event *x = v[a.begin + i], *y = v[b.begin + i];
        if (strcmp(x->kind, y->kind) != 0 || strcmp(x->name, y->name) != 0) return false;
        if (!alike_text(x->what, y->what, a.base, b.base)) return false;
    }
    return true;
}

static void print_stretch(const event *const *v, stretch s)
{
    for (int i = s.begin; i < s.end; i++) {
        if (v[i]->is_op)
            printf("    %s\n", v[i]->what);
        else
            printf("    %-5s  %-16s %s\n", v[i]->kind, v[i]->name, v[i]->what);
    }
}

static long layer_of(const event *v)
{
    const char *dot = strrchr(v->where, '.');
    return dot && isdigit((unsigned char)dot[1]) ? strtol(dot + 1, NULL, 10) : -1;
}

/* "layers.0-3, 5": the places of stretches that are alike.  Returns where they end. */
static int print_places(const event *const *v, int n, stretch first)
{
    long from = layer_of(v[first.begin]), to = from;
    int end = first.end;
    printf("  %s", v[first.begin]->where);
    while (end < n) {
        stretch s = next_stretch(v, n, end);
        long layer = layer_of(v[s.begin]);
        if (layer < 0 || !alike(v, first, s)) break;
        if (layer != to + 1) {
            if (to > from) printf("-%ld", to);
            printf(", %ld", layer);
            from = layer;
        }
        to = layer;
        end = s.end;
    }
    if (to > from) printf("-%ld", to);
    printf("\n");
    return end;
}

static void print_events(const event *const *v, int n)
{
    for (int i = 0; i < n;) {
        stretch first = next_stretch(v, n, i);
        i = print_places(v, n, first);
        print_stretch(v, first);
    }
}

static void print_section(const explanation *e, const char *title, bool op, bool patched)
{
    const event **v = malloc(((size_t)e->n_events + 1) * sizeof *v);
    int n = 0;
    if (!v) return;
    for (int i = 0; i < e->n_events; i++)
        if (e->event[i].is_op == op && e->event[i].patched == patched) v[n++] = &e->event[i];
    printf("\n%s\n", title);
    print_events(v, n);
    if (n == 0) printf("  none\n");
    free((void *)v);
}

void explain_print(const explanation *e)
{
    print_section(e, "stock plan", true, false);
    print_section(e, "patched plan", true, true);
    print_section(e, "matches and skips", false, true);
}
