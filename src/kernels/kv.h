/* SPDX-License-Identifier: MIT */
/* How the caches of keys and values lie in memory.  Types say [heads, ctx, dim] with ctx a multiple of 16; inside:
 *
 *   values           [heads][ctx][dim]
 *   keys, bf16       [heads][ctx / 16][dim / 2][16 positions][2]: a vector is one pair of features of 16 keys, so that
 *                    v16_dp makes 16 scores at once
 *   keys, f16, f32   [heads][ctx / 16][dim][16 positions]: the same for v16_fma */
#ifndef ZX_KERNELS_KV_H
#define ZX_KERNELS_KV_H

#include "kernels/kernel.h"

enum { ZX_KV_KEYS, ZX_KV_VALUES }; /* zx_attr.role */

/* Where feature d of position pos of a head lies, in elements. */
static inline int64_t zx_key_at(const zx_type *t, int64_t head, int64_t pos, int64_t d)
{
    int64_t dim = t->dim[2], block = (head * t->dim[1] + pos) / 16 * 16 * dim;
    if (t->dtype == ZMLX_BF16) return block + d / 2 * 32 + pos % 16 * 2 + d % 2;
    return block + d * 16 + pos % 16;
}
static inline int64_t zx_value_at(const zx_type *t, int64_t head, int64_t pos, int64_t d)
{
    return (head * t->dim[1] + pos) * t->dim[2] + d;
}

#if ZX_LEVEL == 0
enum { ZX_KV_MAX_DIM = 256 };

static inline zmlx_status zx_kv_check(const zx_type *t, const char *name, zmlx_err *err)
{
    char text[96];
    ZX_REQUIRE(t->rank == 3 && zx_is_float16_32(t->dtype) && !t->quant.bits,
               "%s: %s, expected float16, bfloat16 or float32 [heads, positions, features]", name,
               zx_type_text(t, text, sizeof text));
    ZX_REQUIRE(t->dim[0] >= 1 && t->dim[1] >= 16 && t->dim[1] % 16 == 0,
               "%s: %lld heads, %lld positions, expected at least 1 and a multiple of 16", name, (long long)t->dim[0],
               (long long)t->dim[1]);
    ZX_REQUIRE(t->dim[2] >= 2 && t->dim[2] <= ZX_KV_MAX_DIM && t->dim[2] % 2 == 0,
               "%s: %lld features, expected an even number up to %d", name, (long long)t->dim[2], ZX_KV_MAX_DIM);
    return ZMLX_OK;
}
#endif

#endif
