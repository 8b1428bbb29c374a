/* SPDX-License-Identifier: MIT */
/* y[t, s] = x[t] w[idx[t, s]]^T: a linear layer of the experts chosen for each token.  Each (token, slot) is exactly
 * the qmm of that expert's matrix. */
#include "kernels/experts.h"

/* Phase 1: task = (active expert, 16 rows), all tokens of the expert together. */
ZX_RUN(gather_qmm)(const zx_call *c, int phase, int64_t begin, int64_t end, void *scratch)
{
    const zx_operand *w = &c->in[1], *idx = &c->in[2];
    if (phase == 0) {
        zx_experts_prepare(c, begin, end, idx);
        return;
    }
    const zmlx_dtype xt = c->in[0].type.dtype, t = c->out[0].type.dtype;
    const int64_t k = zx_type_last(&idx->type), blocks = zx_row_blocks(&w->type);
    const int64_t bytes = zx_dot_x_bytes(xt, &w->type);
    const bool per_pair = c->in[0].type.rank == 3;
    const zx_pairs s = zx_pairs_at((char *)c->shared + zx_pairs_x_bytes(c, idx), c->tokens * k, w->type.dim[0]);
    const int chunk = zx_dot_chunk(bytes);
    const uint8_t *xs[ZX_DOT_TOKENS];
    float *y = scratch;
    for (int64_t task = begin; task < end;) {
        int64_t a = task / blocks, stop = ZX_MIN(end, (a + 1) * blocks);
        if (a >= *s.n_active) return;
        const zx_mat m = zx_mat_of(w, xt, s.active[a]);
        for (int64_t p = s.first[a]; p < s.first[a + 1]; p += chunk) {
            int nt = (int)ZX_MIN(chunk, s.first[a + 1] - p);
            for (int i = 0; i < nt; i++)
                xs[i] = (const uint8_t *)c->shared + (per_pair ? s.pair[p + i] : s.pair[p + i] / k) * bytes;
            for (int64_t b = task; b < stop; b++) {
                int64_t row = b % blocks * ZX_DOT_ROWS, rows = ZX_MIN(ZX_DOT_ROWS, m.n - row);
                zx_dot_rows(&m, row, (int)rows, xs, nt, y, y + ZX_DOT_TOKENS * ZX_DOT_ROWS);
                for (int i = 0; i < nt; i++)
                    v16_store_any(c->out[0].data, t, s.pair[p + i] * m.n + row, v16_load(y + ZX_DOT_ROWS * i), rows);
            }
        }
        task = stop;
    }
}

#if ZX_LEVEL == 0
static zmlx_status infer(const zx_type *in, const zx_attr *attr, zx_type *out, zmlx_err *err)
{
    (void)attr;
    char text[96];
    ZX_REQUIRE(in[2].dtype == ZMLX_I32 && in[2].rank == 2 && in[2].dim[1] >= 1, "idx: %s, expected int32[tokens, k]",
               zx_type_text(&in[2], text, sizeof text));
    ZX_REQUIRE(in[0].rank == 2 || in[0].rank == 3, "x: %s, expected 2 or 3 dimensions",
               zx_type_text(&in[0], text, sizeof text));
    ZX_TRY(zx_dot_check(&in[0], zx_type_last(&in[0]), &in[1], "w", 3, err));
    ZX_REQUIRE(in[0].dim[0] == in[2].dim[0], "x has %lld rows but idx has %lld", (long long)in[0].dim[0],
               (long long)in[2].dim[0]);
    ZX_REQUIRE(in[0].rank == 2 || in[0].dim[1] == in[2].dim[1], "x has %lld rows per token but idx has %lld",
               (long long)in[0].dim[1], (long long)in[2].dim[1]);
    out[0] = zx_type_make(zx_dot_type(in[0].dtype, &in[1]), 3, in[0].dim[0], in[2].dim[1], in[1].dim[1]);
    return ZMLX_OK;
}

static int64_t tasks(const zx_call *c, int phase) { return zx_experts_tasks(c, phase, &c->in[2]); }
static bool uneven(const zx_call *c, int phase) { return phase == 1 && c->tokens > 1; }
static size_t shared(const zx_call *c) { return zx_experts_shared(c, &c->in[2]); }

