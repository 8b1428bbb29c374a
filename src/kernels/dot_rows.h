/* SPDX-License-Identifier: MIT */
/* The body of dot.h, compiled into qmm.k.c for all matrix kernels.
 *
 * Few tokens: each row is unpacked in registers and multiplied with up to 4 tokens, one sequential stream of weights.
 * Many: four rows are unpacked into scratch and a register tile of 4 rows x 3 tokens goes over them. */
#ifndef ZX_KERNELS_DOT_ROWS_H
#define ZX_KERNELS_DOT_ROWS_H

#include "kernels/dot.h"

/* The hot functions take the kind of weight and the number of tokens as constants, which multiplies their code; plain
 * C, where that would cost minutes of compilation and buy little, keeps one copy of each. */
#if ZX_LEVEL == 0
#define ZX_HOT static __attribute__((noinline, unused))
#define ZX_UNROLL(n)
#else
#define ZX_HOT          ZX_INLINE
#define ZX_PRAGMA(text) _Pragma(#text)
#define ZX_UNROLL(n)    ZX_PRAGMA(GCC unroll n)
#endif

/* --- preparing x ------------------------------------------------------------------------------ */

/* Elements i .. i+31 of bf16 x[k], zero beyond its end. */
ZX_INLINE w32 zx_x_pairs(const uint16_t *x, int64_t i, int64_t k) { return w32_load_n(x + (i < k ? i : 0), k - i); }
ZX_INLINE v16 zx_x_lanes(const void *x, zmlx_dtype t, int64_t i, int64_t k)
{
    return i < k ? v16_load_any(x, t, i, k - i) : v16_zero();
}

/* 64 elements to v[j] = elements 4l + j. */
ZX_INLINE void zx_deal4(v16 v[4])
{
    v16 e0 = v16_deal(v[0], v[1], 0), e1 = v16_deal(v[2], v[3], 0);
    v16 o0 = v16_deal(v[0], v[1], 1), o1 = v16_deal(v[2], v[3], 1);
    v[0] = v16_deal(e0, e1, 0);
    v[1] = v16_deal(o0, o1, 0);
    v[2] = v16_deal(e0, e1, 1);
    v[3] = v16_deal(o0, o1, 1);
}

ZX_HOT void zx_dot_prepare_as(const zx_dot dot, const zmlx_dtype t, const zx_mat *m, const void *x, void *dst)
{
    const int planes = zx_dot_planes(dot), block = zx_dot_block(dot);
    int64_t blocks = zx_dot_blocks(dot, m->k), k = m->k;
    uint8_t *at = dst;
    for (int64_t b = 0; b < blocks; b++, at += planes * 64) {
        int64_t k0 = b * block;
        if (zx_dot_pairs(dot)) {
            w32 v[4];
            for (int i = 0; i < 4; i++)
                v[i] = zx_x_pairs(x, k0 + 32 * i, k);
            if (dot == ZX_DOT_Q4_PAIRS) { /* plane j: elements 4i + j */
                w32 e0 = w32_deal(v[0], v[1], 0), e1 = w32_deal(v[2], v[3], 0);
                w32 o0 = w32_deal(v[0], v[1], 1), o1 = w32_deal(v[2], v[3], 1);
                v[0] = w32_deal(e0, e1, 0);
                v[1] = w32_deal(o0, o1, 0);
                v[2] = w32_deal(e0, e1, 1);
                v[3] = w32_deal(o0, o1, 1);
            }
            for (int i = 0; i < 4; i++)
                w32_store(at + 64 * i, v[i]);
            continue;
        }
        v16 v[8];
        for (int i = 0; i < planes; i++)
            v[i] = zx_x_lanes(x, t, k0 + 16 * i, k);
        if (dot == ZX_DOT_Q8) zx_deal4(v);
        if (dot == ZX_DOT_Q4) {
            v16 e[4], o[4];
            for (int i = 0; i < 4; i++) {
                e[i] = v16_deal(v[2 * i], v[2 * i + 1], 0);
                o[i] = v16_deal(v[2 * i], v[2 * i + 1], 1);
            }
            zx_deal4(e);
            zx_deal4(o);
            for (int i = 0; i < 4; i++) {
                v[2 * i] = e[i];
                v[2 * i + 1] = o[i];
            }
        }
        for (int i = 0; i < planes; i++)
            v16_store((float *)(void *)at + 16 * i, v[i]);
    }
    for (int64_t g0 = 0; g0 < m->groups; g0 += 16, at += 64) {
        v16 sum[16];
        for (int g = 0; g < 16; g++) {
            sum[g] = v16_zero();
            for (int i = 0; g0 + g < m->groups && i < m->group; i += 16)
                sum[g] = v16_add(sum[g], v16_load_any(x, t, (g0 + g) * m->group + i, 16));
        }
        v16_store((float *)(void *)at, v16_sums(sum));
    }
}

