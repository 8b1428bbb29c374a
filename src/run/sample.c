/* SPDX-License-Identifier: MIT */
#include "run/sample.h"

#include "base/alloc.h"
#include "base/half.h"

#include <string.h>

enum { BLOCK = 512, LANES = 16 };

/* logits[i .. i+n) as floats; exact for every type. */
static void load(float *out, const zmlx_logits *l, int64_t i, int64_t n)
{
    if (l->dtype == ZMLX_BF16) {
        const uint16_t *p = (const uint16_t *)l->data + i;
        for (int64_t j = 0; j < n; j++)
            out[j] = zx_bf16_to_f32(p[j]);
    } else if (l->dtype == ZMLX_F16) {
        const uint16_t *p = (const uint16_t *)l->data + i;
        for (int64_t j = 0; j < n; j++)
            out[j] = zx_f16_to_f32(p[j]);
    } else {
        memcpy(out, (const float *)l->data + i, (size_t)n * sizeof *out);
    }
}

/* The largest of a full block.  Lanes of their own let the compiler use vectors; which lane finds it does not matter.
 */
static float block_max(const float *x, bool *nan)
{
    float top[LANES];
    uint32_t bad[LANES] = {0};
    memcpy(top, x, sizeof top);
    for (int i = 0; i < BLOCK; i += LANES)
        for (int j = 0; j < LANES; j++) {
            top[j] = x[i + j] > top[j] ? x[i + j] : top[j];
            bad[j] |= x[i + j] != x[i + j];
        }
    for (int j = 1; j < LANES; j++) {
        top[0] = top[j] > top[0] ? top[j] : top[0];
        bad[0] |= bad[j];
    }
    *nan = bad[0];
    return top[0];
}

static zmlx_status fail_nan(const float *x, int64_t first, int64_t step, zmlx_err *err)
{
    int64_t i = 0;
    while (x[i] == x[i])
        i++;
    return zx_fail(err, ZMLX_E_FAIL, -1, "the logits of token %lld are not numbers (id %lld is NaN)", (long long)step,
                   (long long)(first + i));
}

zmlx_status zx_logits_argmax(const zmlx_logits *l, int64_t step, int32_t *id, zmlx_err *err)
{
    float x[BLOCK], best = 0;
    *id = -1;
    for (int64_t i = 0; i < l->vocab; i += BLOCK) {
        int64_t n = ZX_MIN(l->vocab - i, BLOCK);
        load(x, l, i, n);
        for (int64_t j = n; j < BLOCK; j++)
            x[j] = x[0]; /* fill up with a number that changes nothing */
        bool nan;
        float top = block_max(x, &nan);
        if (nan) return fail_nan(x, i, step, err);
        if (*id >= 0 && !(top > best)) continue;
        int j = 0;
        while (x[j] != top)
            j++;
        best = top;
        *id = (int32_t)(i + j);
    }
    return ZMLX_OK;
}

double zx_logits_margin(const zmlx_logits *l)
{
    float x[BLOCK], first = -__builtin_inff(), second = first;
    for (int64_t i = 0; i < l->vocab; i += BLOCK) {
        int64_t n = ZX_MIN(l->vocab - i, BLOCK);
        load(x, l, i, n);
        for (int64_t j = 0; j < n; j++) {
            if (x[j] > first) {
                second = first;
                first = x[j];
            } else if (x[j] > second) {
                second = x[j];
            }
        }
    }
    return first == second ? 0.0 : (double)first - (double)second;
}

/* exp(x) for x <= 0, without branches so that loops over it become vectors.  exp(x) = 2^k exp(r), r = x - k ln 2 with
 * ln 2 in two parts, |r| < 0.347, and the Taylor series up to r^13, whose rest is below 2^-57.  Adding 1.5 * 2^52
 * rounds to an integer and leaves it in the low bits. */
static inline double exp_negative(double x)
{
    const double magic = 0x1.8p52;
    double y = x > -700.0 ? x : -700.0;
    double t = y * 0x1.71547652b82fep0 + magic, k = t - magic;
    double r = (y - k * 0x1.62e42feep-1) - k * 0x1.a39ef35793c76p-33;
    double p = 1.0 / 6227020800.0;
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    uint64_t bits;
    double scale;
    memcpy(&bits, &t, sizeof bits);
    bits = (bits << 52) + ((uint64_t)1023 << 52);
    memcpy(&scale, &bits, sizeof scale);
    return x > -700.0 ? p * scale : 0.0;
}

