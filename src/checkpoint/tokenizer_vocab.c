/* SPDX-License-Identifier: MIT */
/* The tables of a tokenizer: id -> strings, string -> id, pair of ids -> merge. */
#include "checkpoint/tokenizer_impl.h"

#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "checkpoint/untrusted.h"

/* Byte-level files write each byte as a printable character: bytes 33-126, 161-172 and 174-255 stand for
 * themselves, the other 68 are U+0100.. in ascending order. */
static bool byte_is_itself(unsigned b) { return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174; }

static unsigned byte_code_point(unsigned byte)
{
    if (byte_is_itself(byte)) return byte;
    if (byte <= 32) return 256 + byte;
    return byte == 173 ? 256 + 67 : 256 + 33 + (byte - 127); /* 127..160, then 173 */
}

static int code_point_byte(unsigned cp) /* -1: not in the alphabet */
{
    if (cp < 256) return byte_is_itself(cp) ? (int)cp : -1;
    if (cp <= 256 + 32) return (int)cp - 256;
    if (cp < 256 + 67) return (int)cp - 256 - 33 + 127;
    return cp == 256 + 67 ? 173 : -1;
}

int zx_tok_byte_char(unsigned char byte, char out[2])
{
    unsigned cp = byte_code_point(byte);
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    out[0] = (char)(0xc0 | cp >> 6);
    out[1] = (char)(0x80 | (cp & 0x3f));
    return 2;
}

/* Append the bytes that `text` stands for; false (and nothing appended) when a character is outside the
 * alphabet, which is how such a token comes to print literally. */
static bool append_decoded(zx_buf *out, const char *text, size_t len)
{
    size_t start = out->len;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        int byte = -1;
        if (c < 0x80)
            byte = code_point_byte(c);
        else if (c < 0xe0 && i + 1 < len)
            byte = code_point_byte((c & 0x1fu) << 6 | ((unsigned char)text[++i] & 0x3fu));
        if (byte < 0) {
            out->len = start;
            return false;
        }
        zx_buf_putc(out, (char)byte);
    }
    return true;
}

/* The reserved size is rounded to a power of two that keeps a table at most half full. */
static uint64_t table_mask(uint64_t n)
{
    uint64_t size = 16;
    while (size < 2 * n)
        size *= 2;
    return size - 1;
}

static uint64_t text_hash(const zx_tokenizer *t, const char *text, size_t len) { return zx_hash64(text, len, t->seed); }

static void slot_put(zx_tokenizer *t, int64_t id)
{
    const zx_tok_entry *e = &t->entry[id];
    uint64_t h = text_hash(t, t->blob.data + e->text, e->text_len), i = h & t->slot_mask;
    while (t->slot[i].id1)
        i = (i + 1) & t->slot_mask;
    t->slot[i] = (zx_tok_slot){(uint32_t)(h >> 32), (uint32_t)id + 1};
}

/* Room for n_tokens tokens in all; may be called again with a larger number. */
zmlx_status zx_tok_vocab_reserve(zx_tokenizer *t, int64_t n_tokens, zmlx_err *err)
{
    if (n_tokens > ZX_TOK_MAX_IDS)
        return zx_fail(err, ZMLX_E_FORMAT, -1, "tokenizer: %lld tokens, at most %d are allowed", (long long)n_tokens,
                       ZX_TOK_MAX_IDS);
    uint64_t mask = table_mask((uint64_t)n_tokens);
    if (t->slot && mask <= t->slot_mask) return ZMLX_OK;
    zx_tok_slot *slot = zx_calloc(mask + 1, sizeof *slot);
    if (!slot) return zx_fail(err, ZMLX_E_NOMEM, -1, "tokenizer: table of %lld tokens", (long long)n_tokens);
    zx_free(t->slot);
    t->slot = slot;
    t->slot_mask = mask;
    for (int64_t i = 0; i < t->n_ids; i++)
        if (t->entry[i].flags & ZX_TOK_PRESENT) slot_put(t, i);
    return ZMLX_OK;
}

static zmlx_status entries_reserve(zx_tokenizer *t, int64_t n, zmlx_err *err)
{
    if (n <= t->cap_ids) return ZMLX_OK;
    int64_t cap = ZX_MIN(ZX_MAX(n, t->cap_ids * 2), ZX_TOK_MAX_IDS);
    zx_tok_entry *e = zx_calloc((size_t)cap, sizeof *e);
    if (!e) return zx_fail(err, ZMLX_E_NOMEM, -1, "tokenizer: table of %lld ids", (long long)cap);
    if (t->n_ids) memcpy(e, t->entry, (size_t)t->n_ids * sizeof *e);
    zx_free(t->entry);
    t->entry = e;
    t->cap_ids = cap;
    return ZMLX_OK;
}

