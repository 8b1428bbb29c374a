/* SPDX-License-Identifier: MIT */
/* Text to ids: added tokens are cut out, the pieces between them normalized, cut into words by the
 * pre-tokenizer's pattern, and the words merged.  Every step is linear but the merging, which is
 * n log n in the length of a word. */
#include "checkpoint/tokenizer_impl.h"

#include <string.h>

#include "base/alloc.h"

typedef struct symbol {
    uint32_t id; /* DEAD when merged into its left neighbour */
    int32_t prev, next;
} symbol;
enum { NONE = -1 };
#define DEAD UINT32_MAX

typedef struct candidate {
    uint64_t order; /* rank << 32 | position: lowest rank first, leftmost on ties */
    uint32_t id;    /* of the merged token */
} candidate;

/* Working memory of one call. */
typedef struct encoder {
    const zx_tokenizer *t;
    zx_ids *out;
    zmlx_err *err;
    pcre2_match_data *md;
    pcre2_match_context *mctx;
    symbol *sym;
    candidate *heap;
    size_t sym_cap, heap_cap, heap_n;
    zx_buf norm, prefixed, mapped;
} encoder;

static zmlx_status no_memory(encoder *e, const char *what)
{
    return zx_fail(e->err, ZMLX_E_NOMEM, -1, "tokenizer: %s", what);
}

static zmlx_status emit(encoder *e, int64_t id)
{
    zx_ids *v = e->out;
    if (v->n == v->cap) {
        int64_t cap = v->cap ? v->cap * 2 : 64;
        int32_t *p = zx_realloc(v->id, (size_t)cap * sizeof *p);
        if (!p) return no_memory(e, "ids");
        v->id = p;
        v->cap = cap;
    }
    v->id[v->n++] = (int32_t)id;
    return ZMLX_OK;
}

/* --- merging ------------------------------------------------------------------------------------- */

static bool heap_push(encoder *e, candidate c)
{
    if (e->heap_n == e->heap_cap) {
        size_t cap = e->heap_cap ? e->heap_cap * 2 : 64;
        candidate *p = zx_realloc(e->heap, cap * sizeof *p);
        if (!p) return false;
        e->heap = p;
        e->heap_cap = cap;
    }
    size_t i = e->heap_n++;
    for (; i && e->heap[(i - 1) / 2].order > c.order; i = (i - 1) / 2)
        e->heap[i] = e->heap[(i - 1) / 2];
    e->heap[i] = c;
    return true;
}

static candidate heap_pop(encoder *e)
{
    candidate top = e->heap[0], last = e->heap[--e->heap_n];
    size_t i = 0;
    for (size_t k; (k = 2 * i + 1) < e->heap_n; i = k) {
        if (k + 1 < e->heap_n && e->heap[k + 1].order < e->heap[k].order) k++;
        if (e->heap[k].order >= last.order) break;
        e->heap[i] = e->heap[k];
    }
    e->heap[i] = last;
    return top;
}

/* Queue the merge of the symbol at `left` with its right neighbour, if there is one. */
static bool consider(encoder *e, int32_t left)
{
    if (left < 0 || e->sym[left].next < 0) return true;
    const zx_tok_merge *m = zx_tok_merge_get(e->t, e->sym[left].id, e->sym[e->sym[left].next].id);
    return !m || heap_push(e, (candidate){(uint64_t)m->rank << 32 | (uint32_t)left, m->id1 - 1});
}

/* A queued merge is stale when one of its two symbols has become part of another since. */
static bool still_there(const encoder *e, candidate c)
{
    const symbol *s = &e->sym[(uint32_t)c.order];
    if (s->id == DEAD || s->next < 0) return false;
    const zx_tok_merge *m = zx_tok_merge_get(e->t, s->id, e->sym[s->next].id);
    return m && m->id1 - 1 == c.id;
}

static bool merge_all(encoder *e, size_t n)
{
    e->heap_n = 0;
    for (size_t i = 0; i + 1 < n; i++)
        if (!consider(e, (int32_t)i)) return false;
    while (e->heap_n) {
        candidate c = heap_pop(e);
        if (!still_there(e, c)) continue;
        int32_t left = (int32_t)(uint32_t)c.order, right = e->sym[left].next;
        e->sym[left].id = c.id;
        e->sym[left].next = e->sym[right].next;
        e->sym[right].id = DEAD;
        if (e->sym[left].next >= 0) e->sym[e->sym[left].next].prev = left;
        if (!consider(e, e->sym[left].prev) || !consider(e, left)) return false;
    }
    return true;
}

