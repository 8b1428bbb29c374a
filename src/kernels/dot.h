/* SPDX-License-Identifier: MIT */
/* Dot products of weight rows with activations: the one inner routine behind every matrix kernel, plain or fused.
 *
 * The numbers (docs/NUMERICS.md).  A row of K elements is walked in blocks; a block gives each of 16 lanes a partial
 * sum d, and acc collects the d of all blocks in ascending order.  Everything is float32 until the caller rounds.
 *
 *   codes (4 or 8 bits)  A block is 64 bytes of packed codes; lane l owns its 32-bit word l, that is 8 or 4
 *                        consecutive k, all in one group.
 *     4 bits, x bf16     for j = 0..3: d = v16_dp(d, (q[8l + j], q[8l + 4 + j]), (x[8l + j], x[8l + 4 + j]))
 *     otherwise          for j ascending: d = fma(q[8l + j] or q[4l + j], x, d)
 *                        then acc = fma(scale of the lane's group, d, acc).
 *     biases             lane g mod 16: bacc = fma(bias of group g, sum of x over group g, bacc), g ascending;
 *                        the sum of a group adds its elements k = l, l + 16, ... per lane, then v16_sum.
 *                        Result: v16_sum(acc + bacc).
 *   plain, both bf16     blocks of 128: for j = 0..3: d = v16_dp(d, w, x) on elements 32j + 2l and 32j + 2l + 1;
 *                        then acc = acc + d.
 *   plain, otherwise     blocks of 64: for j = 0..3: d = fma(w, x, d) on element 16j + l; then acc = acc + d.
 *                        Result: v16_sum(acc).
 *
 * What is missing in the last block counts as zero.  The order never depends on how many tokens or rows are computed
 * together, so decode and prefill, stock and fused kernels give the same bits.
 *
 * The shape of the work: activations are prepared once per token (zx_dot_prepare: the vectors above in the order in
 * which they are used, then the group sums).  Few tokens: each row is unpacked in registers and its products with all
 * tokens are taken, one sequential stream of weights.  Many: four rows are unpacked into scratch and a register tile
 * of 4 rows x 3 tokens goes over them. */
#ifndef ZX_KERNELS_DOT_H
#define ZX_KERNELS_DOT_H

#include "kernels/kernel.h"
#include "kernels/lanes.h"

enum {
    ZX_DOT_ROWS = 16,   /* rows per call of zx_dot_rows */
    ZX_DOT_TOKENS = 64, /* tokens per call, at most */
    ZX_DOT_DIRECT = 4,  /* tokens for which a row is unpacked in registers */
    ZX_DOT_TILE = 3     /* tokens of a register tile; its rows are 4 */
};

typedef enum zx_dot {
    ZX_DOT_Q4_PAIRS,   /* 4-bit codes, x bf16: v16_dp */
    ZX_DOT_Q4,         /* 4-bit codes, other x */
    ZX_DOT_Q8,         /* 8-bit codes */
    ZX_DOT_BF16_PAIRS, /* both bf16: v16_dp */
    ZX_DOT_PLAIN       /* other plain numbers */
} zx_dot;

/* A weight matrix: rows of codes with scales and biases, or of plain numbers. */
typedef struct zx_mat {
    zx_dot dot;
    zmlx_dtype t;         /* of scales and biases; of the numbers when plain */
    int group;            /* 0 when plain */
    int64_t n, k, groups; /* rows, columns, groups per row */
    int64_t row, srow;    /* bytes per row of w; of scales and of biases */
    const uint8_t *w, *s, *b;
} zx_mat;

