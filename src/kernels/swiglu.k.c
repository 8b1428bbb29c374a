/* SPDX-License-Identifier: MIT */
#include "kernels/act.h"
#include "kernels/rows.h"

ZX_INLINE void span(void *out, const void *gate, const void *up, int64_t from, int64_t to, zmlx_dtype t)
{
    for (int64_t i = from; i < to; i += 16) {
        v16 y = zx_swiglu_lanes(v16_load_any(gate, t, i, to - i), v16_load_any(up, t, i, to - i), t);
        v16_store_any(out, t, i, y, to - i);
    }
}

ZX_RUN(swiglu)(const zx_call *c, int phase, int64_t begin, int64_t end, void *scratch)
{
    (void)phase, (void)scratch;
    int64_t n = zx_type_last(&c->in[0].type);
    ZX_BY_TYPE(c->in[0].type.dtype, span, c->out[0].data, c->in[0].data, c->in[1].data, begin * n, end * n);
}

#if ZX_LEVEL == 0
static zmlx_status infer(const zx_type *in, const zx_attr *attr, zx_type *out, zmlx_err *err)
{
    (void)attr;
    ZX_TRY(zx_need_floats(&in[0], "gate", 2, err));
    ZX_TRY(zx_need_floats(&in[1], "up", 2, err));
    ZX_TRY(zx_need_same_shape(&in[0], "gate", &in[1], "up", err));
    ZX_REQUIRE(in[0].dtype == in[1].dtype, "gate is %s but up is %s", zmlx_dtype_name(in[0].dtype),
               zmlx_dtype_name(in[1].dtype));
    out[0] = in[0];
    return ZMLX_OK;
}

/* Rows of the last dimension: one per token and expert. */
static int64_t tasks(const zx_call *c, int phase)
{
    (void)phase;
    return c->tokens * (zx_type_row(&c->in[0].type) / zx_type_last(&c->in[0].type));
}

static void reference(const zx_call *c, const double *const *in, double *const *out)
{
    int64_t n = c->tokens * zx_type_row(&c->in[0].type);
    for (int64_t i = 0; i < n; i++)
        out[0][i] = in[0][i] / (1 + exp(-in[0][i])) * in[1][i];
}

/* n: experts per token (0 = none), elements. */
static void make_case(const zx_case *k, zx_type *in)
{
    in[0] = k->n[0] ? zx_type_make(k->dtype, 3, ZX_TOKENS, k->n[0], k->n[1])
                    : zx_type_make(k->dtype, 2, ZX_TOKENS, k->n[1]);
    in[1] = in[0];
}

static const zx_case cases[] = {
    {.tokens = 1, .n = {8, 768}, .dtype = ZMLX_BF16},
    {.tokens = 4, .n = {0, 100}, .dtype = ZMLX_F16},
    {.tokens = 3, .n = {2, 33}, .dtype = ZMLX_F32},
};

const zx_kernel_def zx_kernel_swiglu = {
    .name = "swiglu",
    .doc = "y = silu(gate) * up, with MLX's rounding points",
    .n_in = 2,
    .n_out = 1,
    .infer = infer,
    .phases = 1,
    .tasks = tasks,
    .run = ZX_RUNS(swiglu),
    .reference = reference,
    .tol_ulp = 5,       /* five roundings to T on the way */
    .tol_row_ulp = 0.5, /* float16: e^|x| overflows beyond 11, and silu is then 0 */
    .make_case = make_case,
    .cases = cases,
    .n_cases = ZX_COUNT(cases),
};
#endif
