/* SPDX-License-Identifier: MIT */
/* NFC.  The character data are utf8proc's; the canonical ordering is ours, because utf8proc's is quadratic
 * in the length of a run of combining marks. */
#include "checkpoint/tokenizer_impl.h"

#include <string.h>
#include <utf8proc.h>

#include "base/alloc.h"

/* Below U+0300 every character is NFC, starts a new segment and combines with nothing before it. */
enum { FIRST_COMBINING = 0x300, LEAD_FIRST_COMBINING = 0xcc };
#define NFC_OPTIONS (UTF8PROC_STABLE | UTF8PROC_COMPOSE)

bool zx_nfc_needed(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)s[i] >= LEAD_FIRST_COMBINING) return true;
    return false;
}

typedef struct code_points {
    utf8proc_int32_t *cp, *tmp;
    size_t n, cap, tmp_cap;
} code_points;

static bool reserve(utf8proc_int32_t **p, size_t *cap, size_t n)
{
    if (n <= *cap) return true;
    size_t want = ZX_MAX(n, *cap * 2);
    utf8proc_int32_t *q = zx_realloc(*p, want * sizeof *q);
    if (!q) return false;
    *p = q;
    *cap = want;
    return true;
}

static bool push_decomposed(code_points *v, utf8proc_int32_t cp)
{
    enum { ROOM = 32 }; /* far above the longest canonical decomposition (4) */
    int boundary = 0;
    if (!reserve(&v->cp, &v->cap, v->n + ROOM)) return false;
    utf8proc_ssize_t n = utf8proc_decompose_char(cp, v->cp + v->n, ROOM, NFC_OPTIONS, &boundary);
    if (n < 1 || n > ROOM) { /* not a valid code point: the caller has checked, keep it as it is */
        v->cp[v->n] = cp;
        n = 1;
    }
    v->n += (size_t)n;
    return true;
}

static int ccc(utf8proc_int32_t cp) { return cp < FIRST_COMBINING ? 0 : utf8proc_get_property(cp)->combining_class; }

/* Stable, by combining class; classes are below 256. */
static bool sort_marks(code_points *v, size_t start, size_t n)
{
    size_t count[257] = {0};
    if (!reserve(&v->tmp, &v->tmp_cap, n)) return false;
    utf8proc_int32_t *run = v->cp + start;
    for (size_t i = 0; i < n; i++)
        count[ccc(run[i]) + 1]++;
    for (int c = 1; c < 257; c++)
        count[c] += count[c - 1];
    for (size_t i = 0; i < n; i++)
        v->tmp[count[ccc(run[i])]++] = run[i];
    memcpy(run, v->tmp, n * sizeof *run);
    return true;
}

static bool order_marks(code_points *v)
{
    for (size_t i = 0; i < v->n;) {
        size_t start = i;
        int last = 0, c;
        bool sorted = true;
        for (; i < v->n && (c = ccc(v->cp[i])) != 0; i++) {
            sorted = sorted && c >= last;
            last = c;
        }
        if (!sorted && !sort_marks(v, start, i - start)) return false;
        if (i == start) i++;
    }
    return true;
}

static bool append_composed(zx_buf *out, code_points *v)
{
    if (!order_marks(v)) return false;
    utf8proc_ssize_t n = utf8proc_normalize_utf32(v->cp, (utf8proc_ssize_t)v->n, NFC_OPTIONS);
    for (utf8proc_ssize_t i = 0; i < n; i++) {
        utf8proc_uint8_t bytes[4];
        utf8proc_ssize_t len = utf8proc_encode_char(v->cp[i], bytes);
        zx_buf_add(out, bytes, (size_t)len);
    }
    v->n = 0;
    return n >= 0;
}

/* Decode the valid character at s. */
static utf8proc_int32_t code_point(const unsigned char *s, int len)
{
    switch (len) {
    case 1:
        return s[0];
    case 2:
        return (s[0] & 0x1f) << 6 | (s[1] & 0x3f);
    case 3:
        return (s[0] & 0x0f) << 12 | (s[1] & 0x3f) << 6 | (s[2] & 0x3f);
    default:
        return (s[0] & 0x07) << 18 | (s[1] & 0x3f) << 12 | (s[2] & 0x3f) << 6 | (s[3] & 0x3f);
    }
}

static int lead_len(unsigned char c) { return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4; }

/* Segments of one character below U+0300 (if there is one) and all the following ones above; a character
 * that nothing above follows is copied as it is. */
zmlx_status zx_nfc_append(zx_buf *out, const char *s, size_t len, zmlx_err *err)
{
    const unsigned char *p = (const unsigned char *)s, *end = p + len, *copied = p, *prev = p;
    code_points v = {0};
    bool ok = true;
    while (ok && p < end) {
        if (*p < LEAD_FIRST_COMBINING) {
            prev = p;
            p += lead_len(*p);
            continue;
        }
        zx_buf_add(out, copied, (size_t)(prev - copied));
        for (const unsigned char *q = prev; ok && q < p; q += lead_len(*q))
            ok = push_decomposed(&v, code_point(q, lead_len(*q)));
        for (; ok && p < end && *p >= LEAD_FIRST_COMBINING; p += lead_len(*p))
            ok = push_decomposed(&v, code_point(p, lead_len(*p)));
        ok = ok && append_composed(out, &v);
        copied = prev = p;
    }
    if (ok) zx_buf_add(out, copied, (size_t)(end - copied));
    zx_free(v.cp);
    zx_free(v.tmp);
    if (ok && !out->failed) return ZMLX_OK;
    return zx_fail(err, ZMLX_E_NOMEM, -1, "tokenizer: NFC of %zu bytes", len);
}
