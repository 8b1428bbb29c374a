/* SPDX-License-Identifier: MIT */
#include "plan/plan.h"

#include "base/alloc.h"

#include <string.h>

zx_plan *zx_plan_create(const char *what, int64_t max_tokens, int64_t ctx)
{
    zx_arena *a = zx_arena_create();
    zx_plan *p = a ? zx_arena_alloc(a, sizeof *p) : NULL;
    if (!p) {
        zx_arena_destroy(a);
        return NULL;
    }
    *p = (zx_plan){.arena = a, .what = what, .max_tokens = max_tokens, .ctx = ctx, .tokens = -1, .logits = -1};
    return p;
}

void zx_plan_destroy(zx_plan *p)
{
    if (p) zx_arena_destroy(p->arena);
}

/* Room for one more element; the arena keeps the outgrown array, at most as much again. */
static bool grow(zx_arena *a, void **array, int n, int *cap, size_t size)
{
    if (n < *cap) return true;
    int want = *cap ? *cap * 2 : 64;
    void *bigger = want < 1 << 24 ? zx_arena_alloc(a, (size_t)want * size) : NULL;
    if (!bigger) return false;
    if (n) memcpy(bigger, *array, (size_t)n * size);
    *array = bigger;
    *cap = want;
    return true;
}

zx_val zx_plan_add_value(zx_plan *p, const zx_value *v)
{
    void *array = p->value;
    if (!grow(p->arena, &array, p->n_values, &p->cap_values, sizeof *v)) return -1;
    p->value = array;
    p->value[p->n_values] = *v;
    return p->n_values++;
}

int zx_plan_add_node(zx_plan *p, const zx_node *n)
{
    void *array = p->node;
    if (!grow(p->arena, &array, p->n_nodes, &p->cap_nodes, sizeof *n)) return -1;
    p->node = array;
    p->node[p->n_nodes] = *n;
    return p->n_nodes++;
}

zx_plan *zx_plan_clone(const zx_plan *p)
{
    zx_plan *c = zx_plan_create(p->what, p->max_tokens, p->ctx);
    if (!c) return NULL;
    bool ok = true;
    for (int i = 0; ok && i < p->n_values; i++) {
        zx_value v = p->value[i];
        if (v.name) {
            v.name = zx_arena_strdup(c->arena, v.name);
            ok = v.name != NULL;
        }
        ok = ok && zx_plan_add_value(c, &v) >= 0;
    }
    for (int i = 0; ok && i < p->n_nodes; i++)
        ok = zx_plan_add_node(c, &p->node[i]) >= 0;
    if (!ok) {
        zx_plan_destroy(c);
        return NULL;
    }
    c->tokens = p->tokens;
    c->logits = p->logits;
    return c;
}

/* Bytes of `w` that one token reads: a row of an embedding, the chosen experts of a stack, else all. */
static size_t weight_read(const zx_node *n, const zx_value *v, int64_t chosen)
{
    const zx_type *t = &v->type;
    if (!strcmp(n->op->name, "embedding")) return t->dim[0] > 0 ? v->weight->bytes / (size_t)t->dim[0] : 0;
    if (t->rank == 3 && t->dim[0] > 0) return v->weight->bytes / (size_t)t->dim[0] * (size_t)chosen;
    return v->weight->bytes;
}

size_t zx_plan_bytes_per_token(const zx_plan *p)
{
    size_t sum = 0;
    for (int i = 0; i < p->n_nodes; i++) {
        const zx_node *n = &p->node[i];
        int64_t chosen = 1; /* how many experts: the width of the index operand */
        for (int j = 0; j < n->n_in; j++) {
            const zx_type *t = &p->value[n->in[j]].type;
            if (t->dtype == ZMLX_I32 && t->rank == 2) chosen = t->dim[1];
        }
        for (int j = 0; j < n->n_in; j++) {
            const zx_value *v = &p->value[n->in[j]];
            if (v->kind == ZX_VAL_WEIGHT) sum += weight_read(n, v, chosen);
        }
    }
    return sum;
}
