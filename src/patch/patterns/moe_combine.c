/* SPDX-License-Identifier: MIT */
#include "patch/patch.h"

/* With one type the product and every partial sum round to it; scores of a wider type would move both roundings. */
static const char *accept(const zx_match *m, char *buf, size_t n)
{
    static const int8_t values[] = {ZX_CAP(0), ZX_CAP(1), ZX_RES(0, 0), ZX_RES(1, 0)};
    return zx_match_one_dtype(m, buf, n, values, ZX_COUNT(values));
}

const zx_pattern zx_pattern_moe_combine = {
    .name = "moe_combine",
    .doc = "sum of the experts' outputs, each times its score",
    .fidelity = ZMLX_BIT_EXACT,
    .max_tokens = 8,
    .form = {{.n_nodes = 2,
              .node = {{.op = "mul_scores", .in = {ZX_CAP(0), ZX_CAP(1)}}, {.op = "sum_experts", .in = {ZX_RES(0, 0)}}},
              .n_results = 1,
              .result = {ZX_RES(1, 0)}}},
    .accept = accept,
    .with = "moe_combine",
    .with_in = {ZX_CAP(0), ZX_CAP(1)},
};
