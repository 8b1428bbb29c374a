/* SPDX-License-Identifier: MIT */
/* From logits to a token.  The arithmetic is +, -, * and / in double in a fixed order and an exp of our own, so that a
 * seed gives the same tokens on every machine, whatever its C library. */
#ifndef ZX_RUN_SAMPLE_H
#define ZX_RUN_SAMPLE_H

#include "base/status.h"
#include "zmlx/run.h"

/* The highest logit, lowest id on ties.  ZMLX_E_FAIL if one is NaN; `step` is for the message. */
zmlx_status zx_logits_argmax(const zmlx_logits *l, int64_t step, int32_t *id, zmlx_err *err);
/* The highest logit minus the second highest (0 on a tie); the logits are free of NaN. */
double zx_logits_margin(const zmlx_logits *l);

typedef struct zx_sampler {
    zmlx_sampling opt;
    uint64_t key, draws; /* the n-th draw is a function of the two: no other state */
    int64_t vocab;
    float *logit;           /* of the current step; these four are NULL when greedy */
    double *weight, *block; /* per token, and their sums per block */
    int32_t *heap;          /* tokens near the cut */
} zx_sampler;

/* ZMLX_E_ARG for settings out of range, and for filters without a temperature.  Zeroed samplers may be cleared. */
zmlx_status zx_sampler_init(zx_sampler *s, const zmlx_sampling *opt, int64_t vocab, zmlx_err *err);
void zx_sampler_clear(zx_sampler *s);
zmlx_status zx_sampler_pick(zx_sampler *s, const zmlx_logits *l, int64_t step, int32_t *id, zmlx_err *err);

/* For tests: exp(x) for x <= 0 (0 below -700), and the n-th uniform number in [0, 1) of a seed. */
double zx_sample_exp(double x);
double zx_sample_uniform(uint64_t seed, uint64_t n);

#endif
