/* SPDX-License-Identifier: MIT */
/* Parts that several families share, each the sequence of primitives that mlx-lm executes. */
#ifndef ZX_MODELS_BLOCKS_H
#define ZX_MODELS_BLOCKS_H

#include "models/family.h"

/* config.json fields that all decoder families of this kind have. */
zmlx_status zx_dims_decoder(zx_dims *out, const zx_config *c, zmlx_err *err);

/* Attention of qwen3 and qwen3_moe: q, k, v projections, RMS norm per head on q and k, rope, cache, sdpa, output
 * projection. Reads rms_norm_eps and rope_theta of the config.  Weights under "model.layers.N.self_attn.". */
zx_val zx_block_attention_qknorm(zx_builder *b, const zx_dims *d, zx_val x, float eps, float theta);

/* down(swiglu(gate(x), up(x))) with weights under `prefix` ("model.layers.N.mlp"). */
zx_val zx_block_mlp(zx_builder *b, zx_val x, int64_t hidden, int64_t width, const char *prefix);

/* The decoder around the layers: embedding, layers by `layer`, final norm and head (tied or not; only when
 * with_logits). */
typedef zx_val zx_layer_fn(zx_builder *b, const zx_dims *d, zx_val h, int layer, void *user);
zx_val zx_block_decoder(zx_builder *b, const zx_dims *d, float eps, bool tied, bool with_logits, zx_layer_fn *layer,
                        void *user);

/* Refuse what a config may ask for and this family does not do: a field present and true. */
void zx_refuse_true(zx_builder *b, const char *field);
/* Sticky config reads for use inside `step`. */
double zx_read_real(zx_builder *b, const char *key, double min, double max);
int64_t zx_read_int(zx_builder *b, const char *key, int64_t min, int64_t max);
bool zx_read_bool(zx_builder *b, const char *key); /* required */
bool zx_read_bool_or(zx_builder *b, const char *key, bool dflt);

#endif