ZX_INLINE zx_dot zx_dot_of(zmlx_dtype x, const zx_type *w)
{
    if (w->quant.bits == 4) return x == ZMLX_BF16 ? ZX_DOT_Q4_PAIRS : ZX_DOT_Q4;
    if (w->quant.bits == 8) return ZX_DOT_Q8;
    return x == ZMLX_BF16 && w->dtype == ZMLX_BF16 ? ZX_DOT_BF16_PAIRS : ZX_DOT_PLAIN;
}
/* Does d come from v16_dp over bf16 pairs?  Is there a scale per block? */
ZX_INLINE bool zx_dot_pairs(zx_dot d) { return d == ZX_DOT_Q4_PAIRS || d == ZX_DOT_BF16_PAIRS; }
ZX_INLINE bool zx_dot_coded(zx_dot d) { return d <= ZX_DOT_Q8; }
/* Elements and 64-byte vectors of a block; bytes of its part of the row. */
ZX_INLINE int zx_dot_block(zx_dot d) { return d == ZX_DOT_Q8 || d == ZX_DOT_PLAIN ? 64 : 128; }
ZX_INLINE int zx_dot_planes(zx_dot d) { return d == ZX_DOT_Q4 ? 8 : 4; }

ZX_INLINE int64_t zx_dot_blocks(zx_dot d, int64_t k) { return (k + zx_dot_block(d) - 1) / zx_dot_block(d); }
ZX_INLINE int64_t zx_dot_planes_bytes(zx_dot d, int64_t k) { return zx_dot_blocks(d, k) * zx_dot_planes(d) * 64; }
ZX_INLINE int64_t zx_dot_sums(const zx_quant *q, int64_t k) /* vectors of 16 groups */
{
    return q->bits ? (k / q->group + 15) / 16 : 0;
}
/* Bytes of one prepared token; bytes of scratch that zx_dot_rows needs. */
ZX_INLINE int64_t zx_dot_x_bytes(zmlx_dtype x, const zx_type *w)
{
    int64_t k = zx_type_last(w);
    return zx_dot_planes_bytes(zx_dot_of(x, w), k) + zx_dot_sums(&w->quant, k) * 64;
}
/* Matrix `index` of a stack (0 of a plain matrix). */
ZX_INLINE zx_mat zx_mat_of(const zx_operand *o, zmlx_dtype x, int64_t index)
{
    const zx_type *t = &o->type;
    zx_mat m = {.dot = zx_dot_of(x, t), .k = zx_type_last(t), .n = t->dim[t->rank - 2]};
    if (t->quant.bits) {
        m.t = t->quant.scales;
        m.group = t->quant.group;
        m.groups = m.k / m.group;
        m.row = m.k * t->quant.bits / 8;
        m.srow = m.groups * (m.t == ZMLX_F32 ? 4 : 2);
        m.s = (const uint8_t *)o->scales + index * m.n * m.srow;
        m.b = (const uint8_t *)o->biases + index * m.n * m.srow;
    } else {
        m.t = t->dtype;
        m.row = m.k * (m.t == ZMLX_F32 ? 4 : 2);
    }
    m.w = (const uint8_t *)o->data + index * m.n * m.row;
    return m;
}

/* k elements x of type t as zx_dot_rows wants them: zx_dot_x_bytes bytes at dst, which is 64-byte aligned. */
void zx_dot_prepare_scalar(const zx_mat *m, const void *x, zmlx_dtype t, void *dst);
void zx_dot_prepare_avx512(const zx_mat *m, const void *x, zmlx_dtype t, void *dst);
/* y[16 t + r] = row row0 + r of m times x[t], not yet rounded, for rows <= 16 and nt <= ZX_DOT_TOKENS prepared tokens.
 * scratch: zx_dot_scratch bytes, 64-byte aligned.  Both functions live in qmm.k.c. */
void zx_dot_rows_scalar(const zx_mat *m, int64_t row0, int rows, const uint8_t *const *x, int nt, float *y,
                        void *scratch);
void zx_dot_rows_avx512(const zx_mat *m, int64_t row0, int rows, const uint8_t *const *x, int nt, float *y,
                        void *scratch);
#define zx_dot_prepare ZX_FN(zx_dot_prepare)
#define zx_dot_rows    ZX_FN(zx_dot_rows)

/* Bytes of scratch per thread for rows of these weights, and how many tokens to take together: their prepared vectors
 * should stay in the second-level cache while rows go by. */
