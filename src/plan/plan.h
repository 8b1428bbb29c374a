/* SPDX-License-Identifier: MIT */
/* A plan: the step of a model as a flat list of typed nodes.  Families build it (build.h), the verifier
 * checks every shape once, patches rewrite it, the executor runs it and never learns a model's name. */
#ifndef ZX_PLAN_PLAN_H
#define ZX_PLAN_PLAN_H

#include "base/arena.h"
#include "checkpoint/config.h"
#include "kernels/kernel.h"

typedef int zx_val; /* index into plan->value; -1 = none */

typedef enum zx_value_kind {
    ZX_VAL_INPUT,  /* token ids of the step: int32 [tokens] */
    ZX_VAL_WEIGHT, /* a tensor of the checkpoint */
    ZX_VAL_STATE,  /* a cache that outlives the step */
    ZX_VAL_NODE    /* computed by a node */
} zx_value_kind;

typedef struct zx_value {
    zx_value_kind kind;
    zx_type type;
    const char *name;        /* weights: module path; states: "layers.3.keys"; nodes: NULL or a label */
    const zx_weight *weight; /* kind WEIGHT */
    int node, slot;          /* kind NODE: which node's which output */
    size_t offset;           /* set by the memory planner: in the step's memory (NODE) or the session's state (STATE) */
} zx_value;

typedef struct zx_node {
    const zx_kernel_def *op;
    zx_attr attr;
    int n_in, n_out;
    zx_val in[ZX_MAX_IN], out[ZX_MAX_OUT];
    int layer;           /* for messages and --explain; -1 outside layers */
    const char *pattern; /* the pattern that put it there; NULL in a stock plan */
} zx_node;

typedef struct zx_plan {
    zx_arena *arena;  /* owns all of the plan */
    const char *what; /* "decode" or "prefill" */
    zx_node *node;
    zx_value *value;
    int n_nodes, cap_nodes, n_values, cap_values;
    int64_t max_tokens;    /* largest step */
    int64_t ctx;           /* positions that the states hold */
    zx_val tokens, logits; /* logits: -1 in a prefill plan; else float [tokens, vocabulary] */
    /* by zx_plan_layout: */
    size_t step_bytes;    /* activations */
    size_t shared_bytes;  /* the largest zx_call.shared */
    size_t scratch_bytes; /* the largest per-thread scratch */
    size_t state_bytes;   /* all caches */
} zx_plan;

zx_plan *zx_plan_create(const char *what, int64_t max_tokens, int64_t ctx); /* NULL when out of memory */
void zx_plan_destroy(zx_plan *p);
/* A deep copy of nodes and values; weights stay shared. */
zx_plan *zx_plan_clone(const zx_plan *p);

/* Appending, for the builder and for patches.  -1 when out of memory. */
zx_val zx_plan_add_value(zx_plan *p, const zx_value *v);
int zx_plan_add_node(zx_plan *p, const zx_node *n); /* does not touch values */

/* Check everything once: indices, order (a value is computed before it is read), arity, every type by the kernels'
 * own inference, states written before they are read in the step.  ZMLX_E_FORMAT; the message names node, layer and op.
 */
zmlx_status zx_plan_verify(const zx_plan *p, zmlx_err *err);
/* Lay out memory: lifetimes of values to offsets; fills the *_bytes.  Checked arithmetic; ZMLX_E_LIMIT. */
zmlx_status zx_plan_layout(zx_plan *p, zmlx_err *err);
/* Bytes of weights that a one-token step reads (chosen experts only): the numerator of bandwidth figures. */
size_t zx_plan_bytes_per_token(const zx_plan *p);

#endif
