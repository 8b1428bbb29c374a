/* SPDX-License-Identifier: MIT */
/* Ids to text.  Tokens are bytes and may end inside a character; text leaves here only as whole
 * characters.  What cannot become one is replaced as Rust's lossy conversion does it: one U+FFFD per
 * maximal prefix of a valid sequence, or per byte that starts none. */
#include "checkpoint/tokenizer_impl.h"

#include <string.h>

static const char replacement[] = "\xef\xbf\xbd";

static int lead_len(unsigned char c) /* 0: no character starts with it */
{
    if (c < 0x80) return 1;
    if (c < 0xc2) return 0;
    return c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
}

/* The second byte has a narrower range where the first would allow overlong forms, surrogates or values
 * above U+10FFFF. */
static bool continues(unsigned char lead, int at, unsigned char c)
{
    if ((c & 0xc0) != 0x80) return false;
    if (at > 1) return true;
    switch (lead) {
    case 0xe0:
        return c >= 0xa0;
    case 0xed:
        return c < 0xa0;
    case 0xf0:
        return c >= 0x90;
    case 0xf4:
        return c < 0x90;
    default:
        return true;
    }
}

int zx_utf8_len(const char *s, size_t n)
{
    const unsigned char *p = (const unsigned char *)s;
    int len = n ? lead_len(p[0]) : 0;
    if ((size_t)len > n) return 0;
    for (int i = 1; i < len; i++)
        if (!continues(p[0], i, p[i])) return 0;
    return len;
}

static void push_byte(zx_detok *d, unsigned char c, zx_buf *out)
{
    if (d->n_pend && !continues(d->pend[0], d->n_pend, c)) {
        zx_buf_puts(out, replacement);
        d->n_pend = 0;
    }
    if (!d->n_pend && !lead_len(c)) {
        zx_buf_puts(out, replacement);
        return;
    }
    d->pend[d->n_pend++] = c;
    if (d->n_pend < lead_len(d->pend[0])) return;
    zx_buf_add(out, d->pend, (size_t)d->n_pend);
    d->n_pend = 0;
}

void zx_detok_init(zx_detok *d, const zx_tokenizer *t, bool skip_special)
{
    *d = (zx_detok){.tok = t, .skip_special = skip_special};
}

void zx_detok_push(zx_detok *d, int32_t id, zx_buf *out)
{
    const zx_tokenizer *t = d->tok;
    if (id < 0 || id >= t->n_ids) return;
    const zx_tok_entry *e = &t->entry[id];
    if (!(e->flags & ZX_TOK_PRESENT) || (d->skip_special && (e->flags & ZX_TOK_SPECIAL))) return;
    const char *s = t->blob.data + e->raw;
    for (size_t i = 0; i < e->raw_len;) {
        size_t whole = i; /* whole characters go out in one piece */
        for (int n; !d->n_pend && (n = zx_utf8_len(s + whole, e->raw_len - whole)) > 0;)
            whole += (size_t)n;
        zx_buf_add(out, s + i, whole - i);
        i = whole;
        if (i < e->raw_len) push_byte(d, (unsigned char)s[i++], out);
    }
}

void zx_detok_finish(zx_detok *d, zx_buf *out)
{
    if (d->n_pend) zx_buf_puts(out, replacement);
    d->n_pend = 0;
}

zmlx_status zx_tokenizer_decode(const zx_tokenizer *t, const int32_t *ids, int64_t n, bool skip_special, zx_buf *out,
                                zmlx_err *err)
{
    zx_detok d;
    zx_detok_init(&d, t, skip_special);
    for (int64_t i = 0; i < n; i++)
        zx_detok_push(&d, ids[i], out);
    zx_detok_finish(&d, out);
    if (out->failed) return zx_fail(err, ZMLX_E_NOMEM, -1, "tokenizer: text of %lld ids", (long long)n);
    return ZMLX_OK;
}
