/* SPDX-License-Identifier: MIT */
#include "patch/patch.h"

/* Both projections round to the type of x, then SwiGLU rounds in it. */
static const char *accept(const zx_match *m, char *buf, size_t n)
{
    static const int8_t values[] = {ZX_CAP(0), ZX_RES(0, 0), ZX_RES(1, 0), ZX_RES(2, 0)};
    return zx_match_one_dtype(m, buf, n, values, ZX_COUNT(values));
}

static void attr(const zx_match *m, zx_attr *out)
{
    (void)m;
    out->activation = ZX_ACT_SILU; /* by the name of the op: a GELU block has another op and never matches */
}

const zx_pattern zx_pattern_swiglu_mlp = {
    .name = "swiglu_mlp",
    .doc = "dense MLP: gate and up projections and SwiGLU in one pass over the weights",
    .fidelity = ZMLX_BIT_EXACT,
    .max_tokens = 8,
    .form = {{.n_nodes = 3,
              .node = {{.op = "qmm", .in = {ZX_CAP(0), ZX_CAP(1)}},
                       {.op = "qmm", .in = {ZX_CAP(0), ZX_CAP(2)}},
                       {.op = "swiglu", .in = {ZX_RES(0, 0), ZX_RES(1, 0)}}},
              .n_results = 1,
              .result = {ZX_RES(2, 0)}}},
    .accept = accept,
    .with = "swiglu_mlp",
    .with_in = {ZX_CAP(0), ZX_CAP(1), ZX_CAP(2)},
    .attr = attr,
};
