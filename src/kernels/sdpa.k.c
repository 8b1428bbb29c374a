/* SPDX-License-Identifier: MIT */
/* Attention of the step's queries over the caches; token t sees positions 0 .. pos + t (cache layouts: kv.h).
 *
 * The numbers (docs/NUMERICS.md).  Positions are divided into splits of 512, counted from position 0.  In a split:
 *   score   scale * (q . k); the dot product adds features in ascending order, in pairs through v16_dp for bf16, one
 *           by one with fma otherwise
 *   m, p    the largest score; p = exp(score - m)
 *   l       sum of p: lane = position mod 16, ascending, then v16_sum
 *   o       per feature: o = fma(p, v, o), positions ascending
 * Splits are joined in ascending order: with M' = max(M, m), a = exp(M - M'), b = exp(m - M'):
 *   L = fma(l, b, L a), O = fma(o, b, O a), M = M'.  The result is O / L, rounded once.
 * None of this depends on the number of tokens in the step, so it may be done split by split on several threads and
 * joined afterwards (few tokens), or token by token (many). */
#include "kernels/kv.h"
#include "kernels/vmath.h"

enum {
    SPLIT = 512,
    FEW = 8,    /* up to so many tokens the splits of a token are separate tasks */
    TOKENS = 8, /* tokens of a task otherwise */
    HEADS = 8,  /* query heads that share one reading of keys and values */
    STRIP = 64  /* positions whose values stay in the first-level cache while the features go by */
};

#if ZX_LEVEL == 0
#define HOT static __attribute__((noinline))
#else
#define HOT ZX_INLINE
#endif

/* A split's result, or several splits joined: o[padded dim], then m and l. */
ZX_INLINE int64_t padded(int64_t dim) { return (dim + 15) / 16 * 16; }
ZX_INLINE int64_t part_floats(int64_t dim) { return padded(dim) + 16; }

typedef struct shape {
    zmlx_dtype t;
    int64_t q_heads, kv_heads, group, dim, ctx; /* group: query heads per head of the caches */
    const char *q, *keys, *values;
    float scale;
} shape;

static shape shape_of(const zx_call *c)
{
    const zx_type *k = &c->in[1].type;
    shape s = {.t = k->dtype, .kv_heads = k->dim[0], .ctx = k->dim[1], .dim = k->dim[2], .scale = c->attr->scale};
    s.q_heads = zx_type_row(&c->in[0].type) / s.dim;
    s.group = s.q_heads / s.kv_heads;
    s.q = c->in[0].data;
    s.keys = c->in[1].data;
    s.values = c->in[2].data;
    return s;
}

/* Scores of `nb` blocks of 16 positions with `rows` queries: s[SPLIT r + 16 i + l].  q: bf16 rows as they are, else
 * floats; stride in bytes. */
HOT void score_blocks(const zmlx_dtype t, const int rows, const int nb, const shape *sh, const char *k, const char *q,
                      int64_t q_stride, float *s)
{
    v16 acc[8];
    const int64_t size = t == ZMLX_F32 ? 4 : 2, block = 16 * sh->dim * size;
    for (int i = 0; i < rows * nb; i++)
        acc[i] = v16_zero();
    if (t == ZMLX_BF16) {
        for (int64_t d = 0; d < sh->dim / 2; d++)
            for (int i = 0; i < nb; i++) {
                w32 key = w32_load(k + i * block + d * 64);
                for (int r = 0; r < rows; r++) {
                    uint32_t pair;
                    memcpy(&pair, q + r * q_stride + 4 * d, 4);
                    acc[r * nb + i] = v16_dp(acc[r * nb + i], key, w32_pair(pair));
                }
            }
    } else {
        for (int64_t d = 0; d < sh->dim; d++)
            for (int i = 0; i < nb; i++) {
                v16 key = v16_load_any(k + i * block, t, 16 * d, 16);
                for (int r = 0; r < rows; r++) {
                    float x;
                    memcpy(&x, q + r * q_stride + 4 * d, 4);
                    acc[r * nb + i] = v16_fma(key, v16_set(x), acc[r * nb + i]);
                }
            }
    }
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < nb; i++)
            v16_store(s + SPLIT * r + 16 * i, v16_mul(v16_set(sh->scale), acc[r * nb + i]));
}

