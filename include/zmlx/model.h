/* SPDX-License-Identifier: MIT */
/* Models: a checkpoint folder in MLX format, loaded as it is; its tokenizer; its plan. */
#ifndef ZMLX_MODEL_H
#define ZMLX_MODEL_H

#include "zmlx/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* An open model: mapped weights, the stock plan and, after zmlx_model_patch, a patched one.  Weights are never
 * copied.  Opening and patching are single-threaded; sessions of one model may run in parallel. */
typedef struct zmlx_model zmlx_model;

/* Zero-initialise and set what you need: zero always means the documented default. */
typedef struct zmlx_model_options {
    int64_t ctx;            /* positions a session can hold; default: the smaller of the model's and 4096 */
    int64_t prefill_tokens; /* largest prefill chunk; default 512.  Results do not depend on it */
} zmlx_model_options;

/* `model` is a folder or a Hugging Face id (ORG/NAME or ORG/NAME@REVISION) in the local Hugging Face cache; the network
 * is never used.  Borrows its arguments.  On failure *out is NULL: ZMLX_E_NOT_FOUND (no such model), ZMLX_E_UNSUPPORTED
 * (model_type, quantization or tokenizer we do not know, named), ZMLX_E_FORMAT (bad file), ZMLX_E_LIMIT (ctx above the
 * model's), ZMLX_E_NOMEM. */
ZMLX_API zmlx_status zmlx_model_open(zmlx_model **out, const char *model, const zmlx_model_options *options,
                                     zmlx_err *err);
/* NULL is fine.  All sessions must have been destroyed. */
ZMLX_API void zmlx_model_close(zmlx_model *m);

typedef struct zmlx_model_info {
    const char *path;       /* the folder; these strings live as long as the model */
    const char *model_type; /* "qwen3_moe" */
    const char *dtype;      /* of the activations: "bfloat16" */
    int64_t ctx, max_positions, layers, hidden, vocab, heads, kv_heads, head_dim, experts, top_k;
    uint64_t file_bytes;      /* of all shards */
    uint64_t weight_bytes;    /* of the tensors that the plan uses */
    uint64_t bytes_per_token; /* weights read for one decoded token (chosen experts only) */
    uint64_t kv_bytes_per_position;
    uint64_t session_bytes;     /* reserved per session: caches and step memory; touched lazily */
    int stock_ops, patched_ops; /* nodes of a decode step; patched_ops is 0 while unpatched */
} zmlx_model_info;
ZMLX_API void zmlx_model_get_info(const zmlx_model *m, zmlx_model_info *out);

/* --- tokenizer ---- */
typedef struct zmlx_tokens {
    int32_t *id; /* released with zmlx_tokens_clear */
    int64_t n, capacity;
} zmlx_tokens;
ZMLX_API void zmlx_tokens_clear(zmlx_tokens *t);

/* Text (UTF-8, `len` bytes) to ids, appended to *out.  add_special applies the tokenizer's own rule for BOS.
 * ZMLX_E_ARG with err->pos at the first byte that is not UTF-8. */
ZMLX_API zmlx_status zmlx_encode(const zmlx_model *m, const char *text, size_t len, bool add_special, zmlx_tokens *out,
                                 zmlx_err *err);
/* Ids to text; *out is released with zmlx_free and NUL-terminated.  Invalid UTF-8 becomes U+FFFD. */
ZMLX_API zmlx_status zmlx_decode(const zmlx_model *m, const int32_t *ids, int64_t n, bool skip_special, char **out,
                                 size_t *len, zmlx_err *err);
ZMLX_API void zmlx_free(void *p);
/* Ids that end a text by generation_config.json, config.json, tokenizer_config.json, in this order.  Borrowed. */
ZMLX_API int zmlx_model_eos(const zmlx_model *m, const int64_t **ids);

#ifdef __cplusplus
}
#endif
#endif
