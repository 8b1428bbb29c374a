/* SPDX-License-Identifier: MIT */
/* float16 and bfloat16 to and from float, scalar, round to nearest even.  Subnormals are kept; a NaN
 * stays a (quiet) NaN. */
#ifndef ZX_BASE_HALF_H
#define ZX_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline float zx_bits_f32(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline uint32_t zx_f32_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static inline float zx_bf16_to_f32(uint16_t h) { return zx_bits_f32((uint32_t)h << 16); }

static inline uint16_t zx_f32_to_bf16(float f)
{
    uint32_t u = zx_f32_bits(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((u >> 16) | 0x40u);
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

float zx_f16_to_f32(uint16_t h);
uint16_t zx_f32_to_f16(float f);
/* Straight from double, one rounding (for references in tests). */
uint16_t zx_f64_to_bf16(double d);
uint16_t zx_f64_to_f16(double d);

#endif
