/* SPDX-License-Identifier: MIT */
/* Queries, keys and values of one layer input: three qmm over one preparation of x, bit for bit the same. */
#include "kernels/dot.h"

/* Phase 0: one task per token.  Phase 1: 16 rows of one of the three matrices per task. */
ZX_RUN(qkv_proj)(const zx_call *c, int phase, int64_t begin, int64_t end, void *scratch)
{
    const zx_operand *x = &c->in[0];
    const zmlx_dtype t = c->out[0].type.dtype;
    const int64_t bytes = zx_dot_x_bytes(x->type.dtype, &c->in[1].type);
    if (phase == 0) {
        const zx_mat m = zx_mat_of(&c->in[1], x->type.dtype, 0);
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
        int64_t first = 0; /* task of the matrix' first row */
        for (int o = 0; o < 3; o++) {
            const zx_mat m = zx_mat_of(&c->in[1 + o], x->type.dtype, 0);
            int64_t last = first + (m.n + ZX_DOT_ROWS - 1) / ZX_DOT_ROWS;
            for (int64_t b = ZX_MAX(begin, first); b < ZX_MIN(end, last); b++) {
                int64_t row = (b - first) * ZX_DOT_ROWS, rows = ZX_MIN(ZX_DOT_ROWS, m.n - row);
                zx_dot_rows(&m, row, (int)rows, xs, nt, y, y + ZX_DOT_TOKENS * ZX_DOT_ROWS);
                for (int i = 0; i < nt; i++)
                    v16_store_any(c->out[o].data, t, (t0 + i) * m.n + row, v16_load(y + ZX_DOT_ROWS * i), rows);
            }
            first = last;
        }
    }
}

#if ZX_LEVEL == 0
static zmlx_status infer(const zx_type *in, const zx_attr *attr, zx_type *out, zmlx_err *err)
{
    static const char *const name[3] = {"wq", "wk", "wv"};
    (void)attr;
    for (int o = 0; o < 3; o++) {
        ZX_TRY(zx_dot_check(&in[0], zx_type_row(&in[0]), &in[1 + o], name[o], 2, err));
        ZX_TRY(zx_dot_alike(&in[1], name[0], &in[1 + o], name[o], err));
        out[o] = zx_type_make(zx_dot_type(in[0].dtype, &in[1 + o]), 2, in[0].dim[0], in[1 + o].dim[0]);
    }
    return ZMLX_OK;
}

static int64_t tasks(const zx_call *c, int phase)
{
    if (phase == 0) return c->tokens;
    int64_t n = 0;
    for (int o = 0; o < 3; o++)
        n += (c->in[1 + o].type.dim[0] + ZX_DOT_ROWS - 1) / ZX_DOT_ROWS;
    return n;
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
    int64_t k = c->in[1].type.dim[1];
    for (int o = 0; o < 3; o++) {
        int64_t n = c->in[1 + o].type.dim[0];
        for (int64_t t = 0; t < c->tokens; t++)
            for (int64_t r = 0; r < n; r++)
                out[o][t * n + r] = zx_dot_double(in[0] + t * k, in[1 + o] + r * k, k);
    }
}

/* n[0]: columns, n[1]: rows of wq, n[2]: rows of wk and wv. */
static void make_case(const zx_case *k, zx_type *in)
{
    in[0] = zx_type_make(k->dtype, 2, ZX_TOKENS, k->n[0]);
    for (int o = 0; o < 3; o++)
        in[1 + o] = zx_dot_weight(k, 2, k->n[o ? 2 : 1], k->n[0], 0);
}

#define CASE(tokens_, k_, q_, kv_, x_, bits_, group_, scales_)                                                         \
    {                                                                                                                  \
        .tokens = tokens_, .n = {k_, q_, kv_}, .dtype = ZMLX_##x_, .quant = { bits_, group_, ZMLX_##scales_ }          \
    }

static const zx_case cases[] = {
    CASE(1, 768, 64, 16, BF16, 4, 64, BF16),
    CASE(3, 192, 40, 24, BF16, 4, 64, BF16),
    CASE(17, 64, 7, 1, BF16, 4, 32, BF16),
    CASE(2, 128, 33, 7, BF16, 4, 128, F32),
    CASE(5, 96, 24, 8, F16, 4, 32, F16),
    CASE(65, 64, 24, 8, BF16, 8, 64, BF16),
    {.tokens = 5, .n = {100, 24, 7}, .dtype = ZMLX_BF16},
    {.tokens = 1, .n = {64, 20, 4}, .dtype = ZMLX_F32},
};

const zx_kernel_def zx_kernel_qkv_proj = {
    .name = "qkv_proj",
    .doc = "q, k, v = x wq^T, x wk^T, x wv^T: three qmm over one x[tokens, K]; weights stored alike",
    .n_in = 4,
    .n_out = 3,
    .infer = infer,
    .phases = 2,
    .tasks = tasks,
    .shared = shared,
    .scratch = scratch_bytes,
    .run = ZX_RUNS(qkv_proj),
    .reference = reference,
    .tol_ulp = 1.0,
    .tol_row_ulp = 32.0,
    .make_case = make_case,
    .cases = cases,
    .n_cases = ZX_COUNT(cases),
};
#endif
