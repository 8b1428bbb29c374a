/* SPDX-License-Identifier: MIT */
/* Sixteen float lanes, at every instruction-set level with the same bits: the vocabulary in which kernels are
 * written (docs/NUMERICS.md).  ZX_LEVEL 0 is plain C, ZX_LEVEL 1 is AVX-512 with BF16.  A third level is a third
 * implementation of this file and nothing else.
 *
 * All arithmetic is IEEE float32, round to nearest even, subnormals kept, except v16_dp, which is what the
 * instruction vdpbf16ps computes. */
#ifndef ZX_KERNELS_LANES_H
#define ZX_KERNELS_LANES_H

#include "base/half.h"
#include "base/status.h"

#include <math.h>
#include <string.h>

#ifndef ZX_LEVEL
#define ZX_LEVEL 0
#endif

#define ZX_INLINE static inline __attribute__((always_inline, unused))

#if ZX_LEVEL == 1
#include <immintrin.h>

typedef __m512 v16;    /* 16 x float32 */
typedef __m512i v16i;  /* 16 x int32 */
typedef __mmask16 m16; /* 16 x bool */
typedef __m512i w32;   /* 32 x 16 bit: bf16 numbers, or packed codes */

#define ZX_LANE_MASK(n) ((__mmask16)((n) >= 16 ? 0xffffu : (n) <= 0 ? 0u : (1u << (n)) - 1u))

