/* SPDX-License-Identifier: MIT */
#include "patch/patch.h"

static const char *accept(const zx_match *m, char *buf, size_t n)
{
    static const int8_t values[] = {ZX_CAP(0), ZX_RES(0, 0), ZX_RES(1, 0), ZX_RES(2, 0)};
    return zx_match_one_dtype(m, buf, n, values, ZX_COUNT(values));
}

/* The append of the values anchors the search: three projections of one input alone could as well be a router and an
 * MLP. Any three give the same bits in one kernel as in three, so which is the query does not matter. */
const zx_pattern zx_pattern_qkv_proj = {
    .name = "qkv_proj",
    .doc = "query, key and value projections of one input",
    .fidelity = ZMLX_BIT_EXACT,
    .max_tokens = 8,
    .form = {{.n_nodes = 4,
              .node = {{.op = "qmm", .in = {ZX_CAP(0), ZX_CAP(1)}},
                       {.op = "qmm", .in = {ZX_CAP(0), ZX_CAP(2)}},
                       {.op = "qmm", .in = {ZX_CAP(0), ZX_CAP(3)}},
                       {.op = "kv_append", .in = {ZX_CAP(4), ZX_RES(2, 0)}, .keep = true}},
              .n_results = 3,
              .result = {ZX_RES(0, 0), ZX_RES(1, 0), ZX_RES(2, 0)}}},
    .accept = accept,
    .with = "qkv_proj",
    .with_in = {ZX_CAP(0), ZX_CAP(1), ZX_CAP(2), ZX_CAP(3)},
};
