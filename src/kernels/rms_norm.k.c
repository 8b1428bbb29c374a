/* SPDX-License-Identifier: MIT */
#include "kernels/norm.h"

ZX_RUN(rms_norm)(const zx_call *c, int phase, int64_t begin, int64_t end, void *scratch)
{
    (void)phase, (void)scratch;
    const zx_operand *x = &c->in[0], *w = &c->in[1];
    int64_t n = w->type.dim[0];
    for (int64_t r = begin; r < end; r++)
        zx_rms_norm_row(c->out[0].data, x->data, x->type.dtype, r * n, w->data, w->type.dtype, n, c->attr->eps);
}

#if ZX_LEVEL == 0
static zmlx_status infer(const zx_type *in, const zx_attr *attr, zx_type *out, zmlx_err *err)
{
    ZX_REQUIRE(attr->eps >= 0, "eps is %g, expected at least 0", (double)attr->eps);
    return zx_rms_norm_infer(&in[0], &in[1], &out[0], err);
}

static int64_t tasks(const zx_call *c, int phase)
{
    (void)phase;
    return c->tokens * (zx_type_row(&c->in[0].type) / c->in[1].type.dim[0]);
}

static void reference(const zx_call *c, const double *const *in, double *const *out)
{
    zx_rms_norm_reference(in[0], in[1], out[0], tasks(c, 0), c->in[1].type.dim[0], (double)c->attr->eps);
}

/* n: heads, elements per head, type of the weight + 1 when it differs. */
static void make_case(const zx_case *k, zx_type *in)
{
    in[0] = zx_type_make(k->dtype, 2, ZX_TOKENS, k->n[0] * k->n[1]);
    in[1] = zx_type_make(k->n[2] ? (zmlx_dtype)(k->n[2] - 1) : k->dtype, 1, k->n[1]);
}

static const zx_case cases[] = {
    {.tokens = 1, .n = {1, 2048}, .dtype = ZMLX_BF16, .attr = {.eps = 1e-6f}},
    {.tokens = 3, .n = {4, 128}, .dtype = ZMLX_BF16, .attr = {.eps = 1e-6f}},
    {.tokens = 5, .n = {1, 67}, .dtype = ZMLX_F16, .attr = {.eps = 1e-5f}},
    {.tokens = 2, .n = {1, 2880}, .dtype = ZMLX_F32, .attr = {.eps = 1e-6f}},
    {.tokens = 2, .n = {2, 33, ZMLX_F32 + 1}, .dtype = ZMLX_BF16, .attr = {.eps = 1e-6f}},
    {.tokens = 2, .n = {1, 64, ZMLX_BF16 + 1}, .dtype = ZMLX_F32, .attr = {.eps = 1e-6f}},
};

const zx_kernel_def zx_kernel_rms_norm = {
    .name = "rms_norm",
    .doc = "y = w * (x / sqrt(mean(x^2) + eps)) over rows of w's length: x[tokens, ..], w[n]",
    .n_in = 2,
    .n_out = 1,
    .infer = infer,
    .phases = 1,
    .tasks = tasks,
    .run = ZX_RUNS(rms_norm),
    .reference = reference,
    .tol_ulp = 4, /* of float32; with 16 bits two roundings */
    .make_case = make_case,
    .cases = cases,
    .n_cases = ZX_COUNT(cases),
};
#endif
