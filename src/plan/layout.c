/* SPDX-License-Identifier: MIT */
/* The memory planner: activations get offsets by lifetime, so that a step needs one block that is known at load. */
#include "plan/plan.h"

#include "base/alloc.h"

#include <string.h>

enum { ALIGN = 64 };

static bool round_up(size_t *n)
{
    size_t m;
    if (!zx_add_size(&m, *n, ALIGN - 1)) return false;
    *n = m / ALIGN * ALIGN;
    return true;
}

typedef struct span {
    size_t begin, size;
    int last; /* node after which it is free */
} span;

/* The lowest gap among the live spans (kept sorted by begin) that holds `size`. */
static size_t place(span *live, int *n_live, size_t size, int last)
{
    size_t at = 0;
    int i = 0;
    for (; i < *n_live; i++) {
        if (live[i].begin - at >= size) break;
        at = live[i].begin + live[i].size;
    }
    memmove(&live[i + 1], &live[i], (size_t)(*n_live - i) * sizeof *live);
    live[i] = (span){at, size, last};
    ++*n_live;
    return at;
}

static void drop_dead(span *live, int *n_live, int node)
{
    int n = 0;
    for (int i = 0; i < *n_live; i++)
        if (live[i].last >= node) live[n++] = live[i];
    *n_live = n;
}

/* Checked size of a value with max_tokens rows, rounded to cache lines. */
static bool value_bytes(const zx_plan *p, const zx_value *v, size_t *out)
{
    size_t n = zmlx_dtype_size(v->type.dtype);
    for (int i = 0; i < v->type.rank; i++) {
        int64_t d = v->type.dim[i] == ZX_TOKENS ? p->max_tokens : v->type.dim[i];
        if (d < 0 || !zx_mul_size(&n, n, (size_t)d)) return false;
    }
    if (!round_up(&n) || n > (size_t)1 << 46) return false;
    *out = n;
    return true;
}

static zmlx_status too_big(zmlx_err *err, const zx_plan *p, int v)
{
    char text[96];
    return zx_fail(err, ZMLX_E_LIMIT, -1, "%s plan: value %d (%s) with %lld tokens exceeds the address space", p->what,
                   v, zx_type_text(&p->value[v].type, text, sizeof text), (long long)p->max_tokens);
}

static zmlx_status layout_steps(zx_plan *p, int *last, span *live, zmlx_err *err)
{
    for (int i = 0; i < p->n_nodes; i++)
        for (int j = 0; j < p->node[i].n_in; j++)
            last[p->node[i].in[j]] = i;
    if (p->logits >= 0) last[p->logits] = p->n_nodes;
    int n_live = 0;
    size_t bytes;
    if (!value_bytes(p, &p->value[p->tokens], &bytes)) return too_big(err, p, p->tokens);
    p->value[p->tokens].offset = place(live, &n_live, bytes, p->n_nodes);
    p->step_bytes = bytes;
    for (int i = 0; i < p->n_nodes; i++) {
        drop_dead(live, &n_live, i); /* inputs of node i are alive until i has run */
        for (int j = 0; j < p->node[i].n_out; j++) {
            zx_val v = p->node[i].out[j];
            if (!value_bytes(p, &p->value[v], &bytes)) return too_big(err, p, v);
            p->value[v].offset = place(live, &n_live, bytes, ZX_MAX(last[v], i));
            p->step_bytes = ZX_MAX(p->step_bytes, p->value[v].offset + bytes);
        }
    }
    return ZMLX_OK;
}

static zmlx_status layout_states(zx_plan *p, zmlx_err *err)
{
    p->state_bytes = 0;
    for (int v = 0; v < p->n_values; v++) {
        if (p->value[v].kind != ZX_VAL_STATE) continue;
        size_t bytes;
        if (!value_bytes(p, &p->value[v], &bytes)) return too_big(err, p, v);
        p->value[v].offset = p->state_bytes;
        if (!zx_add_size(&p->state_bytes, p->state_bytes, bytes)) return too_big(err, p, v);
    }
    return ZMLX_OK;
}

/* What kernels ask for beside their operands, at the largest step and the end of the context. */
static void layout_scratch(zx_plan *p)
{
    p->shared_bytes = p->scratch_bytes = 0;
    for (int i = 0; i < p->n_nodes; i++) {
        const zx_node *n = &p->node[i];
        zx_operand in[ZX_MAX_IN] = {0}, out[ZX_MAX_OUT] = {0};
        for (int j = 0; j < n->n_in; j++)
            in[j].type = p->value[n->in[j]].type;
        for (int j = 0; j < n->n_out; j++)
            out[j].type = p->value[n->out[j]].type;
        zx_call c = {.in = in, .out = out, .attr = &n->attr, .tokens = p->max_tokens, .pos = p->ctx - p->max_tokens};
        if (c.pos < 0) c.pos = 0;
        if (n->op->shared) p->shared_bytes = ZX_MAX(p->shared_bytes, n->op->shared(&c));
        if (n->op->scratch) p->scratch_bytes = ZX_MAX(p->scratch_bytes, n->op->scratch(&c));
    }
}

zmlx_status zx_plan_layout(zx_plan *p, zmlx_err *err)
{
    int *last = zx_calloc((size_t)p->n_values + 1, sizeof *last);
    span *live = zx_calloc((size_t)p->n_values + 2, sizeof *live);
    zmlx_status s = last && live ? ZMLX_OK : zx_fail(err, ZMLX_E_NOMEM, -1, "memory planner");
    if (s == ZMLX_OK) s = layout_steps(p, last, live, err);
    if (s == ZMLX_OK) s = layout_states(p, err);
    if (s == ZMLX_OK) layout_scratch(p);
    if (s == ZMLX_OK && (!round_up(&p->shared_bytes) || !round_up(&p->scratch_bytes)))
        s = zx_fail(err, ZMLX_E_LIMIT, -1, "%s plan: scratch memory exceeds the address space", p->what);
    zx_free(last);
    zx_free(live);
    return s;
}
