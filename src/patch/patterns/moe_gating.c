/* SPDX-License-Identifier: MIT */
#include "patch/patch.h"

#include <string.h>

/* Scores that are summed or divided belong to the longer form or, if that refused, to nobody. */
static bool renormalised(const zx_match *m)
{
    const zx_plan *p = m->plan;
    zx_val scores = zx_match_value(m, ZX_RES(2, 0));
    for (int i = 0; i < p->n_nodes; i++)
        for (int k = 0; p->node[i].op && k < p->node[i].n_in; k++)
            if (p->node[i].in[k] == scores &&
                (!strcmp(p->node[i].op->name, "sum_last") || !strcmp(p->node[i].op->name, "div")))
                return true;
    return false;
}

/* Softmax, sum and division each round to the type of the logits; the kernel does so only where there is one type
 * throughout. */
static const char *accept(const zx_match *m, char *buf, size_t n)
{
    static const int8_t values[] = {ZX_CAP(0), ZX_RES(0, 0), ZX_RES(2, 0), ZX_RES(3, 0), ZX_RES(4, 0)};
    bool long_form = m->form->n_nodes == 5;
    if (!long_form && renormalised(m)) return "";
    return zx_match_one_dtype(m, buf, n, values, long_form ? 5 : 3);
}

static void attr(const zx_match *m, zx_attr *out)
{
    out->k = zx_match_attr(m, 1)->k;
    out->renorm = m->form->n_nodes == 5;
    out->score = ZX_SCORE_SOFTMAX;
}

const zx_pattern zx_pattern_moe_gating = {
    .name = "moe_gating",
    .doc = "router: softmax, the k most probable experts and, where the model has it, division by their sum",
    .fidelity = ZMLX_BIT_EXACT,
    .max_tokens = 8,
    .form = {{.n_nodes = 5,
              .node = {{.op = "softmax", .in = {ZX_CAP(0)}},
                       {.op = "argpartition", .in = {ZX_RES(0, 0)}, .attrs = ZX_ATTR_K},
                       {.op = "take", .in = {ZX_RES(0, 0), ZX_RES(1, 0)}},
                       {.op = "sum_last", .in = {ZX_RES(2, 0)}},
                       {.op = "div", .in = {ZX_RES(2, 0), ZX_RES(3, 0)}}},
              .n_results = 2,
              .result = {ZX_RES(4, 0), ZX_RES(1, 0)}},
             {.n_nodes = 3,
              .node = {{.op = "softmax", .in = {ZX_CAP(0)}},
                       {.op = "argpartition", .in = {ZX_RES(0, 0)}, .attrs = ZX_ATTR_K},
                       {.op = "take", .in = {ZX_RES(0, 0), ZX_RES(1, 0)}}},
              .n_results = 2,
              .result = {ZX_RES(2, 0), ZX_RES(1, 0)}}},
    .accept = accept,
    .with = "moe_gating",
    .with_in = {ZX_CAP(0)},
    .attr = attr,
};
