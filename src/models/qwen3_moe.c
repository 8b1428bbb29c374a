/* SPDX-License-Identifier: MIT */
/* Qwen3-MoE (Qwen3-30B-A3B): attention of Qwen3, then in most layers a mixture of experts: softmax over all experts,
 * the k most probable, optionally renormalised, SwiGLU experts, weighted sum. */
#include "models/common/blocks.h"

#include <stdio.h>

enum { MAX_LAYERS = 1024 };

typedef struct params {
    float eps, theta;
    int64_t width, moe_width, sparse_step;
    bool renorm;
    int64_t dense[MAX_LAYERS]; /* mlp_only_layers */
    int n_dense;
} params;

static zmlx_status dims(zx_dims *out, const zx_config *c, zmlx_err *err)
{
    ZX_TRY(zx_dims_decoder(out, c, err));
    ZX_TRY(zx_config_int(c, "num_experts", 0, 4096, &out->experts, err));
    ZX_TRY(zx_config_int(c, "num_experts_per_tok", 1, 256, &out->top_k, err));
    if (out->experts && out->top_k > out->experts)
        return zx_fail(err, ZMLX_E_FORMAT, -1, "config.json: num_experts_per_tok %lld exceeds num_experts %lld",
                       (long long)out->top_k, (long long)out->experts);
    return ZMLX_OK;
}

static bool is_moe(const params *p, const zx_dims *d, int layer)
{
    for (int i = 0; i < p->n_dense; i++)
        if (p->dense[i] == layer) return false;
    return d->experts > 0 && (layer + 1) % p->sparse_step == 0;
}

/* Routing: scores [tokens, k] and the experts' indices, in ascending order of probability. */
static zx_val route(zx_builder *b, const zx_dims *d, const params *p, zx_val x, const char *mlp, zx_val *idx)
{
    zx_val gate = zx_qmm(b, x, zx_build_module(b, 2, (int64_t[]){d->experts, d->hidden}, "%s.gate", mlp));
    zx_val probs = zx_softmax(b, gate);
    *idx = zx_argpartition(b, probs, (int)d->top_k);
    zx_val s = zx_take(b, probs, *idx);
    return p->renorm ? zx_div(b, s, zx_sum_last(b, s)) : s;
}

/* mlx-lm's SwitchGLU evaluates up before gate. */
static zx_val moe(zx_builder *b, const zx_dims *d, const params *p, zx_val x, const char *mlp)
{
    const int64_t in[3] = {d->experts, p->moe_width, d->hidden}, out[3] = {d->experts, d->hidden, p->moe_width};
    zx_val idx = -1;
    zx_val scores = route(b, d, p, x, mlp, &idx);
    zx_val up = zx_gather_qmm(b, x, zx_build_module(b, 3, in, "%s.switch_mlp.up_proj", mlp), idx);
    zx_val gate = zx_gather_qmm(b, x, zx_build_module(b, 3, in, "%s.switch_mlp.gate_proj", mlp), idx);
    zx_val act = zx_swiglu(b, gate, up);
    zx_val y = zx_gather_qmm(b, act, zx_build_module(b, 3, out, "%s.switch_mlp.down_proj", mlp), idx);
    return zx_sum_experts(b, zx_mul_scores(b, y, scores));
}

static zx_val layer(zx_builder *b, const zx_dims *d, zx_val h, int l, void *user)
{
    const params *p = user;
    char mlp[64];
    snprintf(mlp, sizeof mlp, "model.layers.%d.mlp", l);
    zx_val x = zx_rms_norm(b, h, zx_build_plain(b, 1, &d->hidden, "model.layers.%d.input_layernorm.weight", l), p->eps);
    h = zx_add(b, h, zx_block_attention_qknorm(b, d, x, p->eps, p->theta));
    x = zx_rms_norm(b, h, zx_build_plain(b, 1, &d->hidden, "model.layers.%d.post_attention_layernorm.weight", l),
                    p->eps);
    return zx_add(b, h, is_moe(p, d, l) ? moe(b, d, p, x, mlp) : zx_block_mlp(b, x, d->hidden, p->width, mlp));
}

static zx_val step(zx_builder *b, const zx_dims *d, bool with_logits)
{
    /* rope_scaling is parsed and not used by mlx-lm for this family: plain rope whatever it says. */
    params p = {.eps = (float)zx_read_real(b, "rms_norm_eps", 0, 1),
                .theta = (float)zx_read_real(b, "rope_theta", 1, 1e12),
                .width = zx_read_int(b, "intermediate_size", 1, 1 << 20),
                .moe_width = zx_read_int(b, "moe_intermediate_size", 1, 1 << 20),
                .sparse_step = zx_read_int(b, "decoder_sparse_step", 1, MAX_LAYERS),
                .renorm = zx_read_bool(b, "norm_topk_prob")};
    zx_refuse_true(b, "attention_bias");
    if (b->status == ZMLX_OK)
        b->status = zx_config_ints_or(b->config, "mlp_only_layers", 0, MAX_LAYERS - 1, p.dense, MAX_LAYERS, &p.n_dense,
                                      &b->err);
    bool tied = zx_read_bool(b, "tie_word_embeddings");
    return zx_block_decoder(b, d, p.eps, tied, with_logits, layer, &p);
}

const zx_family zx_family_qwen3_moe = {
    .model_type = "qwen3_moe",
    .doc = "Qwen3-MoE (Qwen3-30B-A3B, Qwen3-Coder-30B-A3B)",
    .dims = dims,
    .step = step,
};
