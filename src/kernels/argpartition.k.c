/* SPDX-License-Identifier: MIT */
#include "kernels/gating.h"

ZX_RUN(argpartition)(const zx_call *c, int phase, int64_t begin, int64_t end, void *scratch)
{
    (void)phase;
    const zx_type *x = &c->in[0].type;
    int64_t n = x->dim[1];
    int k = c->attr->k;
    for (int64_t t = begin; t < end; t++) {
        zx_widen(scratch, c->in[0].data, x->dtype, t * n, n);
        zx_choose((int32_t *)c->out[0].data + t * k, scratch, n, k);
    }
}

#if ZX_LEVEL == 0
static zmlx_status infer(const zx_type *in, const zx_attr *attr, zx_type *out, zmlx_err *err)
{
    char text[96];
    ZX_TRY(zx_need_floats(&in[0], "x", 2, err));
    ZX_REQUIRE(in[0].rank == 2, "x: %s, expected [tokens, n]", zx_type_text(&in[0], text, sizeof text));
    ZX_TRY(zx_need_k(attr, in[0].dim[1], err));
    out[0] = zx_type_make(ZMLX_I32, 2, in[0].dim[0], (int64_t)attr->k);
    return ZMLX_OK;
}

static void reference(const zx_call *c, const double *const *in, double *const *out)
{
    int64_t n = c->in[0].type.dim[1], k = c->attr->k;
    for (int64_t t = 0; t < c->tokens; t++)
        zx_choose_reference(out[0] + t * k, in[0] + t * n, n, k);
}

/* n: elements per row, different values among them (0 = random). */
static void make_case(const zx_case *k, zx_type *in) { in[0] = zx_type_make(k->dtype, 2, ZX_TOKENS, k->n[0]); }

static void fill(const zx_case *k, const zx_operand *in, uint64_t *rng)
{
    if (k->n[1])
        for (int64_t i = 0; i < k->tokens * k->n[0]; i++)
            zx_store1(in[0].data, k->dtype, i, (float)(zx_random(rng) % (uint64_t)k->n[1]) - 1);
}

static const zx_case cases[] = {
    {.tokens = 1, .n = {128}, .dtype = ZMLX_BF16, .attr = {.k = 8}},
    {.tokens = 6, .n = {128, 3}, .dtype = ZMLX_BF16, .attr = {.k = 8}},
    {.tokens = 5, .n = {60, 1}, .dtype = ZMLX_F16, .attr = {.k = 4}},
    {.tokens = 3, .n = {512, 40}, .dtype = ZMLX_F32, .attr = {.k = 10}},
    {.tokens = 2, .n = {7}, .dtype = ZMLX_F32, .attr = {.k = 7}},
};

const zx_kernel_def zx_kernel_argpartition = {
    .name = "argpartition",
    .doc = "int32[tokens, k]: the last k of a stable ascending sort of x[tokens, n], ascending; NaN sorts last",
    .n_in = 1,
    .n_out = 1,
    .infer = infer,
    .phases = 1,
    .tasks = zx_tasks_tokens,
    .scratch = zx_row_scratch,
    .run = ZX_RUNS(argpartition),
    .reference = reference,
    .make_case = make_case,
    .fill = fill,
    .cases = cases,
    .n_cases = ZX_COUNT(cases),
};
#endif
