/* SPDX-License-Identifier: MIT */
/* What the readers of this folder share and nobody else needs: text of strangers in messages, JSON with one way
 * of refusing it, and the parts that the fuzzers call directly. */
#ifndef ZX_CHECKPOINT_UNTRUSTED_H
#define ZX_CHECKPOINT_UNTRUSTED_H

#include <jansson.h>
#include <string.h>

#include "checkpoint/config.h"

enum { ZX_SHOW_MAX = 128 };

/* A name out of a file, or a path, short enough for a message that names two (zx_fail cleans what it shows).  The end
 * is kept, which tells tensors and files apart. */
const char *zx_show_text(char out[ZX_SHOW_MAX], const char *text, size_t len);
#define ZX_SHOW(text) zx_show_text((char[ZX_SHOW_MAX]){0}, (text), strlen(text))
/* "3.5", "a string", ...: what stands in a JSON file where something else was expected. */
const char *zx_show_json(char out[ZX_SHOW_MAX], const json_t *v);
#define ZX_SHOW_JSON(v) zx_show_json((char[ZX_SHOW_MAX]){0}, (v))

/* Parse; `flags` are jansson's.  `what` names the file in the message and `base` is where the text begins in it.
 * ZMLX_E_FORMAT when it is not JSON. */
zmlx_status zx_json_parse(json_t **out, const char *text, size_t len, size_t flags, const char *what, int64_t base,
                          zmlx_err *err);

/* model.safetensors.index.json: which tensor lies in which file.  Strings live in `root`. */
typedef struct zx_index_entry {
    const char *tensor, *file;
} zx_index_entry;
typedef struct zx_index {
    json_t *root;
    zx_index_entry *entry; /* sorted by tensor */
    int n;
    const char **file; /* sorted, each once */
    int n_files;
    int64_t total_size; /* -1 when absent */
} zx_index;
zmlx_status zx_index_parse(zx_index *out, const char *json, size_t len, const char *what, zmlx_err *err);
void zx_index_clear(zx_index *x);

/* The per-module rule: how `path` is stored, given whether the checkpoint has PATH.scales.  out->bits is 0 for plain
 * numbers; out->scales is not set.  ZMLX_E_UNSUPPORTED names the mode, bits or group. */
zmlx_status zx_config_quant(const zx_config *c, const char *path, bool has_scales, zx_quant *out, zmlx_err *err);

/* The name of a tensor without a final ".weight", which lives as long as the shards. */
const char *zx_tensor_module(const zx_tensor *t);

#endif
