/* SPDX-License-Identifier: MIT */
#include "models/common/blocks.h"

#include <math.h>
#include <stdio.h>

enum { MAX_DIM = 1 << 20, MAX_LAYERS = 1024 };

zmlx_status zx_dims_decoder(zx_dims *out, const zx_config *c, zmlx_err *err)
{
    *out = (zx_dims){0};
    ZX_TRY(zx_config_int(c, "hidden_size", 1, MAX_DIM, &out->hidden, err));
    ZX_TRY(zx_config_int(c, "num_hidden_layers", 1, MAX_LAYERS, &out->layers, err));
    ZX_TRY(zx_config_int(c, "vocab_size", 1, 1 << 24, &out->vocab, err));
    ZX_TRY(zx_config_int(c, "num_attention_heads", 1, 4096, &out->heads, err));
    ZX_TRY(zx_config_int(c, "num_key_value_heads", 1, 4096, &out->kv_heads, err));
    ZX_TRY(zx_config_int(c, "head_dim", 2, 512, &out->head_dim, err));
    ZX_TRY(zx_config_int(c, "max_position_embeddings", 1, (int64_t)1 << 32, &out->max_positions, err));
    if (out->heads % out->kv_heads)
        return zx_fail(err, ZMLX_E_FORMAT, -1,
                       "config.json: num_attention_heads %lld is not a multiple of num_key_value_heads %lld",
                       (long long)out->heads, (long long)out->kv_heads);
    return ZMLX_OK;
}

double zx_read_real(zx_builder *b, const char *key, double min, double max)
{
    double v = 0;
    if (b->status == ZMLX_OK) b->status = zx_config_real(b->config, key, min, max, &v, &b->err);
    return v;
}

int64_t zx_read_int(zx_builder *b, const char *key, int64_t min, int64_t max)
{
    int64_t v = 0;
    if (b->status == ZMLX_OK) b->status = zx_config_int(b->config, key, min, max, &v, &b->err);
    return v;
}

bool zx_read_bool_or(zx_builder *b, const char *key, bool dflt)
{
    bool v = dflt;
    if (b->status == ZMLX_OK) b->status = zx_config_bool_or(b->config, key, dflt, &v, &b->err);
    return v;
}

bool zx_read_bool(zx_builder *b, const char *key)
{
    if (b->status == ZMLX_OK && !zx_config_has(b->config, key))
        b->status = zx_fail(&b->err, ZMLX_E_FORMAT, -1, "config.json: no %s", key);
    return zx_read_bool_or(b, key, false);
}

void zx_refuse_true(zx_builder *b, const char *field)
{
    if (zx_read_bool_or(b, field, false) && b->status == ZMLX_OK)
        b->status = zx_fail(&b->err, ZMLX_E_UNSUPPORTED, -1,
                            "config.json: %s is true, which this model_type does not support yet", field);
}

/* A linear layer with an ordinary bias would be computed wrongly: mlx-lm adds it, these families have none. */
static zx_val linear(zx_builder *b, zx_val x, int64_t out, int64_t in, const char *prefix, const char *name)
{
    char bias[600];
    snprintf(bias, sizeof bias, "%s.%s.bias", prefix, name);
    if (b->status == ZMLX_OK && zx_shards_find(b->shards, bias))
        b->status =
            zx_fail(&b->err, ZMLX_E_UNSUPPORTED, -1, "%s: linear biases are not supported for this model_type", bias);
    return zx_qmm(b, x, zx_build_module(b, 2, (int64_t[]){out, in}, "%s.%s", prefix, name));
}

/* Queries, keys and values first and in this order, as mlx-lm evaluates them. */
zx_val zx_block_attention_qknorm(zx_builder *b, const zx_dims *d, zx_val x, float eps, float theta)
{
    char at[64];
    snprintf(at, sizeof at, "model.layers.%d.self_attn", b->layer);
    int64_t n_q = d->heads * d->head_dim, n_kv = d->kv_heads * d->head_dim;
    int hd = (int)d->head_dim;
    zx_val q = linear(b, x, n_q, d->hidden, at, "q_proj");
    zx_val k = linear(b, x, n_kv, d->hidden, at, "k_proj");
    zx_val v = linear(b, x, n_kv, d->hidden, at, "v_proj");
    q = zx_rms_norm(b, q, zx_build_plain(b, 1, &d->head_dim, "%s.q_norm.weight", at), eps);
    k = zx_rms_norm(b, k, zx_build_plain(b, 1, &d->head_dim, "%s.k_norm.weight", at), eps);
    q = zx_rope(b, q, hd, hd, theta);
    k = zx_rope(b, k, hd, hd, theta);
    if (b->status != ZMLX_OK) return -1;
    int64_t ctx = (b->plan->ctx + 15) / 16 * 16;
    zx_type keys_t = zx_type_make(b->plan->value[k].type.dtype, 3, d->kv_heads, ctx, d->head_dim);
    zx_type values_t = zx_type_make(b->plan->value[v].type.dtype, 3, d->kv_heads, ctx, d->head_dim);
    zx_val keys = zx_build_state(b, "keys", &keys_t), values = zx_build_state(b, "values", &values_t);
    zx_kv_append(b, keys, k);
    zx_kv_append(b, values, v);
    zx_val a = zx_sdpa(b, q, keys, values, (float)(1.0 / sqrt((double)d->head_dim)));
    return linear(b, a, d->hidden, n_q, at, "o_proj");
}

zx_val zx_block_mlp(zx_builder *b, zx_val x, int64_t hidden, int64_t width, const char *prefix)
{
    zx_val gate = linear(b, x, width, hidden, prefix, "gate_proj");
    zx_val up = linear(b, x, width, hidden, prefix, "up_proj");
    return linear(b, zx_swiglu(b, gate, up), hidden, width, prefix, "down_proj");
}

zx_val zx_block_decoder(zx_builder *b, const zx_dims *d, float eps, bool tied, bool with_logits, zx_layer_fn *layer,
                        void *user)
{
    const int64_t table[2] = {d->vocab, d->hidden};
    zx_val embed = zx_build_module(b, 2, table, "model.embed_tokens");
    zx_val h = zx_embedding(b, embed);
    for (int l = 0; l < d->layers; l++) {
        b->layer = l;
        h = layer(b, d, h, l, user);
    }
    b->layer = -1;
    /* Checked in both plans, so that a missing head is found at load; run only where logits are wanted. */
    zx_val norm = zx_build_plain(b, 1, &d->hidden, "model.norm.weight");
    zx_val head = tied ? embed : zx_build_module(b, 2, table, "lm_head");
    return with_logits ? zx_qmm(b, zx_rms_norm(b, h, norm, eps), head) : -1;
}
