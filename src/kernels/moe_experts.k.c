/* SPDX-License-Identifier: MIT */
/* The gated half of a mixture of experts: both products and the activation in one pass, bit for bit two gather_qmm and
 * a swiglu. */
#include "kernels/experts.h"

/* Phase 1: task = (active expert, 16 rows of gate and of up), all tokens of the expert together. */
ZX_RUN(moe_experts)(const zx_call *c, int phase, int64_t begin, int64_t end, void *scratch)
{
    const zx_operand *w = &c->in[1], *idx = &c->in[3];
    if (phase == 0) {
        zx_experts_prepare(c, begin, end, idx);
        return;
    }
    const zmlx_dtype xt = c->in[0].type.dtype, t = c->out[0].type.dtype;
    const int64_t k = zx_type_last(&idx->type), blocks = zx_row_blocks(&w->type), n = w->type.dim[1];
    const int64_t bytes = zx_dot_x_bytes(xt, &w->type);
    const zx_pairs s = zx_pairs_at((char *)c->shared + zx_pairs_x_bytes(c, idx), c->tokens * k, w->type.dim[0]);
    const int chunk = zx_dot_chunk(bytes);
    const uint8_t *xs[ZX_DOT_TOKENS];
    void *out[ZX_DOT_TOKENS];
    for (int64_t task = begin; task < end;) {
        int64_t a = task / blocks, stop = ZX_MIN(end, (a + 1) * blocks);
        if (a >= *s.n_active) return;
        const zx_mat gate = zx_mat_of(w, xt, s.active[a]), up = zx_mat_of(&c->in[2], xt, s.active[a]);
        for (int64_t p = s.first[a]; p < s.first[a + 1]; p += chunk) {
            int nt = (int)ZX_MIN(chunk, s.first[a + 1] - p);
            for (int i = 0; i < nt; i++) {
                int64_t pair = s.pair[p + i];
                xs[i] = (const uint8_t *)c->shared + pair / k * bytes;
                out[i] = (char *)c->out[0].data + pair * n * (t == ZMLX_F32 ? 4 : 2);
            }
            zx_glu_rows(&gate, &up, task - a * blocks, stop - a * blocks, xs, nt, out, t, scratch);
        }
        task = stop;
    }
}

#if ZX_LEVEL == 0
static zmlx_status infer(const zx_type *in, const zx_attr *attr, zx_type *out, zmlx_err *err)
{
    char text[96];
    ZX_REQUIRE(in[3].dtype == ZMLX_I32 && in[3].rank == 2 && in[3].dim[1] >= 1, "idx: %s, expected int32[tokens, k]",
               zx_type_text(&in[3], text, sizeof text));
    ZX_REQUIRE(in[0].rank == 2, "x: %s, expected 2 dimensions", zx_type_text(&in[0], text, sizeof text));
    ZX_TRY(zx_dot_check(&in[0], zx_type_last(&in[0]), &in[1], "w_gate", 3, err));
    ZX_TRY(zx_glu_check(&in[1], &in[2], attr, err));
    ZX_REQUIRE(in[0].dim[0] == in[3].dim[0], "x has %lld rows but idx has %lld", (long long)in[0].dim[0],
               (long long)in[3].dim[0]);
    out[0] = zx_type_make(zx_dot_type(in[0].dtype, &in[1]), 3, in[0].dim[0], in[3].dim[1], in[1].dim[1]);
    return ZMLX_OK;
}

static int64_t tasks(const zx_call *c, int phase) { return zx_experts_tasks(c, phase, &c->in[3]); }
static bool uneven(const zx_call *c, int phase) { return phase == 1 && c->tokens > 1; }
static size_t shared(const zx_call *c) { return zx_experts_shared(c, &c->in[3]); }
static size_t scratch_bytes(const zx_call *c) { return zx_glu_scratch(&c->in[1].type); }