/* o[part r][16 i ..] += sum of p[SPLIT r + j] * v[j], j < n, for `nv` vectors of features from v on. */
HOT void add_values(const zmlx_dtype t, const int rows, const int nv, bool full, int64_t dim, int64_t left,
                    const char *v, int64_t n, const float *p, float *o, int64_t part)
{
    v16 acc[16];
    const int64_t size = t == ZMLX_F32 ? 4 : 2;
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < nv; i++)
            acc[r * nv + i] = v16_load(o + r * part + 16 * i);
    for (int64_t j = 0; j < n; j++) {
        v16 x[8];
        /* Rows are far apart, so the hardware does not see the next strip coming. */
        zx_prefetch(v, (j + STRIP) * dim * size);
        for (int i = 0; i < nv; i++)
            x[i] = v16_load_any(v + j * dim * size, t, 16 * i, full ? 16 : left - 16 * i);
        for (int r = 0; r < rows; r++) {
            v16 w = v16_set(p[SPLIT * r + j]);
            for (int i = 0; i < nv; i++)
                acc[r * nv + i] = v16_fma(w, x[i], acc[r * nv + i]);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < nv; i++)
            v16_store(o + r * part + 16 * i, acc[r * nv + i]);
}

/* One split for `rows` query heads of one token: n of its positions are visible; k and v point at its first. */
HOT void split_rows(const zmlx_dtype t, const int rows, const shape *sh, const char *k, const char *v, int64_t n,
                    const char *q, int64_t q_stride, float *s, float *out)
{
    const int nb = 8 / rows; /* eight chains of products hide their latency */
    const int nv = rows >= 8 ? 2 : rows == 4 ? 4 : 8;
    const int64_t size = t == ZMLX_F32 ? 4 : 2, dim = sh->dim, part = part_floats(dim), blocks = (n + 15) / 16;
    int64_t b = 0;
    for (; b + nb <= blocks; b += nb)
        score_blocks(t, rows, nb, sh, k + b * 16 * dim * size, q, q_stride, s + 16 * b);
    for (; b < blocks; b++)
        score_blocks(t, rows, 1, sh, k + b * 16 * dim * size, q, q_stride, s + 16 * b);

    for (int r = 0; r < rows; r++) {
        float *p = s + SPLIT * r, *o = out + r * part;
        v16 last = v16_select(m16_first(n - 16 * (blocks - 1)), v16_load(p + 16 * (blocks - 1)), v16_set(-INFINITY));
        v16_store(p + 16 * (blocks - 1), last);
        for (int64_t i = 0; i < blocks - 1; i++)
            last = v16_max(v16_load(p + 16 * i), last);
        float m = v16_hmax(last);
        v16 l = v16_zero();
        for (int64_t i = 0; i < blocks; i++) {
            v16 e = zx_exp(v16_sub(v16_load(p + 16 * i), v16_set(m)));
            v16_store(p + 16 * i, e);
            l = v16_add(l, e);
        }
        for (int64_t d = 0; d < dim; d += 16)
            v16_store(o + d, v16_zero());
        o[padded(dim)] = m;
        o[padded(dim) + 1] = v16_sum(l);
    }

    for (int64_t j = 0; j < n; j += STRIP) {
        int64_t m = ZX_MIN(STRIP, n - j);
        const char *from = v + j * dim * size;
        int64_t d = 0;
        for (; d + 16 * nv <= dim; d += 16 * nv)
            add_values(t, rows, nv, true, dim, 0, from + d * size, m, s + j, out + d, part);
        for (; d < dim; d += 16)
            add_values(t, rows, 1, dim - d >= 16, dim, dim - d, from + d * size, m, s + j, out + d, part);
    }
}

