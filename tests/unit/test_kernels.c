/* SPDX-License-Identifier: MIT */
/* The registry, types and operands; what infer refuses; the bf16 dot product against the machine's; activations against
 * MLX. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "kernels/kernel.h"
#include "kernels/lanes.h"

#include <stdio.h>
#include <stdlib.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

static void test_registry(void **state)
{
    (void)state;
    int n = 0;
    for (; zx_kernels[n]; n++) {
        const zx_kernel_def *k = zx_kernels[n];
        assert_ptr_equal(zx_kernel_find(k->name), k);
        if (n) assert_true(strcmp(zx_kernels[n - 1]->name, k->name) < 0);
        assert_non_null(k->doc);
        assert_true(k->n_in > 0 && k->n_in <= ZX_MAX_IN && k->n_out <= ZX_MAX_OUT && k->n_out + k->n_state > 0);
        assert_true(k->phases >= 1 && k->n_cases > 0);
        assert_non_null(k->run[ZX_CPU_SCALAR]);
        for (int l = 0; l < ZX_CPU_LEVELS; l++)
            assert_non_null(zx_kernel_run(k, (zx_cpu_level)l));
    }
    assert_true(n >= 20);
    assert_null(zx_kernel_find("no_such_kernel"));
    assert_null(zx_kernel_find(""));
    assert_null(zx_kernel_find("zzz"));
}

static void test_types(void **state)
{
    (void)state;
    char text[96], small[8];
    zx_type a = zx_type_make(ZMLX_BF16, 2, ZX_TOKENS, (int64_t)2048);
    assert_string_equal(zx_type_text(&a, text, sizeof text), "bfloat16[tokens, 2048]");
    assert_int_equal(zx_type_elems(&a, 3), 6144);
    assert_int_equal(zx_type_bytes(&a, 3), 12288);
    assert_int_equal(zx_type_last(&a), 2048);
    assert_int_equal(zx_type_row(&a), 2048);

    zx_type w = zx_type_make(ZMLX_BF16, 3, (int64_t)128, (int64_t)768, (int64_t)2048);
    w.quant = (zx_quant){4, 64, ZMLX_BF16};
    assert_string_equal(zx_type_text(&w, text, sizeof text), "4-bit[128, 768, 2048] group 64 bfloat16");
    assert_int_equal(zx_type_bytes(&w, 1), 128 * 768 * 1024);
    assert_int_equal(zx_type_row(&w), 768 * 2048);
    assert_string_equal(zx_type_text(&w, small, sizeof small), "4-bit[1"); /* cut, never overrun */

    zx_type v = w;
    assert_true(zx_type_equal(&v, &w));
    v.quant.group = 32;
    assert_false(zx_type_equal(&v, &w));
    v = w, v.dim[2] = 1024;
    assert_false(zx_type_equal(&v, &w));
    v = w, v.quant = (zx_quant){0};
    assert_false(zx_type_equal(&v, &w));
    v = a, v.dtype = ZMLX_F16;
    assert_false(zx_type_equal(&v, &a));
    v = a, v.quant.group = 64; /* without bits it means nothing */
    assert_true(zx_type_equal(&v, &a));

    zx_type one = zx_type_make(ZMLX_I32, 1, ZX_TOKENS);
    assert_string_equal(zx_type_text(&one, text, sizeof text), "int32[tokens]");
    assert_int_equal(zx_type_row(&one), 1);
}

/* What MLX packs for 64 values i mod 2^bits: scale -1, bias 2^bits - 1, so code = bias - value. */
static void test_affine_layout(void **state)
{
    (void)state;
    static const uint8_t four[] = {0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01}, eight[] = {0xff, 0xfe, 0xfd, 0xfc};
    uint8_t row[1 + 64], numbers[2][1 + 4]; /* all at odd addresses */
    for (int bits = 4; bits <= 8; bits += 4) {
        uint16_t scale = zx_f32_to_bf16(-1.0f), bias = zx_f32_to_bf16(bits == 4 ? 15.0f : 255.0f);
        for (int i = 0; i < 2; i++)
            memcpy(numbers[0] + 1 + 2 * i, &scale, 2), memcpy(numbers[1] + 1 + 2 * i, &bias, 2);
        for (int i = 0; i < 8 * bits; i++)
            row[1 + i] = bits == 4 ? four[i % 8] : i < 4 ? eight[i] : (uint8_t)(255 - i);
        zx_operand o = {.type = zx_type_make(ZMLX_BF16, 2, (int64_t)2, (int64_t)32), .data = row + 1};
        o.type.quant = (zx_quant){bits, 32, ZMLX_BF16};
        o.scales = numbers[0] + 1, o.biases = numbers[1] + 1;
        double out[64], second[32];
        zx_operand_to_double(&o, 0, 2, out);
        for (int i = 0; i < 64; i++)
            assert_true(out[i] == (bits == 4 ? i % 16 : i));
        zx_operand_to_double(&o, 1, 1, second);
        assert_memory_equal(second, out + 32, sizeof second);
    }
}

