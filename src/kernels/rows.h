/* SPDX-License-Identifier: MIT */
/* What the small kernels share: one task per token, rows of any float type, 16 elements at a time. */
#ifndef ZX_KERNELS_ROWS_H
#define ZX_KERNELS_ROWS_H

#include "kernels/kernel.h"
#include "kernels/lanes.h"

/* Call fn(..., t) with t a constant, so that the choice between types is made once and not per element. */
#define ZX_BY_TYPE(t, fn, ...)                                                                                         \
    do {                                                                                                               \
        if ((t) == ZMLX_BF16)                                                                                          \
            fn(__VA_ARGS__, ZMLX_BF16);                                                                                \
        else if ((t) == ZMLX_F16)                                                                                      \
            fn(__VA_ARGS__, ZMLX_F16);                                                                                 \
        else                                                                                                           \
            fn(__VA_ARGS__, ZMLX_F32);                                                                                 \
    } while (0)

/* out = x + y over elements [from, to), one rounding to t_out. */
ZX_INLINE void zx_add_any(void *out, const void *x, const void *y, int64_t from, int64_t to, zmlx_dtype t_out,
                          zmlx_dtype t_y, zmlx_dtype t)
{
    for (int64_t i = from; i < to; i += 16)
        v16_store_any(out, t_out, i, v16_add(v16_load_any(x, t, i, to - i), v16_load_any(y, t_y, i, to - i)), to - i);
}

ZX_INLINE void zx_add_same(void *out, const void *x, const void *y, int64_t from, int64_t to, zmlx_dtype t)
{
    zx_add_any(out, x, y, from, to, t, t, t);
}

ZX_INLINE void zx_add_span(const zx_operand *out, const zx_operand *x, const zx_operand *y, int64_t from, int64_t to)
{
    zmlx_dtype t = x->type.dtype, t_y = y->type.dtype;
    if (t == t_y)
        ZX_BY_TYPE(t, zx_add_same, out->data, x->data, y->data, from, to);
    else
        zx_add_any(out->data, x->data, y->data, from, to, zx_promote(t, t_y), t_y, t);
}

#if ZX_LEVEL == 0
static inline int64_t zx_tasks_tokens(const zx_call *c, int phase)
{
    (void)phase;
    return c->tokens;
}

/* The next number of a test's stream: 31 good bits. */
static inline uint32_t zx_random(uint64_t *rng)
{
    *rng = *rng * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*rng >> 33);
}

/* An activation: plain floats whose first dimension stands for the tokens. */
static inline zmlx_status zx_need_floats(const zx_type *t, const char *what, int min_rank, zmlx_err *err)
{
    char text[96];
    ZX_REQUIRE(t->rank >= min_rank && zx_is_float16_32(t->dtype) && !t->quant.bits,
               "%s: %s, expected float16, bfloat16 or float32 of at least %d dimensions", what,
               zx_type_text(t, text, sizeof text), min_rank);
    return ZMLX_OK;
}

/* Two activations of the same shape; their types may differ. */
static inline zmlx_status zx_need_same_shape(const zx_type *a, const char *a_name, const zx_type *b, const char *b_name,
                                             zmlx_err *err)
{
    char a_text[96], b_text[96];
    bool same = a->rank == b->rank;
    for (int i = 0; same && i < a->rank; i++)
        same = a->dim[i] == b->dim[i];
    ZX_REQUIRE(same, "%s is %s but %s is %s", a_name, zx_type_text(a, a_text, sizeof a_text), b_name,
               zx_type_text(b, b_text, sizeof b_text));
    return ZMLX_OK;
}

/* x + y and its like: same shapes, promoted type. */
static inline zmlx_status zx_infer_sum(const zx_type *x, const zx_type *y, zx_type *out, zmlx_err *err)
{
    ZX_TRY(zx_need_floats(x, "x", 1, err));
    ZX_TRY(zx_need_floats(y, "y", 1, err));
    ZX_TRY(zx_need_same_shape(x, "x", y, "y", err));
    *out = *x;
    out->dtype = zx_promote(x->dtype, y->dtype);
    return ZMLX_OK;
}
#endif

#endif
