/* SPDX-License-Identifier: MIT */
/* y = x w^T, the quantized or plain linear layer.  The arithmetic is that of dot.h. */
#include "kernels/dot_rows.h"

/* Phase 0: one task per token prepares its activations.  Phase 1: one task per 16 rows of w. */
ZX_RUN(qmm)(const zx_call *c, int phase, int64_t begin, int64_t end, void *scratch)
{
    const zx_operand *x = &c->in[0], *w = &c->in[1];
    const zmlx_dtype t = c->out[0].type.dtype;
    const zx_mat m = zx_mat_of(w, x->type.dtype, 0);
    const int64_t bytes = zx_dot_x_bytes(x->type.dtype, &w->type);
    if (phase == 0) {
        for (int64_t i = begin; i < end; i++)
            zx_dot_prepare(&m, (const char *)x->data + i * m.k * (x->type.dtype == ZMLX_F32 ? 4 : 2), x->type.dtype,
                           (char *)c->shared + i * bytes);
        return;
    }
    const int chunk = zx_dot_chunk(bytes);
    const uint8_t *xs[ZX_DOT_TOKENS];
    float *y = scratch;
    for (int64_t t0 = 0; t0 < c->tokens; t0 += chunk) {
        int nt = (int)ZX_MIN(chunk, c->tokens - t0);
        for (int i = 0; i < nt; i++)
            xs[i] = (const uint8_t *)c->shared + (t0 + i) * bytes;
        for (int64_t b = begin; b < end; b++) {
            int64_t row = b * ZX_DOT_ROWS, rows = ZX_MIN(ZX_DOT_ROWS, m.n - row);
            zx_dot_rows(&m, row, (int)rows, xs, nt, y, y + ZX_DOT_TOKENS * ZX_DOT_ROWS);
            for (int i = 0; i < nt; i++)
                v16_store_any(c->out[0].data, t, (t0 + i) * m.n + row, v16_load(y + ZX_DOT_ROWS * i), rows);
        }
    }
}

#if ZX_LEVEL == 0
static zmlx_status infer(const zx_type *in, const zx_attr *attr, zx_type *out, zmlx_err *err)
{
    (void)attr;
    ZX_TRY(zx_dot_check(&in[0], zx_type_row(&in[0]), &in[1], "w", 2, err));
    out[0] = zx_type_make(zx_dot_type(in[0].dtype, &in[1]), 2, in[0].dim[0], in[1].dim[0]);
    return ZMLX_OK;
}

static int64_t tasks(const zx_call *c, int phase)
{
    return phase == 0 ? c->tokens : (c->in[1].type.dim[0] + ZX_DOT_ROWS - 1) / ZX_DOT_ROWS;
}

static size_t shared(const zx_call *c)
{
    return (size_t)(c->tokens * zx_dot_x_bytes(c->in[0].type.dtype, &c->in[1].type));
}

static size_t scratch_bytes(const zx_call *c)
{
    return ZX_DOT_TOKENS * ZX_DOT_ROWS * sizeof(float) + zx_dot_scratch(&c->in[1].type);
}

static void reference(const zx_call *c, const double *const *in, double *const *out)
{
    int64_t n = c->in[1].type.dim[0], k = c->in[1].type.dim[1];
    for (int64_t t = 0; t < c->tokens; t++)
        for (int64_t r = 0; r < n; r++)
            out[0][t * n + r] = zx_dot_double(in[0] + t * k, in[1] + r * k, k);
}

/* n[0]: columns, n[1]: rows. */
static void make_case(const zx_case *k, zx_type *in)
{
    in[0] = zx_type_make(k->dtype, 2, ZX_TOKENS, k->n[0]);
    in[1] = zx_dot_weight(k, 2, k->n[1], k->n[0], 0);
}

#define CASE(tokens_, k_, n_, x_, bits_, group_, scales_)                                                              \
    {                                                                                                                  \
        .tokens = tokens_, .n = {k_, n_}, .dtype = ZMLX_##x_, .quant = { bits_, group_, ZMLX_##scales_ }               \
    }
#define PLAIN(tokens_, k_, n_, x_)                                                                                     \
    {                                                                                                                  \
        .tokens = tokens_, .n = {k_, n_}, .dtype = ZMLX_##x_                                                           \
    }

static const zx_case cases[] = {
    CASE(1, 2048, 24, BF16, 4, 64, BF16),
    CASE(2, 768, 24, BF16, 4, 64, BF16),
    CASE(3, 128, 7, BF16, 4, 64, BF16),
    CASE(4, 192, 17, BF16, 4, 64, BF16),
    CASE(5, 256, 24, BF16, 4, 64, BF16),
    CASE(8, 96, 7, BF16, 4, 32, BF16),
    CASE(17, 64, 33, BF16, 4, 64, BF16),
    CASE(64, 256, 7, BF16, 4, 64, BF16),
    CASE(67, 192, 20, BF16, 4, 64, BF16),
    CASE(1, 64, 1, BF16, 4, 64, BF16),
    CASE(1, 768, 24, BF16, 4, 32, BF16),
    CASE(1, 2048, 16, BF16, 4, 128, BF16),
    CASE(6, 1152, 5, BF16, 4, 32, BF16),
    CASE(7, 2176, 5, BF16, 4, 128, BF16),
    CASE(1, 2048, 24, BF16, 4, 64, F32),
    CASE(5, 768, 9, BF16, 4, 32, F32),
    CASE(3, 384, 9, BF16, 4, 128, F16),
    CASE(1, 2048, 24, F16, 4, 64, F16),
    CASE(2, 96, 7, F16, 4, 32, F16),
    CASE(5, 192, 24, F32, 4, 64, F32),
    CASE(8, 384, 7, F32, 4, 128, BF16),
    CASE(1, 2048, 24, BF16, 8, 64, BF16),
    CASE(2, 96, 7, BF16, 8, 32, BF16),
    CASE(5, 192, 24, F16, 8, 64, F16),
    CASE(17, 640, 7, BF16, 8, 128, BF16),
    CASE(3, 2176, 9, F32, 8, 128, F32),
    CASE(1, 64, 6, BF16, 8, 64, F32),
    CASE(6, 1152, 18, BF16, 8, 32, F32),
    PLAIN(1, 2048, 24, BF16),
    PLAIN(3, 100, 7, BF16),
    PLAIN(5, 192, 24, BF16),
    PLAIN(17, 33, 1, BF16),
    PLAIN(2, 768, 24, F16),
    PLAIN(8, 100, 7, F16),
    PLAIN(1, 2048, 24, F32),
    PLAIN(5, 257, 20, F32),
    PLAIN(64, 65, 7, F32),
    PLAIN(1, 1, 1, F32),
};

const zx_kernel_def zx_kernel_qmm = {
    .name = "qmm",
    .doc = "y[tokens, N] = x[tokens, K] w[N, K]^T, w plain or affine 4/8-bit; float32 sums, one rounding",
    .n_in = 2,
    .n_out = 1,
    .infer = infer,
    .phases = 2,
    .tasks = tasks,
    .shared = shared,
    .scratch = scratch_bytes,
    .run = ZX_RUNS(qmm),
    .reference = reference,
    .tol_ulp = 1.0,
    .tol_row_ulp = 32.0,
    .make_case = make_case,
    .cases = cases,
    .n_cases = ZX_COUNT(cases),
};
#endif