static size_t scratch_bytes(const zx_call *c)
{
    return ZX_DOT_TOKENS * ZX_DOT_ROWS * sizeof(float) + zx_dot_scratch(&c->in[1].type);
}

static void reference(const zx_call *c, const double *const *in, double *const *out)
{
    int64_t n = c->in[1].type.dim[1], cols = c->in[1].type.dim[2], k = zx_type_last(&c->in[2].type);
    for (int64_t p = 0; p < c->tokens * k; p++)
        for (int64_t r = 0; r < n; r++)
            out[0][p * n + r] = zx_dot_double(in[0] + (c->in[0].type.rank == 3 ? p : p / k) * cols,
                                              in[1] + ((int64_t)in[2][p] * n + r) * cols, cols);
}

/* n[0]: columns, n[1]: rows, n[2]: experts, n[3]: slots, n[4]: 1 when x has a row per slot. */
static void make_case(const zx_case *k, zx_type *in)
{
    in[0] = k->n[4] ? zx_type_make(k->dtype, 3, ZX_TOKENS, k->n[3], k->n[0])
                    : zx_type_make(k->dtype, 2, ZX_TOKENS, k->n[0]);
    in[1] = zx_dot_weight(k, 3, k->n[2], k->n[1], k->n[0]);
    in[2] = zx_type_make(ZMLX_I32, 2, ZX_TOKENS, k->n[3]);
}

static void fill(const zx_case *k, const zx_operand *in, uint64_t *rng)
{
    zx_fill_experts(k->tokens * k->n[3], k->n[2], in[2].data, rng);
}

#define CASE(tokens_, k_, n_, e_, s_, per_slot_, x_, bits_, group_, scales_)                                           \
    {                                                                                                                  \
        .tokens = tokens_, .n = {k_, n_, e_, s_, per_slot_}, .dtype = ZMLX_##x_, .quant = {                            \
            bits_,                                                                                                     \
            group_,                                                                                                    \
            ZMLX_##scales_                                                                                             \
        }                                                                                                              \
    }

static const zx_case cases[] = {
    CASE(1, 256, 24, 16, 8, 0, BF16, 4, 64, BF16),
    CASE(1, 768, 24, 16, 8, 1, BF16, 4, 64, BF16),
    CASE(2, 96, 7, 4, 2, 0, BF16, 4, 32, BF16),
    CASE(3, 192, 17, 5, 3, 1, BF16, 4, 64, BF16),
    CASE(17, 128, 7, 4, 2, 0, BF16, 4, 64, BF16),
    CASE(64, 64, 24, 8, 2, 1, BF16, 4, 64, BF16),
    CASE(5, 384, 1, 3, 1, 0, BF16, 4, 128, BF16),
    CASE(5, 384, 9, 3, 1, 0, BF16, 4, 128, F32),
    CASE(8, 96, 7, 4, 2, 0, F16, 4, 32, F16),
    CASE(5, 192, 20, 2, 2, 1, F32, 4, 64, F32),
    CASE(3, 128, 7, 4, 4, 0, BF16, 8, 64, BF16),
    CASE(70, 64, 7, 1, 1, 0, BF16, 4, 32, BF16),
    {.tokens = 5, .n = {100, 7, 6, 3}, .dtype = ZMLX_BF16},
    {.tokens = 3, .n = {65, 18, 4, 2, 1}, .dtype = ZMLX_F16},
    {.tokens = 2, .n = {64, 5, 3, 2}, .dtype = ZMLX_F32},
};

const zx_kernel_def zx_kernel_gather_qmm = {
    .name = "gather_qmm",
    .doc = "y[tokens, k, N] = x[tokens, (k,) K] w[E, N, K][idx[tokens, k]]^T: qmm with the chosen experts",
    .n_in = 3,
    .n_out = 1,
    .infer = infer,
    .phases = 2,
    .tasks = tasks,
    .uneven = uneven,
    .shared = shared,
    .scratch = scratch_bytes,
    .run = ZX_RUNS(gather_qmm),
    .reference = reference,
    .tol_ulp = 1.0,
    .tol_row_ulp = 32.0,
    .make_case = make_case,
    .fill = fill,
    .cases = cases,
    .n_cases = ZX_COUNT(cases),
};
#endif
