/* SPDX-License-Identifier: MIT */
/* Mixtures of experts: which (token, slot) pairs each expert serves, and gated products of row blocks. */
#ifndef ZX_KERNELS_EXPERTS_H
#define ZX_KERNELS_EXPERTS_H

#include "kernels/act.h"
#include "kernels/dot.h"

/* The pairs of a step in the order of their experts.  Pair p = token * k + slot. */
typedef struct zx_pairs {
    int32_t *active; /* experts with at least one pair, ascending */
    int32_t *first;  /* pairs of active[a]: pair[first[a]] .. pair[first[a + 1] - 1], ascending */
    int32_t *pair;
    int32_t *n_active; /* one number */
} zx_pairs;

/* How many experts can be active at all; bytes of a zx_pairs. */
ZX_INLINE int64_t zx_pairs_most(int64_t pairs, int64_t experts) { return ZX_MIN(pairs, experts); }
ZX_INLINE size_t zx_pairs_bytes(int64_t pairs, int64_t experts)
{
    return ((size_t)(pairs + 2 * zx_pairs_most(pairs, experts) + 2 + experts) * 4 + 63) / 64 * 64;
}
ZX_INLINE zx_pairs zx_pairs_at(void *p, int64_t pairs, int64_t experts)
{
    zx_pairs s = {.n_active = p};
    s.pair = s.n_active + 1;
    s.active = s.pair + pairs;
    s.first = s.active + zx_pairs_most(pairs, experts);
    return s;
}

/* An expert's number from the router.  It cannot be out of range; if it were, no memory outside the stack is read. */
ZX_INLINE int32_t zx_expert_of(const int32_t *idx, int64_t pair, int64_t experts)
{
    int32_t e = idx[pair];
    return e < 0 ? 0 : e >= experts ? (int32_t)experts - 1 : e;
}

static __attribute__((unused)) void zx_pairs_sort(zx_pairs *s, const int32_t *idx, int64_t pairs, int64_t experts)
{
    int32_t *next = s->first + zx_pairs_most(pairs, experts) + 1; /* per expert: its count, then where it goes on */
    for (int64_t e = 0; e < experts; e++)
        next[e] = 0;
    for (int64_t p = 0; p < pairs; p++)
        next[zx_expert_of(idx, p, experts)]++;
    int32_t n = 0, at = 0;
    for (int64_t e = 0; e < experts; e++) {
        if (!next[e]) continue;
        s->active[n] = (int32_t)e;
        s->first[n++] = at;
        at += next[e];
        next[e] = at - next[e];
    }
    s->first[n] = at;
    *s->n_active = n;
    for (int64_t p = 0; p < pairs; p++)
        s->pair[next[zx_expert_of(idx, p, experts)]++] = (int32_t)p;
}

/* Blocks of 16 rows that a gated product takes at once: first all rows of the gate, then those of up, so that few
 * tokens still mean long sequential reads.  nt * zx_glu_blocks(nt) <= ZX_DOT_TOKENS. */
ZX_INLINE int zx_glu_blocks(int nt) { return nt <= ZX_DOT_DIRECT ? ZX_DOT_TOKENS / nt : 1; }

/* out[t][r] = swiglu(gate row r times x[t], up row r times x[t]) for the rows of blocks [block, end), both products
 * rounded to type t0 first, as if they had been stored. */
static __attribute__((noinline, unused)) void zx_glu_rows(const zx_mat *gate, const zx_mat *up, int64_t block,
                                                          int64_t end, const uint8_t *const *x, int nt,
                                                          void *const *out, zmlx_dtype t0, void *scratch)
{
    float *g = scratch, *u = g + ZX_DOT_TOKENS * ZX_DOT_ROWS;
    void *panel = u + ZX_DOT_TOKENS * ZX_DOT_ROWS;
    int most = zx_glu_blocks(nt);
    for (; block < end; block += most) {
        int n = (int)ZX_MIN(most, end - block);
        for (int half = 0; half < 2; half++)
            for (int i = 0; i < n; i++) {
                int64_t row = (block + i) * ZX_DOT_ROWS;
                zx_dot_rows(half ? up : gate, row, (int)ZX_MIN(ZX_DOT_ROWS, gate->n - row), x, nt,
                            (half ? u : g) + i * nt * ZX_DOT_ROWS, panel);
            }
        for (int i = 0; i < n; i++)
            for (int t = 0; t < nt; t++) {
                int64_t row = (block + i) * ZX_DOT_ROWS, at = (i * nt + t) * ZX_DOT_ROWS;
                v16 y = zx_swiglu_lanes(v16_round_to(v16_load(g + at), t0), v16_round_to(v16_load(u + at), t0), t0);
                v16_store_any(out[t], t0, row, y, gate->n - row);
            }
    }
}
ZX_INLINE size_t zx_glu_scratch(const zx_type *w)
{
    return 2 * ZX_DOT_TOKENS * ZX_DOT_ROWS * sizeof(float) + zx_dot_scratch(w);
}

