/* SPDX-License-Identifier: MIT */
/* Elementary functions over 16 lanes: own polynomials, one definition for every level, defined for all floats.
 * No table and no libm call, so that no result depends on the machine.  The bounds are the largest errors over
 * all 2^32 arguments, measured against double precision (tests/unit/test_vmath.c, docs/NUMERICS.md).
 *
 * Further down the double-precision functions behind rope's angles, written without branches so that loops over
 * them become vector code. */
#ifndef ZX_KERNELS_VMATH_H
#define ZX_KERNELS_VMATH_H

#include "kernels/lanes.h"

/* In plain C a function of 16 lanes is long: a call costs little beside it, a copy per use much to compile. */
#if ZX_LEVEL == 0
#define ZX_MATH static __attribute__((noinline, unused))
#else
#define ZX_MATH ZX_INLINE
#endif

/* |a| with the sign of s. */
ZX_INLINE v16 zx_with_sign(v16 a, v16 s)
{
    v16i sign = v16i_and(v16_bits(s), v16i_set(INT32_MIN));
    return v16_from_bits(v16i_or(v16_bits(v16_abs(a)), sign));
}

/* e^x. */
ZX_MATH v16 zx_exp(v16 x)
{
    /* Beyond these arguments the result is infinite or zero anyway; NaN takes the lower one until the last line. */
    v16 y = v16_min(v16_max(x, v16_set(-104.0f)), v16_set(89.0f));
    v16 n = v16_round(v16_mul(y, v16_set(0x1.715476p+0f)));
    /* ln 2 in two parts; n times the first (9 bits) is exact. */
    v16 r = v16_fnma(n, v16_set(0x1.63p-1f), y);
    r = v16_fnma(n, v16_set(-0x1.bd0106p-13f), r);

    v16 q = v16_set(0x1.9df78cp-13f);
    q = v16_fma(q, r, v16_set(0x1.6d4ccap-10f));
    q = v16_fma(q, r, v16_set(0x1.111310p-7f));
    q = v16_fma(q, r, v16_set(0x1.5554e8p-5f));
    q = v16_fma(q, r, v16_set(0x1.555554p-3f));
    q = v16_fma(q, r, v16_set(0x1p-1f));
    v16 p = v16_add(v16_set(1.0f), v16_fma(v16_mul(r, r), q, r));
    return v16_select(v16_isnan(x), x, v16_ldexp(p, n));
}

/* ln x; -inf for both zeros, NaN below. */
ZX_MATH v16 zx_log(v16 x)
{
    m16 tiny = v16_lt(x, v16_set(0x1p-126f));
    v16i u = v16_bits(v16_select(tiny, v16_mul(x, v16_set(0x1p24f)), x));
    /* x = 2^k m with m in [sqrt(1/2), sqrt(2)); arguments without a logarithm are put right below. */
    v16i d = v16i_sub(u, v16i_set(0x3f3504f3));
    v16 k = v16_from_int(v16i_shr(d, 23));
    v16 m = v16_from_bits(v16i_sub(u, v16i_and(d, v16i_set((int32_t)0xff800000))));
    k = v16_sub(k, v16_select(tiny, v16_set(24.0f), v16_zero()));

    v16 f = v16_sub(m, v16_set(1.0f)), f2 = v16_mul(f, f);
    v16 q = v16_set(0x1.14618ap-4f);
    q = v16_fma(q, f, v16_set(-0x1.ddf980p-4f));
    q = v16_fma(q, f, v16_set(0x1.e6c272p-4f));
    q = v16_fma(q, f, v16_set(-0x1.fc2a0ep-4f));
    q = v16_fma(q, f, v16_set(0x1.233b98p-3f));
    q = v16_fma(q, f, v16_set(-0x1.555c3ep-3f));
    q = v16_fma(q, f, v16_set(0x1.99a476p-3f));
    q = v16_fma(q, f, v16_set(-0x1.000006p-2f));
    q = v16_fma(q, f, v16_set(0x1.555548p-2f));
    /* f - f^2/2 + f^3 q + k ln 2, small terms first. */
    v16 s = v16_fma(v16_mul(f2, f), q, v16_mul(k, v16_set(-0x1.bd0106p-13f)));
    s = v16_fnma(f2, v16_set(0.5f), s);
    v16 r = v16_fma(k, v16_set(0x1.63p-1f), v16_add(f, s));

    r = v16_select(v16_lt(v16_set(0x1.fffffep127f), x), x, r);
    v16 bad = v16_select(v16_lt(x, v16_zero()), v16_set(NAN), v16_set(-INFINITY));
    return v16_select(v16_isnan(x), x, v16_select(v16_lt(v16_zero(), x), r, bad));
}

/* Hyperbolic tangent: an odd polynomial near zero (so that -0 stays -0), 1 - 2 / (e^2|x| + 1) beyond. */
ZX_MATH v16 zx_tanh(v16 x)
{
    v16 a = v16_abs(x), u = v16_mul(x, x);
    v16 q = v16_set(0x1.1a27fep-9f);
    q = v16_fma(q, u, v16_set(-0x1.0c5ecep-7f));
    q = v16_fma(q, u, v16_set(0x1.63a550p-6f));
    q = v16_fma(q, u, v16_set(-0x1.b9f188p-5f));
    q = v16_fma(q, u, v16_set(0x1.11107ap-3f));
    q = v16_fma(q, u, v16_set(-0x1.555554p-2f));
    v16 near = v16_fma(v16_mul(u, x), q, x);
    v16 e = zx_exp(v16_add(a, a));
    v16 far = v16_sub(v16_set(1.0f), v16_div(v16_set(2.0f), v16_add(e, v16_set(1.0f))));
    v16 r = v16_select(v16_lt(a, v16_set(0.625f)), near, far);
    return v16_select(v16_isnan(x), x, zx_with_sign(r, x));
}

