/* SPDX-License-Identifier: MIT */
/* What a zmlx_model is made of; shared by the files of src/run/. */
#ifndef ZX_RUN_MODEL_H
#define ZX_RUN_MODEL_H

#include "checkpoint/tokenizer.h"
#include "models/family.h"
#include "plan/exec.h"
#include "zmlx/run.h"

#include <stdatomic.h>

struct zmlx_model {
    char *path;
    zx_config *config;
    zx_shards *shards;
    zx_tokenizer *tokenizer;
    const zx_family *family;
    zx_dims dims;
    int64_t ctx, prefill_tokens;
    zx_plan *decode, *prefill; /* stock; immutable after open */
    zx_plan *patched; /* the current patched decode plan, NULL while unpatched; its max_tokens is the patterns' guard */
    zx_plan **retired; /* earlier patched plans that sessions may still use; freed at close */
    int n_retired, cap_retired;
    int64_t *eos;
    int n_eos;
    atomic_bool populated; /* the weights' pages were made present (once, by the first session) */
};

struct zmlx_session {
    zmlx_model *model;
    zx_team *team;
    zx_memory *memory;
    zx_exec *decode, *prefill; /* stock */
    zx_exec *patched;          /* NULL when the session runs stock */
    int64_t patched_max_tokens;
    int64_t pos;
};

#endif