/* One split of one token and one head of the caches: `group` parts from out on.  s: scores; qf: queries as floats. */
ZX_INLINE void split_group(const zmlx_dtype t, const shape *sh, int64_t token, int64_t head, int64_t first, int64_t n,
                           float *s, float *qf, float *out)
{
    const int64_t size = t == ZMLX_F32 ? 4 : 2, dim = sh->dim;
    const char *k = sh->keys + (head * sh->ctx + first) * dim * size,
               *v = sh->values + (head * sh->ctx + first) * dim * size;
    for (int64_t g = 0; g < sh->group;) {
        int64_t left = sh->group - g;
        int rows = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
        const char *q = sh->q + (token * sh->q_heads + head * sh->group + g) * dim * size;
        int64_t stride = dim * size;
        if (t == ZMLX_F16) { /* bf16 pairs and floats are used in place */
            for (int64_t i = 0; i < rows * dim; i += 16)
                v16_store_n(qf + i, v16_load_any(q, t, i, rows * dim - i), rows * dim - i);
            q = (const char *)qf;
            stride = dim * 4;
        }
        float *o = out + g * part_floats(dim);
#if ZX_LEVEL == 0
        split_rows(t, rows, sh, k, v, n, q, stride, s, o);
#else
        if (rows == 8)
            split_rows(t, 8, sh, k, v, n, q, stride, s, o);
        else if (rows == 4)
            split_rows(t, 4, sh, k, v, n, q, stride, s, o);
        else if (rows == 2)
            split_rows(t, 2, sh, k, v, n, q, stride, s, o);
        else
            split_rows(t, 1, sh, k, v, n, q, stride, s, o);
#endif
        g += rows;
    }
}

static __attribute__((noinline)) void attend(const shape *sh, int64_t token, int64_t head, int64_t first, int64_t n,
                                             float *s, float *qf, float *out)
{
    if (sh->t == ZMLX_BF16)
        split_group(ZMLX_BF16, sh, token, head, first, n, s, qf, out);
    else if (sh->t == ZMLX_F16)
        split_group(ZMLX_F16, sh, token, head, first, n, s, qf, out);
    else
        split_group(ZMLX_F32, sh, token, head, first, n, s, qf, out);
}

/* Join the next split's part to those before. */
static void join(float *all, const float *next, int64_t dim)
{
    int64_t at = padded(dim);
    float m = all[at] > next[at] ? all[at] : next[at];
    v16 a = zx_exp(v16_set(all[at] - m)), b = zx_exp(v16_set(next[at] - m));
    for (int64_t d = 0; d < at; d += 16)
        v16_store(all + d, v16_fma(v16_load(next + d), b, v16_mul(v16_load(all + d), a)));
    v16 l = v16_fma(v16_set(next[at + 1]), b, v16_mul(v16_set(all[at + 1]), a));
    all[at] = m;
    v16_store_n(all + at + 1, l, 1);
}

static void finish(const zx_call *c, const shape *sh, int64_t row, const float *part)
{
    v16 l = v16_set(part[padded(sh->dim) + 1]);
    for (int64_t d = 0; d < sh->dim; d += 16)
        v16_store_any(c->out[0].data, sh->t, row * sh->dim + d, v16_div(v16_load(part + d), l), sh->dim - d);
}

/* How the work is divided: by splits with a joining phase, or by tokens. */
static int64_t splits_of(const zx_call *c) { return (c->pos + c->tokens + SPLIT - 1) / SPLIT; }
static bool by_split(const zx_call *c) { return c->tokens <= FEW && splits_of(c) > 1; }

