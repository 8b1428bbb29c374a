/* SPDX-License-Identifier: MIT */
#include "base/half.h"

float zx_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = h >> 10 & 0x1fu, mantissa = h & 0x3ffu;
    if (exponent == 0) { /* zero or subnormal: mantissa * 2^-24 is exact */
        float f = (float)mantissa * 0x1p-24f;
        return zx_bits_f32(zx_f32_bits(f) | sign);
    }
    if (exponent == 31) return zx_bits_f32(sign | 0x7f800000u | mantissa << 13 | (mantissa ? 0x400000u : 0));
    return zx_bits_f32(sign | (exponent + 112) << 23 | mantissa << 13);
}

/* Round a double to a format with `mbits` mantissa bits and least normal exponent emin (the greatest is 1 - emin). */
static uint16_t round_double(double d, int mbits, int emin)
{
    uint64_t u;
    memcpy(&u, &d, sizeof u);
    uint32_t sign = (uint32_t)(u >> 48 & 0x8000u);
    uint32_t inf = (uint32_t)(2 * (1 - emin) + 1) << mbits;
    uint64_t mantissa = u & 0xfffffffffffffu;
    int e = (int)(u >> 52 & 0x7ff) - 1023;
    if (e == 1024)
        return (uint16_t)(sign | inf | (mantissa ? 1u << (mbits - 1) | (uint32_t)(mantissa >> (52 - mbits)) : 0));
    if (e > 1 - emin) return (uint16_t)(sign | inf);

    uint64_t full = mantissa | 1ull << 52; /* a subnormal double lands in `shift > 53` below */
    int shift = 52 - mbits + (e < emin ? emin - e : 0);
    if (shift > 53) return (uint16_t)sign;
    uint64_t kept = full >> shift, rest = full & ((1ull << shift) - 1), half = 1ull << (shift - 1);
    if (rest > half || (rest == half && (kept & 1))) kept++;
    /* kept has the implicit bit when normal, so the biased exponent less one is added; carries do the right thing. */
    if (e >= emin) kept += (uint64_t)(e - emin) << mbits;
    return (uint16_t)(sign | (uint32_t)kept);
}

uint16_t zx_f64_to_bf16(double d) { return round_double(d, 7, -126); }
uint16_t zx_f64_to_f16(double d) { return round_double(d, 10, -14); }
uint16_t zx_f32_to_f16(float f) { return round_double((double)f, 10, -14); }
