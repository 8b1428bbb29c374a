/* SPDX-License-Identifier: MIT */
/* How the library reports failure: a status to the caller, details in a caller-owned zmlx_err. */
#ifndef ZX_BASE_STATUS_H
#define ZX_BASE_STATUS_H

#include "zmlx/base.h"

/* Fill *err (may be NULL) and return `code`, so that a failing function ends in `return zx_fail(...)`. */
zmlx_status zx_fail(zmlx_err *err, zmlx_status code, int64_t pos, const char *fmt, ...) ZMLX_PRINTF(4, 5);

/* The result type of float arithmetic between two types, by MLX's rules: equal types stay, f32 wins,
 * f16 with bf16 gives f32.  Both must be F32, F16 or BF16. */
zmlx_dtype zx_promote(zmlx_dtype a, zmlx_dtype b);
bool zx_is_float16_32(zmlx_dtype t); /* one of F32, F16, BF16 */

/* Overflow-checked sizes: false (and *out untouched) when the result does not fit in size_t. */
static inline bool zx_mul_size(size_t *out, size_t a, size_t b) { return !__builtin_mul_overflow(a, b, out); }
static inline bool zx_add_size(size_t *out, size_t a, size_t b) { return !__builtin_add_overflow(a, b, out); }

#define ZX_COUNT(a)  (sizeof(a) / sizeof((a)[0]))
#define ZX_MIN(a, b) ((a) < (b) ? (a) : (b))
#define ZX_MAX(a, b) ((a) > (b) ? (a) : (b))
#define ZX_TRY(call)                                                                                                   \
    do {                                                                                                               \
        zmlx_status zx_try_ = (call);                                                                                  \
        if (zx_try_ != ZMLX_OK) return zx_try_;                                                                        \
    } while (0)

#endif
