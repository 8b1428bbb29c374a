/* SPDX-License-Identifier: MIT */
#include "patch/patch.h"

#include <stdio.h>

/* The norm must see the rounded sum, so sum, weight and result have to share one type; and it must run over the whole
 * row: a norm per head has a shorter weight. */
static const char *accept(const zx_match *m, char *buf, size_t n)
{
    static const int8_t values[] = {ZX_CAP(0), ZX_CAP(1), ZX_CAP(2), ZX_RES(0, 0), ZX_RES(1, 0)};
    int64_t row = zx_type_row(zx_match_type(m, ZX_RES(0, 0))), weight = zx_type_last(zx_match_type(m, ZX_CAP(2)));
    if (row != weight) {
        snprintf(buf, n, "the norm runs over parts of %lld of a row of %lld", (long long)weight, (long long)row);
        return buf;
    }
    return zx_match_one_dtype(m, buf, n, values, ZX_COUNT(values));
}

static void attr(const zx_match *m, zx_attr *out) { out->eps = zx_match_attr(m, 1)->eps; }

/* The sum goes on along the residual stream, so it is a result and may have any readers. */
const zx_pattern zx_pattern_residual_norm = {
    .name = "residual_norm",
    .doc = "residual addition and the RMS norm that follows it",
    .fidelity = ZMLX_BIT_EXACT,
    .max_tokens = 8,
    .form = {{.n_nodes = 2,
              .node = {{.op = "add", .in = {ZX_CAP(0), ZX_CAP(1)}},
                       {.op = "rms_norm", .in = {ZX_RES(0, 0), ZX_CAP(2)}, .attrs = ZX_ATTR_EPS}},
              .n_results = 2,
              .result = {ZX_RES(0, 0), ZX_RES(1, 0)}}},
    .accept = accept,
    .with = "residual_norm",
    .with_in = {ZX_CAP(0), ZX_CAP(1), ZX_CAP(2)},
    .attr = attr,
};