/* One symbol per byte; a byte the vocabulary lacks is dropped, as `tokenizers` does without unk_token. */
static zmlx_status word_symbols(encoder *e, const char *s, size_t len, size_t *n_out)
{
    if (len > e->sym_cap) {
        size_t cap = ZX_MAX(ZX_MAX(len, (size_t)256), ZX_MIN(2 * e->sym_cap, (size_t)1 << 20));
        zx_free(e->sym);
        e->sym = zx_malloc(cap * sizeof *e->sym);
        e->sym_cap = e->sym ? cap : 0;
        if (!e->sym) return no_memory(e, "symbols of a word");
    }
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        int32_t id = e->t->byte_id[(unsigned char)s[i]];
        if (id < 0) continue;
        e->sym[n] = (symbol){(uint32_t)id, (int32_t)n - 1, (int32_t)n + 1};
        n++;
    }
    if (n) e->sym[n - 1].next = NONE;
    *n_out = n;
    return ZMLX_OK;
}

/* ignore_merges: a word that is a token as a whole is that token, whatever the merges say. */
static int64_t whole_word(encoder *e, const char *s, size_t len)
{
    if (len > e->t->max_model_len) return -1;
    zx_buf_reset(&e->mapped);
    for (size_t i = 0; i < len; i++) {
        char c[2];
        zx_buf_add(&e->mapped, c, (size_t)zx_tok_byte_char((unsigned char)s[i], c));
    }
    return e->mapped.failed ? -1 : zx_tok_vocab_find(e->t, e->mapped.data, e->mapped.len, ZX_TOK_MODEL);
}

static zmlx_status encode_word(encoder *e, const char *s, size_t len)
{
    size_t n = 0;
    if (e->t->ignore_merges) {
        int64_t id = whole_word(e, s, len);
        if (e->mapped.failed) return no_memory(e, "word");
        if (id >= 0) return emit(e, id);
    }
    ZX_TRY(word_symbols(e, s, len, &n));
    if (!n) return ZMLX_OK;
    if (!merge_all(e, n)) return no_memory(e, "merges of a word");
    for (int32_t i = 0; i >= 0; i = e->sym[i].next)
        ZX_TRY(emit(e, e->sym[i].id));
    return ZMLX_OK;
}

/* --- words --------------------------------------------------------------------------------------- */

static zmlx_status pattern_failed(encoder *e, int code, size_t at)
{
    if (code == PCRE2_ERROR_NOMEMORY) return no_memory(e, "pre-tokenizer");
    bool limit = code == PCRE2_ERROR_MATCHLIMIT || code == PCRE2_ERROR_DEPTHLIMIT || code == PCRE2_ERROR_HEAPLIMIT ||
                 code == PCRE2_ERROR_JIT_STACKLIMIT;
    return zx_fail(e->err, limit ? ZMLX_E_LIMIT : ZMLX_E_FAIL, (int64_t)at,
                   "tokenizer: the pre-tokenizer pattern gave up at byte %zu of a piece (PCRE2 error %d)", at, code);
}

static zmlx_status encode_words(encoder *e, const char *s, size_t len)
{
    if (e->t->prefix_space && s[0] != ' ') {
        zx_buf_reset(&e->prefixed);
        zx_buf_putc(&e->prefixed, ' ');
        zx_buf_add(&e->prefixed, s, len);
        if (e->prefixed.failed) return no_memory(e, "text with a space before it");
        s = e->prefixed.data;
        len++;
    }
    /* The scan back over one white-space run is the most that a match may take. */
    size_t steps = 16 * len + 10000;
    pcre2_set_match_limit(e->mctx, (uint32_t)ZX_MIN(steps, (size_t)UINT32_MAX));
    for (size_t at = 0; at < len;) {
        int rc = pcre2_match(e->t->pattern, (PCRE2_SPTR)s, len, at, PCRE2_NO_UTF_CHECK, e->md, e->mctx);
        if (rc < 0) return pattern_failed(e, rc, at);
        size_t end = pcre2_get_ovector_pointer(e->md)[1];
        if (end <= at) return pattern_failed(e, PCRE2_ERROR_NOMATCH, at);
        ZX_TRY(encode_word(e, s + at, end - at));
        at = end;
    }
    return ZMLX_OK;
}

/* --- added tokens -------------------------------------------------------------------------------- */

/* Unicode White_Space at s, of any length up to n: its length, or 0. */
static size_t space_len(const char *s, size_t n)
{
    const unsigned char *p = (const unsigned char *)s;
    if (!n) return 0;
    if (p[0] == ' ' || (p[0] >= 9 && p[0] <= 13)) return 1;
    if (n >= 2 && p[0] == 0xc2 && (p[1] == 0x85 || p[1] == 0xa0)) return 2;
    if (n < 3) return 0;
    unsigned cp = (p[0] & 15u) << 12 | (p[1] & 63u) << 6 | (p[2] & 63u);
    if ((p[0] & 0xf0) != 0xe0) return 0;
    bool space = cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 || cp == 0x202f ||
                 cp == 0x205f || cp == 0x3000;
    return space ? 3 : 0;
}

static size_t spaces_after(const char *s, size_t at, size_t len)
{
    for (size_t n; (n = space_len(s + at, len - at)) > 0;)
        at += n;
    return at;
}