static zmlx_status check_new(const zx_tokenizer *t, const char *text, size_t len, int64_t id, zmlx_err *err)
{
    char a[ZX_SHOW_MAX], b[ZX_SHOW_MAX];
    bool taken = id >= 0 && id < t->n_ids && (t->entry[id].flags & ZX_TOK_PRESENT);
    if (len <= ZX_TOK_MAX_TOKEN && id >= 0 && id < ZX_TOK_MAX_IDS && !taken) return ZMLX_OK;
    zx_show_text(a, text, len);
    if (len > ZX_TOK_MAX_TOKEN)
        return zx_fail(err, ZMLX_E_FORMAT, -1, "tokenizer: token '%s': %zu bytes, at most %d are allowed", a, len,
                       ZX_TOK_MAX_TOKEN);
    if (!taken)
        return zx_fail(err, ZMLX_E_FORMAT, -1, "tokenizer: token '%s': id %lld, must be 0 to %d", a, (long long)id,
                       ZX_TOK_MAX_IDS - 1);
    zx_show_text(b, t->blob.data + t->entry[id].text, t->entry[id].text_len);
    return zx_fail(err, ZMLX_E_FORMAT, -1, "tokenizer: id %lld belongs to both '%s' and '%s'", (long long)id, b, a);
}

/* The bytes of an entry whose text is there: what `text` stands for, or its own bytes. */
static zmlx_status set_raw(zx_tokenizer *t, zx_tok_entry *e, const char *text, size_t len, zmlx_err *err)
{
    e->raw = (uint32_t)t->blob.len;
    if (!append_decoded(&t->blob, text, len)) zx_buf_add(&t->blob, text, len);
    if (t->blob.failed) return zx_fail(err, ZMLX_E_NOMEM, -1, "tokenizer: token text");
    e->raw_len = (uint32_t)t->blob.len - e->raw;
    if (e->raw_len == e->text_len && !memcmp(t->blob.data + e->raw, t->blob.data + e->text, e->raw_len)) {
        t->blob.len = e->raw;
        e->raw = e->text;
    }
    return ZMLX_OK;
}

/* Decoding prints an added token in its normalized form, as `tokenizers` does. */
zmlx_status zx_tok_vocab_print_as(zx_tokenizer *t, int64_t id, const char *text, size_t len, zmlx_err *err)
{
    return set_raw(t, &t->entry[id], text, len, err);
}

/* The text must not be in the table yet. */
zmlx_status zx_tok_vocab_add(zx_tokenizer *t, const char *text, size_t len, int64_t id, unsigned flags, zmlx_err *err)
{
    ZX_TRY(check_new(t, text, len, id, err));
    ZX_TRY(zx_tok_vocab_reserve(t, t->n_tokens + 1, err));
    ZX_TRY(entries_reserve(t, id + 1, err));
    zx_tok_entry e = {.text = (uint32_t)t->blob.len, .text_len = (uint32_t)len, .flags = (uint8_t)flags};
    e.flags |= ZX_TOK_PRESENT;
    zx_buf_add(&t->blob, text, len);
    ZX_TRY(set_raw(t, &e, text, len, err));
    t->entry[id] = e;
    t->n_ids = ZX_MAX(t->n_ids, id + 1);
    t->n_tokens++;
    slot_put(t, id);
    if (flags & ZX_TOK_MODEL) t->max_model_len = ZX_MAX(t->max_model_len, len);
    return ZMLX_OK;
}

int64_t zx_tok_vocab_find(const zx_tokenizer *t, const char *text, size_t len, unsigned flags)
{
    if (!t->slot) return -1;
    uint64_t h = text_hash(t, text, len);
    for (uint64_t i = h & t->slot_mask; t->slot[i].id1; i = (i + 1) & t->slot_mask) {
        if (t->slot[i].tag != (uint32_t)(h >> 32)) continue;
        const zx_tok_entry *e = &t->entry[t->slot[i].id1 - 1];
        if (e->text_len == len && (e->flags & flags) && (!len || !memcmp(t->blob.data + e->text, text, len)))
            return (int64_t)t->slot[i].id1 - 1;
    }
    return -1;
}

static uint64_t pair_hash(const zx_tokenizer *t, uint64_t pair)
{
    uint64_t h = (pair ^ t->seed) * 0x9e3779b97f4a7c15u;
    h = (h ^ h >> 32) * 0xd6e8feb86659fd93u;
    return h ^ h >> 32;
}

zmlx_status zx_tok_merge_reserve(zx_tokenizer *t, size_t n, zmlx_err *err)
{
    uint64_t mask = table_mask(n);
    t->merge = zx_calloc(mask + 1, sizeof *t->merge);
    if (!t->merge) return zx_fail(err, ZMLX_E_NOMEM, -1, "tokenizer: table of %zu merges", n);
    t->merge_mask = mask;
    return ZMLX_OK;
}

/* A pair that comes again takes the later rank, as in `tokenizers`. */
void zx_tok_merge_put(zx_tokenizer *t, uint32_t left, uint32_t right, uint32_t rank, uint32_t id)
{
    uint64_t pair = (uint64_t)left << 32 | right, i = pair_hash(t, pair) & t->merge_mask;
    while (t->merge[i].id1 && t->merge[i].pair != pair)
        i = (i + 1) & t->merge_mask;
    t->merge[i] = (zx_tok_merge){pair, rank, id + 1};
}

const zx_tok_merge *zx_tok_merge_get(const zx_tokenizer *t, uint32_t left, uint32_t right)
{
    uint64_t pair = (uint64_t)left << 32 | right, i = pair_hash(t, pair) & t->merge_mask;
    for (; t->merge[i].id1; i = (i + 1) & t->merge_mask)
        if (t->merge[i].pair == pair) return &t->merge[i];
    return NULL;
}
