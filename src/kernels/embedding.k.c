/* SPDX-License-Identifier: MIT */
#include "kernels/rows.h"

/* 16 codes as floats, elements [i, i + 16) of a packed row. */
ZX_INLINE v16 codes(const uint8_t *row, int bits, int64_t i)
{
    if (bits == 8) return v16_load_u8(row + i);
    uint8_t q[16];
    for (int j = 0; j < 8; j++) {
        uint8_t pair = row[i / 2 + j];
        q[2 * j] = pair & 15, q[2 * j + 1] = pair >> 4;
    }
    return v16_load_u8(q);
}

/* Row `id` of a quantized table to row `at` of out.  With 16-bit scales the product is exact in float32. */
static void dequantize(const zx_operand *table, int64_t id, void *out, int64_t at)
{
    const zx_quant *q = &table->type.quant;
    int64_t n = table->type.dim[1], groups = n / q->group;
    const uint8_t *row = (const uint8_t *)table->data + id * (n * q->bits / 8);
    for (int64_t g = 0; g < groups; g++) {
        v16 scale = v16_set(zx_load1(table->scales, q->scales, id * groups + g));
        v16 bias = v16_set(zx_load1(table->biases, q->scales, id * groups + g));
        for (int64_t i = g * q->group; i < (g + 1) * q->group; i += 16)
            v16_store_any(out, table->type.dtype, at * n + i, v16_fma(scale, codes(row, q->bits, i), bias), 16);
    }
}

ZX_RUN(embedding)(const zx_call *c, int phase, int64_t begin, int64_t end, void *scratch)
{
    (void)phase, (void)scratch;
    const int32_t *ids = c->in[0].data;
    const zx_operand *table = &c->in[1];
    int64_t rows = table->type.dim[0], n = table->type.dim[1];
    for (int64_t t = begin; t < end; t++) {
        int64_t id = ZX_MIN(ZX_MAX((int64_t)ids[t], 0), rows - 1); /* the session has refused others */
        size_t bytes = (size_t)n * zmlx_dtype_size(table->type.dtype);
        if (table->type.quant.bits)
            dequantize(table, id, c->out[0].data, t);
        else
            memcpy((char *)c->out[0].data + (size_t)t * bytes, (const char *)table->data + (size_t)id * bytes, bytes);
    }
}

#if ZX_LEVEL == 0
static zmlx_status infer(const zx_type *in, const zx_attr *attr, zx_type *out, zmlx_err *err)
{
    (void)attr;
    char text[96];
    ZX_REQUIRE(in[0].rank == 1 && in[0].dtype == ZMLX_I32, "tokens: %s, expected int32[tokens]",
               zx_type_text(&in[0], text, sizeof text));
    ZX_REQUIRE(in[1].rank == 2 && in[1].dim[0] > 0 && zx_is_float16_32(in[1].dtype),
               "table: %s, expected floats [vocab, n]", zx_type_text(&in[1], text, sizeof text));
    const zx_quant *q = &in[1].quant;
    ZX_REQUIRE(!q->bits || q->bits == 4 || q->bits == 8, "table has %d bits, expected 4 or 8", q->bits);
    ZX_REQUIRE(!q->bits || (q->group > 0 && q->group % 16 == 0 && in[1].dim[1] % q->group == 0),
               "table rows have %lld elements, not a multiple of the group of %d", (long long)in[1].dim[1], q->group);
    out[0] = zx_type_make(in[1].dtype, 2, in[0].dim[0], in[1].dim[1]);
    return ZMLX_OK;
}

static void reference(const zx_call *c, const double *const *in, double *const *out)
{
    int64_t n = c->in[1].type.dim[1];
    for (int64_t t = 0; t < c->tokens; t++)
        for (int64_t i = 0; i < n; i++)
            out[0][t * n + i] = in[1][(int64_t)in[0][t] * n + i];
}

/* n: vocabulary, elements per row. */
static void make_case(const zx_case *k, zx_type *in)
{
    in[0] = zx_type_make(ZMLX_I32, 1, ZX_TOKENS);
    in[1] = zx_type_make(k->dtype, 2, k->n[0], k->n[1]);
    in[1].quant = k->quant;
}

static void fill(const zx_case *k, const zx_operand *in, uint64_t *rng)
{
    int32_t *ids = in[0].data;
    for (int64_t t = 0; t < k->tokens; t++)
        ids[t] = t ? (int32_t)(zx_random(rng) % (uint64_t)k->n[0]) : (int32_t)k->n[0] - 1;
}

static const zx_case cases[] = {
    {.tokens = 1, .n = {50, 256}, .dtype = ZMLX_BF16, .quant = {4, 64, ZMLX_BF16}},
    {.tokens = 9, .n = {33, 384}, .dtype = ZMLX_F16, .quant = {8, 128, ZMLX_F16}},
    {.tokens = 4, .n = {33, 96}, .dtype = ZMLX_BF16, .quant = {8, 32, ZMLX_BF16}},
    {.tokens = 4, .n = {7, 96}, .dtype = ZMLX_F32, .quant = {4, 32, ZMLX_F32}},
    {.tokens = 5, .n = {11, 70}, .dtype = ZMLX_BF16},
    {.tokens = 5, .n = {11, 33}, .dtype = ZMLX_F32},
};

const zx_kernel_def zx_kernel_embedding = {
    .name = "embedding",
    .doc = "y[t] = table[tokens[t]], dequantized: tokens int32[tokens], table[vocab, n]",
    .n_in = 2,
    .n_out = 1,
    .infer = infer,
    .phases = 1,
    .tasks = zx_tasks_tokens,
    .run = ZX_RUNS(embedding),
    .reference = reference,
    .tol_ulp = 0.51,
    .tol_row_ulp = 0.01, /* scale * q + bias may cancel, then float32's last place shows */
    .make_case = make_case,
    .fill = fill,
    .cases = cases,
    .n_cases = ZX_COUNT(cases),
};
#endif
