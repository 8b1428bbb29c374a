/* SPDX-License-Identifier: MIT */
/* Patching: rewrite the decode plan with fused kernels.  A pattern that does not match, or would change a bit
 * beyond its fidelity class, leaves the plan as it is; unpatching gives the old plan back. */
#ifndef ZMLX_PATCH_H
#define ZMLX_PATCH_H

#include "zmlx/model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum zmlx_fidelity {
    ZMLX_BIT_EXACT,   /* logits equal bit for bit */
    ZMLX_TOKEN_EXACT, /* greedy tokens equal, by measurement */
    ZMLX_APPROXIMATE  /* never on by default */
} zmlx_fidelity;
ZMLX_API const char *zmlx_fidelity_name(zmlx_fidelity f); /* "bit-exact" */

typedef struct zmlx_pattern_info {
    const char *name, *doc;
    zmlx_fidelity fidelity;
    int64_t max_tokens; /* guard: steps of more tokens take the stock plan */
} zmlx_pattern_info;
/* The i-th pattern, sorted by name; false when there is none. */
ZMLX_API bool zmlx_pattern_at(int i, zmlx_pattern_info *out);

/* Zero-initialise. */
typedef struct zmlx_patch_options {
    const char *patterns; /* names and presets, separated by commas: "default", "all", "none", "moe_mlp",
                             "qkv_proj,..."; NULL = "default" */
    const char *exclude;  /* names to leave out; NULL = none */
} zmlx_patch_options;

enum { ZMLX_PATCH_MAX_PATTERNS = 16 };
typedef struct zmlx_patch_result {
    int n;
    struct {
        const char *name;
        int matched; /* places rewritten ("modules patched") */
        int skipped; /* places that began to match and were refused */
    } pattern[ZMLX_PATCH_MAX_PATTERNS];
    int ops_before, ops_after;
} zmlx_patch_result;

/* Replace the model's current patched plan (if any) by one made from the stock plan.  Sessions made before keep the
 * plan they have.  ZMLX_E_ARG for an unknown name, with the known ones; ZMLX_E_UNSUPPORTED ("not yet") for names of the
 * original system that are not built yet.  *result may be NULL. */
ZMLX_API zmlx_status zmlx_model_patch(zmlx_model *m, const zmlx_patch_options *options, zmlx_patch_result *result,
                                      zmlx_err *err);
/* Back to the stock plan, which never changed. */
ZMLX_API void zmlx_model_unpatch(zmlx_model *m);

/* What `zmlx plan` prints, line by line: event is "op" (an op of the current decode plan: `where` "layers.3", `what`
 * its text), "match" or "skip" (a pattern, where, and the reason).  Patches a copy with `options`; the model stays as
 * it is. */
typedef void zmlx_explain_fn(void *user, const char *event, const char *where, const char *name, const char *what);
ZMLX_API zmlx_status zmlx_model_explain(const zmlx_model *m, const zmlx_patch_options *options, zmlx_explain_fn *fn,
                                        void *user, zmlx_patch_result *result, zmlx_err *err);

#ifdef __cplusplus
}
#endif
#endif
