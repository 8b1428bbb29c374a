/* SPDX-License-Identifier: MIT */
#include "kernels/gating.h"

/* softmax, argpartition, take and, with attr.renorm, sum_last and div, on a row that stays in scratch: the same
 * functions and the same rounding points, so the same bits. */
ZX_RUN(moe_gating)(const zx_call *c, int phase, int64_t begin, int64_t end, void *scratch)
{
    (void)phase;
    zmlx_dtype type = c->in[0].type.dtype;
    int64_t n = c->in[0].type.dim[1];
    int k = c->attr->k;
    float *p = scratch, s[ZX_MAX_CHOSEN];
    for (int64_t t = begin; t < end; t++) {
        int32_t *idx = (int32_t *)c->out[1].data + t * k;
        zx_softmax_row(p, c->in[0].data, t * n, n, type);
        zx_choose(idx, p, n, k);
        for (int j = 0; j < k; j++)
            s[j] = p[idx[j]];
        if (c->attr->renorm) {
            v16 sum = v16_set(zx_round_to(zx_sum_in_order(s, k), type));
            for (int j = 0; j < k; j += 16)
                v16_store_n(s + j, v16_div(v16_load_n(s + j, k - j), sum), k - j);
        }
        zx_narrow(c->out[0].data, type, t * k, s, k);
    }
}

#if ZX_LEVEL == 0
static zmlx_status infer(const zx_type *in, const zx_attr *attr, zx_type *out, zmlx_err *err)
{
    char text[96];
    ZX_TRY(zx_need_floats(&in[0], "logits", 2, err));
    ZX_REQUIRE(in[0].rank == 2, "logits: %s, expected [tokens, experts]", zx_type_text(&in[0], text, sizeof text));
    ZX_REQUIRE(attr->score == ZX_SCORE_SOFTMAX, "score is %d, expected softmax (%d)", attr->score, ZX_SCORE_SOFTMAX);
    ZX_TRY(zx_need_k(attr, in[0].dim[1], err));
    out[0] = zx_type_make(in[0].dtype, 2, in[0].dim[0], (int64_t)attr->k);
    out[1] = zx_type_make(ZMLX_I32, 2, in[0].dim[0], (int64_t)attr->k);
    return ZMLX_OK;
}

static void reference(const zx_call *c, const double *const *in, double *const *out)
{
    enum { MAX = 1024 };
    double p[MAX]; /* of the cases below */
    int64_t n = c->in[0].type.dim[1], k = c->attr->k;
    for (int64_t t = 0; t < c->tokens; t++) {
        double *s = out[0] + t * k, *idx = out[1] + t * k, sum = 0;
        zx_softmax_reference(in[0] + t * n, p, n);
        zx_choose_reference(idx, p, n, k);
        for (int64_t j = 0; j < k; j++)
            sum += s[j] = p[(int64_t)idx[j]];
        if (c->attr->renorm)
            for (int64_t j = 0; j < k; j++)
                s[j] /= sum;
    }
}

/* n: experts. */
static void make_case(const zx_case *k, zx_type *in) { in[0] = zx_type_make(k->dtype, 2, ZX_TOKENS, k->n[0]); }

/* Logits far enough apart that rounding the probabilities makes no ties among the first 32: multiples of 1/4. */
static void fill(const zx_case *k, const zx_operand *in, uint64_t *rng)
{
    for (int64_t t = 0; t < k->tokens; t++) {
        int64_t n = k->n[0], at = t * n;
        for (int64_t i = 0; i < n; i++)
            zx_store1(in[0].data, k->dtype, at + i, 4 - (float)i / 4);
        for (int64_t i = n - 1; i > 0; i--) {
            int64_t j = zx_random(rng) % (uint64_t)(i + 1);
            float a = zx_load1(in[0].data, k->dtype, at + i), b = zx_load1(in[0].data, k->dtype, at + j);
            zx_store1(in[0].data, k->dtype, at + i, b);
            zx_store1(in[0].data, k->dtype, at + j, a);
        }
    }
}

static const zx_case cases[] = {
    {.tokens = 1, .n = {128}, .dtype = ZMLX_BF16, .attr = {.k = 8, .renorm = 1, .score = ZX_SCORE_SOFTMAX}},
    {.tokens = 5, .n = {60}, .dtype = ZMLX_BF16, .attr = {.k = 4, .score = ZX_SCORE_SOFTMAX}},
    {.tokens = 3, .n = {512}, .dtype = ZMLX_F32, .attr = {.k = 20, .renorm = 1, .score = ZX_SCORE_SOFTMAX}},
    {.tokens = 2, .n = {32}, .dtype = ZMLX_F16, .attr = {.k = 1, .renorm = 1, .score = ZX_SCORE_SOFTMAX}},
};

const zx_kernel_def zx_kernel_moe_gating = {
    .name = "moe_gating",
    .doc =
        "logits[tokens, experts] -> scores[tokens, k], experts int32[tokens, k]: softmax, the k greatest, renormalised",
    .n_in = 1,
    .n_out = 2,
    .infer = infer,
    .phases = 1,
    .tasks = zx_tasks_tokens,
    .scratch = zx_row_scratch,
    .run = ZX_RUNS(moe_gating),
    .reference = reference,
    .tol_ulp = 8,
    .tol_row_ulp = 0.01, /* as softmax */
    .make_case = make_case,
    .fill = fill,
    .cases = cases,
    .n_cases = ZX_COUNT(cases),
};
#endif
