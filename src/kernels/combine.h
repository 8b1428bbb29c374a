/* SPDX-License-Identifier: MIT */
/* The sum over a token's experts, weighted or not: shared by sum_experts and the kernels that contain it. */
#ifndef ZX_KERNELS_COMBINE_H
#define ZX_KERNELS_COMBINE_H

#include "kernels/rows.h"

/* out[at_out + i] = T(sum over j < k of y[at + j n + i]), float32, j ascending; with scores s[at_s + j] each term is
 * first rounded to the type of the product, which is what mul_scores stores. */
ZX_INLINE void zx_sum_experts_any(void *out, int64_t at_out, const void *y, int64_t at, const zx_operand *s,
                                  int64_t at_s, int64_t k, int64_t n, zmlx_dtype t_out, zmlx_dtype t)
{
    for (int64_t i = 0; i < n; i += 16) {
        v16 sum = v16_zero();
        for (int64_t j = 0; j < k; j++) {
            v16 term = v16_load_any(y, t, at + j * n + i, n - i);
            if (s) term = v16_round_to(v16_mul(term, v16_set(zx_load1(s->data, s->type.dtype, at_s + j))), t_out);
            sum = j ? v16_add(sum, term) : term;
        }
        v16_store_any(out, t_out, at_out + i, sum, n - i);
    }
}

ZX_INLINE void zx_sum_experts_same(void *out, int64_t at_out, const void *y, int64_t at, const zx_operand *s,
                                   int64_t at_s, int64_t k, int64_t n, zmlx_dtype t)
{
    zx_sum_experts_any(out, at_out, y, at, s, at_s, k, n, t, t);
}

/* Token `token` of y [tokens, k, n] and, unless NULL, s [tokens, k]. */
ZX_INLINE void zx_sum_experts_row(const zx_operand *out, const zx_operand *y, const zx_operand *s, int64_t token)
{
    int64_t k = y->type.dim[1], n = y->type.dim[2];
    zmlx_dtype t = y->type.dtype, t_out = out->type.dtype;
    if (t == t_out)
        ZX_BY_TYPE(t, zx_sum_experts_same, out->data, token * n, y->data, token * k * n, s, token * k, k, n);
    else
        zx_sum_experts_any(out->data, token * n, y->data, token * k * n, s, token * k, k, n, t_out, t);
}

#if ZX_LEVEL == 0
static inline zmlx_status zx_need_experts(const zx_type *y, zmlx_err *err)
{
    char text[96];
    ZX_TRY(zx_need_floats(y, "y", 3, err));
    ZX_REQUIRE(y->rank == 3 && y->dim[1] > 0, "y: %s, expected [tokens, k, n]", zx_type_text(y, text, sizeof text));
    return ZMLX_OK;
}

static inline zmlx_status zx_need_scores(const zx_type *s, const zx_type *y, zmlx_err *err)
{
    char text[96];
    ZX_TRY(zx_need_floats(s, "scores", 2, err));
    ZX_REQUIRE(s->rank == 2 && s->dim[0] == y->dim[0] && s->dim[1] == y->dim[1], "scores: %s, expected [tokens, %lld]",
               zx_type_text(s, text, sizeof text), (long long)y->dim[1]);
    return ZMLX_OK;
}
#endif

#endif
