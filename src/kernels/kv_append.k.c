/* SPDX-License-Identifier: MIT */
/* Writes the keys or values of a step into their cache (layouts: kv.h). */
#include "kernels/kv.h"

#include <string.h>

/* Task = one head; every byte is copied as it is. */
ZX_RUN(kv_append)(const zx_call *c, int phase, int64_t begin, int64_t end, void *scratch)
{
    (void)phase, (void)scratch;
    const zx_type *t = &c->in[0].type;
    const int64_t heads = t->dim[0], dim = t->dim[2];
    const size_t size = t->dtype == ZMLX_F32 ? 4 : 2;
    char *cache = c->in[0].data;
    for (int64_t h = begin; h < end; h++)
        for (int64_t i = 0; i < c->tokens; i++) {
            const char *x = (const char *)c->in[1].data + (size_t)((i * heads + h) * dim) * size;
            int64_t pos = c->pos + i;
            if (c->attr->role == ZX_KV_VALUES) {
                memcpy(cache + (size_t)zx_value_at(t, h, pos, 0) * size, x, (size_t)dim * size);
                continue;
            }
            /* 16 positions side by side: units of 4 bytes (a bf16 pair, a float) or 2 (a half). */
            char *at = cache + (size_t)zx_key_at(t, h, pos, 0) * size;
            if (t->dtype == ZMLX_F16)
                for (int64_t d = 0; d < dim; d++)
                    memcpy(at + d * 32, x + d * 2, 2);
            else
                for (int64_t d = 0; d < dim * (int64_t)size / 4; d++)
                    memcpy(at + d * 64, x + d * 4, 4);
        }
}

#if ZX_LEVEL == 0
static zmlx_status infer(const zx_type *in, const zx_attr *attr, zx_type *out, zmlx_err *err)
{
    char text[96];
    (void)out;
    ZX_REQUIRE(attr->role == ZX_KV_KEYS || attr->role == ZX_KV_VALUES, "role %d, expected 0 (keys) or 1 (values)",
               (int)attr->role);
    ZX_TRY(zx_kv_check(&in[0], "cache", err));
    ZX_REQUIRE(in[1].rank >= 2 && in[1].dtype == in[0].dtype && !in[1].quant.bits, "x: %s, but the cache is of %s",
               zx_type_text(&in[1], text, sizeof text), zmlx_dtype_name(in[0].dtype));
    ZX_REQUIRE(zx_type_row(&in[1]) == in[0].dim[0] * in[0].dim[2], "x has %lld elements per token, the cache %lld",
               (long long)zx_type_row(&in[1]), (long long)(in[0].dim[0] * in[0].dim[2]));
    return ZMLX_OK;
}

static int64_t tasks(const zx_call *c, int phase)
{
    (void)phase;
    return c->in[0].type.dim[0];
}

/* out[0] is the cache, which holds its old contents. */
static void reference(const zx_call *c, const double *const *in, double *const *out)
{
    const zx_type *t = &c->in[0].type;
    int64_t heads = t->dim[0], dim = t->dim[2];
    for (int64_t i = 0; i < c->tokens; i++)
        for (int64_t h = 0; h < heads; h++)
            for (int64_t d = 0; d < dim; d++) {
                int64_t pos = c->pos + i;
                int64_t at = c->attr->role == ZX_KV_KEYS ? zx_key_at(t, h, pos, d) : zx_value_at(t, h, pos, d);
                out[0][at] = in[1][(i * heads + h) * dim + d];
            }
}

/* n[0]: heads, n[1]: features, n[2]: positions. */
static void make_case(const zx_case *k, zx_type *in)
{
    in[0] = zx_type_make(k->dtype, 3, k->n[0], k->n[2], k->n[1]);
    in[1] = zx_type_make(k->dtype, 3, ZX_TOKENS, k->n[0], k->n[1]);
}

#define CASE(tokens_, pos_, h_, d_, ctx_, t_, role_)                                                                   \
    {                                                                                                                  \
        .tokens = tokens_, .pos = pos_, .n = {h_, d_, ctx_}, .dtype = ZMLX_##t_, .attr = {.role = role_ }              \
    }

static const zx_case cases[] = {
    CASE(1, 0, 2, 64, 32, BF16, ZX_KV_KEYS),    CASE(17, 7, 3, 10, 32, BF16, ZX_KV_KEYS),
    CASE(1, 31, 2, 64, 32, BF16, ZX_KV_VALUES), CASE(5, 14, 2, 6, 48, F16, ZX_KV_KEYS),
    CASE(3, 1, 1, 130, 16, F16, ZX_KV_VALUES),  CASE(40, 8, 2, 34, 48, F32, ZX_KV_KEYS),
    CASE(2, 15, 4, 128, 32, F32, ZX_KV_VALUES),
};

const zx_kernel_def zx_kernel_kv_append = {
    .name = "kv_append",
    .doc = "cache[heads, ctx, D] at positions pos .. pos + tokens - 1 becomes x[tokens, heads, D]; attr.role: keys or "
           "values",
    .n_in = 2,
    .n_state = 1,
    .infer = infer,
    .phases = 1,
    .tasks = tasks,
    .run = ZX_RUNS(kv_append),
    .reference = reference,
    .make_case = make_case,
    .cases = cases,
    .n_cases = ZX_COUNT(cases),
};
#endif