static void test_operands(void **state)
{
    (void)state;
    double d[3];
    uint8_t bytes[1 + 12];
    float f[3] = {1.5f, -INFINITY, 0x1p-149f};
    memcpy(bytes + 1, f, sizeof f);
    zx_operand o = {.type = zx_type_make(ZMLX_F32, 1, (int64_t)3), .data = bytes + 1};
    zx_operand_to_double(&o, 0, 1, d);
    assert_true(d[0] == 1.5 && d[1] == -INFINITY && d[2] == 0x1p-149);
    int32_t n[3] = {-7, INT32_MAX, INT32_MIN};
    memcpy(bytes + 1, n, sizeof n);
    o.type.dtype = ZMLX_I32;
    zx_operand_to_double(&o, 0, 1, d);
    assert_true(d[0] == -7 && d[1] == 2147483647.0 && d[2] == -2147483648.0);
    uint16_t h[3] = {0x3c00, 0x8001, 0x7bff};
    memcpy(bytes + 1, h, sizeof h);
    o.type.dtype = ZMLX_F16;
    zx_operand_to_double(&o, 0, 1, d);
    assert_true(d[0] == 1 && d[1] == -0x1p-24 && d[2] == 65504);
}

#define T2(dt, n)    zx_type_make(dt, 2, ZX_TOKENS, (int64_t)(n))
#define T3(dt, m, n) zx_type_make(dt, 3, ZX_TOKENS, (int64_t)(m), (int64_t)(n))
#define V1(dt, n)    zx_type_make(dt, 1, (int64_t)(n))

/* What a kernel says of types that do not fit: the thing and both numbers. */
static void test_refusals(void **state)
{
    (void)state;
    const zx_type x = T2(ZMLX_BF16, 100), tokens = zx_type_make(ZMLX_I32, 1, ZX_TOKENS);
    zx_type coded = zx_type_make(ZMLX_BF16, 2, (int64_t)10, (int64_t)96);
    coded.quant = (zx_quant){4, 64, ZMLX_BF16};
    const struct {
        const char *kernel;
        zx_type in[3];
        zx_attr attr;
        const char *says;
    } bad[] = {
        {"rms_norm",
         {x, V1(ZMLX_BF16, 64)},
         {.eps = 0},
         "x has 100 elements per token, not a multiple of the weight's 64"},
        {"rms_norm", {x, x}, {.eps = 0}, "weight: bfloat16[tokens, 100], expected a plain vector of floats"},
        {"rms_norm", {x, V1(ZMLX_BF16, 100)}, {.eps = -1}, "eps is -1, expected at least 0"},
        {"rms_norm",
         {tokens, V1(ZMLX_BF16, 1)},
         {.eps = 0},
         "x: int32[tokens], expected float16, bfloat16 or float32 of at least 2 dimensions"},
        {"add", {x, T2(ZMLX_BF16, 99)}, {.eps = 0}, "x is bfloat16[tokens, 100] but y is bfloat16[tokens, 99]"},
        {"residual_norm",
         {x, x, V1(ZMLX_BF16, 7)},
         {.eps = 0},
         "x has 100 elements per token, not a multiple of the weight's 7"},
        {"embedding", {x, coded}, {.eps = 0}, "tokens: bfloat16[tokens, 100], expected int32[tokens]"},
        {"embedding", {tokens, coded}, {.eps = 0}, "table rows have 96 elements, not a multiple of the group of 64"},
        {"rope",
         {x},
         {.heads = 3, .dims = 8, .theta = 1e4f},
         "x has 100 elements per token, not a multiple of 3 heads"},
        {"rope",
         {x},
         {.heads = 2, .dims = 52, .theta = 1e4f},
         "rope rotates 52 features, expected an even number up to the head's 50"},
        {"rope", {x}, {.heads = 2, .dims = 50, .theta = 0}, "rope theta is 0, expected 1 to 1e12"},
        {"swiglu", {x, T2(ZMLX_F32, 100)}, {.eps = 0}, "gate is bfloat16 but up is float32"},
        {"argpartition", {x}, {.k = 101}, "k is 101, expected 1 to 100"},
        {"argpartition", {x}, {.k = 0}, "k is 0, expected 1 to 100"},
        {"moe_gating", {x}, {.k = 300, .score = ZX_SCORE_SOFTMAX}, "k is 300, expected 1 to 100"},
        {"moe_gating", {x}, {.k = 3, .score = ZX_SCORE_SIGMOID}, "score is 2, expected softmax (1)"},
        {"take", {x, x}, {.eps = 0}, "idx: bfloat16[tokens, 100], expected int32[tokens, k]"},
        {"div", {x, T2(ZMLX_BF16, 2)}, {.eps = 0}, "y: bfloat16[tokens, 2], expected rows of 1 or 100 elements"},
        {"mul_scores",
         {T3(ZMLX_BF16, 8, 64), T2(ZMLX_BF16, 4)},
         {.eps = 0},
         "scores: bfloat16[tokens, 4], expected [tokens, 8]"},
        {"moe_combine",
         {x, x},
         {.eps = 0},
         "y: bfloat16[tokens, 100], expected float16, bfloat16 or float32 of at least 3 dimensions"},
        {"sum_last", {T3(ZMLX_BF16, 2, 3)}, {.eps = 0}, "x: bfloat16[tokens, 2, 3], expected [tokens, k]"},
    };
    for (size_t i = 0; i < ZX_COUNT(bad); i++) {
        zx_type out[ZX_MAX_OUT];
        zmlx_err err = {0};
        assert_int_equal(zx_kernel_find(bad[i].kernel)->infer(bad[i].in, &bad[i].attr, out, &err), ZMLX_E_FORMAT);
        assert_string_equal(err.msg, bad[i].says);
    }
}

