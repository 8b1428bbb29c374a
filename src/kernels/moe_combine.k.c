/* SPDX-License-Identifier: MIT */
#include "kernels/combine.h"

/* mul_scores, whose rounding is kept, then sum_experts. */
ZX_RUN(moe_combine)(const zx_call *c, int phase, int64_t begin, int64_t end, void *scratch)
{
    (void)phase, (void)scratch;
    for (int64_t t = begin; t < end; t++)
        zx_sum_experts_row(&c->out[0], &c->in[0], &c->in[1], t);
#ifdef ZX_TEST_WRONG_KERNEL /* build/zmlx-wrong: a kernel that is wrong on purpose, for `validate` to find */
    for (int64_t t = begin; t < end; t++)
        v16_store((float *)c->out[0].data + t * c->out[0].type.dim[1] / 2, v16_zero());
#endif
}

#if ZX_LEVEL == 0
static zmlx_status infer(const zx_type *in, const zx_attr *attr, zx_type *out, zmlx_err *err)
{
    (void)attr;
    ZX_TRY(zx_need_experts(&in[0], err));
    ZX_TRY(zx_need_scores(&in[1], &in[0], err));
    out[0] = zx_type_make(zx_promote(in[0].dtype, in[1].dtype), 2, in[0].dim[0], in[0].dim[2]);
    return ZMLX_OK;
}

static void reference(const zx_call *c, const double *const *in, double *const *out)
{
    int64_t k = c->in[0].type.dim[1], n = c->in[0].type.dim[2];
    for (int64_t i = 0; i < c->tokens * n; i++) {
        int64_t first = i / n * k;
        out[0][i] = 0;
        for (int64_t j = first; j < first + k; j++)
            out[0][i] += in[0][j * n + i % n] * in[1][j];
    }
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
    {.tokens = 3, .n = {10, 100}, .dtype = ZMLX_F32},
    {.tokens = 2, .n = {8, 48, ZMLX_F32 + 1}, .dtype = ZMLX_BF16},
};

const zx_kernel_def zx_kernel_moe_combine = {
    .name = "moe_combine",
    .doc = "z[t] = sum over j of T(y[t, j] s[t, j]), in float32, j ascending: y[tokens, k, n], s[tokens, k]",
    .n_in = 2,
    .n_out = 1,
    .infer = infer,
    .phases = 1,
    .tasks = zx_tasks_tokens,
    .run = ZX_RUNS(moe_combine),
    .reference = reference,
    .tol_ulp = 1,
    .tol_row_ulp = 8, /* half a place of a term per product, of the largest sum per addition */
    .make_case = make_case,
    .cases = cases,
    .n_cases = ZX_COUNT(cases),
};
#endif
