/* SPDX-License-Identifier: MIT */
#include "kernels/combine.h"

ZX_RUN(sum_experts)(const zx_call *c, int phase, int64_t begin, int64_t end, void *scratch)
{
    (void)phase, (void)scratch;
    for (int64_t t = begin; t < end; t++)
        zx_sum_experts_row(&c->out[0], &c->in[0], NULL, t);
}

#if ZX_LEVEL == 0
static zmlx_status infer(const zx_type *in, const zx_attr *attr, zx_type *out, zmlx_err *err)
{
    (void)attr;
    ZX_TRY(zx_need_experts(&in[0], err));
    out[0] = zx_type_make(in[0].dtype, 2, in[0].dim[0], in[0].dim[2]);
    return ZMLX_OK;
}

static void reference(const zx_call *c, const double *const *in, double *const *out)
{
    int64_t k = c->in[0].type.dim[1], n = c->in[0].type.dim[2];
    for (int64_t i = 0; i < c->tokens * n; i++) {
        out[0][i] = 0;
        for (int64_t j = 0; j < k; j++)
            out[0][i] += in[0][(i / n * k + j) * n + i % n];
    }
}

/* n: k, elements. */
static void make_case(const zx_case *k, zx_type *in) { in[0] = zx_type_make(k->dtype, 3, ZX_TOKENS, k->n[0], k->n[1]); }

static const zx_case cases[] = {
    {.tokens = 1, .n = {8, 2048}, .dtype = ZMLX_BF16},
    {.tokens = 5, .n = {4, 33}, .dtype = ZMLX_F16},
    {.tokens = 3, .n = {10, 100}, .dtype = ZMLX_F32},
    {.tokens = 2, .n = {1, 16}, .dtype = ZMLX_BF16},
};

const zx_kernel_def zx_kernel_sum_experts = {
    .name = "sum_experts",
    .doc = "z[t] = sum over j of y[t, j], in float32, j ascending: y[tokens, k, n] -> [tokens, n]",
    .n_in = 1,
    .n_out = 1,
    .infer = infer,
    .phases = 1,
    .tasks = zx_tasks_tokens,
    .run = ZX_RUNS(sum_experts),
    .reference = reference,
    .tol_ulp = 1,
    .tol_row_ulp = 4, /* terms of both signs: half a place of the largest sum per addition */
    .make_case = make_case,
    .cases = cases,
    .n_cases = ZX_COUNT(cases),
};
#endif
