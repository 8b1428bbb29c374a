/* SPDX-License-Identifier: MIT */
/* Fused kernels against the plain ones they replace: the same bits, at every level and in any division of the work. */
#include "harness.h"

static uint64_t rng;
static zx_cpu_level level;

static value input(zx_type t, int64_t tokens)
{
    value v = value_make(&t, tokens, is_activation(&t) ? 0 : 1);
    value_random(&v, tokens, &rng);
    return v;
}

/* Run a kernel; its outputs go to out. */
static void op(const char *kernel, zx_attr attr, int64_t tokens, int n, const value *const *in, value *out)
{
    const zx_kernel_def *k = zx_kernel_find(kernel);
    zx_type types[ZX_MAX_IN], out_types[ZX_MAX_OUT];
    zx_operand ops[ZX_MAX_IN], out_ops[ZX_MAX_OUT];
    zmlx_err err = {0};
    if (!k) fail_msg("no kernel %s", kernel);
    assert_int_equal(k->n_in, n);
    memset(out_types, 0, sizeof out_types);
    for (int i = 0; i < n; i++)
        types[i] = in[i]->type, ops[i] = value_operand(in[i]);
    if (k->infer(types, &attr, out_types, &err) != ZMLX_OK) fail_msg("%s: %s", kernel, err.msg);
    for (int i = 0; i < k->n_out; i++)
        out[i] = value_make(&out_types[i], tokens, 0), out_ops[i] = value_operand(&out[i]);
    zx_call c = {.in = ops, .out = out_ops, .attr = &attr, .tokens = tokens};
    run_pieces(k, level, &c, 1 + (int)(rng_bits(&rng) % 4), &rng);
}
#define OP(kernel, attr, tokens, out, ...)                                                                             \
    op(kernel, attr, tokens, (int)ZX_COUNT(((const value *[]){__VA_ARGS__})), (const value *[]){__VA_ARGS__}, out)

static void same(const char *what, const value *fused, const value *plain, int64_t tokens)
{
    char a[96], b[96];
    if (!zx_type_equal(&fused->type, &plain->type))
        fail_msg("%s: fused %s, plain %s", what, zx_type_text(&fused->type, a, sizeof a),
                 zx_type_text(&plain->type, b, sizeof b));
    int64_t at = first_difference(fused->data.data, plain->data.data, plain->type.dtype,
                                  (size_t)zx_type_elems(&plain->type, tokens));
    if (at >= 0)
        fail_msg("%s, %s, %lld tokens, level %s: element %lld differs", what, zx_type_text(&plain->type, a, sizeof a),
                 (long long)tokens, zx_cpu_level_name(level), (long long)at);
}

static void drop(int n, value *v)
{
    for (int i = 0; i < n; i++)
        value_free(&v[i]);
}

static const zmlx_dtype floats[] = {ZMLX_BF16, ZMLX_F16, ZMLX_F32};
static const int64_t token_counts[] = {1, 2, 3, 4, 5, 6, 7, 8, 33};

#define FOR_LEVELS    for (level = ZX_CPU_SCALAR; level <= zx_cpu_best(); level = (zx_cpu_level)(level + 1))
#define FOR(i, array) for (size_t i = 0; i < ZX_COUNT(array); i++)

static void gating(zmlx_dtype t, int64_t tokens, int64_t experts, int k, bool renorm, int distinct)
{
    zx_attr attr = {.k = k, .renorm = renorm, .score = ZX_SCORE_SOFTMAX};
    value x = input(zx_type_make(t, 2, ZX_TOKENS, experts), tokens), fused[2], p[1], idx[1], s[1], sum[1], q[1];
    if (distinct) /* ties everywhere; with 1, all logits are equal */
        for (int64_t i = 0; i < tokens * experts; i++)
            put(x.data.data, t, (size_t)i, 0.5 * (rng_bits(&rng) % (unsigned)distinct));
    OP("moe_gating", attr, tokens, fused, &x);
    OP("softmax", attr, tokens, p, &x);
    OP("argpartition", attr, tokens, idx, p);
    OP("take", attr, tokens, s, p, idx);
    same("moe_gating: experts", &fused[1], idx, tokens);
    if (renorm) {
        OP("sum_last", attr, tokens, sum, s);
        OP("div", attr, tokens, q, s, sum);
        same("moe_gating: renormalised scores", &fused[0], q, tokens);
        drop(1, sum), drop(1, q);
    } else {
        same("moe_gating: scores", &fused[0], s, tokens);
    }
    drop(1, &x), drop(2, fused), drop(1, p), drop(1, idx), drop(1, s);
}

