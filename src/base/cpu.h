/* SPDX-License-Identifier: MIT */
/* Which instruction-set level kernels run at.  Every level gives the same bits. */
#ifndef ZX_BASE_CPU_H
#define ZX_BASE_CPU_H

#include "base/status.h"

/* Ordered: a higher level may be used only where all lower ones could be. */
typedef enum zx_cpu_level {
    ZX_CPU_SCALAR, /* portable C, x86-64 baseline */
    ZX_CPU_AVX512, /* AVX-512 F, BW, DQ, VL, VBMI, BF16 */
    ZX_CPU_LEVELS
} zx_cpu_level;

zx_cpu_level zx_cpu_best(void);                /* the highest level of this machine */
const char *zx_cpu_level_name(zx_cpu_level l); /* "scalar", "avx512" */
/* NULL or "" = the best; ZMLX_E_ARG for an unknown name, ZMLX_E_DEVICE for one this machine lacks. */
zmlx_status zx_cpu_level_parse(zx_cpu_level *out, const char *name, zmlx_err *err);
/* "AMD EPYC ..." from the system, or "unknown". */
void zx_cpu_model_name(char *out, size_t n);

#endif