ZX_RUN(sdpa)(const zx_call *c, int phase, int64_t begin, int64_t end, void *scratch)
{
    const shape sh = shape_of(c);
    const int64_t part = part_floats(sh.dim), splits = splits_of(c);
    if (phase == 1) { /* task = (token, query head) */
        for (int64_t i = begin; i < end; i++) {
            float *p = (float *)c->shared + i * splits * part;
            int64_t n = (c->pos + i / sh.q_heads) / SPLIT + 1;
            for (int64_t s = 1; s < n; s++)
                join(p, p + s * part, sh.dim);
            finish(c, &sh, i, p);
        }
        return;
    }
    float *s = scratch, *qf = s + HEADS * SPLIT, *next = qf + HEADS * padded(sh.dim), *all = next + sh.group * part;
    if (by_split(c)) { /* task = (token, head of the caches, split); part = [token][query head][split] */
        for (int64_t i = begin; i < end; i++) {
            int64_t split = i % splits, head = i / splits % sh.kv_heads, token = i / splits / sh.kv_heads;
            int64_t n = ZX_MIN(SPLIT, c->pos + token + 1 - split * SPLIT);
            if (n <= 0) continue;
            attend(&sh, token, head, split * SPLIT, n, s, qf, next);
            for (int64_t g = 0; g < sh.group; g++)
                memcpy((float *)c->shared + ((token * sh.q_heads + head * sh.group + g) * splits + split) * part,
                       next + g * part, (size_t)part * sizeof(float));
        }
        return;
    }
    const int64_t tiles = (c->tokens + TOKENS - 1) / TOKENS; /* task = (head of the caches, tile of tokens) */
    for (int64_t i = begin; i < end; i++) {
        int64_t head = i / tiles, t0 = i % tiles * TOKENS, nt = ZX_MIN(TOKENS, c->tokens - t0);
        for (int64_t split = 0; split <= (c->pos + t0 + nt - 1) / SPLIT; split++)
            for (int64_t t = 0; t < nt; t++) {
                int64_t n = ZX_MIN(SPLIT, c->pos + t0 + t + 1 - split * SPLIT);
                float *mine = all + t * sh.group * part;
                if (n <= 0) continue;
                attend(&sh, t0 + t, head, split * SPLIT, n, s, qf, split ? next : mine);
                for (int64_t g = 0; split && g < sh.group; g++)
                    join(mine + g * part, next + g * part, sh.dim);
            }
        for (int64_t t = 0; t < nt; t++)
            for (int64_t g = 0; g < sh.group; g++)
                finish(c, &sh, (t0 + t) * sh.q_heads + head * sh.group + g, all + (t * sh.group + g) * part);
    }
}

#if ZX_LEVEL == 0
static zmlx_status infer(const zx_type *in, const zx_attr *attr, zx_type *out, zmlx_err *err)
{
    char text[96];
    (void)attr;
    ZX_TRY(zx_kv_check(&in[1], "keys", err));
    ZX_TRY(zx_kv_check(&in[2], "values", err));
    ZX_REQUIRE(zx_type_equal(&in[1], &in[2]), "keys and values differ: %s has another twin",
               zx_type_text(&in[1], text, sizeof text));
    ZX_REQUIRE(in[0].rank >= 2 && in[0].dtype == in[1].dtype && !in[0].quant.bits, "q: %s, but the caches are of %s",
               zx_type_text(&in[0], text, sizeof text), zmlx_dtype_name(in[1].dtype));
    int64_t row = zx_type_row(&in[0]), unit = in[1].dim[0] * in[1].dim[2];
    ZX_REQUIRE(row >= unit && row % unit == 0, "q has %lld elements per token, not a multiple of the caches' %lld",
               (long long)row, (long long)unit);
    out[0] = in[0];
    return ZMLX_OK;
}

static int64_t tasks(const zx_call *c, int phase)
{
    int64_t kv_heads = c->in[1].type.dim[0], q_heads = zx_type_row(&c->in[0].type) / c->in[1].type.dim[2];
    if (by_split(c)) return phase ? c->tokens * q_heads : c->tokens * kv_heads * splits_of(c);
    return phase ? 0 : kv_heads * ((c->tokens + TOKENS - 1) / TOKENS);
}

static bool uneven(const zx_call *c, int phase) { return phase == 0 && !by_split(c) && c->tokens > 1; }

static size_t shared(const zx_call *c)
{
    int64_t dim = c->in[1].type.dim[2], q_heads = zx_type_row(&c->in[0].type) / dim;
    int64_t splits = (c->in[1].type.dim[1] + SPLIT - 1) / SPLIT;
    return (size_t)(ZX_MIN(c->tokens, FEW) * q_heads * splits * part_floats(dim)) * sizeof(float);
}

