/* SPDX-License-Identifier: MIT */
/* Rewrites a copy of a plan, one place at a time, and has the result verified and laid out like any other plan.
 * Patterns come in the order of their names, a pattern's forms in the order of its file, places in the order of the
 * plan; an op belongs to the first match that takes it. */
#include "patch/patch.h"

#include "base/alloc.h"
#include "base/buf.h"

#include <stdio.h>
#include <string.h>

typedef struct rewrite {
    zx_plan *plan; /* replaced nodes have a NULL op until compact() */
    const char *family;
    bool *told; /* nodes that belong to a place already reported as skipped for the current pattern */
    zmlx_explain_fn *fn;
    void *user;
} rewrite;

/* "softmax, argpartition, take -> moe_gating" */
static void describe(const zx_match *m, const zx_pattern *pat, char *buf, size_t n)
{
    size_t at = 0;
    for (int j = 0; j < m->form->n_nodes; j++) {
        if (m->form->node[j].keep) continue;
        int w = snprintf(buf + at, n - at, "%s%s", at ? ", " : "", m->form->node[j].op);
        if (w > 0) at = ZX_MIN(at + (size_t)w, n - 1);
    }
    snprintf(buf + at, n - at, " -> %s", pat->with);
}

static int first_node(const zx_match *m)
{
    int first = m->plan->n_nodes;
    for (int j = 0; j < m->form->n_nodes; j++)
        if (m->node[j] >= 0) first = ZX_MIN(first, m->node[j]);
    return first;
}

static void replace(zx_plan *p, const zx_match *m, int at, const zx_node *fused)
{
    for (int j = 0; j < m->form->n_nodes; j++)
        if (!m->form->node[j].keep) p->node[m->node[j]] = (zx_node){.layer = -1};
    p->node[at] = *fused;
    for (int r = 0; r < fused->n_out; r++) {
        p->value[fused->out[r]].node = at;
        p->value[fused->out[r]].slot = r;
    }
}

/* True when this refusal is news: two forms may stumble over the same place. */
static bool tell(rewrite *rw, const zx_match *m)
{
    bool news = true;
    for (int j = 0; j < m->form->n_nodes; j++)
        if (m->node[j] >= 0 && rw->told[m->node[j]]) news = false;
    for (int j = 0; j < m->form->n_nodes; j++)
        if (m->node[j] >= 0) rw->told[m->node[j]] = true;
    return news;
}

static void apply_pattern(rewrite *rw, const zx_pattern *pat, int *matched, int *skipped)
{
    memset(rw->told, 0, ((size_t)rw->plan->n_nodes + 1) * sizeof *rw->told);
    for (int k = 0; k < ZX_PAT_MAX_FORMS && pat->form[k].n_nodes; k++) {
        for (int root = 0; root < rw->plan->n_nodes; root++) {
            zx_match m;
            zx_node fused;
            int at = -1;
            char what[320] = "", where[32];
            zx_found found =
                zx_match_at(&m, rw->plan, pat, &pat->form[k], root, rw->family, &at, &fused, what, sizeof what);
            if (found == ZX_FOUND_NOTHING || (found == ZX_FOUND_REFUSED && !tell(rw, &m))) continue;
            zx_patch_where(rw->plan->node[first_node(&m)].layer, where, sizeof where);
            if (found == ZX_FOUND_PLACE) {
                describe(&m, pat, what, sizeof what);
                replace(rw->plan, &m, at, &fused);
                ++*matched;
            } else {
                ++*skipped;
            }
            if (rw->fn) rw->fn(rw->user, found == ZX_FOUND_PLACE ? "match" : "skip", where, pat->name, what);
        }
    }
}

/* Squeeze out replaced nodes and the values that nobody computes any more. */
static zmlx_status compact(zx_plan *p, zmlx_err *err)
{
    int *node_to = zx_calloc((size_t)p->n_nodes + 1, sizeof *node_to);
    zx_val *value_to = zx_calloc((size_t)p->n_values + 1, sizeof *value_to);
    if (!node_to || !value_to) {
        zx_free(node_to);
        zx_free(value_to);
        return zx_fail(err, ZMLX_E_NOMEM, -1, "patched plan");
    }
    int n_nodes = 0, n_values = 0;
    for (int i = 0; i < p->n_nodes; i++) {
        node_to[i] = n_nodes;
        if (p->node[i].op)
            p->node[n_nodes++] = p->node[i];
        else
            node_to[i] = -1;
    }
    for (zx_val v = 0; v < p->n_values; v++) {
        zx_value val = p->value[v];
        value_to[v] = -1;
        if (val.kind == ZX_VAL_NODE) {
            val.node = node_to[val.node];
            if (val.node < 0 || val.slot >= p->node[val.node].n_out || p->node[val.node].out[val.slot] != v) continue;
        }
        value_to[v] = n_values;
        p->value[n_values++] = val;
    }
    p->n_nodes = n_nodes;
    p->n_values = n_values;
    for (int i = 0; i < n_nodes; i++) {
        zx_node *n = &p->node[i];
        for (int k = 0; k < n->n_in; k++)
            n->in[k] = value_to[n->in[k]];
        for (int k = 0; k < n->n_out; k++)
            n->out[k] = value_to[n->out[k]];
    }
    p->tokens = value_to[p->tokens];
    if (p->logits >= 0) p->logits = value_to[p->logits];
    zx_free(node_to);
    zx_free(value_to);
    return ZMLX_OK;
}

