/* SPDX-License-Identifier: MIT */
#include "kernels/kernel.h"

#include <string.h>

#include "kernels.inc"

const zx_kernel_def *zx_kernel_find(const char *name)
{
    size_t lo = 0, hi = ZX_COUNT(zx_kernels) - 1; /* the last entry is NULL */
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = strcmp(name, zx_kernels[mid]->name);
        if (c == 0) return zx_kernels[mid];
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}
