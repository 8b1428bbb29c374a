/* SPDX-License-Identifier: MIT */
/* Finds the place of a pattern and decides whether replacing it is safe.  The plan is a graph of values that are
 * computed once, so a template with one sink has one candidate per sink: the search walks from the last node to what it
 * reads, and there is nothing to backtrack over.  The checks that hold for every pattern are here, so that no pattern
 * can forget one. */
#include "patch/patch.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* All attributes are 4 bytes wide; a new one that is not in the map must not compile. */
_Static_assert(sizeof(zx_attr) == (size_t)ZX_ATTR_FIELDS * 4, "ZX_ATTR_MAP lists every field of zx_attr");
static const struct {
    const char *name;
    size_t offset;
} attr_field[] = {
#define X(id, field) {#field, offsetof(zx_attr, field)},
    ZX_ATTR_MAP(X)
#undef X
};

typedef struct finder {
    zx_match *m;
    int bound; /* nodes reached through operands, the root included */
    char *why;
    size_t n_why;
} finder;

static bool no(finder *f, const char *fmt, ...) ZMLX_PRINTF(2, 3);
static bool no(finder *f, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(f->why, f->n_why, fmt, ap);
    va_end(ap);
    return false;
}

static int code_node(int code) { return (-code - 1) / ZX_MAX_OUT; }
static int code_slot(int code) { return (-code - 1) % ZX_MAX_OUT; }

zx_val zx_match_value(const zx_match *m, int code)
{
    if (code > 0) return m->cap[code - 1];
    return m->plan->node[m->node[code_node(code)]].out[code_slot(code)];
}

const zx_type *zx_match_type(const zx_match *m, int code) { return &m->plan->value[zx_match_value(m, code)].type; }
const zx_attr *zx_match_attr(const zx_match *m, int node) { return &m->plan->node[m->node[node]].attr; }

const char *zx_match_one_dtype(const zx_match *m, char *buf, size_t n, const int8_t *codes, int count)
{
    zmlx_dtype first = zx_match_type(m, codes[0])->dtype;
    for (int i = 0; i < count; i++) {
        zmlx_dtype t = zx_match_type(m, codes[i])->dtype;
        if (zx_is_float16_32(t) && t == first) continue;
        if (t == first)
            snprintf(buf, n, "%s is not a type it is exact for", zmlx_dtype_name(t));
        else
            snprintf(buf, n, "mixed types: %s and %s", zmlx_dtype_name(first), zmlx_dtype_name(t));
        return buf;
    }
    return NULL;
}

const char *zx_patch_where(int layer, char *buf, size_t n)
{
    if (layer < 0)
        snprintf(buf, n, "model");
    else
        snprintf(buf, n, "layers.%d", layer);
    return buf;
}

/* --- structure --- */

static const char *producer(const zx_plan *p, const zx_value *v)
{
    switch (v->kind) {
    case ZX_VAL_INPUT:
        return "the step's tokens";
    case ZX_VAL_WEIGHT:
        return "a weight";
    case ZX_VAL_STATE:
        return "a cache";
    case ZX_VAL_NODE:
        return p->node[v->node].op->name;
    }
    return "?";
}

static bool is_bound(const zx_match *m, int node)
{
    for (int j = 0; j < m->form->n_nodes; j++)
        if (m->node[j] == node) return true;
    return false;
}

static bool unify_operand(finder *f, const zx_node *n, int input, int code, bool may_bind)
{
    zx_match *m = f->m;
    zx_val v = n->in[input];
    if (code > 0) {
        zx_val *cap = &m->cap[code - 1];
        if (*cap < 0) *cap = v;
        return *cap == v ||
               no(f, "input %d of %s is not the value that the other ops of the place read", input, n->op->name);
    }
    int j = code_node(code);
    const zx_value *val = &m->plan->value[v];
    const char *want = m->form->node[j].op;
    if (val->kind != ZX_VAL_NODE || val->slot != code_slot(code) || strcmp(m->plan->node[val->node].op->name, want))
        return no(f, "input %d of %s comes from %s, not from %s", input, n->op->name, producer(m->plan, val), want);
    if (m->node[j] == val->node) return true;
    if (m->node[j] >= 0 || !may_bind || is_bound(m, val->node))
        return no(f, "input %d of %s comes from another %s", input, n->op->name, want);
    m->node[j] = val->node;
    f->bound++;
    return true;
}

