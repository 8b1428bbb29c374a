/* SPDX-License-Identifier: MIT */
/* Synthetic checkpoints: true MLX format, full shapes, random numbers with sane statistics.  For benchmarks and tests
 * where the real weights are not at hand; mlx-lm loads them too. */
#ifndef ZMLX_SYNTH_H
#define ZMLX_SYNTH_H

#include "zmlx/base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct zmlx_preset_info {
    const char *name, *doc;
} zmlx_preset_info;
/* The i-th preset; false when there is none. */
ZMLX_API bool zmlx_preset_at(int i, zmlx_preset_info *out);

/* Zero-initialise: zero means the preset's own value. */
typedef struct zmlx_synth_options {
    int64_t layers;    /* fewer or more layers of the same shape */
    uint64_t seed;     /* the same preset, options and seed give the same bytes on every machine */
    bool tiny;         /* the same architecture with small dimensions (kilobytes instead of gigabytes) */
    int bits;          /* 4, 8, or 16 for plain floats; default 4 (routers 8) */
    int group;         /* 32, 64 or 128; default 64 */
    const char *dtype; /* of scales, biases, norms and plain weights: "bfloat16" (default), "float16", "float32"; values
                          that float16 and float32 hold are those of bfloat16 */
    bool (*progress)(void *user, int64_t done, int64_t total); /* bytes written; return false to stop */
    void *user;
} zmlx_synth_options;

/* Write a checkpoint into `dir`, which is made if missing and must not hold files of these names yet (ZMLX_E_ARG).
 * ZMLX_E_ARG for an unknown preset or option; ZMLX_E_IO names the file; on failure what was written is removed. */
ZMLX_API zmlx_status zmlx_synth(const char *preset, const char *dir, const zmlx_synth_options *options, zmlx_err *err);

#ifdef __cplusplus
}
#endif
#endif