double zx_sample_exp(double x) { return exp_negative(x); }

/* w = exp((x - top) * factor), top the largest. */
static void weigh(double *w, const float *x, int64_t n, double top, double factor)
{
    for (int64_t i = 0; i < n; i++)
        w[i] = exp_negative(((double)x[i] - top) * factor);
}

/* splitmix64's output function: a bijection of 64 bits that mixes well. */
static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* The seed goes through mix first, so that seeds 1, 2, 3 are not shifted copies of one sequence. */
static double uniform(uint64_t key, uint64_t n)
{
    return (double)(mix(key + (n + 1) * 0x9e3779b97f4a7c15u) >> 11) * 0x1p-53;
}

double zx_sample_uniform(uint64_t seed, uint64_t n) { return uniform(mix(seed), n); }

static bool uses_top_p(const zmlx_sampling *o) { return o->top_p > 0.0f && o->top_p < 1.0f; }
static bool uses_filters(const zmlx_sampling *o) { return uses_top_p(o) || o->min_p > 0.0f || o->top_k > 0; }

static zmlx_status check(const zmlx_sampling *o, zmlx_err *err)
{
    if (!(o->temperature >= 0.0f && o->temperature <= 1e6f))
        return zx_fail(err, ZMLX_E_ARG, -1, "temperature %g is outside 0 .. 1e6", (double)o->temperature);
    if (!(o->top_p >= 0.0f)) return zx_fail(err, ZMLX_E_ARG, -1, "top_p %g is negative", (double)o->top_p);
    if (!(o->min_p >= 0.0f && o->min_p <= 1.0f))
        return zx_fail(err, ZMLX_E_ARG, -1, "min_p %g is outside 0 .. 1", (double)o->min_p);
    if (o->top_k < 0) return zx_fail(err, ZMLX_E_ARG, -1, "top_k %lld is negative", (long long)o->top_k);
    if (uses_filters(o) && o->temperature == 0.0f)
        return zx_fail(err, ZMLX_E_ARG, -1, "top_p, min_p and top_k have no effect at temperature 0 (greedy)");
    return ZMLX_OK;
}

zmlx_status zx_sampler_init(zx_sampler *s, const zmlx_sampling *opt, int64_t vocab, zmlx_err *err)
{
    *s = (zx_sampler){.opt = *opt, .key = mix(opt->seed), .vocab = vocab};
    ZX_TRY(check(opt, err));
    if (opt->temperature == 0.0f) return ZMLX_OK;
    size_t n = (size_t)(vocab + BLOCK - 1) / BLOCK * BLOCK;
    s->logit = zx_calloc(n, sizeof *s->logit);
    s->weight = zx_calloc(n, sizeof *s->weight);
    s->block = zx_calloc(n / BLOCK, sizeof *s->block);
    s->heap = zx_calloc(n, sizeof *s->heap);
    if (s->logit && s->weight && s->block && s->heap) return ZMLX_OK;
    zx_sampler_clear(s);
    return zx_fail(err, ZMLX_E_NOMEM, -1, "sampler for %lld tokens", (long long)vocab);
}

void zx_sampler_clear(zx_sampler *s)
{
    zx_free(s->logit);
    zx_free(s->weight);
    zx_free(s->block);
    zx_free(s->heap);
    s->logit = NULL;
    s->weight = s->block = NULL;
    s->heap = NULL;
}

/* --- filters -----------------------------------------------------------------------------------
 * Every filter keeps a beginning of one list: the vocabulary by falling logit, by rising id among equals.  So the three
 * together are one cut, the last member of the list that is kept.  The list is never sorted: bins by distance from the
 * top tell where the cut is, and only that bin is. */

enum { BINS = 1024, BINS_PER_UNIT = 16 };

static bool before(const float *x, int32_t a, int32_t b) { return x[a] != x[b] ? x[a] > x[b] : a < b; }

static int bin_of(double depth)
{
    return depth < (double)BINS / BINS_PER_UNIT ? (int)(depth * BINS_PER_UNIT) : BINS - 1;
}

static void sift(const float *x, int32_t *heap, int64_t n, int64_t i)
{
    int32_t v = heap[i];
    for (int64_t c; (c = 2 * i + 1) < n; i = c) {
        if (c + 1 < n && before(x, heap[c + 1], heap[c])) c++;
        if (before(x, v, heap[c])) break;
        heap[i] = heap[c];
    }
    heap[i] = v;
}

/* The list so far: how many tokens, and their weight.  A token is kept while neither limit is reached. */
typedef struct cutter {
    double mass, mass_limit;
    int64_t n, n_limit;
} cutter;

