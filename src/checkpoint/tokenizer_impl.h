/* SPDX-License-Identifier: MIT */
/* Inside of the tokenizer, shared by tokenizer*.c and detok.c only.  After loading, a tokenizer is
 * immutable; every encode call has its own working memory, so threads may share one. */
#ifndef ZX_CHECKPOINT_TOKENIZER_IMPL_H
#define ZX_CHECKPOINT_TOKENIZER_IMPL_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "checkpoint/tokenizer.h"

enum {
    ZX_TOK_MAX_FILE = 64 << 20,  /* bytes of tokenizer.json, and of tokenizer_config.json */
    ZX_TOK_MAX_IDS = 4000000,    /* vocabulary entries, merges, and the bound of every id */
    ZX_TOK_MAX_TOKEN = 64 << 10, /* bytes of one token as written */
    ZX_TOK_MAX_ADDED = 4 << 20,  /* bytes of all added tokens together: the search automaton */
    ZX_TOK_MAX_SPECIAL = 1024,   /* ids that a post-processor adds on one side */
    ZX_TOK_MAX_TEXT = 256 << 20, /* bytes of one text: keeps every position, even after NFC, in 31 bits */
};

enum {                     /* zx_tok_entry.flags */
       ZX_TOK_PRESENT = 1, /* the id has a token */
       ZX_TOK_MODEL = 2,   /* it is in model.vocab: merges and byte symbols may refer to it */
       ZX_TOK_ADDED = 4,
       ZX_TOK_SPECIAL = 8,
       ZX_TOK_LSTRIP = 16,
       ZX_TOK_RSTRIP = 32,
       ZX_TOK_NORMALIZED = 64, /* matched after the normalizer, in its normalized form */
};

/* Both strings are offsets into zx_tokenizer.blob: `text` as written in the file, `raw` the bytes that
 * decoding emits.  They share storage when equal. */
typedef struct zx_tok_entry {
    uint32_t text, text_len, raw, raw_len;
    uint8_t flags;
} zx_tok_entry;

typedef struct zx_tok_slot {
    uint32_t tag, id1; /* upper half of the hash; id + 1, 0 = free */
} zx_tok_slot;

typedef struct zx_tok_merge {
    uint64_t pair; /* left << 32 | right */
    uint32_t rank, id1;
} zx_tok_merge;

/* Finds byte strings in a text in linear time, whatever they are: an automaton over the reversed strings
 * runs from the end of the text to its start and so knows the longest string that starts at each place. */
typedef struct zx_ac_edge {
    uint32_t key, child; /* node << 8 | byte, plus one; 0 = free */
} zx_ac_edge;
typedef struct zx_ac_hit {
    int32_t value;
    uint32_t len; /* 0 = nothing */
} zx_ac_hit;
typedef struct zx_ac {
    uint32_t n_nodes; /* 0 = nothing to find */
    uint32_t edge_mask;
    zx_ac_edge *edge;
    uint32_t *fail;
    zx_ac_hit *hit; /* the longest string that ends (reversed: starts) here */
    uint32_t root[256];
} zx_ac;
typedef struct zx_ac_string {
    const char *text;
    size_t len;
    int32_t value;
} zx_ac_string;
typedef struct zx_ac_match {
    size_t pos;
    zx_ac_hit hit;
} zx_ac_match;

zmlx_status zx_ac_build(zx_ac *a, const zx_ac_string *s, size_t n, zmlx_err *err);
void zx_ac_clear(zx_ac *a);
/* Every position where a string starts, with the longest one there, in *descending* order.
 * *out is the caller's to zx_free. */
zmlx_status zx_ac_find(const zx_ac *a, const char *text, size_t len, zx_ac_match **out, size_t *n_out, zmlx_err *err);

struct zx_tokenizer {
    zx_buf blob;
    zx_tok_entry *entry; /* [cap_ids], zero pages until used */
    int64_t n_ids, cap_ids;
    zx_tok_slot *slot; /* text -> id */
    uint64_t slot_mask;
    int64_t n_tokens;
    zx_tok_merge *merge;
    uint64_t merge_mask;
    uint64_t seed;        /* of both tables, so that a file cannot be made to collide */
    size_t max_model_len; /* longest model.vocab string as written */
    int32_t byte_id[256]; /* the symbol of a single byte, or -1 */
    bool nfc, ignore_merges, prefix_space;
    size_t added_bytes;
    zx_ac added_raw, added_nfc;
    int64_t eos;          /* -1: none */
    zx_ids before, after; /* what the post-processor puts around a text */
    pcre2_general_context *gctx;
    pcre2_code *pattern;
};

/* tokenizer_load.c: everything but the derived tables. */
zmlx_status zx_tok_load(zx_tokenizer *t, const char *json, size_t len, zmlx_err *err);
zmlx_status zx_tok_load_config(zx_tokenizer *t, const char *json, size_t len, zmlx_err *err);

/* tokenizer_vocab.c */
zmlx_status zx_tok_vocab_reserve(zx_tokenizer *t, int64_t n_tokens, zmlx_err *err);
zmlx_status zx_tok_vocab_add(zx_tokenizer *t, const char *text, size_t len, int64_t id, unsigned flags, zmlx_err *err);
zmlx_status zx_tok_vocab_print_as(zx_tokenizer *t, int64_t id, const char *text, size_t len, zmlx_err *err);
int64_t zx_tok_vocab_find(const zx_tokenizer *t, const char *text, size_t len, unsigned flags); /* -1: none */
zmlx_status zx_tok_merge_reserve(zx_tokenizer *t, size_t n, zmlx_err *err);
void zx_tok_merge_put(zx_tokenizer *t, uint32_t left, uint32_t right, uint32_t rank, uint32_t id);
const zx_tok_merge *zx_tok_merge_get(const zx_tokenizer *t, uint32_t left, uint32_t right); /* NULL: none */
/* Byte -> its character in the file's alphabet, appended as UTF-8 (1 or 2 bytes); returns the length. */
int zx_tok_byte_char(unsigned char byte, char out[2]);

/* tokenizer_pattern.c.  zx_tok_pattern_find: our form of a pattern as spelled in the file, or NULL. */
const char *zx_tok_pattern_find(const char *spelling);
const char *zx_tok_pattern_gpt2(void);
zmlx_status zx_tok_pattern_compile(zx_tokenizer *t, const char *pattern, zmlx_err *err);

/* tokenizer_nfc.c */
bool zx_nfc_needed(const char *s, size_t len);                                    /* false: s is surely NFC already */
zmlx_status zx_nfc_append(zx_buf *out, const char *s, size_t len, zmlx_err *err); /* s: valid UTF-8 */

/* Length of the valid UTF-8 character at s (1..4), or 0. */
int zx_utf8_len(const char *s, size_t n);

#endif
