/* SPDX-License-Identifier: MIT */
#include "kernels/rope.h"

ZX_RUN(rope)(const zx_call *c, int phase, int64_t begin, int64_t end, void *scratch)
{
    (void)phase;
    const zx_operand *x = &c->in[0];
    const zx_attr *a = c->attr;
    int64_t row = zx_type_row(&x->type), n = row / a->heads, stride = zx_rope_stride(a->dims);
    float *freq = scratch, *cosine = freq + stride, *sine = cosine + stride;
    zx_rope_freqs(freq, a->dims, a->theta);
    for (int64_t t = begin; t < end; t++) {
        zx_rope_angles(cosine, sine, freq, a->dims, c->pos + t);
        for (int64_t h = 0; h < a->heads; h++)
            zx_rope_row(c->out[0].data, x->data, x->type.dtype, t * row + h * n, n, a->dims, cosine, sine);
    }
}

#if ZX_LEVEL == 0
static zmlx_status infer(const zx_type *in, const zx_attr *attr, zx_type *out, zmlx_err *err)
{
    ZX_TRY(zx_rope_check(&in[0], attr, attr->heads, err));
    out[0] = in[0];
    return ZMLX_OK;
}

static size_t scratch_bytes(const zx_call *c) { return (size_t)(3 * zx_rope_stride(c->attr->dims)) * sizeof(float); }

static void reference(const zx_call *c, const double *const *in, double *const *out)
{
    int64_t row = zx_type_row(&c->in[0].type), n = row / c->attr->heads;
    for (int64_t i = 0; i < c->tokens * row; i += n)
        zx_rope_reference(in[0] + i, out[0] + i, n, c->attr, c->pos + i / row);
}

/* n: elements per head. */
static void make_case(const zx_case *k, zx_type *in)
{
    in[0] = zx_type_make(k->dtype, 2, ZX_TOKENS, k->attr.heads * k->n[0]);
}

static const zx_case cases[] = {
    {.tokens = 1, .pos = 4321, .n = {128}, .dtype = ZMLX_BF16, .attr = {.heads = 32, .dims = 128, .theta = 1e6f}},
    {.tokens = 5, .pos = 0, .n = {64}, .dtype = ZMLX_F16, .attr = {.heads = 3, .dims = 64, .theta = 1e4f}},
    {.tokens = 4, .pos = 1000000, .n = {96}, .dtype = ZMLX_F32, .attr = {.heads = 2, .dims = 48, .theta = 5e5f}},
    {.tokens = 3, .pos = 17, .n = {21}, .dtype = ZMLX_BF16, .attr = {.heads = 1, .dims = 10, .theta = 1e4f}},
};

const zx_kernel_def zx_kernel_rope = {
    .name = "rope",
    .doc = "rotate features i and i + dims/2 of every head by (pos + t) theta^(-2i/dims): x[tokens, heads * n]",
    .n_in = 1,
    .n_out = 1,
    .infer = infer,
    .phases = 1,
    .tasks = zx_tasks_tokens,
    .scratch = scratch_bytes,
    .run = ZX_RUNS(rope),
    .reference = reference,
    .tol_ulp = 0.51,
    .tol_row_ulp = 2, /* a cos - b sin cancels */
    .make_case = make_case,
    .cases = cases,
    .n_cases = ZX_COUNT(cases),
};
#endif
