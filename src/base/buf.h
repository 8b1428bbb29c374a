/* SPDX-License-Identifier: MIT */
/* A growing byte string, always NUL-terminated.  The first failed allocation sticks (`failed`), later
 * calls are no-ops, so one check at the end is enough. */
#ifndef ZX_BASE_BUF_H
#define ZX_BASE_BUF_H

#include "base/status.h"

typedef struct zx_buf {
    char *data; /* NULL until something is added */
    size_t len, cap;
    bool failed;
} zx_buf;

void zx_buf_clear(zx_buf *b); /* frees; the buffer may be used again */
void zx_buf_reset(zx_buf *b); /* length 0, memory kept */
void zx_buf_add(zx_buf *b, const void *p, size_t n);
void zx_buf_puts(zx_buf *b, const char *s);
void zx_buf_putc(zx_buf *b, char c);
void zx_buf_printf(zx_buf *b, const char *fmt, ...) ZMLX_PRINTF(2, 3);
bool zx_buf_reserve(zx_buf *b, size_t extra);

#endif
