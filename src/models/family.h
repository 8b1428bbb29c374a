/* SPDX-License-Identifier: MIT */
/* A family of models: one file in src/models/, found by its file name, which is the model_type of config.json. */
#ifndef ZX_MODELS_FAMILY_H
#define ZX_MODELS_FAMILY_H

#include "plan/build.h"

/* What the rest of the library wants to know about a model of any family. */
typedef struct zx_dims {
    int64_t hidden, layers, vocab, heads, kv_heads, head_dim, experts, top_k, max_positions;
} zx_dims;

typedef struct zx_family {
    const char *model_type;
    const char *doc;
    /* Read config fields, with limits; errors name the field. */
    zmlx_status (*dims)(zx_dims *out, const zx_config *c, zmlx_err *err);
    /* Append a whole step to the builder's plan; returns logits, or -1 when `with_logits` is false. */
    zx_val (*step)(zx_builder *b, const zx_dims *d, bool with_logits);
} zx_family;

extern const zx_family *const zx_families[]; /* NULL at the end; generated from the file names */
const zx_family *zx_family_find(const char *model_type);

#endif