static size_t scratch_bytes(const zx_call *c)
{
    int64_t dim = c->in[1].type.dim[2], group = zx_type_row(&c->in[0].type) / dim / c->in[1].type.dim[0];
    return (size_t)(HEADS * SPLIT + HEADS * padded(dim) + (TOKENS + 1) * group * part_floats(dim)) * sizeof(float);
}

static void reference(const zx_call *c, const double *const *in, double *const *out)
{
    const zx_type *kt = &c->in[1].type, *vt = &c->in[2].type;
    int64_t dim = kt->dim[2], heads = zx_type_row(&c->in[0].type) / dim, group = heads / kt->dim[0];
    for (int64_t t = 0; t < c->tokens; t++)
        for (int64_t h = 0; h < heads; h++) {
            const double *q = in[0] + (t * heads + h) * dim;
            double *o = out[0] + (t * heads + h) * dim, most = -INFINITY, sum = 0;
            for (int64_t d = 0; d < dim; d++)
                o[d] = 0;
            for (int pass = 0; pass < 2; pass++)
                for (int64_t p = 0; p <= c->pos + t; p++) {
                    double s = 0;
                    for (int64_t d = 0; d < dim; d++)
                        s += q[d] * in[1][zx_key_at(kt, h / group, p, d)];
                    s *= (double)c->attr->scale;
                    if (pass == 0) {
                        most = ZX_MAX(most, s);
                        continue;
                    }
                    double e = exp(s - most);
                    sum += e;
                    for (int64_t d = 0; d < dim; d++)
                        o[d] += e * in[2][zx_value_at(vt, h / group, p, d)];
                }
            for (int64_t d = 0; d < dim; d++)
                o[d] /= sum;
        }
}

/* n[0]: query heads, n[1]: heads of the caches, n[2]: features, n[3]: positions. */
static void make_case(const zx_case *k, zx_type *in)
{
    in[0] = zx_type_make(k->dtype, 3, ZX_TOKENS, k->n[0], k->n[2]);
    in[1] = in[2] = zx_type_make(k->dtype, 3, k->n[1], k->n[3], k->n[2]);
}

#define CASE(tokens_, pos_, q_, kv_, d_, ctx_, t_, scale_)                                                             \
    {                                                                                                                  \
        .tokens = tokens_, .pos = pos_, .n = {q_, kv_, d_, ctx_}, .dtype = ZMLX_##t_, .attr = {.scale = scale_ }       \
    }

static const zx_case cases[] = {
    CASE(1, 0, 8, 1, 64, 16, BF16, 0.125f),     CASE(1, 100, 8, 2, 128, 112, BF16, 0.088388346f),
    CASE(2, 30, 4, 4, 10, 32, BF16, 0.3f),      CASE(3, 510, 6, 2, 34, 528, BF16, 0.2f),
    CASE(1, 1500, 8, 1, 32, 1504, BF16, 0.18f), CASE(17, 500, 7, 1, 18, 528, BF16, 0.25f),
    CASE(5, 1020, 2, 1, 16, 1040, F32, 0.25f),  CASE(9, 0, 3, 3, 130, 16, F16, 0.09f),
    CASE(20, 1010, 2, 2, 16, 1040, F32, 0.25f), CASE(1, 40, 5, 1, 256, 48, F32, 0.0625f),
    CASE(4, 11, 12, 1, 48, 16, F16, 0.15f),     CASE(1, 515, 1, 1, 2, 528, F32, 0.7f),
};

const zx_kernel_def zx_kernel_sdpa = {
    .name = "sdpa",
    .doc = "y[tokens, Hq, D] = softmax(scale q k^T, causal) v over the caches keys, values [Hkv, ctx, D]; float32 "
           "throughout",
    .n_in = 3,
    .n_out = 1,
    .infer = infer,
    .phases = 2,
    .tasks = tasks,
    .uneven = uneven,
    .shared = shared,
    .scratch = scratch_bytes,
    .run = ZX_RUNS(sdpa),
    .reference = reference,
    .tol_ulp = 4.0,
    .tol_row_ulp = 64.0,
    .make_case = make_case,
    .cases = cases,
    .n_cases = ZX_COUNT(cases),
};
#endif