ZX_INLINE int64_t zx_row_blocks(const zx_type *w) { return (w->dim[w->rank - 2] + ZX_DOT_ROWS - 1) / ZX_DOT_ROWS; }

/* --- the shape of a call that multiplies chosen experts: in[0] x, in[1] weights, in[i] indices ------------------ */

/* Prepared rows of x: one per token, or one per pair when x is [tokens, k, K]. */
ZX_INLINE int64_t zx_pairs_x(const zx_call *c, const zx_operand *idx)
{
    return c->in[0].type.rank == 3 ? c->tokens * zx_type_last(&idx->type) : c->tokens;
}
ZX_INLINE size_t zx_pairs_x_bytes(const zx_call *c, const zx_operand *idx)
{
    return (size_t)(zx_pairs_x(c, idx) * zx_dot_x_bytes(c->in[0].type.dtype, &c->in[1].type));
}
ZX_INLINE int64_t zx_experts_tasks(const zx_call *c, int phase, const zx_operand *idx)
{
    if (phase == 0) return zx_pairs_x(c, idx) + 1;
    const zx_type *w = &c->in[1].type;
    return zx_pairs_most(c->tokens * zx_type_last(&idx->type), w->dim[0]) * zx_row_blocks(w);
}
ZX_INLINE size_t zx_experts_shared(const zx_call *c, const zx_operand *idx)
{
    return zx_pairs_x_bytes(c, idx) + zx_pairs_bytes(c->tokens * zx_type_last(&idx->type), c->in[1].type.dim[0]);
}

/* Phase 0: task 0 sorts the pairs, the others prepare one row of x each. */
ZX_INLINE void zx_experts_prepare(const zx_call *c, int64_t begin, int64_t end, const zx_operand *idx)
{
    const zx_type *xt = &c->in[0].type, *w = &c->in[1].type;
    int64_t bytes = zx_dot_x_bytes(xt->dtype, w), pairs = c->tokens * zx_type_last(&idx->type);
    zx_mat m = zx_mat_of(&c->in[1], xt->dtype, 0);
    for (int64_t i = begin; i < end; i++) {
        if (i == 0) {
            zx_pairs s = zx_pairs_at((char *)c->shared + zx_pairs_x_bytes(c, idx), pairs, w->dim[0]);
            zx_pairs_sort(&s, idx->data, pairs, w->dim[0]);
            continue;
        }
        const char *x = (const char *)c->in[0].data + (i - 1) * m.k * (xt->dtype == ZMLX_F32 ? 4 : 2);
        zx_dot_prepare(&m, x, xt->dtype, (char *)c->shared + (i - 1) * bytes);
    }
}

#if ZX_LEVEL == 0
/* Test input: any experts, and now and then the same one for many pairs in a row. */
static inline __attribute__((unused)) void zx_fill_experts(int64_t pairs, int64_t experts, int32_t *idx, uint64_t *rng)
{
    for (int64_t p = 0; p < pairs; p++) {
        *rng ^= *rng << 13, *rng ^= *rng >> 7, *rng ^= *rng << 17;
        idx[p] = p && *rng % 4 == 0 ? idx[p - 1] : (int32_t)((*rng >> 20) % (uint64_t)experts);
    }
}

static inline __attribute__((unused)) zmlx_status zx_glu_check(const zx_type *gate, const zx_type *up,
                                                               const zx_attr *attr, zmlx_err *err)
{
    char gt[96], ut[96];
    ZX_REQUIRE(attr->activation == ZX_ACT_SILU, "activation %d, expected %d (silu)", (int)attr->activation,
               ZX_ACT_SILU);
    ZX_REQUIRE(zx_type_equal(gate, up), "w_gate is %s but w_up is %s", zx_type_text(gate, gt, sizeof gt),
               zx_type_text(up, ut, sizeof ut));
    return ZMLX_OK;
}
#endif

#endif