ZX_INLINE v16 v16_zero(void) { return _mm512_setzero_ps(); }
ZX_INLINE v16 v16_set(float x) { return _mm512_set1_ps(x); }
ZX_INLINE v16 v16_load(const float *p) { return _mm512_loadu_ps(p); }
ZX_INLINE v16 v16_load_n(const float *p, int64_t n) { return _mm512_maskz_loadu_ps(ZX_LANE_MASK(n), p); }
ZX_INLINE void v16_store(float *p, v16 a) { _mm512_storeu_ps(p, a); }
ZX_INLINE void v16_store_n(float *p, v16 a, int64_t n) { _mm512_mask_storeu_ps(p, ZX_LANE_MASK(n), a); }
ZX_INLINE v16 v16_add(v16 a, v16 b) { return _mm512_add_ps(a, b); }
ZX_INLINE v16 v16_sub(v16 a, v16 b) { return _mm512_sub_ps(a, b); }
ZX_INLINE v16 v16_mul(v16 a, v16 b) { return _mm512_mul_ps(a, b); }
ZX_INLINE v16 v16_div(v16 a, v16 b) { return _mm512_div_ps(a, b); }
ZX_INLINE v16 v16_fma(v16 a, v16 b, v16 c) { return _mm512_fmadd_ps(a, b, c); }   /* a*b + c, one rounding */
ZX_INLINE v16 v16_fnma(v16 a, v16 b, v16 c) { return _mm512_fnmadd_ps(a, b, c); } /* c - a*b, one rounding */
ZX_INLINE v16 v16_sqrt(v16 a) { return _mm512_sqrt_ps(a); }
/* a > b ? a : b and a < b ? a : b: with a NaN in either, b. */
ZX_INLINE v16 v16_max(v16 a, v16 b) { return _mm512_max_ps(a, b); }
ZX_INLINE v16 v16_min(v16 a, v16 b) { return _mm512_min_ps(a, b); }
ZX_INLINE v16 v16_abs(v16 a) { return _mm512_abs_ps(a); }
ZX_INLINE v16 v16_neg(v16 a)
{
    return _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(a), _mm512_set1_epi32((int)0x80000000u)));
}
/* To the nearest integer, ties to even. */
ZX_INLINE v16 v16_round(v16 a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
/* a * 2^n for integral n within +-250, one rounding, also into and out of the subnormals. */
ZX_INLINE v16 v16_ldexp(v16 a, v16 n) { return _mm512_scalef_ps(a, n); }
ZX_INLINE m16 v16_lt(v16 a, v16 b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
ZX_INLINE m16 v16_isnan(v16 a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
ZX_INLINE v16 v16_select(m16 m, v16 yes, v16 no) { return _mm512_mask_blend_ps(m, no, yes); }
ZX_INLINE m16 m16_first(int64_t n) { return ZX_LANE_MASK(n); } /* the first n lanes */
ZX_INLINE v16i v16_bits(v16 a) { return _mm512_castps_si512(a); }
ZX_INLINE v16 v16_from_bits(v16i a) { return _mm512_castsi512_ps(a); }
ZX_INLINE v16i v16i_set(int32_t x) { return _mm512_set1_epi32(x); }
ZX_INLINE v16i v16i_add(v16i a, v16i b) { return _mm512_add_epi32(a, b); }
ZX_INLINE v16i v16i_sub(v16i a, v16i b) { return _mm512_sub_epi32(a, b); }
ZX_INLINE v16i v16i_and(v16i a, v16i b) { return _mm512_and_si512(a, b); }
ZX_INLINE v16i v16i_or(v16i a, v16i b) { return _mm512_or_si512(a, b); }
ZX_INLINE v16i v16i_shr(v16i a, int s) { return _mm512_srai_epi32(a, (unsigned)s); } /* arithmetic */
ZX_INLINE v16 v16_from_int(v16i a) { return _mm512_cvtepi32_ps(a); }

/* 16 numbers of another type, any alignment. */
ZX_INLINE v16 v16_load_bf16(const void *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i_u *)p)), 16));
}
ZX_INLINE v16 v16_load_bf16_n(const void *p, int64_t n)
{
    __m256i h = _mm256_maskz_loadu_epi16(ZX_LANE_MASK(n), p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}
ZX_INLINE v16 v16_load_f16(const void *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i_u *)p)); }
ZX_INLINE v16 v16_load_f16_n(const void *p, int64_t n)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(ZX_LANE_MASK(n), p));
}
ZX_INLINE v16 v16_load_u8(const void *p) /* 16 bytes as floats */
{
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i_u *)p)));
}
/* Round to nearest even.  Not vcvtneps2bf16: that flushes subnormals. */
ZX_INLINE __m256i zx_pack_bf16(v16 a)
{
    __m512i u = _mm512_castps_si512(a);
    __m512i lsb = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    __m512i r = _mm512_srli_epi32(_mm512_add_epi32(u, _mm512_add_epi32(lsb, _mm512_set1_epi32(0x7fff))), 16);
    __m512i nan = _mm512_or_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(0x40));
    return _mm512_cvtepi32_epi16(_mm512_mask_blend_epi32(v16_isnan(a), r, nan));
}
ZX_INLINE void v16_store_bf16(void *p, v16 a) { _mm256_storeu_si256((__m256i_u *)p, zx_pack_bf16(a)); }
ZX_INLINE void v16_store_bf16_n(void *p, v16 a, int64_t n)
{
    _mm256_mask_storeu_epi16(p, ZX_LANE_MASK(n), zx_pack_bf16(a));
}
/* Rounded as by a store, kept as float32. */
ZX_INLINE v16 v16_round_bf16(v16 a)
{
    __m512i u = _mm512_castps_si512(a);
    __m512i lsb = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    __m512i r = _mm512_add_epi32(u, _mm512_add_epi32(lsb, _mm512_set1_epi32(0x7fff)));
    r = _mm512_mask_or_epi32(r, v16_isnan(a), u, _mm512_set1_epi32(0x400000));
    return _mm512_castsi512_ps(_mm512_and_si512(r, _mm512_set1_epi32((int)0xffff0000u)));
}
ZX_INLINE v16 v16_round_f16(v16 a)
{
    return _mm512_cvtph_ps(_mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
ZX_INLINE __m256i zx_pack_f16(v16 a) { return _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
ZX_INLINE void v16_store_f16(void *p, v16 a) { _mm256_storeu_si256((__m256i_u *)p, zx_pack_f16(a)); }
ZX_INLINE void v16_store_f16_n(void *p, v16 a, int64_t n)
{
    _mm256_mask_storeu_epi16(p, ZX_LANE_MASK(n), zx_pack_f16(a));
}

/* ((l0+l8)+(l4+l12)) + ((l2+l10)+(l6+l14)) + ...: halves are added until one lane is left. */
ZX_INLINE float v16_sum(v16 a)
{
    __m256 h = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_shuffle_ps(q, q, 1)));
}
ZX_INLINE float v16_hmax(v16 a) { return _mm512_reduce_max_ps(a); } /* no NaN among them */

ZX_INLINE w32 w32_load(const void *p) { return _mm512_loadu_si512(p); }
ZX_INLINE w32 w32_load_n(const void *p, int64_t n) /* the first n of 32, the others 0 */
{
    return _mm512_maskz_loadu_epi16(n >= 32 ? 0xffffffffu : n <= 0 ? 0u : (1u << n) - 1u, p);
}
ZX_INLINE void w32_store(void *p, w32 a) { _mm512_storeu_si512(p, a); }
/* One (low, high) pair in all lanes. */
ZX_INLINE w32 w32_pair(uint32_t pair) { return _mm512_set1_epi32((int)pair); }
/* Lane l: fma(a[2l], b[2l], fma(a[2l+1], b[2l+1], acc[l])) over bf16 numbers: products exact, two roundings;
 * subnormal inputs count as zero and subnormal results become zero. */
ZX_INLINE v16 v16_dp(v16 acc, w32 a, w32 b) { return _mm512_dpbf16_ps(acc, (__m512bh)a, (__m512bh)b); }

/* 16 words of 32 bits, any alignment; the first n of them, the others 0. */
ZX_INLINE v16i v16i_load(const void *p) { return _mm512_loadu_si512(p); }
ZX_INLINE v16i v16i_load_n(const void *p, int64_t n) { return _mm512_maskz_loadu_epi32(ZX_LANE_MASK(n), p); }
/* Lane l: table[idx[l] mod 16], table[idx[l] mod 32]. */
ZX_INLINE v16 v16_lookup(v16 table, v16i idx) { return _mm512_permutexvar_ps(idx, table); }
ZX_INLINE w32 w32_lookup(w32 table, w32 idx) { return _mm512_permutexvar_epi16(idx, table); }
ZX_INLINE w32 w32_shr(w32 a, int s) { return _mm512_srli_epi16(a, (unsigned)s); } /* each 16-bit lane, logical */
/* Every second element of a followed by b, from the first (odd = 0) or the second (odd = 1) on. */
ZX_INLINE v16 v16_deal(v16 a, v16 b, int odd)
{
    const __m512i even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    return _mm512_permutex2var_ps(a, odd ? _mm512_add_epi32(even, _mm512_set1_epi32(1)) : even, b);
}
ZX_INLINE w32 w32_deal(w32 a, w32 b, int odd) /* of 16-bit elements */
{
    const __m512i even = _mm512_set_epi16(62, 60, 58, 56, 54, 52, 50, 48, 46, 44, 42, 40, 38, 36, 34, 32, 30, 28, 26,
                                          24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    return _mm512_permutex2var_epi16(a, odd ? _mm512_add_epi16(even, _mm512_set1_epi16(1)) : even, b);
}
/* Lane r: v16_sum(a[r]), by a transposition that adds the same numbers in the same tree. */
ZX_INLINE v16 v16_sums(const v16 a[16])
{
    v16 c[4];
    for (int i = 0; i < 4; i++) { /* rows i, i + 4, i + 8, i + 12 to four lanes each */
        v16 p = _mm512_add_ps(_mm512_shuffle_f32x4(a[i], a[i + 4], 0x44), _mm512_shuffle_f32x4(a[i], a[i + 4], 0xee));
        v16 q = _mm512_add_ps(_mm512_shuffle_f32x4(a[i + 8], a[i + 12], 0x44),
                              _mm512_shuffle_f32x4(a[i + 8], a[i + 12], 0xee));
        c[i] = _mm512_add_ps(_mm512_shuffle_f32x4(p, q, 0x88), _mm512_shuffle_f32x4(p, q, 0xdd));
    }
    v16 u = _mm512_add_ps(_mm512_shuffle_ps(c[0], c[1], 0x44), _mm512_shuffle_ps(c[0], c[1], 0xee));
    v16 w = _mm512_add_ps(_mm512_shuffle_ps(c[2], c[3], 0x44), _mm512_shuffle_ps(c[2], c[3], 0xee));
    return _mm512_add_ps(_mm512_shuffle_ps(u, w, 0x88), _mm512_shuffle_ps(u, w, 0xdd));
}
/* Keep a vector in a register: a compiler may otherwise load it again for each use. */
#define ZX_KEEP(v) __asm__("" : "+v"(v))

#else /* plain C */

typedef struct v16 {
    float v[16];
} v16;
typedef struct v16i {
    int32_t v[16];
} v16i;
typedef struct m16 {
    uint8_t v[16];
} m16;
typedef struct w32 {
    uint16_t v[32];
} w32;

#define ZX_EACH for (int l_ = 0; l_ < 16; l_++)
#define ZX_MAP(T, expr)                                                                                                \
    T r_;                                                                                                              \
    ZX_EACH r_.v[l_] = (expr);                                                                                         \
    return r_

ZX_INLINE v16 v16_set(float x) { ZX_MAP(v16, x); }
ZX_INLINE v16 v16_zero(void) { return v16_set(0.0f); }
ZX_INLINE v16 v16_load(const float *p)
{
    v16 r;
    memcpy(r.v, p, sizeof r.v);
    return r;
}
ZX_INLINE v16 v16_load_n(const float *p, int64_t n)
{
    v16 r = v16_zero();
    if (n > 0) memcpy(r.v, p, (size_t)(n < 16 ? n : 16) * sizeof(float));
    return r;
}
ZX_INLINE void v16_store(float *p, v16 a) { memcpy(p, a.v, sizeof a.v); }
ZX_INLINE void v16_store_n(float *p, v16 a, int64_t n)
{
    if (n > 0) memcpy(p, a.v, (size_t)(n < 16 ? n : 16) * sizeof(float));
}
ZX_INLINE v16 v16_add(v16 a, v16 b) { ZX_MAP(v16, a.v[l_] + b.v[l_]); }
ZX_INLINE v16 v16_sub(v16 a, v16 b) { ZX_MAP(v16, a.v[l_] - b.v[l_]); }
ZX_INLINE v16 v16_mul(v16 a, v16 b) { ZX_MAP(v16, a.v[l_] * b.v[l_]); }
ZX_INLINE v16 v16_div(v16 a, v16 b) { ZX_MAP(v16, a.v[l_] / b.v[l_]); }
ZX_INLINE v16 v16_fma(v16 a, v16 b, v16 c) { ZX_MAP(v16, fmaf(a.v[l_], b.v[l_], c.v[l_])); }
ZX_INLINE v16 v16_fnma(v16 a, v16 b, v16 c) { ZX_MAP(v16, fmaf(-a.v[l_], b.v[l_], c.v[l_])); }
ZX_INLINE v16 v16_sqrt(v16 a) { ZX_MAP(v16, sqrtf(a.v[l_])); }
ZX_INLINE v16 v16_max(v16 a, v16 b) { ZX_MAP(v16, a.v[l_] > b.v[l_] ? a.v[l_] : b.v[l_]); }
ZX_INLINE v16 v16_min(v16 a, v16 b) { ZX_MAP(v16, a.v[l_] < b.v[l_] ? a.v[l_] : b.v[l_]); }
ZX_INLINE v16 v16_abs(v16 a) { ZX_MAP(v16, zx_bits_f32(zx_f32_bits(a.v[l_]) & 0x7fffffffu)); }
ZX_INLINE v16 v16_neg(v16 a) { ZX_MAP(v16, zx_bits_f32(zx_f32_bits(a.v[l_]) ^ 0x80000000u)); }
ZX_INLINE v16 v16_round(v16 a) { ZX_MAP(v16, rintf(a.v[l_])); }
ZX_INLINE float zx_ldexp1(float a, float n)
{
    int k = (int)n, h = k / 2; /* two factors within the normal range; the first product is exact */
    return a * zx_bits_f32((uint32_t)(127 + h) << 23) * zx_bits_f32((uint32_t)(127 + k - h) << 23);
}
ZX_INLINE v16 v16_ldexp(v16 a, v16 n) { ZX_MAP(v16, zx_ldexp1(a.v[l_], n.v[l_])); }
ZX_INLINE m16 v16_lt(v16 a, v16 b) { ZX_MAP(m16, a.v[l_] < b.v[l_]); }
ZX_INLINE m16 v16_isnan(v16 a) { ZX_MAP(m16, a.v[l_] != a.v[l_]); }
ZX_INLINE v16 v16_select(m16 m, v16 yes, v16 no) { ZX_MAP(v16, m.v[l_] ? yes.v[l_] : no.v[l_]); }
ZX_INLINE m16 m16_first(int64_t n) { ZX_MAP(m16, l_ < n); }
ZX_INLINE v16i v16_bits(v16 a)
{
    v16i r;
    memcpy(&r, &a, sizeof r);
    return r;
}
ZX_INLINE v16 v16_from_bits(v16i a)
{
    v16 r;
    memcpy(&r, &a, sizeof r);
    return r;
}
ZX_INLINE v16i v16i_set(int32_t x) { ZX_MAP(v16i, x); }
ZX_INLINE v16i v16i_add(v16i a, v16i b) { ZX_MAP(v16i, (int32_t)((uint32_t)a.v[l_] + (uint32_t)b.v[l_])); }
ZX_INLINE v16i v16i_sub(v16i a, v16i b) { ZX_MAP(v16i, (int32_t)((uint32_t)a.v[l_] - (uint32_t)b.v[l_])); }
ZX_INLINE v16i v16i_and(v16i a, v16i b) { ZX_MAP(v16i, a.v[l_] & b.v[l_]); }
ZX_INLINE v16i v16i_or(v16i a, v16i b) { ZX_MAP(v16i, a.v[l_] | b.v[l_]); }
ZX_INLINE v16i v16i_shr(v16i a, int s) { ZX_MAP(v16i, a.v[l_] >> s); }
ZX_INLINE v16 v16_from_int(v16i a) { ZX_MAP(v16, (float)a.v[l_]); }

ZX_INLINE v16 v16_load_bf16_n(const void *p, int64_t n)
{
    uint16_t h[16] = {0};
    if (n > 0) memcpy(h, p, (size_t)(n < 16 ? n : 16) * 2);
    ZX_MAP(v16, zx_bf16_to_f32(h[l_]));
}
ZX_INLINE v16 v16_load_bf16(const void *p) { return v16_load_bf16_n(p, 16); }
ZX_INLINE v16 v16_load_f16_n(const void *p, int64_t n)
{
    uint16_t h[16] = {0};
    if (n > 0) memcpy(h, p, (size_t)(n < 16 ? n : 16) * 2);
    ZX_MAP(v16, zx_f16_to_f32(h[l_]));
}
ZX_INLINE v16 v16_load_f16(const void *p) { return v16_load_f16_n(p, 16); }
ZX_INLINE v16 v16_load_u8(const void *p) { ZX_MAP(v16, (float)((const uint8_t *)p)[l_]); }
ZX_INLINE v16 v16_round_bf16(v16 a) { ZX_MAP(v16, zx_bf16_to_f32(zx_f32_to_bf16(a.v[l_]))); }
ZX_INLINE v16 v16_round_f16(v16 a) { ZX_MAP(v16, zx_f16_to_f32(zx_f32_to_f16(a.v[l_]))); }
ZX_INLINE void v16_store_bf16_n(void *p, v16 a, int64_t n)
{
    uint16_t h[16];
    ZX_EACH h[l_] = zx_f32_to_bf16(a.v[l_]);
    if (n > 0) memcpy(p, h, (size_t)(n < 16 ? n : 16) * 2);
}
ZX_INLINE void v16_store_bf16(void *p, v16 a) { v16_store_bf16_n(p, a, 16); }
ZX_INLINE void v16_store_f16_n(void *p, v16 a, int64_t n)
{
    uint16_t h[16];
    ZX_EACH h[l_] = zx_f32_to_f16(a.v[l_]);
    if (n > 0) memcpy(p, h, (size_t)(n < 16 ? n : 16) * 2);
}
ZX_INLINE void v16_store_f16(void *p, v16 a) { v16_store_f16_n(p, a, 16); }
ZX_INLINE float v16_sum(v16 a)
{
    for (int h = 8; h > 0; h /= 2)
        for (int l = 0; l < h; l++)
            a.v[l] += a.v[l + h];
    return a.v[0];
}
ZX_INLINE float v16_hmax(v16 a)
{
    for (int l = 1; l < 16; l++)
        if (a.v[l] > a.v[0]) a.v[0] = a.v[l];
    return a.v[0];
}

ZX_INLINE w32 w32_load_n(const void *p, int64_t n)
{
    w32 r = {{0}};
    if (n > 0) memcpy(r.v, p, (size_t)(n < 32 ? n : 32) * 2);
    return r;
}
ZX_INLINE w32 w32_load(const void *p) { return w32_load_n(p, 32); }
ZX_INLINE void w32_store(void *p, w32 a) { memcpy(p, a.v, sizeof a.v); }
ZX_INLINE w32 w32_pair(uint32_t pair)
{
    w32 r;
    for (int i = 0; i < 32; i++)
        r.v[i] = (uint16_t)(i & 1 ? pair >> 16 : pair);
    return r;
}
/* Subnormals to zero of the same sign, as vdpbf16ps treats its inputs and results. */
ZX_INLINE float zx_flush(float x) { return fabsf(x) < 0x1p-126f ? copysignf(0.0f, x) : x; }
ZX_INLINE v16 v16_dp(v16 acc, w32 a, w32 b)
{
    ZX_EACH
    {
        float a0 = zx_flush(zx_bf16_to_f32(a.v[2 * l_])), a1 = zx_flush(zx_bf16_to_f32(a.v[2 * l_ + 1]));
        float b0 = zx_flush(zx_bf16_to_f32(b.v[2 * l_])), b1 = zx_flush(zx_bf16_to_f32(b.v[2 * l_ + 1]));
        acc.v[l_] = zx_flush(fmaf(a0, b0, zx_flush(fmaf(a1, b1, zx_flush(acc.v[l_])))));
    }
    return acc;
}

ZX_INLINE v16i v16i_load_n(const void *p, int64_t n)
{
    v16i r = v16i_set(0);
    if (n > 0) memcpy(r.v, p, (size_t)(n < 16 ? n : 16) * 4);
    return r;
}
ZX_INLINE v16i v16i_load(const void *p) { return v16i_load_n(p, 16); }
ZX_INLINE v16 v16_lookup(v16 table, v16i idx) { ZX_MAP(v16, table.v[idx.v[l_] & 15]); }
ZX_INLINE w32 w32_lookup(w32 table, w32 idx)
{
    w32 r;
    for (int i = 0; i < 32; i++)
        r.v[i] = table.v[idx.v[i] & 31];
    return r;
}
ZX_INLINE w32 w32_shr(w32 a, int s)
{
    for (int i = 0; i < 32; i++)
        a.v[i] = (uint16_t)(a.v[i] >> s);
    return a;
}
ZX_INLINE v16 v16_deal(v16 a, v16 b, int odd) { ZX_MAP(v16, l_ < 8 ? a.v[2 * l_ + odd] : b.v[2 * l_ - 16 + odd]); }
ZX_INLINE w32 w32_deal(w32 a, w32 b, int odd)
{
    w32 r;
    for (int i = 0; i < 32; i++)
        r.v[i] = i < 16 ? a.v[2 * i + odd] : b.v[2 * i - 32 + odd];
    return r;
}
ZX_INLINE v16 v16_sums(const v16 a[16]) { ZX_MAP(v16, v16_sum(a[l_])); }
#define ZX_KEEP(v) ((void)(v))
#endif

/* --- the same at every level ------------------------------------------------------------------ */

/* Ask for the cache line `ahead` bytes beyond p, which need not lie in any object. */
ZX_INLINE void zx_prefetch(const void *p, int64_t ahead)
{
    __builtin_prefetch((const void *)((uintptr_t)p + (uintptr_t)ahead));
}

/* 16 (or the first n) elements of a float tensor as float32, and back with one rounding. */
ZX_INLINE v16 v16_load_any(const void *p, zmlx_dtype t, int64_t i, int64_t n)
{
    if (t == ZMLX_BF16)
        return n >= 16 ? v16_load_bf16((const uint16_t *)p + i) : v16_load_bf16_n((const uint16_t *)p + i, n);
    if (t == ZMLX_F16)
        return n >= 16 ? v16_load_f16((const uint16_t *)p + i) : v16_load_f16_n((const uint16_t *)p + i, n);
    return n >= 16 ? v16_load((const float *)p + i) : v16_load_n((const float *)p + i, n);
}
ZX_INLINE void v16_store_any(void *p, zmlx_dtype t, int64_t i, v16 a, int64_t n)
{
    if (t == ZMLX_BF16)
        v16_store_bf16_n((uint16_t *)p + i, a, n);
    else if (t == ZMLX_F16)
        v16_store_f16_n((uint16_t *)p + i, a, n);
    else
        v16_store_n((float *)p + i, a, n);
}
/* Round to type t and widen again: a rounding point inside a fused kernel. */
ZX_INLINE v16 v16_round_to(v16 a, zmlx_dtype t)
{
    return t == ZMLX_F32 ? a : t == ZMLX_BF16 ? v16_round_bf16(a) : v16_round_f16(a);
}
ZX_INLINE float zx_round_to(float a, zmlx_dtype t)
{
    if (t == ZMLX_BF16) return zx_bf16_to_f32(zx_f32_to_bf16(a));
    if (t == ZMLX_F16) return zx_f16_to_f32(zx_f32_to_f16(a));
    return a;
}
/* One element; weights may lie at any alignment. */
ZX_INLINE float zx_load1(const void *p, zmlx_dtype t, int64_t i)
{
    uint16_t h;
    float f;
    if (t == ZMLX_F32) {
        memcpy(&f, (const char *)p + 4 * i, 4);
        return f;
    }
    memcpy(&h, (const char *)p + 2 * i, 2);
    return t == ZMLX_BF16 ? zx_bf16_to_f32(h) : zx_f16_to_f32(h);
}
ZX_INLINE void zx_store1(void *p, zmlx_dtype t, int64_t i, float a)
{
    if (t == ZMLX_BF16)
        ((uint16_t *)p)[i] = zx_f32_to_bf16(a);
    else if (t == ZMLX_F16)
        ((uint16_t *)p)[i] = zx_f32_to_f16(a);
    else
        ((float *)p)[i] = a;
}

#endif
