/* SPDX-License-Identifier: MIT */
#include "kernels/rows.h"

ZX_RUN(div)(const zx_call *c, int phase, int64_t begin, int64_t end, void *scratch)
{
    (void)phase, (void)scratch;
    const zx_operand *x = &c->in[0], *y = &c->in[1], *out = &c->out[0];
    int64_t n = x->type.dim[1];
    bool one = y->type.dim[1] == 1;
    for (int64_t t = begin; t < end; t++)
        for (int64_t i = 0; i < n; i += 16) {
            v16 d = one ? v16_set(zx_load1(y->data, y->type.dtype, t))
                        : v16_load_any(y->data, y->type.dtype, t * n + i, n - i);
            v16 q = v16_div(v16_load_any(x->data, x->type.dtype, t * n + i, n - i), d);
            v16_store_any(out->data, out->type.dtype, t * n + i, q, n - i);
        }
}

#if ZX_LEVEL == 0
static zmlx_status infer(const zx_type *in, const zx_attr *attr, zx_type *out, zmlx_err *err)
{
    (void)attr;
    char text[96];
    ZX_TRY(zx_need_floats(&in[0], "x", 2, err));
    ZX_TRY(zx_need_floats(&in[1], "y", 2, err));
    ZX_REQUIRE(in[0].rank == 2, "x: %s, expected [tokens, n]", zx_type_text(&in[0], text, sizeof text));
    ZX_REQUIRE(in[1].rank == 2 && in[1].dim[0] == in[0].dim[0] && (in[1].dim[1] == 1 || in[1].dim[1] == in[0].dim[1]),
               "y: %s, expected rows of 1 or %lld elements", zx_type_text(&in[1], text, sizeof text),
               (long long)in[0].dim[1]);
    out[0] = in[0];
    out[0].dtype = zx_promote(in[0].dtype, in[1].dtype);
    return ZMLX_OK;
}

static void reference(const zx_call *c, const double *const *in, double *const *out)
{
    int64_t n = c->in[0].type.dim[1], m = c->in[1].type.dim[1];
    for (int64_t i = 0; i < c->tokens * n; i++)
        out[0][i] = in[0][i] / in[1][m == 1 ? i / n : i];
}

/* n: elements per row of x, of y; type of y + 1 when it differs. */
static void make_case(const zx_case *k, zx_type *in)
{
    in[0] = zx_type_make(k->dtype, 2, ZX_TOKENS, k->n[0]);
    in[1] = zx_type_make(k->n[2] ? (zmlx_dtype)(k->n[2] - 1) : k->dtype, 2, ZX_TOKENS, k->n[1]);
}

static const zx_case cases[] = {
    {.tokens = 1, .n = {8, 1}, .dtype = ZMLX_BF16},
    {.tokens = 5, .n = {33, 33}, .dtype = ZMLX_F16},
    {.tokens = 3, .n = {20, 1}, .dtype = ZMLX_F32},
    {.tokens = 3, .n = {20, 1, ZMLX_F32 + 1}, .dtype = ZMLX_BF16},
};

const zx_kernel_def zx_kernel_div = {
    .name = "div",
    .doc = "z = x / y, rounded once: x[tokens, n], y of the same shape or [tokens, 1]",
    .n_in = 2,
    .n_out = 1,
    .infer = infer,
    .phases = 1,
    .tasks = zx_tasks_tokens,
    .run = ZX_RUNS(div),
    .reference = reference,
    .tol_ulp = 0.51,
    .make_case = make_case,
    .cases = cases,
    .n_cases = ZX_COUNT(cases),
};
#endif
