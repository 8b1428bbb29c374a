/* SPDX-License-Identifier: MIT */
#include "kernels/norm.h"

/* add, then rms_norm of its rounded result: the same spans in the same order, so the same bits. */
ZX_RUN(residual_norm)(const zx_call *c, int phase, int64_t begin, int64_t end, void *scratch)
{
    (void)phase, (void)scratch;
    const zx_operand *h = &c->out[0], *w = &c->in[2];
    int64_t n = w->type.dim[0];
    for (int64_t r = begin; r < end; r++) {
        zx_add_span(h, &c->in[0], &c->in[1], r * n, (r + 1) * n);
        zx_rms_norm_row(c->out[1].data, h->data, h->type.dtype, r * n, w->data, w->type.dtype, n, c->attr->eps);
    }
}

#if ZX_LEVEL == 0
static zmlx_status infer(const zx_type *in, const zx_attr *attr, zx_type *out, zmlx_err *err)
{
    ZX_REQUIRE(attr->eps >= 0, "eps is %g, expected at least 0", (double)attr->eps);
    ZX_TRY(zx_infer_sum(&in[0], &in[1], &out[0], err));
    return zx_rms_norm_infer(&out[0], &in[2], &out[1], err);
}

static int64_t tasks(const zx_call *c, int phase)
{
    (void)phase;
    return c->tokens * (zx_type_row(&c->in[0].type) / c->in[2].type.dim[0]);
}

static void reference(const zx_call *c, const double *const *in, double *const *out)
{
    int64_t n = c->tokens * zx_type_row(&c->in[0].type);
    for (int64_t i = 0; i < n; i++)
        out[0][i] = in[0][i] + in[1][i];
    zx_rms_norm_reference(out[0], in[2], out[1], tasks(c, 0), c->in[2].type.dim[0], (double)c->attr->eps);
}

/* n: elements per token, type of the weight + 1 when it differs. */
static void make_case(const zx_case *k, zx_type *in)
{
    in[0] = in[1] = zx_type_make(k->dtype, 2, ZX_TOKENS, k->n[0]);
    in[2] = zx_type_make(k->n[1] ? (zmlx_dtype)(k->n[1] - 1) : k->dtype, 1, k->n[0]);
}

static const zx_case cases[] = {
    {.tokens = 1, .n = {2048}, .dtype = ZMLX_BF16, .attr = {.eps = 1e-6f}},
    {.tokens = 4, .n = {100}, .dtype = ZMLX_F16, .attr = {.eps = 1e-5f}},
    {.tokens = 3, .n = {515}, .dtype = ZMLX_F32, .attr = {.eps = 1e-6f}},
    {.tokens = 2, .n = {64, ZMLX_F32 + 1}, .dtype = ZMLX_BF16, .attr = {.eps = 1e-6f}},
};

const zx_kernel_def zx_kernel_residual_norm = {
    .name = "residual_norm",
    .doc = "h = x + y; z = rms_norm(h, w): add and rms_norm in one pass, both results kept",
    .n_in = 3,
    .n_out = 2,
    .infer = infer,
    .phases = 1,
    .tasks = tasks,
    .run = ZX_RUNS(residual_norm),
    .reference = reference,
    .tol_ulp = 4,
    .tol_row_ulp = 1, /* sums that cancel: the rounded h is normed, the reference norms the exact one */
    .make_case = make_case,
    .cases = cases,
    .n_cases = ZX_COUNT(cases),
};
#endif
