/* SPDX-License-Identifier: MIT */
/* tokenizer.json: byte-level BPE as the Hugging Face `tokenizers` package runs it, and a streaming
 * detokenizer that emits only complete UTF-8. */
#ifndef ZX_CHECKPOINT_TOKENIZER_H
#define ZX_CHECKPOINT_TOKENIZER_H

#include "base/buf.h"
#include "base/status.h"

typedef struct zx_tokenizer zx_tokenizer;

/* Read dir/tokenizer.json (at most 64 MiB) and dir/tokenizer_config.json if present.  Only byte-level BPE
 * with a known pre-tokenizer pattern (GPT-2, Qwen2/Qwen3, Llama-3) is accepted; anything else is
 * ZMLX_E_UNSUPPORTED and named.  A malformed file is ZMLX_E_FORMAT. */
zmlx_status zx_tokenizer_open(zx_tokenizer **out, const char *dir, zmlx_err *err);
zmlx_status zx_tokenizer_parse(zx_tokenizer **out, const char *json, size_t len, zmlx_err *err);
void zx_tokenizer_close(zx_tokenizer *t);

/* Ids are 0 .. size-1 (added tokens included); some may have no text. */
int64_t zx_tokenizer_size(const zx_tokenizer *t);
/* The text of an id as it stands in the file's own alphabet for added tokens, decoded bytes for others.
 * NULL for an id without a token. *len is its length. */
const char *zx_tokenizer_bytes(const zx_tokenizer *t, int64_t id, size_t *len);
bool zx_tokenizer_is_special(const zx_tokenizer *t, int64_t id);
/* The id of tokenizer_config.json's eos_token (a string or an object with "content"); -1 when there is none. */
int64_t zx_tokenizer_eos(const zx_tokenizer *t);
int64_t zx_tokenizer_find(const zx_tokenizer *t, const char *token); /* exact vocabulary or added text; -1 */

typedef struct zx_ids {
    int32_t *id;
    int64_t n, cap;
} zx_ids;
void zx_ids_clear(zx_ids *v);

/* Encode `len` bytes of UTF-8 (ZMLX_E_ARG with the byte offset if it is not).  add_special runs the
 * post-processor (e.g. a BOS token).  Appends to *out.  Time is linear in len up to a logarithm. */
zmlx_status zx_tokenizer_encode(const zx_tokenizer *t, const char *text, size_t len, bool add_special, zx_ids *out,
                                zmlx_err *err);

/* Decode ids as tokenizers' decode(ids, skip_special_tokens) does: bytes joined, invalid sequences replaced
 * by U+FFFD.  Ids without a token are skipped.  Appends to *out. */
zmlx_status zx_tokenizer_decode(const zx_tokenizer *t, const int32_t *ids, int64_t n, bool skip_special, zx_buf *out,
                                zmlx_err *err);

/* Streaming: push ids one by one; *out receives the text that is certain so far (whole code points only).
 * finish flushes the rest, an incomplete sequence as U+FFFD.  The concatenation equals zx_tokenizer_decode. */
typedef struct zx_detok {
    const zx_tokenizer *tok;
    bool skip_special;
    unsigned char pend[4]; /* start of a code point that is not complete yet */
    int n_pend;
} zx_detok;
void zx_detok_init(zx_detok *d, const zx_tokenizer *t, bool skip_special);
void zx_detok_push(zx_detok *d, int32_t id, zx_buf *out);
void zx_detok_finish(zx_detok *d, zx_buf *out);

#endif