void zx_dot_prepare(const zx_mat *m, const void *x, zmlx_dtype t, void *dst)
{
#if ZX_LEVEL == 0
    zx_dot_prepare_as(m->dot, t, m, x, dst);
#else
    switch (m->dot) {
    case ZX_DOT_Q4_PAIRS:
        zx_dot_prepare_as(ZX_DOT_Q4_PAIRS, ZMLX_BF16, m, x, dst);
        break;
    case ZX_DOT_Q4:
        zx_dot_prepare_as(ZX_DOT_Q4, t, m, x, dst);
        break;
    case ZX_DOT_Q8:
        if (t == ZMLX_BF16)
            zx_dot_prepare_as(ZX_DOT_Q8, ZMLX_BF16, m, x, dst);
        else
            zx_dot_prepare_as(ZX_DOT_Q8, t, m, x, dst);
        break;
    case ZX_DOT_BF16_PAIRS:
        zx_dot_prepare_as(ZX_DOT_BF16_PAIRS, ZMLX_BF16, m, x, dst);
        break;
    case ZX_DOT_PLAIN:
        zx_dot_prepare_as(ZX_DOT_PLAIN, t, m, x, dst);
        break;
    }
#endif
}

/* --- one block of one row ---------------------------------------------------------------------- */

/* A block's vectors: of bf16 pairs or of floats. */
typedef struct zx_vecs {
    w32 p[4];
    v16 f[8];
} zx_vecs;