/* --- what an op looks like in words --- */

static void put_value(zx_buf *b, const zx_plan *p, zx_val v)
{
    const zx_value *val = &p->value[v];
    if (val->kind != ZX_VAL_NODE)
        zx_buf_puts(b, val->name ? val->name : "?");
    else if (val->slot)
        zx_buf_printf(b, "%%%d.%d", val->node, val->slot);
    else
        zx_buf_printf(b, "%%%d", val->node);
}

static void put_attributes(zx_buf *b, const zx_attr *a)
{
    if (a->eps != 0) zx_buf_printf(b, ", eps %g", (double)a->eps);
    if (a->scale != 0) zx_buf_printf(b, ", scale %g", (double)a->scale);
    if (a->theta != 0) zx_buf_printf(b, ", theta %g", (double)a->theta);
    if (a->dims) zx_buf_printf(b, ", dims %d", a->dims);
    if (a->heads) zx_buf_printf(b, ", heads %d", a->heads);
    if (a->k) zx_buf_printf(b, ", k %d", a->k);
    if (a->renorm) zx_buf_puts(b, ", renormalised");
    if (a->activation == ZX_ACT_SILU) zx_buf_puts(b, ", silu");
    if (a->activation == ZX_ACT_GELU_TANH) zx_buf_puts(b, ", gelu_tanh");
    if (a->score == ZX_SCORE_SOFTMAX) zx_buf_puts(b, ", softmax");
    if (a->score == ZX_SCORE_SIGMOID) zx_buf_puts(b, ", sigmoid");
}

static zmlx_status explain_ops(const zx_plan *p, zmlx_explain_fn *fn, void *user, zmlx_err *err)
{
    zx_buf b = {0};
    for (int i = 0; i < p->n_nodes; i++) {
        const zx_node *n = &p->node[i];
        char where[32], type[96];
        zx_buf_reset(&b);
        zx_buf_printf(&b, "%%%d = %s(", i, n->op->name);
        for (int k = 0; k < n->n_in; k++) {
            if (k) zx_buf_puts(&b, ", ");
            put_value(&b, p, n->in[k]);
        }
        put_attributes(&b, &n->attr);
        zx_buf_puts(&b, ")");
        for (int k = 0; k < n->n_out; k++)
            zx_buf_printf(&b, "%s%s", k ? ", " : " -> ", zx_type_text(&p->value[n->out[k]].type, type, sizeof type));
        if (b.failed) {
            zx_buf_clear(&b);
            return zx_fail(err, ZMLX_E_NOMEM, -1, "text of an op");
        }
        fn(user, "op", zx_patch_where(n->layer, where, sizeof where), n->op->name, b.data);
    }
    zx_buf_clear(&b);
    return ZMLX_OK;
}

zmlx_status zx_patch_apply(zx_plan **out, const zx_plan *stock, const char *family, const zx_pattern *const *sel, int n,
                           zmlx_patch_result *result, zmlx_explain_fn *fn, void *user, zmlx_err *err)
{
    *out = NULL;
    zmlx_patch_result local;
    if (!result) result = &local;
    *result = (zmlx_patch_result){.ops_before = stock->n_nodes, .ops_after = stock->n_nodes};
    if (n > ZMLX_PATCH_MAX_PATTERNS)
        return zx_fail(err, ZMLX_E_LIMIT, -1, "%d patterns, at most %d", n, ZMLX_PATCH_MAX_PATTERNS);
    rewrite rw = {.plan = zx_plan_clone(stock), .family = family, .fn = fn, .user = user};
    rw.told = zx_calloc((size_t)stock->n_nodes + 1, sizeof *rw.told);
    zmlx_status s = rw.plan && rw.told ? ZMLX_OK : zx_fail(err, ZMLX_E_NOMEM, -1, "patched plan");
    for (int i = 0; s == ZMLX_OK && i < n; i++) {
        result->pattern[i].name = sel[i]->name;
        apply_pattern(&rw, sel[i], &result->pattern[i].matched, &result->pattern[i].skipped);
        if (result->pattern[i].matched) rw.plan->max_tokens = ZX_MIN(rw.plan->max_tokens, sel[i]->max_tokens);
        result->n = i + 1;
    }
    zx_free(rw.told);
    if (s == ZMLX_OK) s = compact(rw.plan, err);
    if (s == ZMLX_OK) s = zx_plan_verify(rw.plan, err);
    if (s == ZMLX_OK) s = zx_plan_layout(rw.plan, err);
    if (s == ZMLX_OK) result->ops_after = rw.plan->n_nodes;
    if (s == ZMLX_OK && fn) s = explain_ops(rw.plan, fn, user, err);
    if (s != ZMLX_OK) {
        zx_plan_destroy(rw.plan);
        return s;
    }
    *out = rw.plan;
    return ZMLX_OK;
}
