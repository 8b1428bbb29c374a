/* SPDX-License-Identifier: MIT */
/* Qwen3, dense: attention with RMS norm on queries and keys, SwiGLU MLP. */
#include "models/common/blocks.h"

#include <stdio.h>

typedef struct params {
    float eps, theta;
    int64_t width;
} params;

static zmlx_status dims(zx_dims *out, const zx_config *c, zmlx_err *err) { return zx_dims_decoder(out, c, err); }

static zx_val layer(zx_builder *b, const zx_dims *d, zx_val h, int l, void *user)
{
    const params *p = user;
    char mlp[64];
    snprintf(mlp, sizeof mlp, "model.layers.%d.mlp", l);
    zx_val x = zx_rms_norm(b, h, zx_build_plain(b, 1, &d->hidden, "model.layers.%d.input_layernorm.weight", l), p->eps);
    h = zx_add(b, h, zx_block_attention_qknorm(b, d, x, p->eps, p->theta));
    x = zx_rms_norm(b, h, zx_build_plain(b, 1, &d->hidden, "model.layers.%d.post_attention_layernorm.weight", l),
                    p->eps);
    return zx_add(b, h, zx_block_mlp(b, x, d->hidden, p->width, mlp));
}

static zx_val step(zx_builder *b, const zx_dims *d, bool with_logits)
{
    params p = {.eps = (float)zx_read_real(b, "rms_norm_eps", 0, 1),
                .theta = (float)zx_read_real(b, "rope_theta", 1, 1e12),
                .width = zx_read_int(b, "intermediate_size", 1, 1 << 20)};
    zx_refuse_true(b, "attention_bias");
    /* mlx-lm rotates by rope_scaling here; nothing but plain rope is built yet, and ignoring it would change the model.
     */
    if (b->status == ZMLX_OK && zx_config_has(b->config, "rope_scaling"))
        b->status =
            zx_fail(&b->err, ZMLX_E_UNSUPPORTED, -1, "config.json: rope_scaling is not supported for qwen3 yet");
    bool tied = zx_read_bool(b, "tie_word_embeddings");
    return zx_block_decoder(b, d, p.eps, tied, with_logits, layer, &p);
}

const zx_family zx_family_qwen3 = {
    .model_type = "qwen3",
    .doc = "Qwen3 dense (0.6B to 32B)",
    .dims = dims,
    .step = step,
};
