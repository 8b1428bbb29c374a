/* SPDX-License-Identifier: MIT */
#include "base/buf.h"

#include "base/alloc.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void zx_buf_clear(zx_buf *b)
{
    zx_free(b->data);
    *b = (zx_buf){0};
}

void zx_buf_reset(zx_buf *b)
{
    b->len = 0;
    if (b->data) b->data[0] = 0;
}

bool zx_buf_reserve(zx_buf *b, size_t extra)
{
    size_t need;
    if (b->failed) return false;
    if (!zx_add_size(&need, b->len, extra) || !zx_add_size(&need, need, 1)) return !(b->failed = true);
    if (need <= b->cap) return true;
    size_t cap = ZX_MAX(need, b->cap > SIZE_MAX / 2 ? need : b->cap * 2);
    cap = ZX_MAX(cap, (size_t)64);
    char *data = zx_realloc(b->data, cap);
    if (!data) return !(b->failed = true);
    if (!b->data) data[0] = 0;
    b->data = data;
    b->cap = cap;
    return true;
}

void zx_buf_add(zx_buf *b, const void *p, size_t n)
{
    if (!zx_buf_reserve(b, n)) return;
    if (n) memcpy(b->data + b->len, p, n);
    b->len += n;
    b->data[b->len] = 0;
}

void zx_buf_puts(zx_buf *b, const char *s) { zx_buf_add(b, s, strlen(s)); }
void zx_buf_putc(zx_buf *b, char c) { zx_buf_add(b, &c, 1); }

void zx_buf_printf(zx_buf *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    if (n < 0) b->failed = true;
    if (n >= 0 && zx_buf_reserve(b, (size_t)n)) {
        vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
    va_end(ap);
}
