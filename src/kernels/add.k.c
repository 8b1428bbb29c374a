/* SPDX-License-Identifier: MIT */
#include "kernels/rows.h"

ZX_RUN(add)(const zx_call *c, int phase, int64_t begin, int64_t end, void *scratch)
{
    (void)phase, (void)scratch;
    int64_t n = zx_type_row(&c->in[0].type);
    zx_add_span(&c->out[0], &c->in[0], &c->in[1], begin * n, end * n);
}

#if ZX_LEVEL == 0
static zmlx_status infer(const zx_type *in, const zx_attr *attr, zx_type *out, zmlx_err *err)
{
    (void)attr;
    return zx_infer_sum(&in[0], &in[1], &out[0], err);
}

static void reference(const zx_call *c, const double *const *in, double *const *out)
{
    int64_t n = c->tokens * zx_type_row(&c->in[0].type);
    for (int64_t i = 0; i < n; i++)
        out[0][i] = in[0][i] + in[1][i];
}

/* n: elements per token, type of y + 1 when it differs. */
static void make_case(const zx_case *k, zx_type *in)
{
    in[0] = zx_type_make(k->dtype, 2, ZX_TOKENS, k->n[0]);
    in[1] = in[0];
    if (k->n[1]) in[1].dtype = (zmlx_dtype)(k->n[1] - 1);
}

static const zx_case cases[] = {
    {.tokens = 1, .n = {2048}, .dtype = ZMLX_BF16},
    {.tokens = 7, .n = {129}, .dtype = ZMLX_F32},
    {.tokens = 3, .n = {48}, .dtype = ZMLX_F16},
    {.tokens = 3, .n = {50, ZMLX_F16 + 1}, .dtype = ZMLX_BF16},
    {.tokens = 2, .n = {31, ZMLX_BF16 + 1}, .dtype = ZMLX_F32},
};

const zx_kernel_def zx_kernel_add = {
    .name = "add",
    .doc = "z = x + y, same shapes, rounded once to the promoted type",
    .n_in = 2,
    .n_out = 1,
    .infer = infer,
    .phases = 1,
    .tasks = zx_tasks_tokens,
    .run = ZX_RUNS(add),
    .reference = reference,
    .tol_ulp = 0.51, /* a float32 sum rounded again to 16 bits */
    .make_case = make_case,
    .cases = cases,
    .n_cases = ZX_COUNT(cases),
};
#endif
