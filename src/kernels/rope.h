/* SPDX-License-Identifier: MIT */
/* Rotary position embedding of rows, shared by rope and the kernels that contain it. */
#ifndef ZX_KERNELS_ROPE_H
#define ZX_KERNELS_ROPE_H

#include "kernels/rows.h"
#include "kernels/vmath.h"

/* freq[i] = theta^(-2i / dims) for i < dims / 2, rounded once from double. */
ZX_INLINE void zx_rope_freqs(float *freq, int64_t dims, float theta)
{
    double l = zx_log2((double)theta);
    for (int64_t i = 0; i < dims / 2; i++)
        freq[i] = (float)zx_exp2(-(2.0 * (double)i / (double)dims) * l);
}

/* Cosine and sine of the angle pos * freq[i], a float32 product like MLX's, each rounded once from double. */
ZX_INLINE void zx_rope_angles(float *cosine, float *sine, const float *freq, int64_t dims, int64_t pos)
{
    for (int64_t i = 0; i < dims / 2; i++) {
        double s, c;
        zx_sincos((double)((float)pos * freq[i]), &s, &c);
        cosine[i] = (float)c, sine[i] = (float)s;
    }
}

/* A row of n elements at `at`: features i and i + dims/2 rotate together, those from dims on pass.
 * out = fma(-x2, sin, x1 cos) and fma(x1, sin, x2 cos), one rounding each. */
ZX_INLINE void zx_rope_span(void *out, const void *x, int64_t at, int64_t n, int64_t dims, const float *cosine,
                            const float *sine, zmlx_dtype t)
{
    int64_t half = dims / 2;
    for (int64_t i = 0; i < half; i += 16) {
        v16 c = v16_load_n(cosine + i, half - i), s = v16_load_n(sine + i, half - i);
        v16 x1 = v16_load_any(x, t, at + i, half - i), x2 = v16_load_any(x, t, at + half + i, half - i);
        v16_store_any(out, t, at + i, v16_fnma(x2, s, v16_mul(x1, c)), half - i);
        v16_store_any(out, t, at + half + i, v16_fma(x1, s, v16_mul(x2, c)), half - i);
    }
    for (int64_t i = dims; i < n; i += 16)
        v16_store_any(out, t, at + i, v16_load_any(x, t, at + i, n - i), n - i);
}

ZX_INLINE void zx_rope_row(void *out, const void *x, zmlx_dtype t, int64_t at, int64_t n, int64_t dims,
                           const float *cosine, const float *sine)
{
    ZX_BY_TYPE(t, zx_rope_span, out, x, at, n, dims, cosine, sine);
}

/* Floats of scratch for frequencies, cosines and sines, each array on cache lines of its own. */
ZX_INLINE int64_t zx_rope_stride(int64_t dims) { return (dims / 2 + 15) / 16 * 16; }

#if ZX_LEVEL == 0
/* x: rows of `heads` heads per token. */
static inline zmlx_status zx_rope_check(const zx_type *x, const zx_attr *a, int64_t heads, zmlx_err *err)
{
    ZX_TRY(zx_need_floats(x, "x", 2, err));
    int64_t row = zx_type_row(x);
    ZX_REQUIRE(heads > 0 && row % heads == 0, "x has %lld elements per token, not a multiple of %lld heads",
               (long long)row, (long long)heads);
    ZX_REQUIRE(a->dims > 0 && a->dims % 2 == 0 && a->dims <= row / heads,
               "rope rotates %d features, expected an even number up to the head's %lld", a->dims,
               (long long)(row / heads));
    ZX_REQUIRE(a->theta >= 1 && a->theta <= 1e12f, "rope theta is %g, expected 1 to 1e12", (double)a->theta);
    return ZMLX_OK;
}

/* One row in double; the angle's rounding to float32 is part of the definition. */
static inline void zx_rope_reference(const double *x, double *out, int64_t n, const zx_attr *a, int64_t pos)
{
    int64_t half = a->dims / 2;
    for (int64_t i = 0; i < n; i++)
        out[i] = x[i];
    for (int64_t i = 0; i < half; i++) {
        float freq = (float)pow((double)a->theta, -2.0 * (double)i / a->dims);
        double angle = (double)((float)pos * freq);
        out[i] = x[i] * cos(angle) - x[i + half] * sin(angle);
        out[i + half] = x[i + half] * cos(angle) + x[i] * sin(angle);
    }
}
#endif

#endif
