/* SPDX-License-Identifier: MIT */
/* The steps of expert routing on one row, shared by the kernels of one step each and by moe_gating.  Rows of scores are
 * float32 here, rounded to their type t wherever an unfused step would have stored them. */
#ifndef ZX_KERNELS_GATING_H
#define ZX_KERNELS_GATING_H

#include "kernels/rows.h"
#include "kernels/vmath.h"

enum { ZX_MAX_CHOSEN = 256 };

/* p = T(e^(x - max) * (1 / sum)); lane l sums elements l, l + 16, ... */
ZX_INLINE void zx_softmax_span(float *p, const void *x, int64_t at, int64_t n, zmlx_dtype t)
{
    v16 low = v16_set(-INFINITY), m = low, sum = v16_zero();
    for (int64_t i = 0; i < n; i += 16) /* v16_max takes the second when the first is NaN */
        m = v16_max(v16_select(m16_first(n - i), v16_load_any(x, t, at + i, n - i), low), m);
    m = v16_set(v16_hmax(m));
    for (int64_t i = 0; i < n; i += 16) {
        v16 e = zx_exp(v16_sub(v16_load_any(x, t, at + i, n - i), m));
        e = v16_select(m16_first(n - i), e, v16_zero());
        sum = v16_add(sum, e);
        v16_store_n(p + i, e, n - i);
    }
    v16 r = v16_set(1.0f / v16_sum(sum));
    for (int64_t i = 0; i < n; i += 16)
        v16_store_n(p + i, v16_round_to(v16_mul(v16_load_n(p + i, n - i), r), t), n - i);
}

ZX_INLINE void zx_softmax_row(float *p, const void *x, int64_t at, int64_t n, zmlx_dtype t)
{
    ZX_BY_TYPE(t, zx_softmax_span, p, x, at, n);
}

/* A row as floats, and back with one rounding. */
ZX_INLINE void zx_widen(float *to, const void *x, zmlx_dtype t, int64_t at, int64_t n)
{
    for (int64_t i = 0; i < n; i += 16)
        v16_store_n(to + i, v16_load_any(x, t, at + i, n - i), n - i);
}
ZX_INLINE void zx_narrow(void *out, zmlx_dtype t, int64_t at, const float *from, int64_t n)
{
    for (int64_t i = 0; i < n; i += 16)
        v16_store_any(out, t, at + i, v16_load_n(from + i, n - i), n - i);
}

/* Integers in the order of the floats; both zeros equal, every NaN above everything. */
ZX_INLINE int32_t zx_float_order(float f)
{
    int32_t u = (int32_t)zx_f32_bits(f);
    if (f != f) return INT32_MAX;
    return u >= 0 ? u : INT32_MIN - u; /* -0 maps to 0 */
}

/* The last k of a stable ascending sort of p by value, in that order: among equals the higher indices are taken. */
ZX_INLINE void zx_choose(int32_t *idx, const float *p, int64_t n, int k)
{
    int32_t key[ZX_MAX_CHOSEN];
    int have = 0;
    for (int64_t i = 0; i < n; i++) {
        int32_t v = zx_float_order(p[i]);
        if (have == k && v < key[0]) continue;
        int at = have == k ? 1 : have; /* a full list loses its first entry; else a place opens at the end */
        if (have == k) {
            for (; at < k && key[at] <= v; at++)
                key[at - 1] = key[at], idx[at - 1] = idx[at];
            at--;
        } else {
            for (have++; at > 0 && key[at - 1] > v; at--)
                key[at] = key[at - 1], idx[at] = idx[at - 1];
        }
        key[at] = v, idx[at] = (int32_t)i;
    }
}

/* Sum of k floats, first to last. */
ZX_INLINE float zx_sum_in_order(const float *s, int64_t k)
{
    float sum = s[0];
    for (int64_t j = 1; j < k; j++)
        sum += s[j];
    return sum;
}

#if ZX_LEVEL == 0
static inline zmlx_status zx_need_k(const zx_attr *a, int64_t n, zmlx_err *err)
{
    ZX_REQUIRE(a->k >= 1 && a->k <= n && a->k <= ZX_MAX_CHOSEN, "k is %d, expected 1 to %lld", a->k,
               (long long)ZX_MIN(n, ZX_MAX_CHOSEN));
    return ZMLX_OK;
}

static inline size_t zx_row_scratch(const zx_call *c) { return (size_t)(zx_type_last(&c->in[0].type) + 15) / 16 * 64; }

static inline void zx_softmax_reference(const double *x, double *p, int64_t n)
{
    double m = x[0], sum = 0;
    for (int64_t i = 1; i < n; i++)
        m = ZX_MAX(m, x[i]);
    for (int64_t i = 0; i < n; i++)
        sum += exp(x[i] - m);
    for (int64_t i = 0; i < n; i++)
        p[i] = exp(x[i] - m) / sum;
}

/* By repeated search from the top: the greatest value, among equals the highest index. */
static inline void zx_choose_reference(double *idx, const double *p, int64_t n, int64_t k)
{
    double v = 0;
    int64_t last = 0;
    for (int64_t j = k - 1; j >= 0; j--) {
        int64_t best = -1;
        for (int64_t i = 0; i < n; i++) {
            bool left = j == k - 1 || p[i] < v || (p[i] == v && i < last);
            if (left && (best < 0 || p[i] >= p[best])) best = i;
        }
        v = p[best], last = best, idx[j] = (double)best;
    }
}
#endif

#endif
