/* SPDX-License-Identifier: MIT */
/* Patterns and their application: plan in, plan out.  A pattern is one file in src/patch/patterns/, found by its name;
 * it is data plus one check of its own.  Everything that is true of all patterns (readers outside the match, attributes
 * that nobody carries over, order, types of the results) is checked in one place, match.c. */
#ifndef ZX_PATCH_PATCH_H
#define ZX_PATCH_PATCH_H

#include "plan/plan.h"
#include "zmlx/patch.h"

enum { ZX_PAT_MAX_NODES = 8, ZX_PAT_MAX_CAPS = 8, ZX_PAT_MAX_FORMS = 2 };

/* A value in a template: a captured operand (one capture is one value everywhere) or the result of an earlier node of
 * the template.  0 ends a list. */
#define ZX_CAP(i)          ((i) + 1)
#define ZX_RES(node, slot) (-((node)*ZX_MAX_OUT + (slot) + 1))

/* Fields of zx_attr, for zx_pat_node.attrs: X(bit, field). */
#define ZX_ATTR_MAP(X)                                                                                                 \
    X(EPS, eps)                                                                                                        \
    X(SCALE, scale)                                                                                                    \
    X(THETA, theta)                                                                                                    \
    X(DIMS, dims)                                                                                                      \
    X(HEADS, heads)                                                                                                    \
    X(K, k)                                                                                                            \
    X(LAYER, layer)                                                                                                    \
    X(ROLE, role)                                                                                                      \
    X(RENORM, renorm)                                                                                                  \
    X(ACTIVATION, activation)                                                                                          \
    X(SCORE, score)
enum {
#define X(id, field) ZX_ATTR_BIT_##id,
    ZX_ATTR_MAP(X)
#undef X
        ZX_ATTR_FIELDS,
#define X(id, field) ZX_ATTR_##id = 1 << ZX_ATTR_BIT_##id,
    ZX_ATTR_MAP(X)
#undef X
};

typedef struct zx_pat_node {
    const char *op;       /* kernel name */
    int8_t in[ZX_MAX_IN]; /* ZX_CAP or ZX_RES, all operands of the op */
    unsigned attrs;       /* attributes that `attr` of the pattern carries over; any other must be 0 in the plan */
    bool keep;            /* context: must be there, is not replaced */
} zx_pat_node;

/* One shape of the place.  The last node is where the search begins; nodes that no later node reads are found as
 * further readers of an operand that is known by then, in plan order. */
typedef struct zx_pat_form {
    int n_nodes; /* 0 ends the list of forms */
    zx_pat_node node[ZX_PAT_MAX_NODES];
    /* Results that the replacement provides, in the order of its outputs (ZX_RES codes).  No other result of a replaced
     * node may have a reader outside the match. */
    int n_results;
    int8_t result[ZX_MAX_OUT];
} zx_pat_form;

typedef struct zx_match {
    const zx_plan *plan;
    const zx_pat_form *form;
    int node[ZX_PAT_MAX_NODES];  /* plan nodes in template order; -1 = not found yet */
    zx_val cap[ZX_PAT_MAX_CAPS]; /* -1 = not found yet */
} zx_match;

typedef struct zx_pat_except {
    const char *family, *reason;
} zx_pat_except;

typedef struct zx_pattern {
    const char *name, *doc;
    zmlx_fidelity fidelity;
    int64_t max_tokens;                 /* guard: tokens per step up to which the claim holds */
    zx_pat_form form[ZX_PAT_MAX_FORMS]; /* tried in this order */
    /* Beyond structure: the types and attributes for which the fused kernel is known to be exact.  NULL = accept; else
     * why not: a literal, or text written to buf.  "" = not a place of this form at all, said to nobody. */
    const char *(*accept)(const zx_match *m, char *buf, size_t n);
    /* The replacement: a kernel, its operands (ZX_CAP) and its attributes (NULL = none). */
    const char *with;
    int8_t with_in[ZX_MAX_IN];
    void (*attr)(const zx_match *m, zx_attr *out);
    /* Families for which it is off although it matches; ends with a NULL family; NULL = none. */
    const zx_pat_except *except;
} zx_pattern;

extern const zx_pattern *const zx_patterns[]; /* sorted by name, NULL at the end; generated */

/* --- for patterns --- */
zx_val zx_match_value(const zx_match *m, int code); /* of a ZX_CAP or ZX_RES */
const zx_type *zx_match_type(const zx_match *m, int code);
const zx_attr *zx_match_attr(const zx_match *m, int node);
/* NULL when the `count` values have one element type among F32, F16 and BF16: no rounding point moves between types. */
const char *zx_match_one_dtype(const zx_match *m, char *buf, size_t n, const int8_t *codes, int count);

/* --- the matcher (match.c) --- */
typedef enum zx_found {
    ZX_FOUND_NOTHING, /* not a place of this pattern */
    ZX_FOUND_REFUSED, /* it began to match; `why` says what was wrong */
    ZX_FOUND_PLACE
} zx_found;
/* Try `form` of `pat` with its last node at plan node `root`.  On ZX_FOUND_PLACE *at is the node whose place the
 * replacement takes, and *node is the replacement. */
zx_found zx_match_at(zx_match *m, const zx_plan *plan, const zx_pattern *pat, const zx_pat_form *form, int root,
                     const char *family, int *at, zx_node *node, char *why, size_t n_why);

/* Expand options into a selection (in the order of zx_patterns).  Errors as zmlx_model_patch states. */
zmlx_status zx_patch_select(const zx_pattern **out, int max, int *n, const zmlx_patch_options *o, zmlx_err *err);
/* A new, verified and laid out plan, whose max_tokens is the guard of what was applied; *out is NULL on failure.
 * Weights stay those of `stock`, which must outlive it.  family may be NULL.  `fn` (may be NULL) hears of matches and
 * skips while they are found, then of the ops of the new plan. */
zmlx_status zx_patch_apply(zx_plan **out, const zx_plan *stock, const char *family, const zx_pattern *const *sel, int n,
                           zmlx_patch_result *result, zmlx_explain_fn *fn, void *user, zmlx_err *err);

/* "layers.3", or "model" outside layers. */
const char *zx_patch_where(int layer, char *buf, size_t n);

#endif
