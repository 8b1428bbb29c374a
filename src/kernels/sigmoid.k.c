/* SPDX-License-Identifier: MIT */
#include "kernels/vmath.h"
#include "kernels/unary.h"

ZX_INLINE v16 lanes(v16 x, zmlx_dtype t)
{
    (void)t;
    return zx_sigmoid(x);
}

ZX_RUN(sigmoid)(const zx_call *c, int phase, int64_t begin, int64_t end, void *scratch)
{
    (void)phase, (void)scratch;
    zx_unary(c, begin, end, lanes);
}

#if ZX_LEVEL == 0
static void reference(const zx_call *c, const double *const *in, double *const *out)
{
    int64_t n = c->tokens * zx_type_row(&c->in[0].type);
    for (int64_t i = 0; i < n; i++)
        out[0][i] = 1 / (1 + exp(-in[0][i]));
}

ZX_UNARY_DEF(sigmoid, "y = 1 / (1 + e^-x), element by element, rounded once", reference, 2.0, 0);
#endif
