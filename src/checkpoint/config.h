/* SPDX-License-Identifier: MIT */
/* config.json and generation_config.json: typed access with limits, and the quantization block with its
 * per-module rule. */
#ifndef ZX_CHECKPOINT_CONFIG_H
#define ZX_CHECKPOINT_CONFIG_H

#include "base/status.h"
#include "checkpoint/safetensors.h"
#include "kernels/kernel.h"

typedef struct zx_config zx_config;

/* Read dir/config.json and, if present, generation_config.json (only its eos_token_id is used; a broken
 * file is ignored, as mlx-lm does).  Both at most 16 MiB. */
zmlx_status zx_config_open(zx_config **out, const char *dir, zmlx_err *err);
zmlx_status zx_config_parse(zx_config **out, const char *json, size_t len, zmlx_err *err); /* config.json only */
void zx_config_close(zx_config *c);

/* Typed fields.  A missing required field or a wrong type or range is ZMLX_E_FORMAT and the message names the
 * field, what was found and the range.  The *_or forms give the default when the field is absent or null. */
zmlx_status zx_config_int(const zx_config *c, const char *key, int64_t min, int64_t max, int64_t *out, zmlx_err *err);
zmlx_status zx_config_int_or(const zx_config *c, const char *key, int64_t min, int64_t max, int64_t dflt, int64_t *out,
                             zmlx_err *err);
zmlx_status zx_config_real(const zx_config *c, const char *key, double min, double max, double *out, zmlx_err *err);
zmlx_status zx_config_real_or(const zx_config *c, const char *key, double min, double max, double dflt, double *out,
                              zmlx_err *err);
zmlx_status zx_config_bool_or(const zx_config *c, const char *key, bool dflt, bool *out, zmlx_err *err);
/* A list of at most `max_n` integers; absent gives n = 0. */
zmlx_status zx_config_ints_or(const zx_config *c, const char *key, int64_t min, int64_t max, int64_t *out, int max_n,
                              int *n, zmlx_err *err);
const char *zx_config_text(const zx_config *c, const char *key); /* NULL when absent or not a string */
bool zx_config_has(const zx_config *c, const char *key);         /* present and not null */
/* End-of-text ids by mlx-lm's rule: generation_config's if truthy, else config's; 0..n. */
int zx_config_eos(const zx_config *c, const int64_t **ids);

/* A weight resolved from the checkpoint: its logical type and where its parts lie. */
typedef struct zx_weight {
    const char *name; /* module path, e.g. "model.layers.0.self_attn.q_proj" */
    zx_operand op;
    size_t bytes; /* of all its tensors */
} zx_weight;

/* The linear, embedding or expert module `path`: PATH.weight with PATH.scales and PATH.biases when it is
 * quantized by the per-module rule.  rank and dim give the expected logical shape (e.g. 2: [out, in]; 3:
 * [experts, out, in]).  Unknown modes, bits and group sizes are refused by name (ZMLX_E_UNSUPPORTED), wrong
 * shapes with both numbers (ZMLX_E_FORMAT), a missing tensor by name (ZMLX_E_FORMAT). */
zmlx_status zx_weight_module(zx_weight *out, const zx_config *c, const zx_shards *s, const char *path, int rank,
                             const int64_t *dim, zmlx_err *err);
/* A plain tensor such as a norm: NAME exactly (with its ".weight"). */
zmlx_status zx_weight_plain(zx_weight *out, const zx_shards *s, const char *name, int rank, const int64_t *dim,
                            zmlx_err *err);

#endif