/* argpartition where values have no strict order: NaN above infinity, both zeros equal, ties to the higher index. */
static void test_choice(void **state)
{
    (void)state;
    static _Alignas(64) float x[8] = {INFINITY, 0.0f, NAN, -0.0f, -INFINITY, NAN, 0.0f, -1.0f};
    static const int32_t want[6] = {1, 3, 6, 0, 2, 5};
    _Alignas(64) int32_t idx[6];
    _Alignas(64) float scratch[16];
    const zx_kernel_def *k = zx_kernel_find("argpartition");
    for (int level = 0; level <= (int)zx_cpu_best(); level++)
        for (int n = 1; n <= 6; n++) {
            zx_operand in = {.type = T2(ZMLX_F32, 8), .data = x}, out = {.type = T2(ZMLX_I32, n), .data = idx};
            zx_call c = {.in = &in, .out = &out, .attr = &(zx_attr){.k = n}, .tokens = 1};
            zx_kernel_run(k, (zx_cpu_level)level)(&c, 0, 0, 1, scratch);
            assert_memory_equal(idx, want + 6 - n, (size_t)n * sizeof *idx);
        }
}

/* Token numbers are checked before a step; should one slip through, no memory outside the table is read. */
static void test_embedding_clamps(void **state)
{
    (void)state;
    static _Alignas(64) int32_t ids[3] = {-5, 1, 1000};
    static _Alignas(64) float table[2][2] = {{1, 2}, {3, 4}}, out[3][2];
    zx_operand in[2] = {{.type = zx_type_make(ZMLX_I32, 1, ZX_TOKENS), .data = ids},
                        {.type = zx_type_make(ZMLX_F32, 2, (int64_t)2, (int64_t)2), .data = table}};
    zx_operand o = {.type = T2(ZMLX_F32, 2), .data = out};
    zx_call c = {.in = in, .out = &o, .attr = &(zx_attr){0}, .tokens = 3};
    zx_kernel_run(zx_kernel_find("embedding"), zx_cpu_best())(&c, 0, 0, 3, NULL);
    assert_true(out[0][0] == 1 && out[1][1] == 4 && out[2][0] == 3);
}

/* Values that MLX (CPU, float32) gives. */
static void test_silu_of_mlx(void **state)
{
    (void)state;
    static _Alignas(64) float x[9] = {-20, -5, -1.5f, -0.25f, 0, 0.25f, 1.5f, 5, 20}, y[9];
    static const double mlx[9] = {-4.122306762610606e-08,
                                  -0.033464252948760986,
                                  -0.2736383080482483,
                                  -0.10945587605237961,
                                  0,
                                  0.1405441164970398,
                                  1.2263617515563965,
                                  4.966536045074463,
                                  20};
    zx_operand in = {.type = T2(ZMLX_F32, 9), .data = x}, out = {.type = T2(ZMLX_F32, 9), .data = y};
    zx_call c = {.in = &in, .out = &out, .attr = &(zx_attr){0}, .tokens = 1};
    for (int level = 0; level <= (int)zx_cpu_best(); level++) {
        zx_kernel_run(zx_kernel_find("silu"), (zx_cpu_level)level)(&c, 0, 0, 1, NULL);
        for (int i = 0; i < 9; i++)
            assert_true(fabs((double)y[i] - mlx[i]) <= 1e-6 * fabs(mlx[i]));
    }
}

