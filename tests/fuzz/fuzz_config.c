/* SPDX-License-Identifier: MIT */
/* Any bytes as config.json: every typed field in its range, every module with parameters that kernels know. */
#include "fuzz.h"

#include <stdlib.h>

#include "checkpoint/untrusted.h"

static void check_fields(const zx_config *c)
{
    static const char *const keys[] = {"hidden_size", "rope_theta", "tie_word_embeddings", "mlp_only_layers",
                                       "model_type"};
    zmlx_err err = {0};
    for (size_t i = 0; i < ZX_COUNT(keys); i++) {
        int64_t v, list[8];
        double r;
        bool b;
        int n;
        if (zx_config_int(c, keys[i], 1, 1 << 20, &v, &err) == ZMLX_OK && (v < 1 || v > 1 << 20)) abort();
        if (zx_config_real_or(c, keys[i], 0, 1e9, 1, &r, &err) == ZMLX_OK && !(r >= 0 && r <= 1e9)) abort();
        zx_config_bool_or(c, keys[i], true, &b, &err);
        if (zx_config_ints_or(c, keys[i], 0, 9, list, 8, &n, &err) == ZMLX_OK)
            while (n-- > 0)
                if (list[n] < 0 || list[n] > 9) abort();
        const char *text = zx_config_text(c, keys[i]);
        if (text && strlen(text) > 1 << 24) abort();
    }
}

static void check_modules(const zx_config *c)
{
    static const char *const paths[] = {"model.embed_tokens", "model.layers.0.mlp.gate", "bits", "mode", ""};
    for (size_t i = 0; i < 2 * ZX_COUNT(paths); i++) {
        zmlx_err err = {0};
        zx_quant q;
        const zmlx_status st = zx_config_quant(c, paths[i / 2], i % 2, &q, &err);
        if (st != ZMLX_OK && (err.code != st || !err.msg[0])) abort();
        if (st != ZMLX_OK || q.bits == 0) continue;
        if (q.bits != 4 && q.bits != 8) abort();
        if (q.group != 32 && q.group != 64 && q.group != 128) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    zmlx_err err = {0};
    zx_config *c;
    const zmlx_status st = zx_config_parse(&c, (const char *)data, size, &err);
    if (st != ZMLX_OK) {
        if (c || err.code != st || !err.msg[0]) abort();
        return 0;
    }
    const int64_t *ids;
    for (int n = zx_config_eos(c, &ids); n-- > 0;)
        if (ids[n] < 0 || ids[n] > INT32_MAX) abort();
    check_fields(c);
    check_modules(c);
    zx_config_close(c);
    return 0;
}