/* Unpack the block at w, of which n elements exist (n >= its length: all of them). */
ZX_HOT void zx_unpack(const zx_dot dot, const zmlx_dtype t, const uint8_t *w, const int64_t n, zx_vecs *q)
{
    static const uint16_t bf16_code[32] = {0,      0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0, 0x40c0, 0x40e0,
                                           0x4100, 0x4110, 0x4120, 0x4130, 0x4140, 0x4150, 0x4160, 0x4170,
                                           0,      0x3f80, 0x4000, 0x4040, 0x4080, 0x40a0, 0x40c0, 0x40e0,
                                           0x4100, 0x4110, 0x4120, 0x4130, 0x4140, 0x4150, 0x4160, 0x4170};
    static const float f32_code[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    if (dot == ZX_DOT_Q4_PAIRS) {
        /* A look-up takes 5 bits of the index, of which the table, being periodic, ignores the fifth. */
        w32 table = w32_load(bf16_code), v = n >= 128 ? w32_load(w) : w32_load_n(w, n / 4);
        q->p[0] = w32_lookup(table, v);
        q->p[1] = w32_lookup(table, w32_shr(v, 4));
        q->p[2] = w32_lookup(table, w32_shr(v, 8));
        q->p[3] = w32_lookup(table, w32_shr(v, 12));
    } else if (dot == ZX_DOT_Q4) {
        v16 table = v16_load(f32_code);
        v16i v = n >= 128 ? v16i_load(w) : v16i_load_n(w, n / 8);
        for (int j = 0; j < 8; j++)
            q->f[j] = v16_lookup(table, v16i_shr(v, 4 * j));
    } else if (dot == ZX_DOT_Q8) {
        v16i v = n >= 64 ? v16i_load(w) : v16i_load_n(w, n / 4);
        for (int j = 0; j < 4; j++)
            q->f[j] = v16_from_int(v16i_and(v16i_shr(v, 8 * j), v16i_set(255)));
    } else if (dot == ZX_DOT_BF16_PAIRS) {
        for (int j = 0; j < 4; j++)
            q->p[j] = n >= 128 ? w32_load(w + 64 * j) : 32 * j < n ? w32_load_n(w + 64 * j, n - 32 * j) : w32_pair(0);
    } else {
        for (int j = 0; j < 4; j++)
            q->f[j] = 16 * j < n ? v16_load_any(w, t, 16 * j, n - 16 * j) : v16_zero();
    }
}

/* Which of up to 16 groups lane l of block b belongs to, b counted from the first of these groups. */
ZX_INLINE v16i zx_group_lanes(const zx_dot dot, int group, int64_t b)
{
    static const int32_t lane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    int codes = dot == ZX_DOT_Q8 ? 4 : 8; /* per lane */
    int shift = group == 32 ? 5 : group == 64 ? 6 : 7;
    v16i l = v16i_shr(v16i_load(lane), shift - (codes == 8 ? 3 : 2));
    return v16i_add(l, v16i_set((int32_t)(b * zx_dot_block(dot) >> shift)));
}

/* --- few tokens: rows straight from memory ------------------------------------------------------ */

/* Codes are unpacked nearly as slowly as memory delivers them, so there is little slack to wait for it: ask early. */
enum { ZX_DOT_AHEAD = 2048 };

/* acc[t] += one block at w times x[t], of which n elements exist. */
ZX_INLINE void zx_dot_step(const zx_dot dot, const zmlx_dtype type, const int nt, const uint8_t *w, int64_t n,
                           v16 scale, const uint8_t *const *x, int64_t at, v16 *acc)
{
    const int planes = zx_dot_planes(dot);
    zx_vecs q;
    zx_unpack(dot, type, w, n, &q);
    for (int t = 0; t < nt; t++) {
        v16 d = v16_zero();
        for (int j = 0; j < planes; j++)
            d = zx_dot_pairs(dot) ? v16_dp(d, q.p[j], w32_load(x[t] + at + 64 * j))
                                  : v16_fma(q.f[j], v16_load((const float *)(const void *)(x[t] + at) + 16 * j), d);
        acc[t] = zx_dot_coded(dot) ? v16_fma(scale, d, acc[t]) : v16_add(acc[t], d);
    }
}

/* y[16 t] = lanes of the sum of row `row` times x[t], t < nt.  dot, t and nt are constants where it is called. */
ZX_HOT void zx_dot_row(const zx_dot dot, const zmlx_dtype type, const int nt, const zx_mat *m, int64_t row,
                       const v16i lanes0, const v16i step, int64_t ahead, const uint8_t *const *x, v16 *y)
{
    const int planes = zx_dot_planes(dot), block = zx_dot_block(dot);
    const int bytes = zx_dot_coded(dot) ? 64 : block * (type == ZMLX_F32 ? 4 : 2);
    const uint8_t *w = m->w + row * m->row;
    const int64_t sums = zx_dot_planes_bytes(dot, m->k);
    const int64_t span = zx_dot_coded(dot) ? 16 * (int64_t)m->group : m->k; /* whole blocks unless it is the last */
    v16 acc[ZX_DOT_DIRECT], bacc[ZX_DOT_DIRECT];
    for (int t = 0; t < nt; t++)
        acc[t] = bacc[t] = v16_zero();
    int64_t at = 0; /* in x */
    if (zx_dot_coded(dot)) {
        zx_prefetch(m->s, (row + ahead) * m->srow);
        zx_prefetch(m->b, (row + ahead) * m->srow);
    }
    for (int64_t k = 0, g = 0; k < m->k; k += span, g += 16) {
        const int64_t n = ZX_MIN(span, m->k - k), full = n / block;
        v16 scales = v16_zero();
        v16i lanes = lanes0;
        if (zx_dot_coded(dot)) {
            scales = v16_load_any(m->s + row * m->srow, type, g, m->groups - g);
            v16 biases = v16_load_any(m->b + row * m->srow, type, g, m->groups - g);
            for (int t = 0; t < nt; t++)
                bacc[t] = v16_fma(biases, v16_load((const float *)(const void *)(x[t] + sums) + g), bacc[t]);
        }
        if (dot == ZX_DOT_Q8 && m->group == 128) { /* two blocks per group */
            for (int64_t b = 0; b < full; b++, at += planes * 64, w += bytes)
                zx_dot_step(dot, type, nt, w, block, v16_lookup(scales, v16i_set((int32_t)(b >> 1))), x, at, acc);
            continue;
        }
        ZX_UNROLL(4)
        for (int64_t b = 0; b < full; b++, at += planes * 64, w += bytes) {
            if (zx_dot_coded(dot)) zx_prefetch(w, ZX_DOT_AHEAD);
            zx_dot_step(dot, type, nt, w, block, v16_lookup(scales, lanes), x, at, acc);
            lanes = v16i_add(lanes, step);
        }
        if (n > full * block) zx_dot_step(dot, type, nt, w, n - full * block, v16_lookup(scales, lanes), x, at, acc);
    }
    for (int t = 0; t < nt; t++)
        y[ZX_DOT_ROWS * t] = zx_dot_coded(dot) ? v16_add(acc[t], bacc[t]) : acc[t];
}

ZX_HOT void zx_dot_direct(const zx_dot dot, const zmlx_dtype type, const int nt, const zx_mat *mat, int64_t row0,
                          int rows, const uint8_t *const *xs, float *y)
{
    /* Copies: stores of vectors cannot change them. */
    const zx_mat m = *mat;
    const uint8_t *x[ZX_DOT_DIRECT];
    for (int t = 0; t < nt; t++)
        x[t] = xs[t];
    const v16i lanes = zx_group_lanes(dot, m.group, 0), step = v16i_set(m.group ? zx_dot_block(dot) / m.group : 0);
    const int64_t ahead = ZX_DOT_AHEAD / m.row + 1; /* rows, for their scales */
    v16 acc[ZX_DOT_DIRECT * ZX_DOT_ROWS];
    for (int r = 0; r < rows; r++)
        zx_dot_row(dot, type, nt, &m, row0 + r, lanes, step, ahead, x, acc + r);
    for (int t = 0; t < nt; t++) {
        for (int r = rows; r < ZX_DOT_ROWS; r++)
            acc[ZX_DOT_ROWS * t + r] = v16_zero();
        v16_store(y + ZX_DOT_ROWS * t, v16_sums(acc + ZX_DOT_ROWS * t));
    }
}

/* --- many tokens: four unpacked rows at a time -------------------------------------------------- */

/* Blocks first .. first + n - 1 of a row as vectors: per block its planes and the lanes' scales. */
ZX_HOT void zx_dot_panel(const zx_dot dot, const zmlx_dtype type, const zx_mat *m, int64_t row, int64_t first,
                         int64_t n, uint8_t *dst)
{
    const int planes = zx_dot_planes(dot), block = zx_dot_block(dot);
    const int bytes = zx_dot_coded(dot) ? 64 : block * (type == ZMLX_F32 ? 4 : 2);
    const uint8_t *w = m->w + row * m->row + first * bytes;
    for (int64_t b = first; b < first + n; b++, w += bytes) {
        int64_t left = m->k - b * block;
        zx_vecs q;
        if (left >= block)
            zx_unpack(dot, type, w, block, &q);
        else
            zx_unpack(dot, type, w, left, &q);
        for (int j = 0; j < planes; j++, dst += 64) {
            if (zx_dot_pairs(dot))
                w32_store(dst, q.p[j]);
            else
                v16_store((float *)(void *)dst, q.f[j]);
        }
        if (!zx_dot_coded(dot)) continue;
        const int64_t span = 16 * (int64_t)m->group, at = b * block / span; /* 16 groups at a time */
        v16 scales = v16_load_any(m->s + row * m->srow, type, 16 * at, m->groups - 16 * at);
        v16_store((float *)(void *)dst, v16_lookup(scales, zx_group_lanes(dot, m->group, b - at * span / block)));
        dst += 64;
    }
}

/* out[16 (4 t + r) ..] = lanes of panel row r times x[t], over n blocks from byte `at` of x on.  more: added to what is
 * there.  biases: with the last blocks, those of the 4 rows, `groups` rounded up to 16 apart; x has its sums there. */
ZX_HOT void zx_dot_tile(const zx_dot dot, const int nt, const uint8_t *p, int64_t n, const uint8_t *const *x,
                        int64_t at, bool more, const float *biases, int64_t groups, float *out)
{
    const int planes = zx_dot_planes(dot), step = (planes + zx_dot_coded(dot)) * 64;
    const int64_t row = n * step;
    v16 acc[4 * ZX_DOT_TILE];
    for (int i = 0; i < 4 * nt; i++)
        acc[i] = v16_zero();
    if (more)
        for (int i = 0; i < 4 * nt; i++)
            acc[i] = v16_load(out + 16 * i);
    for (int64_t b = 0; b < n; b++, p += step, at += planes * 64) {
        v16 d[4 * ZX_DOT_TILE];
        for (int i = 0; i < 4 * nt; i++)
            d[i] = v16_zero();
        for (int j = 0; j < planes; j++) {
            if (zx_dot_pairs(dot)) {
                w32 q[4];
                for (int r = 0; r < 4; r++) {
                    q[r] = w32_load(p + r * row + 64 * j);
                    ZX_KEEP(q[r]);
                }
                for (int t = 0; t < nt; t++) {
                    w32 v = w32_load(x[t] + at + 64 * j);
                    ZX_KEEP(v);
                    for (int r = 0; r < 4; r++)
                        d[4 * t + r] = v16_dp(d[4 * t + r], q[r], v);
                }
            } else {
                v16 q[4];
                for (int r = 0; r < 4; r++) {
                    q[r] = v16_load((const float *)(const void *)(p + r * row) + 16 * j);
                    ZX_KEEP(q[r]);
                }
                for (int t = 0; t < nt; t++) {
                    v16 v = v16_load((const float *)(const void *)(x[t] + at) + 16 * j);
                    ZX_KEEP(v);
                    for (int r = 0; r < 4; r++)
                        d[4 * t + r] = v16_fma(q[r], v, d[4 * t + r]);
                }
            }
        }
        for (int r = 0; r < 4; r++) {
            v16 s = zx_dot_coded(dot) ? v16_load((const float *)(const void *)(p + r * row) + 16 * planes) : v16_zero();
            ZX_KEEP(s);
            for (int t = 0; t < nt; t++)
                acc[4 * t + r] = zx_dot_coded(dot) ? v16_fma(s, d[4 * t + r], acc[4 * t + r])
                                                   : v16_add(acc[4 * t + r], d[4 * t + r]);
        }
    }
    if (zx_dot_coded(dot) && biases) {
        v16 bacc[4 * ZX_DOT_TILE];
        for (int i = 0; i < 4 * nt; i++)
            bacc[i] = v16_zero();
        for (int64_t g = 0; g < groups; g += 16)
            for (int t = 0; t < nt; t++) {
                v16 sum = v16_load((const float *)(const void *)(x[t] + at) + g);
                for (int r = 0; r < 4; r++)
                    bacc[4 * t + r] = v16_fma(v16_load(biases + r * groups + g), sum, bacc[4 * t + r]);
            }
        for (int i = 0; i < 4 * nt; i++)
            acc[i] = v16_add(acc[i], bacc[i]);
    }
    for (int i = 0; i < 4 * nt; i++)
        v16_store(out + 16 * i, acc[i]);
}

/* A panel of 4 rows and the tokens that go over it must share the first-level cache: so many blocks at a time.  The
 * accumulators wait in memory meanwhile. */
#define ZX_DOT_PANEL (32 / zx_dot_planes(dot))

ZX_HOT void zx_dot_tiled(const zx_dot dot, const zx_mat *m, int64_t row0, int rows, const uint8_t *const *x, int nt,
                         float *y, void *scratch)
{
    const int64_t blocks = zx_dot_blocks(dot, m->k), padded = (m->groups + 15) / 16 * 16;
    float *acc = scratch, *biases = acc + ZX_DOT_TOKENS * 4 * 16;
    uint8_t *panel = (uint8_t *)(biases + 4 * padded);
    for (int r = 0; r < rows; r += 4) {
        int64_t row[4]; /* rows beyond the end repeat the last one; nobody reads their results */
        for (int i = 0; i < 4; i++)
            row[i] = row0 + ZX_MIN(r + i, rows - 1);
        for (int i = 0; i < 4; i++)
            for (int64_t g = 0; g < m->groups; g += 16)
                v16_store(biases + i * padded + g, v16_load_any(m->b + row[i] * m->srow, m->t, g, m->groups - g));
        for (int64_t b = 0; b < blocks; b += ZX_DOT_PANEL) {
            const int64_t n = ZX_MIN(ZX_DOT_PANEL, blocks - b), at = b * zx_dot_planes(dot) * 64;
            const float *last = b + n == blocks ? biases : NULL;
            for (int i = 0; i < 4; i++)
                zx_dot_panel(dot, m->t, m, row[i], b, n, panel + i * n * (zx_dot_planes(dot) + zx_dot_coded(dot)) * 64);
            int t = 0;
            for (; t + 3 <= nt; t += 3)
                zx_dot_tile(dot, 3, panel, n, x + t, at, b > 0, last, padded, acc + 64 * t);
            if (nt - t == 2) zx_dot_tile(dot, 2, panel, n, x + t, at, b > 0, last, padded, acc + 64 * t);
            if (nt - t == 1) zx_dot_tile(dot, 1, panel, n, x + t, at, b > 0, last, padded, acc + 64 * t);
        }
        for (int t = 0; t < nt; t += 4) { /* 16 sums at once */
            v16 s[16];
            for (int i = 0; i < 16; i++)
                s[i] = v16_load(acc + 64 * t + 16 * i);
            float sum[16];
            v16_store(sum, v16_sums(s));
            for (int i = 0; i < ZX_MIN(4, nt - t); i++)
                memcpy(y + ZX_DOT_ROWS * (t + i) + r, sum + 4 * i, 4 * sizeof(float));
        }
    }
}
#undef ZX_DOT_PANEL

/* The tokens in equal groups of up to 4.  type: m->t, as a constant where that makes a difference. */
ZX_HOT void zx_dot_few(const zx_dot dot, const zmlx_dtype type, const zx_mat *m, int64_t row0, int rows,
                       const uint8_t *const *x, int nt, float *y)
{
    for (int left = (nt + 3) / 4, n; left > 0; left--, nt -= n, x += n, y += n * ZX_DOT_ROWS) {
        n = (nt + left - 1) / left;
        switch (n) {
        case 1:
            zx_dot_direct(dot, type, 1, m, row0, rows, x, y);
            break;
        case 2:
            zx_dot_direct(dot, type, 2, m, row0, rows, x, y);
            break;
        case 3:
            zx_dot_direct(dot, type, 3, m, row0, rows, x, y);
            break;
        default:
            zx_dot_direct(dot, type, 4, m, row0, rows, x, y);
            break;
        }
    }
}

void zx_dot_rows(const zx_mat *m, int64_t row0, int rows, const uint8_t *const *x, int nt, float *y, void *scratch)
{
    /* With 4 tokens in the first-level cache, unpacking a row for each 4 beats unpacking it to memory once. */
    const bool few = nt <= ZX_DOT_DIRECT || (nt <= 16 && 4 * zx_dot_planes_bytes(m->dot, m->k) <= 20 << 10);
#if ZX_LEVEL == 0
    if (few)
        zx_dot_few(m->dot, m->t, m, row0, rows, x, nt, y);
    else
        zx_dot_tiled(m->dot, m, row0, rows, x, nt, y, scratch);
#else
#define ZX_FEW(d, t) zx_dot_few(d, t, m, row0, rows, x, nt, y)
#define ZX_MANY(d)   zx_dot_tiled(d, m, row0, rows, x, nt, y, scratch)
    switch (m->dot) {
    case ZX_DOT_Q4_PAIRS:
        if (!few)
            ZX_MANY(ZX_DOT_Q4_PAIRS);
        else if (m->t == ZMLX_BF16)
            ZX_FEW(ZX_DOT_Q4_PAIRS, ZMLX_BF16);
        else
            ZX_FEW(ZX_DOT_Q4_PAIRS, m->t);
        break;
    case ZX_DOT_Q4:
        if (few)
            ZX_FEW(ZX_DOT_Q4, m->t);
        else
            ZX_MANY(ZX_DOT_Q4);
        break;
    case ZX_DOT_Q8:
        if (few)
            ZX_FEW(ZX_DOT_Q8, m->t);
        else
            ZX_MANY(ZX_DOT_Q8);
        break;
    case ZX_DOT_BF16_PAIRS:
        if (few)
            ZX_FEW(ZX_DOT_BF16_PAIRS, ZMLX_BF16);
        else
            ZX_MANY(ZX_DOT_BF16_PAIRS);
        break;
    case ZX_DOT_PLAIN:
        if (!few)
            ZX_MANY(ZX_DOT_PLAIN);
        else if (m->t == ZMLX_BF16)
            ZX_FEW(ZX_DOT_PLAIN, ZMLX_BF16);
        else if (m->t == ZMLX_F16)
            ZX_FEW(ZX_DOT_PLAIN, ZMLX_F16);
        else
            ZX_FEW(ZX_DOT_PLAIN, ZMLX_F32);
        break;
    }
#undef ZX_FEW
#undef ZX_MANY
#endif
}

#endif