/* In bfloat16 the roundings show: above about 6.2 the sigmoid is exactly 1. */
static void test_silu_rounding(void **state)
{
    (void)state;
    static _Alignas(64) uint16_t x[4], y[4];
    const float from[4] = {6.5f, 4.0f, -3.0f, 1.0f};
    for (int i = 0; i < 4; i++)
        x[i] = zx_f32_to_bf16(from[i]);
    zx_operand in = {.type = T2(ZMLX_BF16, 4), .data = x}, out = {.type = T2(ZMLX_BF16, 4), .data = y};
    zx_call c = {.in = &in, .out = &out, .attr = &(zx_attr){0}, .tokens = 1};
    zx_kernel_run(zx_kernel_find("silu"), zx_cpu_best())(&c, 0, 0, 1, NULL);
    for (int i = 0; i < 4; i++) {
        float a = zx_bf16_to_f32(x[i]), e = zx_round_to((float)exp(fabs((double)a)), ZMLX_BF16);
        float r = zx_round_to(1 / zx_round_to(1 + e, ZMLX_BF16), ZMLX_BF16);
        float s = a < 0 ? r : zx_round_to(1 - r, ZMLX_BF16);
        assert_int_equal(y[i], zx_f32_to_bf16(a * s));
    }
    assert_true(zx_bf16_to_f32(y[0]) == 6.5f);
}

#if defined(__x86_64__)
__attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16"))) static void machine_dp(float *acc, const uint16_t *a,
                                                                                       const uint16_t *b)
{
    __m512 r = _mm512_dpbf16_ps(_mm512_loadu_ps(acc), (__m512bh)_mm512_loadu_si512(a), (__m512bh)_mm512_loadu_si512(b));
    _mm512_storeu_ps(acc, r);
}
#endif

/* The plain C v16_dp of lanes.h, which this file is compiled with, is what vdpbf16ps computes. */
static void test_dp_is_the_machines(void **state)
{
    (void)state;
#if defined(__x86_64__)
    if (zx_cpu_best() < ZX_CPU_AVX512) {
        print_message("this CPU has no AVX-512 BF16: nothing to compare with\n");
        skip();
    }
    uint64_t rng = 1;
    for (int round = 0; round < 200000; round++) {
        uint16_t a[32], b[32];
        float acc[16], got[16];
        uint32_t kind = (uint32_t)round % 4; /* any bits; ordinary sizes; tiny products; cancelling */
        for (int i = 0; i < 64 + 16; i++) {
            rng = rng * 6364136223846793005u + 1442695040888963407u;
            uint32_t u = (uint32_t)(rng >> 32);
            uint32_t e = kind == 1 ? 120 + (u >> 8 & 15) : kind == 2 ? u >> 8 & 127 : kind == 3 ? 127 : u >> 8 & 255;
            if (e == 255) u &= 0xff80ff80u; /* infinities, no NaN; float32 below */
            uint16_t h = (uint16_t)((u & 0x807fu) | e << 7);
            if (e == 255) h = (uint16_t)(h & 0xff80u);
            if (i < 32)
                a[i] = h;
            else if (i < 64)
                b[i - 32] = h;
            else
                acc[i - 64] = zx_bits_f32((uint32_t)h << 16 | (e == 255 ? 0 : u >> 16));
        }
        if (kind == 3) /* the two products cancel to the last bits */
            for (int l = 0; l < 16; l++)
                a[2 * l + 1] = a[2 * l], b[2 * l + 1] = (uint16_t)(b[2 * l] ^ 0x8000u);
        v16 want = v16_dp(v16_load(acc), w32_load(a), w32_load(b));
        memcpy(got, acc, sizeof got);
        machine_dp(got, a, b);
        for (int l = 0; l < 16; l++) {
            if (isnan(got[l]) && isnan(want.v[l])) continue;
            if (zx_f32_bits(got[l]) != zx_f32_bits(want.v[l]))
                fail_msg("acc %a, a %04x %04x, b %04x %04x: machine %a, plain C %a", (double)acc[l], a[2 * l],
                         a[2 * l + 1], b[2 * l], b[2 * l + 1], (double)got[l], (double)want.v[l]);
        }
    }
#else
    print_message("not x86-64: nothing to compare with\n");
    skip();
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registry),         cmocka_unit_test(test_types),
        cmocka_unit_test(test_affine_layout),    cmocka_unit_test(test_operands),
        cmocka_unit_test(test_refusals),         cmocka_unit_test(test_choice),
        cmocka_unit_test(test_embedding_clamps), cmocka_unit_test(test_silu_of_mlx),
        cmocka_unit_test(test_silu_rounding),    cmocka_unit_test(test_dp_is_the_machines),
    };
    return cmocka_run_group_tests_name("kernels", tests, NULL, NULL);
}