static bool unify_node(finder *f, int j, bool may_bind)
{
    const zx_pat_node *want = &f->m->form->node[j];
    const zx_node *n = &f->m->plan->node[f->m->node[j]];
    int count = 0;
    while (count < ZX_MAX_IN && want->in[count])
        count++;
    if (n->n_in != count) return no(f, "%s has %d inputs, not %d", n->op->name, n->n_in, count);
    /* All operands are followed even if the first is wrong: how much was found decides whether a refusal is worth a
     * line. */
    bool ok = true;
    for (int i = 0; i < count; i++) {
        finder quiet = *f;
        if (!ok) quiet.n_why = 0; /* the first reason stays */
        if (!unify_operand(&quiet, n, i, want->in[i], may_bind)) ok = false;
        f->bound = quiet.bound;
    }
    return ok;
}

/* A node that the search cannot walk to: the first in plan order that reads the right values. */
static bool find_sibling(finder *f, int j)
{
    zx_match *m = f->m;
    for (int i = 0; i < m->plan->n_nodes; i++) {
        const zx_node *n = &m->plan->node[i];
        if (!n->op || strcmp(n->op->name, m->form->node[j].op) || is_bound(m, i)) continue;
        zx_match before = *m;
        m->node[j] = i;
        if (unify_node(f, j, false)) return true;
        *m = before;
    }
    return no(f, "no further %s reads the same input", m->form->node[j].op);
}

static bool structure(finder *f, int root)
{
    zx_match *m = f->m;
    const zx_pat_form *form = m->form;
    const zx_node *n = &m->plan->node[root];
    if (!n->op || strcmp(n->op->name, form->node[form->n_nodes - 1].op)) return false;
    m->node[form->n_nodes - 1] = root;
    f->bound = 1;
    for (int j = form->n_nodes - 1; j >= 0; j--)
        if (m->node[j] >= 0 && !unify_node(f, j, true)) return false;
    for (int j = 0; j < form->n_nodes; j++)
        if (m->node[j] < 0 && !find_sibling(f, j)) return false;
    return true;
}

/* --- what must hold for every pattern --- */

static bool attributes(finder *f)
{
    const zx_match *m = f->m;
    for (int j = 0; j < m->form->n_nodes; j++) {
        if (m->form->node[j].keep) continue;
        const zx_node *n = &m->plan->node[m->node[j]];
        for (int k = 0; k < ZX_ATTR_FIELDS; k++) {
            uint32_t word;
            memcpy(&word, (const char *)&n->attr + attr_field[k].offset, sizeof word);
            if (word && !(m->form->node[j].attrs >> k & 1))
                return no(f, "%s has the attribute %s, which the fused kernel does not know", n->op->name,
                          attr_field[k].name);
        }
    }
    return true;
}

static bool replaced(const zx_match *m, int node)
{
    for (int j = 0; j < m->form->n_nodes; j++)
        if (m->node[j] == node && !m->form->node[j].keep) return true;
    return false;
}

static bool is_result(const zx_match *m, zx_val v)
{
    for (int r = 0; r < m->form->n_results; r++)
        if (zx_match_value(m, m->form->result[r]) == v) return true;
    return false;
}

/* No reader outside the match but of the results.  *first is the first of those readers. */
static bool readers(finder *f, int *first)
{
    const zx_match *m = f->m;
    const zx_plan *p = m->plan;
    *first = p->n_nodes;
    for (int i = 0; i < p->n_nodes; i++) {
        const zx_node *n = &p->node[i];
        if (!n->op || replaced(m, i)) continue;
        for (int k = 0; k < n->n_in; k++) {
            const zx_value *v = &p->value[n->in[k]];
            if (v->kind != ZX_VAL_NODE || !replaced(m, v->node)) continue;
            if (!is_result(m, n->in[k]))
                return no(f, "the result of %s is used elsewhere: by %s", p->node[v->node].op->name, n->op->name);
            *first = ZX_MIN(*first, i);
        }
    }
    if (p->logits >= 0) {
        const zx_value *v = &p->value[p->logits];
        if (v->kind == ZX_VAL_NODE && replaced(m, v->node) && !is_result(m, p->logits))
            return no(f, "the result of %s is used elsewhere: as the logits", p->node[v->node].op->name);
    }
    return true;
}

/* The replacement takes the place of the first replaced op before which all its operands exist; every reader of its
 * results must come later.  No other op moves, so neither does anything that touches a cache. */