static void test_gating(void **state)
{
    (void)state;
    static const struct {
        int64_t experts;
        int k;
    } sizes[] = {{128, 8}, {60, 4}, {7, 1}, {512, 10}, {20, 17}};
    FOR_LEVELS FOR(t, floats) FOR(n, token_counts) FOR(s, sizes) for (int distinct = 0; distinct < 4; distinct++)
        gating(floats[t], token_counts[n], sizes[s].experts, sizes[s].k, (n + (size_t)distinct) % 3 != 0, distinct);
}

static void combine(zmlx_dtype t, zmlx_dtype t_scores, int64_t tokens, int64_t k, int64_t n)
{
    value y = input(zx_type_make(t, 3, ZX_TOKENS, k, n), tokens),
          s = input(zx_type_make(t_scores, 2, ZX_TOKENS, k), tokens);
    value fused[1], product[1], sum[1];
    OP("moe_combine", (zx_attr){0}, tokens, fused, &y, &s);
    OP("mul_scores", (zx_attr){0}, tokens, product, &y, &s);
    OP("sum_experts", (zx_attr){0}, tokens, sum, product);
    same("moe_combine", fused, sum, tokens);
    drop(1, &y), drop(1, &s), drop(1, fused), drop(1, product), drop(1, sum);
}

static void test_combine(void **state)
{
    (void)state;
    FOR_LEVELS FOR(t, floats) FOR(u, floats) FOR(n, token_counts)
    {
        combine(floats[t], floats[u], token_counts[n], 8, 96);
        combine(floats[t], floats[u], token_counts[n], 1 + (int64_t)n, 33);
    }
}

static void residual(zmlx_dtype t, zmlx_dtype t_y, zmlx_dtype t_w, int64_t tokens, int64_t n)
{
    zx_attr attr = {.eps = 1e-6f};
    value x = input(zx_type_make(t, 2, ZX_TOKENS, n), tokens), y = input(zx_type_make(t_y, 2, ZX_TOKENS, n), tokens);
    value w = input(zx_type_make(t_w, 1, n), 1), fused[2], sum[1], norm[1];
    OP("residual_norm", attr, tokens, fused, &x, &y, &w);
    OP("add", attr, tokens, sum, &x, &y);
    OP("rms_norm", attr, tokens, norm, sum, &w);
    same("residual_norm: sum", &fused[0], sum, tokens);
    same("residual_norm: norm", &fused[1], norm, tokens);
    drop(1, &x), drop(1, &y), drop(1, &w), drop(2, fused), drop(1, sum), drop(1, norm);
}

static void test_residual(void **state)
{
    (void)state;
    FOR_LEVELS FOR(t, floats) FOR(u, floats) FOR(v, floats) FOR(n, token_counts)
        residual(floats[t], floats[u], floats[v], token_counts[n], n % 2 ? 64 : 203);
}

/* Activation type and storage of the weights. */
static const struct {
    zmlx_dtype x;
    zx_quant q;
    int64_t k;
} stores[] = {
    {ZMLX_BF16, {4, 64, ZMLX_BF16}, 192}, {ZMLX_BF16, {4, 32, ZMLX_F32}, 96},   {ZMLX_F16, {4, 128, ZMLX_F16}, 256},
    {ZMLX_F32, {4, 64, ZMLX_F32}, 128},   {ZMLX_BF16, {8, 64, ZMLX_BF16}, 192}, {ZMLX_F32, {8, 32, ZMLX_BF16}, 160},
    {ZMLX_BF16, {0, 0, ZMLX_F32}, 100},   {ZMLX_F16, {0, 0, ZMLX_F32}, 64},     {ZMLX_F32, {0, 0, ZMLX_F32}, 67},
};
static const int64_t many_tokens[] = {1, 2, 3, 4, 5, 6, 7, 8, 17, 70};

