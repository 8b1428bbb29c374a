/* SPDX-License-Identifier: MIT */
#include "kernels/combine.h"

ZX_INLINE void span(void *out, const void *y, int64_t at, int64_t n, v16 score, zmlx_dtype t_out, zmlx_dtype t)
{
    for (int64_t i = at; i < at + n; i += 16)
        v16_store_any(out, t_out, i, v16_mul(v16_load_any(y, t, i, at + n - i), score), at + n - i);
}

ZX_INLINE void span_same(void *out, const void *y, int64_t at, int64_t n, v16 score, zmlx_dtype t)
{
    span(out, y, at, n, score, t, t);
}

ZX_RUN(mul_scores)(const zx_call *c, int phase, int64_t begin, int64_t end, void *scratch)
{
    (void)phase, (void)scratch;
    const zx_operand *y = &c->in[0], *s = &c->in[1], *out = &c->out[0];
    int64_t n = y->type.dim[2];
    for (int64_t r = begin; r < end; r++) {
        v16 score = v16_set(zx_load1(s->data, s->type.dtype, r));
        if (y->type.dtype == out->type.dtype)
            ZX_BY_TYPE(y->type.dtype, span_same, out->data, y->data, r * n, n, score);
        else
            span(out->data, y->data, r * n, n, score, out->type.dtype, y->type.dtype);
    }
}

#if ZX_LEVEL == 0
static zmlx_status infer(const zx_type *in, const zx_attr *attr, zx_type *out, zmlx_err *err)
{
    (void)attr;
    ZX_TRY(zx_need_experts(&in[0], err));
    ZX_TRY(zx_need_scores(&in[1], &in[0], err));
    out[0] = in[0];
    out[0].dtype = zx_promote(in[0].dtype, in[1].dtype);
    return ZMLX_OK;
}

static int64_t tasks(const zx_call *c, int phase)
{
    (void)phase;
    return c->tokens * c->in[0].type.dim[1];
}

static void reference(const zx_call *c, const double *const *in, double *const *out)
{
    int64_t k = c->in[0].type.dim[1], n = c->in[0].type.dim[2];
    for (int64_t i = 0; i < c->tokens * k * n; i++)
        out[0][i] = in[0][i] * in[1][i / n];
}

/* n: k, elements, type of the scores + 1 when it differs. */
static void make_case(const zx_case *k, zx_type *in)
{
    in[0] = zx_type_make(k->dtype, 3, ZX_TOKENS, k->n[0], k->n[1]);
    in[1] = zx_type_make(k->n[2] ? (zmlx_dtype)(k->n[2] - 1) : k->dtype, 2, ZX_TOKENS, k->n[0]);
}

static const zx_case cases[] = {
    {.tokens = 1, .n = {8, 2048}, .dtype = ZMLX_BF16},
    {.tokens = 5, .n = {4, 33}, .dtype = ZMLX_F16},
    {.tokens = 3, .n = {2, 40, ZMLX_F32 + 1}, .dtype = ZMLX_BF16},
    {.tokens = 2, .n = {3, 16}, .dtype = ZMLX_F32},
};

const zx_kernel_def zx_kernel_mul_scores = {
    .name = "mul_scores",
    .doc = "z[t, j] = y[t, j] s[t, j], rounded once to the promoted type: y[tokens, k, n], s[tokens, k]",
    .n_in = 2,
    .n_out = 1,
    .infer = infer,
    .phases = 1,
    .tasks = tasks,
    .run = ZX_RUNS(mul_scores),
    .reference = reference,
    .tol_ulp = 0.51,
    .make_case = make_case,
    .cases = cases,
    .n_cases = ZX_COUNT(cases),
};
#endif
