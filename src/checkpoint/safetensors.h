/* SPDX-License-Identifier: MIT */
/* The tensors of a checkpoint folder: model*.safetensors, mapped, never copied.  The files are hostile
 * until they pass the acceptance rule (docs/FORMATS.md): every byte accounted for, no overlap, no holes,
 * checked arithmetic, no duplicate names in a file or over shards. */
#ifndef ZX_CHECKPOINT_SAFETENSORS_H
#define ZX_CHECKPOINT_SAFETENSORS_H

#include "base/file.h"

/* One tensor: a view into a mapping. */
typedef struct zx_tensor {
    const char *name;
    zmlx_dtype dtype;
    int rank; /* at most 8 */
    int64_t dim[8];
    const void *data; /* any alignment */
    size_t bytes;
    int shard;
} zx_tensor;

typedef struct zx_shards zx_shards;

/* Map all shards of `dir`: those that model.safetensors.index.json names when it exists (plain file names
 * in the same folder only, every tensor in exactly one shard, and there), else model*.safetensors.
 * ZMLX_E_NOT_FOUND when there is none; ZMLX_E_FORMAT for a bad file. */
zmlx_status zx_shards_open(zx_shards **out, const char *dir, zmlx_err *err);
void zx_shards_close(zx_shards *s); /* NULL is fine; views die with it */
/* NULL when there is no tensor of this name. */
const zx_tensor *zx_shards_find(const zx_shards *s, const char *name);
int zx_shards_count(const zx_shards *s);
const zx_tensor *zx_shards_at(const zx_shards *s, int i); /* sorted by name */
size_t zx_shards_bytes(const zx_shards *s);               /* size of all files */
int zx_shards_files(const zx_shards *s);
const zx_map *zx_shards_map(const zx_shards *s, int shard); /* the whole file, for bandwidth probes */

/* Parse one file already in memory: what the fuzzer and zx_shards_open share.  `what` names the file in
 * messages.  Calls emit(ctx, tensor) per tensor with tensor->name only valid during the call. */
typedef zmlx_status zx_tensor_fn(void *ctx, const zx_tensor *t, zmlx_err *err);
zmlx_status zx_safetensors_parse(const uint8_t *data, size_t size, const char *what, zx_tensor_fn *emit, void *ctx,
                                 zmlx_err *err);

#endif
