/* SPDX-License-Identifier: MIT */
#include "kernels/gating.h"

ZX_RUN(take)(const zx_call *c, int phase, int64_t begin, int64_t end, void *scratch)
{
    (void)phase, (void)scratch;
    const zx_type *x = &c->in[0].type;
    const int32_t *idx = c->in[1].data;
    int64_t n = x->dim[1], k = c->in[1].type.dim[1];
    for (int64_t i = begin * k; i < end * k; i++) {
        int64_t j = ZX_MIN(ZX_MAX((int64_t)idx[i], 0), n - 1); /* indices come from argpartition */
        zx_store1(c->out[0].data, x->dtype, i, zx_load1(c->in[0].data, x->dtype, i / k * n + j));
    }
}

#if ZX_LEVEL == 0
static zmlx_status infer(const zx_type *in, const zx_attr *attr, zx_type *out, zmlx_err *err)
{
    (void)attr;
    char text[96];
    ZX_TRY(zx_need_floats(&in[0], "x", 2, err));
    ZX_REQUIRE(in[0].rank == 2 && in[0].dim[1] > 0, "x: %s, expected [tokens, n]",
               zx_type_text(&in[0], text, sizeof text));
    ZX_REQUIRE(in[1].rank == 2 && in[1].dtype == ZMLX_I32 && in[1].dim[0] == in[0].dim[0],
               "idx: %s, expected int32[tokens, k]", zx_type_text(&in[1], text, sizeof text));
    out[0] = zx_type_make(in[0].dtype, 2, in[0].dim[0], in[1].dim[1]);
    return ZMLX_OK;
}

static void reference(const zx_call *c, const double *const *in, double *const *out)
{
    int64_t n = c->in[0].type.dim[1], k = c->in[1].type.dim[1];
    for (int64_t i = 0; i < c->tokens * k; i++)
        out[0][i] = in[0][i / k * n + (int64_t)in[1][i]];
}

/* n: elements per row, k. */
static void make_case(const zx_case *k, zx_type *in)
{
    in[0] = zx_type_make(k->dtype, 2, ZX_TOKENS, k->n[0]);
    in[1] = zx_type_make(ZMLX_I32, 2, ZX_TOKENS, k->n[1]);
}

static void fill(const zx_case *k, const zx_operand *in, uint64_t *rng)
{
    for (int64_t i = 0; i < k->tokens * k->n[1]; i++)
        ((int32_t *)in[1].data)[i] = (int32_t)(zx_random(rng) % (uint64_t)k->n[0]);
}

static const zx_case cases[] = {
    {.tokens = 1, .n = {128, 8}, .dtype = ZMLX_BF16},
    {.tokens = 5, .n = {60, 4}, .dtype = ZMLX_F16},
    {.tokens = 3, .n = {9, 9}, .dtype = ZMLX_F32},
};

const zx_kernel_def zx_kernel_take = {
    .name = "take",
    .doc = "y[t, j] = x[t, idx[t, j]]: x[tokens, n], idx int32[tokens, k]",
    .n_in = 2,
    .n_out = 1,
    .infer = infer,
    .phases = 1,
    .tasks = zx_tasks_tokens,
    .run = ZX_RUNS(take),
    .reference = reference,
    .make_case = make_case,
    .fill = fill,
    .cases = cases,
    .n_cases = ZX_COUNT(cases),
};
#endif
