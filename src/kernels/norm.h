/* SPDX-License-Identifier: MIT */
/* Root-mean-square norm of a row, shared by rms_norm and the kernels that contain it. */
#ifndef ZX_KERNELS_NORM_H
#define ZX_KERNELS_NORM_H

#include "kernels/rows.h"

/* Elements [at, at + n) of x and out, all of w: out = w * T(x * r), r = 1 / sqrt(mean of squares + eps).  Lane l sums
 * the squares of elements l, l + 16, ...; x * r is rounded to x's type before the weight joins, as MLX does. */
ZX_INLINE void zx_rms_norm_span(void *out, const void *x, int64_t at, const void *w, int64_t n, float eps,
                                zmlx_dtype t_out, zmlx_dtype t_w, zmlx_dtype t)
{
    v16 ss = v16_zero();
    for (int64_t i = 0; i < n; i += 16) {
        v16 a = v16_load_any(x, t, at + i, n - i);
        ss = v16_fma(a, a, ss);
    }
    v16 r = v16_set(1.0f / sqrtf(v16_sum(ss) / (float)n + eps));
    for (int64_t i = 0; i < n; i += 16) {
        v16 a = v16_round_to(v16_mul(v16_load_any(x, t, at + i, n - i), r), t);
        v16_store_any(out, t_out, at + i, v16_mul(v16_load_any(w, t_w, i, n - i), a), n - i);
    }
}

ZX_INLINE void zx_rms_norm_same(void *out, const void *x, int64_t at, const void *w, int64_t n, float eps, zmlx_dtype t)
{
    zx_rms_norm_span(out, x, at, w, n, eps, t, t, t);
}

/* Types t of x, t_w of w; the output has their promotion. */
ZX_INLINE void zx_rms_norm_row(void *out, const void *x, zmlx_dtype t, int64_t at, const void *w, zmlx_dtype t_w,
                               int64_t n, float eps)
{
    if (t == t_w)
        ZX_BY_TYPE(t, zx_rms_norm_same, out, x, at, w, n, eps);
    else
        zx_rms_norm_span(out, x, at, w, n, eps, zx_promote(t, t_w), t_w, t);
}

#if ZX_LEVEL == 0
/* x holds rows of w's length. */
static inline zmlx_status zx_rms_norm_infer(const zx_type *x, const zx_type *w, zx_type *out, zmlx_err *err)
{
    char text[96];
    ZX_TRY(zx_need_floats(x, "x", 2, err));
    ZX_REQUIRE(w->rank == 1 && zx_is_float16_32(w->dtype) && !w->quant.bits,
               "weight: %s, expected a plain vector of floats", zx_type_text(w, text, sizeof text));
    ZX_REQUIRE(w->dim[0] > 0 && zx_type_row(x) % w->dim[0] == 0,
               "x has %lld elements per token, not a multiple of the weight's %lld", (long long)zx_type_row(x),
               (long long)w->dim[0]);
    *out = *x;
    out->dtype = zx_promote(x->dtype, w->dtype);
    return ZMLX_OK;
}

static inline void zx_rms_norm_reference(const double *x, const double *w, double *out, int64_t rows, int64_t n,
                                         double eps)
{
    for (int64_t r = 0; r < rows; r++) {
        double ss = 0;
        for (int64_t i = 0; i < n; i++)
            ss += x[r * n + i] * x[r * n + i];
        for (int64_t i = 0; i < n; i++)
            out[r * n + i] = w[i] * x[r * n + i] / sqrt(ss / (double)n + eps);
    }
}
#endif

#endif
