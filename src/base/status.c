/* SPDX-License-Identifier: MIT */
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *zmlx_status_text(zmlx_status s)
{
    switch (s) {
#define X(id, value, exit_code, text)                                                                                  \
    case ZMLX_##id:                                                                                                    \
        return text;
        ZMLX_STATUS_MAP(X)
#undef X
    }
    return "unknown status";
}

int zmlx_status_exit_code(zmlx_status s)
{
    switch (s) {
#define X(id, value, exit_code, text)                                                                                  \
    case ZMLX_##id:                                                                                                    \
        return exit_code;
        ZMLX_STATUS_MAP(X)
#undef X
    }
    return 1;
}

const char *zmlx_version(void) { return ZMLX_VERSION_TEXT; }

static const struct {
    size_t size;
    const char *name;
} dtypes[] = {
#define X(id, size, text, is_float) [ZMLX_##id] = {size, text},
    ZMLX_DTYPE_MAP(X)
#undef X
};

const char *zmlx_dtype_name(zmlx_dtype t) { return (size_t)t < ZX_COUNT(dtypes) ? dtypes[t].name : "?"; }
size_t zmlx_dtype_size(zmlx_dtype t) { return (size_t)t < ZX_COUNT(dtypes) ? dtypes[t].size : 0; }

/* Length of the UTF-8 sequence at s (1 to 4), 0 when it is malformed, cut off or a control character.  Names from
 * hostile files end up in messages, and messages on terminals. */
static int utf8_len(const unsigned char *s)
{
    if (s[0] < 0x80) return s[0] >= 0x20 && s[0] != 0x7f;
    int n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4) return 0;
    for (int i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if (s[0] == 0xc2 && s[1] < 0xa0) return 0;                                    /* C1 controls */
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90)) return 0; /* overlong */
    if ((s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf4 && s[1] > 0x8f)) return 0; /* surrogates, beyond U+10FFFF */
    return n;
}

zmlx_status zx_fail(zmlx_err *err, zmlx_status code, int64_t pos, const char *fmt, ...)
{
    if (!err) return code;
    err->code = code;
    err->pos = pos;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    if (n < 0) err->msg[0] = 0;
    bool cut = n >= (int)sizeof err->msg;
    char *p = err->msg, *room = err->msg + sizeof err->msg - sizeof "...";
    while (*p) {
        int len = utf8_len((const unsigned char *)p), step = len ? len : 1;
        if (cut && p + step > room) break;
        if (!len) *p = '?';
        p += step;
    }
    if (cut) memcpy(p, "...", sizeof "...");
    return code;
}

zmlx_dtype zx_promote(zmlx_dtype a, zmlx_dtype b) { return a == b ? a : ZMLX_F32; }
bool zx_is_float16_32(zmlx_dtype t) { return t == ZMLX_F32 || t == ZMLX_F16 || t == ZMLX_BF16; }