static void reference(const zx_call *c, const double *const *in, double *const *out)
{
    int64_t n = c->in[1].type.dim[1], cols = c->in[1].type.dim[2], k = zx_type_last(&c->in[3].type);
    for (int64_t p = 0; p < c->tokens * k; p++)
        for (int64_t r = 0; r < n; r++) {
            const double *x = in[0] + p / k * cols;
            double g = zx_dot_double(x, in[1] + ((int64_t)in[3][p] * n + r) * cols, cols);
            double u = zx_dot_double(x, in[2] + ((int64_t)in[3][p] * n + r) * cols, cols);
            out[0][p * n + r] = g / (1 + exp(-g)) * u;
        }
}

/* n[0]: columns, n[1]: rows, n[2]: experts, n[3]: slots. */
static void make_case(const zx_case *k, zx_type *in)
{
    in[0] = zx_type_make(k->dtype, 2, ZX_TOKENS, k->n[0]);
    in[1] = in[2] = zx_dot_weight(k, 3, k->n[2], k->n[1], k->n[0]);
    in[3] = zx_type_make(ZMLX_I32, 2, ZX_TOKENS, k->n[3]);
}

static void fill(const zx_case *k, const zx_operand *in, uint64_t *rng)
{
    zx_fill_experts(k->tokens * k->n[3], k->n[2], in[3].data, rng);
}

#define CASE(tokens_, k_, n_, e_, s_, x_, bits_, group_, scales_)                                                      \
    {                                                                                                                  \
        .tokens = tokens_, .n = {k_, n_, e_, s_}, .dtype = ZMLX_##x_, .quant = {bits_, group_, ZMLX_##scales_},        \
        .attr = {                                                                                                      \
            .activation = ZX_ACT_SILU                                                                                  \
        }                                                                                                              \
    }
#define PLAIN(tokens_, k_, n_, e_, s_, x_)                                                                             \
    {                                                                                                                  \
        .tokens = tokens_, .n = {k_, n_, e_, s_}, .dtype = ZMLX_##x_, .attr = {.activation = ZX_ACT_SILU }             \
    }

static const zx_case cases[] = {
    CASE(1, 256, 40, 16, 8, BF16, 4, 64, BF16),
    CASE(1, 128, 700, 4, 2, BF16, 4, 64, BF16),
    CASE(2, 96, 7, 4, 2, BF16, 4, 32, BF16),
    CASE(3, 192, 17, 5, 3, BF16, 4, 64, BF16),
    CASE(17, 128, 24, 4, 2, BF16, 4, 64, BF16),
    CASE(64, 64, 7, 3, 2, BF16, 4, 64, BF16),
    CASE(5, 384, 1, 3, 1, BF16, 4, 128, BF16),
    CASE(5, 384, 9, 3, 1, BF16, 4, 128, F32),
    CASE(8, 96, 7, 4, 2, F16, 4, 32, F16),
    CASE(5, 192, 20, 2, 2, F32, 4, 64, F32),
    CASE(3, 128, 7, 4, 4, BF16, 8, 64, BF16),
    CASE(70, 64, 5, 1, 1, BF16, 4, 32, BF16),
    PLAIN(5, 100, 7, 6, 3, BF16),
    PLAIN(3, 65, 18, 4, 2, F32),
};

const zx_kernel_def zx_kernel_moe_experts = {
    .name = "moe_experts",
    .doc =
        "y[tokens, k, F] = silu(x w_gate[idx]^T) * (x w_up[idx]^T), x [tokens, K], weights [E, F, K], idx [tokens, k]",
    .n_in = 4,
    .n_out = 1,
    .infer = infer,
    .phases = 2,
    .tasks = tasks,
    .uneven = uneven,
    .shared = shared,
    .scratch = scratch_bytes,
    .run = ZX_RUNS(moe_experts),
    .reference = reference,
    .tol_ulp = 8.0,
    .tol_row_ulp = 64.0,
    .make_case = make_case,
    .fill = fill,
    .cases = cases,
    .n_cases = ZX_COUNT(cases),
};
#endif
