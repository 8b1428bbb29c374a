/* SPDX-License-Identifier: MIT */
#include "kernels/gating.h"

ZX_RUN(sum_last)(const zx_call *c, int phase, int64_t begin, int64_t end, void *scratch)
{
    (void)phase;
    const zx_type *x = &c->in[0].type;
    int64_t k = x->dim[1];
    for (int64_t t = begin; t < end; t++) {
        zx_widen(scratch, c->in[0].data, x->dtype, t * k, k);
        zx_store1(c->out[0].data, x->dtype, t, zx_sum_in_order(scratch, k));
    }
}

#if ZX_LEVEL == 0
static zmlx_status infer(const zx_type *in, const zx_attr *attr, zx_type *out, zmlx_err *err)
{
    (void)attr;
    char text[96];
    ZX_TRY(zx_need_floats(&in[0], "x", 2, err));
    ZX_REQUIRE(in[0].rank == 2 && in[0].dim[1] > 0, "x: %s, expected [tokens, k]",
               zx_type_text(&in[0], text, sizeof text));
    out[0] = zx_type_make(in[0].dtype, 2, in[0].dim[0], (int64_t)1);
    return ZMLX_OK;
}

static void reference(const zx_call *c, const double *const *in, double *const *out)
{
    int64_t k = c->in[0].type.dim[1];
    for (int64_t t = 0; t < c->tokens; t++) {
        out[0][t] = 0;
        for (int64_t j = 0; j < k; j++)
            out[0][t] += in[0][t * k + j];
    }
}

/* n: k. */
static void make_case(const zx_case *k, zx_type *in) { in[0] = zx_type_make(k->dtype, 2, ZX_TOKENS, k->n[0]); }

/* Scores are not negative: the sum does not cancel. */
static void fill(const zx_case *k, const zx_operand *in, uint64_t *rng)
{
    for (int64_t i = 0; i < k->tokens * k->n[0]; i++)
        zx_store1(in[0].data, k->dtype, i, (float)(zx_random(rng) % 1000) / 1000);
}

static const zx_case cases[] = {
    {.tokens = 1, .n = {8}, .dtype = ZMLX_BF16},
    {.tokens = 5, .n = {4}, .dtype = ZMLX_F16},
    {.tokens = 7, .n = {33}, .dtype = ZMLX_F32},
    {.tokens = 2, .n = {1}, .dtype = ZMLX_BF16},
};

const zx_kernel_def zx_kernel_sum_last = {
    .name = "sum_last",
    .doc = "y[t] = sum over j of x[t, j], in float32, j ascending: x[tokens, k] -> [tokens, 1]",
    .n_in = 1,
    .n_out = 1,
    .infer = infer,
    .phases = 1,
    .tasks = zx_tasks_tokens,
    .scratch = zx_row_scratch,
    .run = ZX_RUNS(sum_last),
    .reference = reference,
    .tol_ulp = 16, /* half a place for each of up to 32 additions */
    .make_case = make_case,
    .fill = fill,
    .cases = cases,
    .n_cases = ZX_COUNT(cases),
};
#endif
