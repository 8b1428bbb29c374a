/* SPDX-License-Identifier: MIT */
/* The gated half of a dense MLP: both products and the activation in one pass, bit for bit two qmm and a swiglu. */
#include "kernels/experts.h"

/* Phase 0: one task per token prepares its activations.  Phase 1: 16 rows of gate and of up per task. */
ZX_RUN(swiglu_mlp)(const zx_call *c, int phase, int64_t begin, int64_t end, void *scratch)
{
    const zmlx_dtype xt = c->in[0].type.dtype, t = c->out[0].type.dtype;
    const zx_mat gate = zx_mat_of(&c->in[1], xt, 0), up = zx_mat_of(&c->in[2], xt, 0);
    const int64_t bytes = zx_dot_x_bytes(xt, &c->in[1].type);
    if (phase == 0) {
        for (int64_t i = begin; i < end; i++)
            zx_dot_prepare(&gate, (const char *)c->in[0].data + i * gate.k * (xt == ZMLX_F32 ? 4 : 2), xt,
                           (char *)c->shared + i * bytes);
        return;
    }
    const int chunk = zx_dot_chunk(bytes);
    const uint8_t *xs[ZX_DOT_TOKENS];
    void *out[ZX_DOT_TOKENS];
    for (int64_t t0 = 0; t0 < c->tokens; t0 += chunk) {
        int nt = (int)ZX_MIN(chunk, c->tokens - t0);
        for (int i = 0; i < nt; i++) {
            xs[i] = (const uint8_t *)c->shared + (t0 + i) * bytes;
            out[i] = (char *)c->out[0].data + (t0 + i) * gate.n * (t == ZMLX_F32 ? 4 : 2);
        }
        zx_glu_rows(&gate, &up, begin, end, xs, nt, out, t, scratch);
    }
}

#if ZX_LEVEL == 0
static zmlx_status infer(const zx_type *in, const zx_attr *attr, zx_type *out, zmlx_err *err)
{
    ZX_TRY(zx_dot_check(&in[0], zx_type_row(&in[0]), &in[1], "w_gate", 2, err));
    ZX_TRY(zx_glu_check(&in[1], &in[2], attr, err));
    out[0] = zx_type_make(zx_dot_type(in[0].dtype, &in[1]), 2, in[0].dim[0], in[1].dim[0]);
    return ZMLX_OK;
}

static int64_t tasks(const zx_call *c, int phase) { return phase == 0 ? c->tokens : zx_row_blocks(&c->in[1].type); }
static size_t scratch_bytes(const zx_call *c) { return zx_glu_scratch(&c->in[1].type); }

static size_t shared(const zx_call *c)
{
    return (size_t)(c->tokens * zx_dot_x_bytes(c->in[0].type.dtype, &c->in[1].type));
}

static void reference(const zx_call *c, const double *const *in, double *const *out)
{
    int64_t n = c->in[1].type.dim[0], k = c->in[1].type.dim[1];
    for (int64_t t = 0; t < c->tokens; t++)
        for (int64_t r = 0; r < n; r++) {
            double g = zx_dot_double(in[0] + t * k, in[1] + r * k, k),
                   u = zx_dot_double(in[0] + t * k, in[2] + r * k, k);
            out[0][t * n + r] = g / (1 + exp(-g)) * u;
        }
}

/* n[0]: columns, n[1]: rows. */
static void make_case(const zx_case *k, zx_type *in)
{
    in[0] = zx_type_make(k->dtype, 2, ZX_TOKENS, k->n[0]);
    in[1] = in[2] = zx_dot_weight(k, 2, k->n[1], k->n[0], 0);
}

#define CASE(tokens_, k_, n_, x_, bits_, group_, scales_)                                                              \
    {                                                                                                                  \
        .tokens = tokens_, .n = {k_, n_}, .dtype = ZMLX_##x_, .quant = {bits_, group_, ZMLX_##scales_}, .attr = {      \
            .activation = ZX_ACT_SILU                                                                                  \
        }                                                                                                              \
    }
#define PLAIN(tokens_, k_, n_, x_)                                                                                     \
    {                                                                                                                  \
        .tokens = tokens_, .n = {k_, n_}, .dtype = ZMLX_##x_, .attr = {.activation = ZX_ACT_SILU }                     \
    }

static const zx_case cases[] = {
    CASE(1, 768, 600, BF16, 4, 64, BF16),
    CASE(3, 192, 24, BF16, 4, 64, BF16),
    CASE(4, 96, 70, BF16, 4, 32, BF16),
    CASE(17, 64, 7, BF16, 4, 64, BF16),
    CASE(65, 128, 20, BF16, 4, 128, F32),
    CASE(2, 256, 7, F16, 4, 64, F16),
    CASE(5, 192, 24, F32, 8, 64, F32),
    CASE(1, 64, 1, BF16, 8, 64, BF16),
    PLAIN(5, 100, 7, BF16),
    PLAIN(2, 64, 18, F32),
};

const zx_kernel_def zx_kernel_swiglu_mlp = {
    .name = "swiglu_mlp",
    .doc = "y[tokens, F] = silu(x w_gate^T) * (x w_up^T), x [tokens, K], weights [F, K]",
    .n_in = 3,
    .n_out = 1,
    .infer = infer,
    .phases = 2,
    .tasks = tasks,
    .shared = shared,
    .scratch = scratch_bytes,
    .run = ZX_RUNS(swiglu_mlp),
    .reference = reference,
    .tol_ulp = 8.0,
    .tol_row_ulp = 64.0,
    .make_case = make_case,
    .cases = cases,
    .n_cases = ZX_COUNT(cases),
};
#endif