ZX_INLINE size_t zx_dot_scratch(const zx_type *w)
{
    /* accumulators, biases of 4 rows, their unpacked blocks (at most 40 vectors each) */
    return (size_t)(64 * (ZX_DOT_TOKENS * 4 + 4 * zx_dot_sums(&w->quant, zx_type_last(w)) + 4 * 40));
}
ZX_INLINE int zx_dot_chunk(int64_t x_bytes)
{
    int64_t n = (512 << 10) / x_bytes;
    return n >= ZX_DOT_TOKENS ? ZX_DOT_TOKENS : n < 24 ? 24 : (int)n;
}

/* --- what infer and reference of the matrix kernels share --------------------------------------- */
#if ZX_LEVEL == 0
/* x [tokens, ...] times rows of w: types and sizes. rank: of w. */
static inline __attribute__((unused)) zmlx_status zx_dot_check(const zx_type *x, int64_t x_k, const zx_type *w,
                                                               const char *name, int rank, zmlx_err *err)
{
    char text[96];
    ZX_REQUIRE(x->rank >= 2 && zx_is_float16_32(x->dtype) && !x->quant.bits,
               "x: %s, expected float16, bfloat16 or float32 of at least 2 dimensions",
               zx_type_text(x, text, sizeof text));
    ZX_REQUIRE(w->rank == rank, "%s: %s, expected %d dimensions", name, zx_type_text(w, text, sizeof text), rank);
    ZX_REQUIRE(zx_is_float16_32(w->quant.bits ? w->quant.scales : w->dtype),
               "%s: %s, expected float16, bfloat16 or float32 numbers or scales", name,
               zx_type_text(w, text, sizeof text));
    int64_t k = zx_type_last(w);
    for (int i = 0; i < rank; i++)
        ZX_REQUIRE(w->dim[i] >= 1 && w->dim[i] <= INT32_MAX, "%s: dimension %d is %lld, expected 1 to %d", name, i,
                   (long long)w->dim[i], INT32_MAX);
    ZX_REQUIRE(x_k == k, "x has %lld elements per row but %s has %lld columns", (long long)x_k, name, (long long)k);
    const zx_quant *q = &w->quant;
    if (!q->bits) return ZMLX_OK;
    ZX_REQUIRE(q->bits == 4 || q->bits == 8, "%s: %d bits, expected 4 or 8", name, q->bits);
    ZX_REQUIRE(q->group == 32 || q->group == 64 || q->group == 128, "%s: group %d, expected 32, 64 or 128", name,
               q->group);
    ZX_REQUIRE(k % q->group == 0, "%s: %lld columns are not a multiple of its group %d", name, (long long)k, q->group);
    return ZMLX_OK;
}

static inline __attribute__((unused)) zmlx_dtype zx_dot_type(zmlx_dtype x, const zx_type *w)
{
    return zx_promote(x, w->quant.bits ? w->quant.scales : w->dtype);
}

/* Are two weights stored alike, so that they can share prepared activations? */
static inline __attribute__((unused)) zmlx_status zx_dot_alike(const zx_type *a, const char *a_name, const zx_type *b,
                                                               const char *b_name, zmlx_err *err)
{
    char at[96], bt[96];
    bool same =
        a->quant.bits == b->quant.bits && zx_type_last(a) == zx_type_last(b) &&
        (a->quant.bits ? a->quant.group == b->quant.group && a->quant.scales == b->quant.scales : a->dtype == b->dtype);
    ZX_REQUIRE(same, "%s is %s but %s is %s: they must be stored alike", a_name, zx_type_text(a, at, sizeof at), b_name,
               zx_type_text(b, bt, sizeof bt));
    return ZMLX_OK;
}

static inline __attribute__((unused)) zx_type zx_dot_weight(const zx_case *k, int rank, int64_t a, int64_t b, int64_t c)
{
    zx_type t = rank == 2 ? zx_type_make(k->dtype, 2, a, b) : zx_type_make(k->dtype, 3, a, b, c);
    t.quant = k->quant;
    if (k->quant.bits) t.dtype = k->quant.scales;
    return t;
}

/* sum_k x[k] w[k] in double. */
static inline __attribute__((unused)) double zx_dot_double(const double *x, const double *w, int64_t k)
{
    double s = 0;
    for (int64_t i = 0; i < k; i++)
        s += x[i] * w[i];
    return s;
}
#endif

#endif
