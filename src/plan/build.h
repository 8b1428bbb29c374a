/* SPDX-License-Identifier: MIT */
/* What a family file calls to write its plan.  The builder keeps the first error and later calls are no-ops,
 * so that the mathematics reads straight down; zx_build_finish reports it. */
#ifndef ZX_PLAN_BUILD_H
#define ZX_PLAN_BUILD_H

#include "plan/plan.h"

typedef struct zx_builder {
    zx_plan *plan;
    const zx_config *config;
    const zx_shards *shards;
    int layer; /* set by the family around each layer; -1 outside */
    zmlx_status status;
    zmlx_err err;
} zx_builder;

void zx_build_init(zx_builder *b, zx_plan *p, const zx_config *c, const zx_shards *s);
zmlx_status zx_build_finish(zx_builder *b, zx_val logits, zmlx_err *err); /* verify and layout; logits may be -1 */

/* Any op by its kernel's name: inputs are n values, output types come from the kernel.  Returns the first output; the
 * k-th is zx_build_out(b, first, k). */
zx_val zx_build_op(zx_builder *b, const char *kernel, const zx_attr *attr, int n, const zx_val *in);
zx_val zx_build_out(zx_builder *b, zx_val first, int k);

/* Weights, by printf-style names.  Module: a possibly quantized linear, embedding or expert stack (name without
 * ".weight"); plain: a norm's vector (full name). */
zx_val zx_build_module(zx_builder *b, int rank, const int64_t *dim, const char *fmt, ...) ZMLX_PRINTF(4, 5);
zx_val zx_build_plain(zx_builder *b, int rank, const int64_t *dim, const char *fmt, ...) ZMLX_PRINTF(4, 5);
/* Caches of the current layer: keys and values [heads, ctx, dim] of the activation type. */
zx_val zx_build_state(zx_builder *b, const char *role, const zx_type *type);

/* The primitives; each is one MLX primitive.  x is [tokens, n] unless said otherwise. */
zx_val zx_embedding(zx_builder *b, zx_val table);                 /* [vocab, n] -> [tokens, n] */
zx_val zx_rms_norm(zx_builder *b, zx_val x, zx_val w, float eps); /* over rows of w's length (per head when shorter) */
zx_val zx_qmm(zx_builder *b, zx_val x, zx_val w);                 /* x w^T: plain or quantized w [out, in] */
zx_val zx_add(zx_builder *b, zx_val x, zx_val y);
zx_val zx_rope(zx_builder *b, zx_val x, int head_dim, int dims, float theta);
void zx_kv_append(zx_builder *b, zx_val cache, zx_val x);
zx_val zx_sdpa(zx_builder *b, zx_val q, zx_val keys, zx_val values, float scale);
zx_val zx_swiglu(zx_builder *b, zx_val gate, zx_val up);
zx_val zx_softmax(zx_builder *b, zx_val x);
zx_val zx_argpartition(zx_builder *b, zx_val x, int k); /* int32 [tokens, k], ascending by value */
zx_val zx_take(zx_builder *b, zx_val x, zx_val idx);    /* x[t, idx[t, j]] */
zx_val zx_sum_last(zx_builder *b, zx_val x);            /* [tokens, k] -> [tokens, 1] */
zx_val zx_div(zx_builder *b, zx_val x, zx_val y);       /* y broadcasts over the last dimension */
zx_val zx_gather_qmm(zx_builder *b, zx_val x, zx_val w,
                     zx_val idx); /* w [experts, out, in]; x [tokens, in] or [tokens, k, in] -> [tokens, k, out] */
zx_val zx_mul_scores(zx_builder *b, zx_val y, zx_val s); /* y[t,k,:] * s[t,k] */
zx_val zx_sum_experts(zx_builder *b, zx_val y);          /* [tokens, k, n] -> [tokens, n] */

#endif
