/* SPDX-License-Identifier: MIT */
/* Activations with MLX's rounding points: every inner operation rounds to the type of the activations
 * (docs/NUMERICS.md).  With t == ZMLX_F32 the roundings vanish and the sequence stays the same. */
#ifndef ZX_KERNELS_ACT_H
#define ZX_KERNELS_ACT_H

#include "kernels/vmath.h"

/* x * sigmoid(x), sigmoid from r = 1 / (1 + e^|x|) as r or 1 - r: MLX's form, kept because its roundings show. */
ZX_MATH v16 zx_silu_lanes(v16 x, zmlx_dtype t)
{
    v16 one = v16_set(1.0f);
    v16 e = v16_round_to(zx_exp(v16_abs(x)), t);
    v16 r = v16_round_to(v16_div(one, v16_round_to(v16_add(one, e), t)), t);
    v16 sig = v16_select(v16_lt(x, v16_zero()), r, v16_round_to(v16_sub(one, r), t));
    return v16_round_to(v16_mul(x, sig), t);
}

/* silu(gate) * up. */
ZX_INLINE v16 zx_swiglu_lanes(v16 gate, v16 up, zmlx_dtype t)
{
    return v16_round_to(v16_mul(zx_silu_lanes(gate, t), up), t);
}

#endif
