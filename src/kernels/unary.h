/* SPDX-License-Identifier: MIT */
/* Kernels y = f(x), element by element: a file gives f over 16 lanes and in double precision. */
#ifndef ZX_KERNELS_UNARY_H
#define ZX_KERNELS_UNARY_H

#include "kernels/rows.h"

typedef v16 zx_unary_fn(v16 x, zmlx_dtype t);

ZX_INLINE void zx_unary_span(const zx_call *c, int64_t from, int64_t to, zx_unary_fn *f, zmlx_dtype t)
{
    for (int64_t i = from; i < to; i += 16)
        v16_store_any(c->out[0].data, t, i, f(v16_load_any(c->in[0].data, t, i, to - i), t), to - i);
}

ZX_INLINE void zx_unary(const zx_call *c, int64_t begin, int64_t end, zx_unary_fn *f)
{
    int64_t n = zx_type_row(&c->in[0].type);
    ZX_BY_TYPE(c->in[0].type.dtype, zx_unary_span, c, begin * n, end * n, f);
}

#if ZX_LEVEL == 0
static inline zmlx_status zx_unary_infer(const zx_type *in, const zx_attr *attr, zx_type *out, zmlx_err *err)
{
    (void)attr;
    ZX_TRY(zx_need_floats(&in[0], "x", 1, err));
    out[0] = in[0];
    return ZMLX_OK;
}

/* n[0]: elements per token. */
static inline void zx_unary_case(const zx_case *k, zx_type *in)
{
    in[0] = zx_type_make(k->dtype, 2, ZX_TOKENS, k->n[0]);
}

static const zx_case zx_unary_cases[] = {
    {.tokens = 1, .n = {16}, .dtype = ZMLX_F32}, {.tokens = 1, .n = {2048}, .dtype = ZMLX_BF16},
    {.tokens = 5, .n = {33}, .dtype = ZMLX_F16}, {.tokens = 7, .n = {1000}, .dtype = ZMLX_F32},
    {.tokens = 9, .n = {7}, .dtype = ZMLX_BF16},
};

#define ZX_UNARY_DEF(ident, doc_, reference_, tol, tol_row)                                                            \
    const zx_kernel_def zx_kernel_##ident = {.name = #ident,                                                           \
                                             .doc = doc_,                                                              \
                                             .n_in = 1,                                                                \
                                             .n_out = 1,                                                               \
                                             .infer = zx_unary_infer,                                                  \
                                             .phases = 1,                                                              \
                                             .tasks = zx_tasks_tokens,                                                 \
                                             .run = ZX_RUNS(ident),                                                    \
                                             .reference = reference_,                                                  \
                                             .tol_ulp = tol,                                                           \
                                             .tol_row_ulp = tol_row,                                                   \
                                             .make_case = zx_unary_case,                                               \
                                             .cases = zx_unary_cases,                                                  \
                                             .n_cases = ZX_COUNT(zx_unary_cases)}
#endif

#endif