static zx_type weight(size_t store, int rank, int64_t experts, int64_t rows)
{
    zmlx_dtype t = stores[store].q.bits ? stores[store].q.scales : stores[store].x;
    zx_type w =
        rank == 2 ? zx_type_make(t, 2, rows, stores[store].k) : zx_type_make(t, 3, experts, rows, stores[store].k);
    w.quant = stores[store].q;
    return w;
}

static void test_qkv(void **state)
{
    (void)state;
    static const int64_t rows[3] = {40, 16, 7};
    FOR_LEVELS FOR(s, stores) FOR(n, many_tokens)
    {
        int64_t tokens = many_tokens[n];
        value x = input(zx_type_make(stores[s].x, 2, ZX_TOKENS, stores[s].k), tokens), w[3], fused[3], plain[1];
        for (int i = 0; i < 3; i++)
            w[i] = input(weight(s, 2, 0, rows[i]), 1);
        OP("qkv_proj", (zx_attr){0}, tokens, fused, &x, &w[0], &w[1], &w[2]);
        for (int i = 0; i < 3; i++) {
            OP("qmm", (zx_attr){0}, tokens, plain, &x, &w[i]);
            same("qkv_proj", &fused[i], plain, tokens);
            drop(1, plain);
        }
        drop(1, &x), drop(3, w), drop(3, fused);
    }
}

static void test_mlp(void **state)
{
    (void)state;
    FOR_LEVELS FOR(s, stores) FOR(n, many_tokens)
    {
        int64_t tokens = many_tokens[n];
        value x = input(zx_type_make(stores[s].x, 2, ZX_TOKENS, stores[s].k), tokens);
        value gate = input(weight(s, 2, 0, 37), 1), up = input(weight(s, 2, 0, 37), 1), fused[1], g[1], u[1], y[1];
        OP("swiglu_mlp", (zx_attr){.activation = ZX_ACT_SILU}, tokens, fused, &x, &gate, &up);
        OP("qmm", (zx_attr){0}, tokens, g, &x, &gate);
        OP("qmm", (zx_attr){0}, tokens, u, &x, &up);
        OP("swiglu", (zx_attr){0}, tokens, y, g, u);
        same("swiglu_mlp", fused, y, tokens);
        drop(1, &x), drop(1, &gate), drop(1, &up), drop(1, fused), drop(1, g), drop(1, u), drop(1, y);
    }
}

static void test_experts(void **state)
{
    (void)state;
    enum { EXPERTS = 5, SLOTS = 3 };
    FOR_LEVELS FOR(s, stores) FOR(n, many_tokens)
    {
        int64_t tokens = many_tokens[n];
        value x = input(zx_type_make(stores[s].x, 2, ZX_TOKENS, stores[s].k), tokens);
        value idx = input(zx_type_make(ZMLX_I32, 2, ZX_TOKENS, (int64_t)SLOTS), tokens), fused[1], g[1], u[1], y[1];
        value gate = input(weight(s, 3, EXPERTS, 37), 1), up = input(weight(s, 3, EXPERTS, 37), 1);
        for (int64_t i = 0; i < tokens * SLOTS; i++)
            ((int32_t *)(void *)idx.data.data)[i] = (int32_t)(rng_bits(&rng) % EXPERTS);
        OP("moe_experts", (zx_attr){.activation = ZX_ACT_SILU}, tokens, fused, &x, &gate, &up, &idx);
        OP("gather_qmm", (zx_attr){0}, tokens, g, &x, &gate, &idx);
        OP("gather_qmm", (zx_attr){0}, tokens, u, &x, &up, &idx);
        OP("swiglu", (zx_attr){0}, tokens, y, g, u);
        same("moe_experts", fused, y, tokens);
        drop(1, &x), drop(1, &idx), drop(1, &gate), drop(1, &up), drop(1, fused), drop(1, g), drop(1, u), drop(1, y);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gating), cmocka_unit_test(test_combine), cmocka_unit_test(test_residual),
        cmocka_unit_test(test_qkv),    cmocka_unit_test(test_mlp),     cmocka_unit_test(test_experts),
    };
    return cmocka_run_group_tests_name("fused", tests, NULL, NULL);
}
