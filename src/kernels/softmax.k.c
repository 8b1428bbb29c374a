/* SPDX-License-Identifier: MIT */
#include "kernels/gating.h"

ZX_RUN(softmax)(const zx_call *c, int phase, int64_t begin, int64_t end, void *scratch)
{
    (void)phase;
    const zx_type *x = &c->in[0].type;
    int64_t n = zx_type_last(x);
    for (int64_t r = begin; r < end; r++) {
        zx_softmax_row(scratch, c->in[0].data, r * n, n, x->dtype);
        zx_narrow(c->out[0].data, x->dtype, r * n, scratch, n);
    }
}

#if ZX_LEVEL == 0
static zmlx_status infer(const zx_type *in, const zx_attr *attr, zx_type *out, zmlx_err *err)
{
    (void)attr;
    ZX_TRY(zx_need_floats(&in[0], "x", 2, err));
    out[0] = in[0];
    return ZMLX_OK;
}

static int64_t tasks(const zx_call *c, int phase)
{
    (void)phase;
    return c->tokens * (zx_type_row(&c->in[0].type) / zx_type_last(&c->in[0].type));
}

static void reference(const zx_call *c, const double *const *in, double *const *out)
{
    int64_t n = zx_type_last(&c->in[0].type);
    for (int64_t r = 0; r < tasks(c, 0); r++)
        zx_softmax_reference(in[0] + r * n, out[0] + r * n, n);
}

/* n: rows per token (0 = one), elements per row. */
static void make_case(const zx_case *k, zx_type *in)
{
    in[0] = k->n[0] ? zx_type_make(k->dtype, 3, ZX_TOKENS, k->n[0], k->n[1])
                    : zx_type_make(k->dtype, 2, ZX_TOKENS, k->n[1]);
}

static const zx_case cases[] = {
    {.tokens = 1, .n = {0, 128}, .dtype = ZMLX_BF16},
    {.tokens = 3, .n = {0, 60}, .dtype = ZMLX_F16},
    {.tokens = 2, .n = {3, 513}, .dtype = ZMLX_F32},
    {.tokens = 4, .n = {0, 1}, .dtype = ZMLX_F32},
};

const zx_kernel_def zx_kernel_softmax = {
    .name = "softmax",
    .doc = "y = e^(x - max) / sum over the last dimension, float32 inside",
    .n_in = 1,
    .n_out = 1,
    .infer = infer,
    .phases = 1,
    .tasks = tasks,
    .scratch = zx_row_scratch,
    .run = ZX_RUNS(softmax),
    .reference = reference,
    .tol_ulp = 8,
    .tol_row_ulp = 0.01, /* the rounding of x - max shows in the smallest */
    .make_case = make_case,
    .cases = cases,
    .n_cases = ZX_COUNT(cases),
};
#endif