/* 1 / (1 + e^-x), from e^-|x| so that nothing overflows and small results keep their precision. */
ZX_MATH v16 zx_sigmoid(v16 x)
{
    v16 one = v16_set(1.0f), e = zx_exp(v16_neg(v16_abs(x)));
    v16 top = v16_select(v16_lt(x, v16_zero()), e, one);
    v16 s = v16_add(one, e), lost = v16_sub(e, v16_sub(s, one)); /* s + lost is 1 + e exactly */
    v16 r = v16_div(top, s);
    r = v16_fnma(r, v16_div(lost, s), r);
    return v16_select(v16_isnan(x), x, r);
}

/* --- double precision ----------------------------------------------------------------------------
 * fma() is exact by definition, in hardware or not; everything else is plain IEEE arithmetic. */

ZX_INLINE double zx_bits_f64(uint64_t u)
{
    double d;
    memcpy(&d, &u, sizeof d);
    return d;
}
ZX_INLINE uint64_t zx_f64_bits(double d)
{
    uint64_t u;
    memcpy(&u, &d, sizeof u);
    return u;
}
/* Adding it to a number below 2^51 in magnitude rounds that to an integer, found in the low bits of the sum. */
#define ZX_ROUNDER 0x1.8p52

/* Sine and cosine for |x| < 2^31, absolute error below 1e-15. */
ZX_INLINE void zx_sincos(double x, double *sine, double *cosine)
{
    double big = fma(x, 0x1.45f306dc9c883p-1, ZX_ROUNDER), n = big - ZX_ROUNDER;
    uint64_t quadrant = zx_f64_bits(big);
    /* pi/2 in two parts; the first step is exact: all of its bits lie between 2^-53 and 1. */
    double r = fma(-n, 0x1.921fb54442d18p+0, x), r2;
    r = fma(-n, 0x1.1a62633145c07p-54, r);
    r2 = r * r;

    double s = -0x1.ae7f3e733b81fp-41; /* -1/15!: the Taylor series, last term first */
    s = fma(s, r2, 0x1.6124613a86d09p-33);
    s = fma(s, r2, -0x1.ae64567f544e4p-26);
    s = fma(s, r2, 0x1.71de3a556c734p-19);
    s = fma(s, r2, -0x1.a01a01a01a01ap-13);
    s = fma(s, r2, 0x1.1111111111111p-7);
    s = fma(s, r2, -0x1.5555555555555p-3);
    s = fma(s * r2, r, r);
    double c = 0x1.ae7f3e733b81fp-45; /* 1/16! */
    c = fma(c, r2, -0x1.93974a8c07c9dp-37);
    c = fma(c, r2, 0x1.1eed8eff8d898p-29);
    c = fma(c, r2, -0x1.27e4fb7789f5cp-22);
    c = fma(c, r2, 0x1.a01a01a01a01ap-16);
    c = fma(c, r2, -0x1.6c16c16c16c17p-10);
    c = fma(c, r2, 0x1.5555555555555p-5);
    c = fma(c, r2, -0.5);
    c = fma(c, r2, 1.0);

    double a = quadrant & 1 ? c : s, b = quadrant & 1 ? s : c;
    *sine = quadrant & 2 ? -a : a;
    *cosine = (quadrant + 1) & 2 ? -b : b;
}

/* 2^x for |x| < 1000, relative error below 4e-16. */
ZX_INLINE double zx_exp2(double x)
{
    double big = x + ZX_ROUNDER, n = big - ZX_ROUNDER, r = (x - n) * 0x1.62e42fefa39efp-1;
    double p = 0x1.6124613a86d09p-33; /* 1/13! */
    p = fma(p, r, 0x1.1eed8eff8d898p-29);
    p = fma(p, r, 0x1.ae64567f544e4p-26);
    p = fma(p, r, 0x1.27e4fb7789f5cp-22);
    p = fma(p, r, 0x1.71de3a556c734p-19);
    p = fma(p, r, 0x1.a01a01a01a01ap-16);
    p = fma(p, r, 0x1.a01a01a01a01ap-13);
    p = fma(p, r, 0x1.6c16c16c16c17p-10);
    p = fma(p, r, 0x1.1111111111111p-7);
    p = fma(p, r, 0x1.5555555555555p-5);
    p = fma(p, r, 0x1.5555555555555p-3);
    p = fma(p, r, 0.5);
    p = fma(p, r, 1.0);
    p = fma(p, r, 1.0);
    return p * zx_bits_f64((zx_f64_bits(big) + 1023) << 52);
}

/* log2 x for normal x > 0, error below 4e-16 of max(1, |result|). */
ZX_INLINE double zx_log2(double x)
{
    uint64_t u = zx_f64_bits(x), d = u - 0x3fe6a09e667f3bcd; /* sqrt(1/2) */
    int k = (int)((int64_t)d >> 52);
    double m = zx_bits_f64(u - (d & 0xfff0000000000000)), s = (m - 1.0) / (m + 1.0), s2 = s * s;
    double q = 1.0 / 21; /* ln m = 2 (s + s^3/3 + s^5/5 + ...), |s| < 0.172 */
    for (int i = 19; i >= 3; i -= 2)
        q = fma(q, s2, 1.0 / i);
    double ln = fma(2.0 * s * s2, q, 2.0 * s);
    return fma(ln, 0x1.71547652b82fep+0, k);
}

#endif