/* The start of the white space that ends at `at`, not before `from`. */
static size_t spaces_before(const char *s, size_t from, size_t at)
{
    while (at > from) {
        size_t start = at - 1;
        while (start > from && ((unsigned char)s[start] & 0xc0) == 0x80)
            start--;
        if (space_len(s + start, at - start) != at - start) break;
        at = start;
    }
    return at;
}

typedef zmlx_status piece_fn(encoder *e, const char *s, size_t len);

/* Emit the added tokens among the n matches (in descending order) and hand what lies between them to `rest`.
 * As in `tokenizers`, the search goes on behind the token itself, not behind white space it takes along. */
static zmlx_status cut_at(encoder *e, const zx_ac_match *m, size_t n, const char *s, size_t len, piece_fn *rest)
{
    size_t done = 0, next = 0, run_end = 0;
    while (n-- > 0) {
        size_t start = m[n].pos, stop = start + m[n].hit.len;
        unsigned flags = e->t->entry[m[n].hit.value].flags;
        if (start < next) continue;
        next = stop;
        if (flags & ZX_TOK_LSTRIP) start = start > done ? spaces_before(s, done, start) : done;
        if (flags & ZX_TOK_RSTRIP) /* a run is scanned once, however many tokens lie in it */
            stop = run_end = stop <= run_end ? run_end : spaces_after(s, stop, len);
        if (done < start) ZX_TRY(rest(e, s + done, start - done));
        ZX_TRY(emit(e, m[n].hit.value));
        done = stop;
    }
    return done < len ? rest(e, s + done, len - done) : ZMLX_OK;
}

static zmlx_status cut(encoder *e, const zx_ac *a, const char *s, size_t len, piece_fn *rest)
{
    zx_ac_match *m = NULL;
    size_t n = 0;
    ZX_TRY(zx_ac_find(a, s, len, &m, &n, e->err));
    zmlx_status status = cut_at(e, m, n, s, len, rest);
    zx_free(m);
    return status;
}

static zmlx_status encode_piece(encoder *e, const char *s, size_t len)
{
    if (!e->t->nfc || !zx_nfc_needed(s, len)) return cut(e, &e->t->added_nfc, s, len, encode_words);
    zx_buf_reset(&e->norm);
    ZX_TRY(zx_nfc_append(&e->norm, s, len, e->err));
    return cut(e, &e->t->added_nfc, e->norm.data, e->norm.len, encode_words);
}

/* --- the call ------------------------------------------------------------------------------------ */

static zmlx_status check_text(const char *text, size_t len, zmlx_err *err)
{
    if (len > ZX_TOK_MAX_TEXT)
        return zx_fail(err, ZMLX_E_LIMIT, -1, "text: %zu bytes, at most %d are allowed", len, ZX_TOK_MAX_TEXT);
    for (size_t i = 0; i < len;) {
        int n = zx_utf8_len(text + i, len - i);
        if (!n) return zx_fail(err, ZMLX_E_ARG, (int64_t)i, "text: not UTF-8 at byte %zu of %zu", i, len);
        i += (size_t)n;
    }
    return ZMLX_OK;
}

static zmlx_status emit_all(encoder *e, const zx_ids *v)
{
    for (int64_t i = 0; i < v->n; i++)
        ZX_TRY(emit(e, v->id[i]));
    return ZMLX_OK;
}

static zmlx_status encoder_run(encoder *e, const char *text, size_t len, bool add_special)
{
    e->md = pcre2_match_data_create(1, e->t->gctx);
    e->mctx = pcre2_match_context_create(e->t->gctx);
    if (!e->md || !e->mctx) return no_memory(e, "pre-tokenizer");
    pcre2_set_depth_limit(e->mctx, 1000); /* nothing in our patterns nests */
    pcre2_set_heap_limit(e->mctx, 32 << 10);
    if (add_special) ZX_TRY(emit_all(e, &e->t->before));
    if (len) ZX_TRY(cut(e, &e->t->added_raw, text, len, encode_piece));
    return add_special ? emit_all(e, &e->t->after) : ZMLX_OK;
}

zmlx_status zx_tokenizer_encode(const zx_tokenizer *t, const char *text, size_t len, bool add_special, zx_ids *out,
                                zmlx_err *err)
{
    ZX_TRY(check_text(text, len, err));
    encoder e = {.t = t, .out = out, .err = err};
    int64_t before = out->n;
    zmlx_status s = encoder_run(&e, text, len, add_special);
    if (s != ZMLX_OK) out->n = before;
    pcre2_match_data_free(e.md);
    pcre2_match_context_free(e.mctx);
    zx_free(e.sym);
    zx_free(e.heap);
    zx_buf_clear(&e.norm);
    zx_buf_clear(&e.prefixed);
    zx_buf_clear(&e.mapped);
    return s;
}