static bool order(finder *f, const zx_node *fused, int first_reader, int *at)
{
    const zx_match *m = f->m;
    const zx_plan *p = m->plan;
    int ready = -1;
    for (int k = 0; k < fused->n_in; k++) {
        const zx_value *v = &p->value[fused->in[k]];
        if (v->kind == ZX_VAL_STATE) return no(f, "it would read a cache");
        if (v->kind != ZX_VAL_NODE) continue;
        if (replaced(m, v->node)) return no(f, "an operand is computed inside the place");
        ready = ZX_MAX(ready, v->node);
    }
    *at = p->n_nodes;
    for (int j = 0; j < m->form->n_nodes; j++)
        if (!m->form->node[j].keep && m->node[j] > ready) *at = ZX_MIN(*at, m->node[j]);
    if (*at < first_reader) return true;
    return no(f, "%s reads a result before all operands exist",
              first_reader < p->n_nodes ? p->node[first_reader].op->name : "?");
}

static bool same_types(finder *f, const zx_node *fused)
{
    const zx_plan *p = f->m->plan;
    zx_type in[ZX_MAX_IN], out[ZX_MAX_OUT];
    for (int k = 0; k < fused->n_in; k++)
        in[k] = p->value[fused->in[k]].type;
    zmlx_err err = {0};
    if (fused->op->infer(in, &fused->attr, out, &err) != ZMLX_OK) return no(f, "%s", err.msg);
    for (int r = 0; r < fused->n_out; r++) {
        char a[96], b[96];
        const zx_type *have = &p->value[fused->out[r]].type;
        if (!zx_type_equal(have, &out[r]))
            return no(f, "%s gives %s, the plan has %s", fused->op->name, zx_type_text(&out[r], a, sizeof a),
                      zx_type_text(have, b, sizeof b));
    }
    return true;
}

static bool make_fused(finder *f, const zx_pattern *pat, zx_node *out)
{
    const zx_match *m = f->m;
    *out = (zx_node){.op = zx_kernel_find(pat->with), .n_out = m->form->n_results, .pattern = pat->name};
    if (!out->op) return no(f, "there is no kernel %s", pat->with);
    for (int k = 0; k < ZX_MAX_IN && pat->with_in[k]; k++)
        out->in[out->n_in++] = zx_match_value(m, pat->with_in[k]);
    for (int r = 0; r < out->n_out; r++)
        out->out[r] = zx_match_value(m, m->form->result[r]);
    if (out->op->n_in != out->n_in || out->op->n_out != out->n_out || out->op->n_state)
        return no(f, "the kernel %s takes %d operands and gives %d results", pat->with, out->op->n_in, out->op->n_out);
    if (pat->attr) pat->attr(m, &out->attr);
    return true;
}

static bool allowed(finder *f, const zx_pattern *pat, const char *family)
{
    for (const zx_pat_except *e = pat->except; family && e && e->family; e++)
        if (!strcmp(e->family, family)) return no(f, "off for %s: %s", family, e->reason);
    return true;
}

zx_found zx_match_at(zx_match *m, const zx_plan *plan, const zx_pattern *pat, const zx_pat_form *form, int root,
                     const char *family, int *at, zx_node *node, char *why, size_t n_why)
{
    *m = (zx_match){.plan = plan, .form = form};
    for (int j = 0; j < ZX_PAT_MAX_NODES; j++)
        m->node[j] = -1;
    for (int j = 0; j < ZX_PAT_MAX_CAPS; j++)
        m->cap[j] = -1;
    finder f = {.m = m, .why = why, .n_why = n_why};
    /* One op alone is nothing: every norm would be a place that lacks its addition. */
    if (!structure(&f, root)) return f.bound >= 2 ? ZX_FOUND_REFUSED : ZX_FOUND_NOTHING;
    if (pat->accept) {
        char text[256] = "";
        const char *reason = pat->accept(m, text, sizeof text);
        if (reason && !*reason) return ZX_FOUND_NOTHING;
        if (reason) {
            no(&f, "%s", reason);
            return ZX_FOUND_REFUSED;
        }
    }
    int first_reader;
    bool ok = allowed(&f, pat, family) && attributes(&f) && readers(&f, &first_reader) && make_fused(&f, pat, node) &&
              order(&f, node, first_reader, at) && same_types(&f, node);
    if (!ok) return ZX_FOUND_REFUSED;
    node->layer = plan->node[*at].layer;
    return ZX_FOUND_PLACE;
}
