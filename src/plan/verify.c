/* SPDX-License-Identifier: MIT */
/* The checks that every plan passes once, whoever made it: family or patch. */
#include "plan/plan.h"

#include "base/alloc.h"

#include <string.h>

static zmlx_status bad(zmlx_err *err, const zx_plan *p, int i, const char *what, long long got, long long want)
{
    const zx_node *n = &p->node[i];
    return zx_fail(err, ZMLX_E_FORMAT, -1, "%s plan, node %d (%s, layer %d): %s %lld, expected %lld", p->what, i,
                   n->op ? n->op->name : "no op", n->layer, what, got, want);
}

static zmlx_status check_indices(const zx_plan *p, int i, zmlx_err *err)
{
    const zx_node *n = &p->node[i];
    if (!n->op) return bad(err, p, i, "kernels", 0, 1);
    if (n->n_in != n->op->n_in || n->n_in > ZX_MAX_IN) return bad(err, p, i, "inputs", n->n_in, n->op->n_in);
    if (n->n_out != n->op->n_out || n->n_out > ZX_MAX_OUT) return bad(err, p, i, "outputs", n->n_out, n->op->n_out);
    for (int j = 0; j < n->n_in; j++) {
        zx_val v = n->in[j];
        if (v < 0 || v >= p->n_values) return bad(err, p, i, "input value", v, p->n_values);
        const zx_value *val = &p->value[v];
        if (val->kind == ZX_VAL_NODE && val->node >= i)
            return bad(err, p, i, "input computed by node", val->node, i - 1);
        bool state = val->kind == ZX_VAL_STATE;
        if (j < n->op->n_state && !state) return bad(err, p, i, "state operand is value", v, j);
    }
    for (int j = 0; j < n->n_out; j++) {
        zx_val v = n->out[j];
        if (v < 0 || v >= p->n_values) return bad(err, p, i, "output value", v, p->n_values);
        const zx_value *val = &p->value[v];
        if (val->kind != ZX_VAL_NODE || val->node != i || val->slot != j)
            return bad(err, p, i, "output belongs to node", val->node, i);
    }
    return ZMLX_OK;
}

static zmlx_status check_types(const zx_plan *p, int i, zmlx_err *err)
{
    const zx_node *n = &p->node[i];
    zx_type in[ZX_MAX_IN], out[ZX_MAX_OUT];
    for (int j = 0; j < n->n_in; j++)
        in[j] = p->value[n->in[j]].type;
    zmlx_err why = {0};
    if (n->op->infer(in, &n->attr, out, &why) != ZMLX_OK)
        return zx_fail(err, why.code, -1, "%s plan, node %d (%s, layer %d): %s", p->what, i, n->op->name, n->layer,
                       why.msg);
    for (int j = 0; j < n->n_out; j++) {
        char a[96], b[96];
        const zx_type *have = &p->value[n->out[j]].type;
        if (!zx_type_equal(have, &out[j]))
            return zx_fail(err, ZMLX_E_FORMAT, -1, "%s plan, node %d (%s, layer %d): output %d is %s, expected %s",
                           p->what, i, n->op->name, n->layer, j, zx_type_text(have, a, sizeof a),
                           zx_type_text(&out[j], b, sizeof b));
    }
    return ZMLX_OK;
}

/* A state read by a node must have been written earlier in the same step: every step appends before it attends. */
static zmlx_status check_states(const zx_plan *p, zmlx_err *err)
{
    bool *written = zx_calloc((size_t)p->n_values + 1, sizeof *written);
    if (!written) return zx_fail(err, ZMLX_E_NOMEM, -1, "plan verifier");
    zmlx_status s = ZMLX_OK;
    for (int i = 0; s == ZMLX_OK && i < p->n_nodes; i++) {
        const zx_node *n = &p->node[i];
        for (int j = 0; s == ZMLX_OK && j < n->n_in; j++) {
            if (p->value[n->in[j]].kind != ZX_VAL_STATE) continue;
            if (j < n->op->n_state)
                written[n->in[j]] = true;
            else if (!written[n->in[j]])
                s = bad(err, p, i, "reads a cache before it is written: value", n->in[j], -1);
        }
    }
    zx_free(written);
    return s;
}

zmlx_status zx_plan_verify(const zx_plan *p, zmlx_err *err)
{
    if (p->tokens < 0 || p->tokens >= p->n_values || p->value[p->tokens].kind != ZX_VAL_INPUT)
        return zx_fail(err, ZMLX_E_FORMAT, -1, "%s plan: no token input", p->what);
    for (int i = 0; i < p->n_values; i++) {
        const zx_value *v = &p->value[i];
        if (v->type.rank < 1 || v->type.rank > ZX_MAX_RANK)
            return zx_fail(err, ZMLX_E_FORMAT, -1, "%s plan, value %d: rank %d, expected 1 to %d", p->what, i,
                           v->type.rank, ZX_MAX_RANK);
        if (v->kind == ZX_VAL_WEIGHT && !v->weight)
            return zx_fail(err, ZMLX_E_FORMAT, -1, "%s plan, value %d: weight without data", p->what, i);
    }
    for (int i = 0; i < p->n_nodes; i++) {
        ZX_TRY(check_indices(p, i, err));
        ZX_TRY(check_types(p, i, err));
    }
    if (p->logits >= 0) {
        if (p->logits >= p->n_values || p->value[p->logits].kind != ZX_VAL_NODE || p->value[p->logits].type.rank != 2)
            return zx_fail(err, ZMLX_E_FORMAT, -1, "%s plan: logits are not a computed matrix", p->what);
    }
    return check_states(p, err);
}