/* The last kept id of a bin. */
static int32_t cut_bin(zx_sampler *s, cutter *c, int bin, double top)
{
    int64_t n = 0;
    int32_t cut = -1;
    for (int64_t i = 0; i < s->vocab; i++)
        if (s->weight[i] >= (double)s->opt.min_p && bin_of(top - (double)s->logit[i]) == bin) s->heap[n++] = (int32_t)i;
    for (int64_t i = n / 2; i-- > 0;)
        sift(s->logit, s->heap, n, i);
    while (n > 0 && (cut < 0 || (c->mass < c->mass_limit && c->n < c->n_limit))) {
        cut = s->heap[0];
        c->mass += s->weight[cut];
        c->n++;
        s->heap[0] = s->heap[--n];
        if (n > 0) sift(s->logit, s->heap, n, 0);
    }
    return cut;
}

/* The last id that top_p and top_k keep of those that min_p keeps; -1 = all of them.  Leaves untempered weights. */
static int32_t find_cut(zx_sampler *s, double top)
{
    double mass[BINS] = {0}, all = 0;
    int64_t n[BINS] = {0};
    weigh(s->weight, s->logit, s->vocab, top, 1.0);
    for (int64_t i = 0; i < s->vocab; i++) {
        double w = s->weight[i];
        all += w;
        if (w < (double)s->opt.min_p) continue;
        int b = bin_of(top - (double)s->logit[i]);
        mass[b] += w;
        n[b]++;
    }
    cutter c = {.mass_limit = uses_top_p(&s->opt) ? (double)s->opt.top_p * all : __builtin_inf(),
                .n_limit = s->opt.top_k > 0 ? s->opt.top_k : INT64_MAX};
    for (int b = 0; b < BINS; b++) {
        if (n[b] == 0) continue;
        if (c.mass + mass[b] >= c.mass_limit || c.n + n[b] >= c.n_limit) return cut_bin(s, &c, b, top);
        c.mass += mass[b];
        c.n += n[b];
    }
    return -1;
}

/* Inverse CDF over the kept ids in rising order, by blocks: first which block, then which of its ids. */
static int32_t draw(zx_sampler *s, double top, int32_t cut, bool filtered)
{
    const float *x = s->logit;
    double *w = s->weight, factor = 1.0 / (double)s->opt.temperature, sum = 0, run = 0;
    for (int64_t b = 0, i = 0; i < s->vocab; b++, i += BLOCK) {
        int64_t n = ZX_MIN(s->vocab - i, BLOCK), kept = filtered ? 0 : n;
        for (int64_t j = i; filtered && j < i + n; j++) {
            bool keep = w[j] >= (double)s->opt.min_p && !(cut >= 0 && before(x, cut, (int32_t)j));
            w[j] = keep;
            kept += keep;
        }
        s->block[b] = 0;
        if (kept == 0) continue;
        double t[BLOCK];
        weigh(t, x + i, n, top, factor);
        for (int64_t j = 0; j < n; j++)
            s->block[b] += w[i + j] = filtered ? w[i + j] * t[j] : t[j];
        sum += s->block[b];
    }
    double target = uniform(s->key, s->draws++) * sum;
    int64_t b = 0, last = (s->vocab - 1) / BLOCK;
    while (b < last && run + s->block[b] <= target)
        run += s->block[b++];
    while (b > 0 && s->block[b] == 0) /* rounding may lead past the end */
        b--;
    int32_t id = -1;
    for (int64_t i = b * BLOCK, end = ZX_MIN(i + BLOCK, s->vocab); i < end; i++) {
        if (w[i] == 0) continue;
        id = (int32_t)i;
        run += w[i];
        if (run > target) break;
    }
    return id;
}

zmlx_status zx_sampler_pick(zx_sampler *s, const zmlx_logits *l, int64_t step, int32_t *id, zmlx_err *err)
{
    ZX_TRY(zx_logits_argmax(l, step, id, err));
    if (s->opt.temperature == 0.0f) return ZMLX_OK;
    load(s->logit, l, 0, s->vocab);
    double top = s->logit[*id];
    if (!(top - top == 0.0))
        return zx_fail(err, ZMLX_E_FAIL, -1, "the highest logit of token %lld is infinite", (long long)step);
    bool filtered = uses_filters(&s->opt);
    *id = draw(s, top, filtered ? find_cut(s, top) : -1, filtered);
    return ZMLX_OK;
}
