/* SPDX-License-Identifier: MIT */
#include "kernels/act.h"
#include "kernels/unary.h"

ZX_INLINE v16 lanes(v16 x, zmlx_dtype t) { return zx_silu_lanes(x, t); }

ZX_RUN(silu)(const zx_call *c, int phase, int64_t begin, int64_t end, void *scratch)
{
    (void)phase, (void)scratch;
    zx_unary(c, begin, end, lanes);
}

#if ZX_LEVEL == 0
static void reference(const zx_call *c, const double *const *in, double *const *out)
{
    int64_t n = c->tokens * zx_type_row(&c->in[0].type);
    for (int64_t i = 0; i < n; i++)
        out[0][i] = in[0][i] / (1 + exp(-in[0][i]));
}

/* Four roundings to T on the way.  In float16 e^|x| overflows beyond 11 and the result is 0: a tenth of a place of 1.
 */
ZX_UNARY_DEF(silu, "y = x sigmoid(x), element by element, with MLX's rounding points", reference, 4.0, 0.1);
#endif
