/* SPDX-License-Identifier: MIT */
/* The parts of the synthetic checkpoint writer: presets, tensors, tokenizer. */
#ifndef ZX_CHECKPOINT_SYNTH_H
#define ZX_CHECKPOINT_SYNTH_H

#include "base/buf.h"
#include "zmlx/synth.h"

/* The shape of a preset after --tiny and --layers. */
typedef struct zx_synth_shape {
    const char *model_type, *architecture;
    int64_t hidden, layers, heads, kv_heads, head_dim, intermediate, moe_intermediate, experts, top_k, vocab,
        max_positions;
    int64_t dense_layer; /* a layer listed in mlp_only_layers, or -1 */
    double eps, theta;
    bool tied, norm_topk;
    int bits, group;
    zmlx_dtype dtype;
} zx_synth_shape;

/* A tokenizer.json with exactly `vocab` entries or fewer: bytes, merges over a readable alphabet, three special tokens.
 * Returns the id of <|endoftext|> (im_start and im_end follow it). */
int64_t zx_synth_tokenizer(zx_buf *out, int64_t vocab);

/* A stream of 64-bit numbers from a key: splitmix64, the same everywhere. */
static inline uint64_t zx_rng_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

#endif
