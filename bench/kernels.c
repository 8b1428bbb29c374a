/* SPDX-License-Identifier: MIT */
/* How fast the hot kernels are, beside what the memory gives in the same seconds: `kernels [seconds] [threads]`.
 * Each line alternates single calls and reads of a similar size that go round memory larger than every cache, and
 * reports the fastest tenth of each: slower ones were disturbed by neighbours, and the very fastest may have found data
 * that a cache kept.  GB/s counts weights or caches read, GFLOP/s two per product. */
#include "base/alloc.h"
#include "base/cpu.h"
#include "base/file.h"
#include "base/team.h"
#include "kernels/kernel.h"
#include "kernels/lanes.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

static zx_team *team;
static zx_cpu_level level;
static double seconds = 0.4;
static uint64_t rng = 88172645463325252u;
static uint64_t random64(void)
{
    rng ^= rng << 13, rng ^= rng >> 7, rng ^= rng << 17;
    return rng;
}

/* --- memory ----------------------------------------------------------------------------------- */

static char *pool; /* random bytes that stand for weights, larger than every cache */
static const size_t pool_bytes = (size_t)768 << 20;
static _Atomic uint64_t sink;

static void *pages(size_t n)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    madvise(p, n, MADV_HUGEPAGE);
    return p;
}

/* Where the next call or probe reads; they go round the pool together, so that nothing is found in a cache. */
static size_t pool_at;
static char *pool_take(size_t n)
{
    if (pool_at + n > pool_bytes) pool_at = 0;
    char *p = pool + pool_at;
    pool_at += (n + 63) / 64 * 64;
    return p;
}

static const size_t probe_bytes = (size_t)8 << 20;
typedef uint64_t words __attribute__((vector_size(64)));
static inline __attribute__((always_inline)) uint64_t add_up(const words *p, size_t n)
{
    words s[4] = {{0}};
    for (size_t i = 0; i + 4 <= n; i += 4)
        for (size_t j = 0; j < 4; j++)
            s[j] += p[i + j];
    s[0] += s[1] + s[2] + s[3];
    return s[0][0] + s[0][1] + s[0][2] + s[0][3] + s[0][4] + s[0][5] + s[0][6] + s[0][7];
}
static uint64_t add_up_scalar(const words *p, size_t n) { return add_up(p, n); }
#if defined(__x86_64__)
__attribute__((target("avx512f"))) static uint64_t add_up_avx512(const words *p, size_t n) { return add_up(p, n); }
#else
#define add_up_avx512 add_up_scalar
#endif

static void read_slice(void *ctx, int member, int n)
{
    const size_t count = probe_bytes / sizeof(words) / (size_t)n;
    const words *p = (const words *)ctx + count * (size_t)member;
    atomic_fetch_add(&sink, level == ZX_CPU_AVX512 ? add_up_avx512(p, count) : add_up_scalar(p, count));
}

static double probe(void)
{
    void *p = pool_take(probe_bytes);
    double t = zx_now();
    zx_team_run(team, read_slice, p);
    return zx_now() - t;
}

/* --- one call on all threads -------------------------------------------------------------------- */

typedef struct job {
    const zx_kernel_def *def;
    zx_call call;
    char *scratch;
    size_t scratch_bytes;
    _Atomic int64_t next[4]; /* per phase, where tasks are uneven */
} job;

static void run_job(void *ctx, int member, int n)
{
    job *j = ctx;
    zx_run_fn *run = zx_kernel_run(j->def, level);
    void *scratch = j->scratch + j->scratch_bytes * (size_t)member;
    for (int p = 0; p < j->def->phases; p++) {
        int64_t tasks = j->def->tasks(&j->call, p);
        if (j->def->uneven && j->def->uneven(&j->call, p)) {
            for (int64_t i; (i = atomic_fetch_add(&j->next[p], 1)) < tasks;)
                run(&j->call, p, i, i + 1, scratch);
        } else {
            int64_t from = tasks * member / n, to = tasks * (member + 1) / n;
            if (from < to) run(&j->call, p, from, to, scratch);
        }
        zx_team_barrier(team);
    }
}

static double once(job *j)
{
    for (int p = 0; p < 4; p++)
        atomic_store(&j->next[p], 0);
    double t = zx_now();
    zx_team_run(team, run_job, j);
    return zx_now() - t;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
static double tenth(double *t, int n)
{
    qsort(t, (size_t)n, sizeof *t, ascending);
    return t[n / 10];
}

static void *memory(size_t n) { return pages((n + 4095) / 4096 * 4096 + 4096); }

/* Types as infer wants them; weights and caches lie in the pool, elsewhere in each call unless `cached`. */
typedef struct bench {
    const char *label, *kernel;
    int n_in;
    zx_type in[6];
    zx_attr attr;
    int64_t tokens, pos;
    double bytes, flops; /* per call; the one that is 0 is not reported */
    int64_t experts;     /* of the index input */
    bool cached;         /* read the same weights in each call */
} bench;

static void measure(const bench *b)
{
    zmlx_err err = {0};
    zx_type out[ZX_MAX_OUT];
    const zx_kernel_def *def = zx_kernel_find(b->kernel);
    if (!def || def->infer(b->in, &b->attr, out, &err) != ZMLX_OK) {
        printf("%-34s %s\n", b->label, def ? err.msg : "no such kernel");
        return;
    }
    zx_operand in[6], o[ZX_MAX_OUT];
    size_t need[6] = {0};
    int32_t *idx = NULL;
    int64_t n_idx = 0, k = 0;
    for (int i = 0; i < b->n_in; i++) {
        in[i] = (zx_operand){.type = b->in[i]};
        need[i] = zx_type_bytes(&b->in[i], b->tokens);
        if (b->in[i].dtype == ZMLX_I32) {
            idx = in[i].data = memory(need[i]);
            k = zx_type_last(&b->in[i]);
            n_idx = b->tokens * k;
        } else if (b->in[i].dim[0] == ZX_TOKENS) {
            in[i].data = memory(need[i]);
            for (int64_t e = 0; e < zx_type_elems(&b->in[i], b->tokens); e++)
                zx_store1(in[i].data, b->in[i].dtype, e, (float)((double)(random64() >> 11) * 0x1p-52 - 1));
        }
    }
    for (int i = 0; i < def->n_out; i++)
        o[i] = (zx_operand){.type = out[i], .data = memory(zx_type_bytes(&out[i], b->tokens))};
    job j = {.def = def, .call = {.in = in, .out = o, .attr = &b->attr, .tokens = b->tokens, .pos = b->pos}};
    j.call.shared = memory(def->shared ? def->shared(&j.call) : 0);
    j.scratch_bytes = ((def->scratch ? def->scratch(&j.call) : 0) + 4095) / 4096 * 4096;
    j.scratch = memory(j.scratch_bytes * (size_t)zx_team_size(team));

    static double times[4096], probes[4096];
    int n = 0;
    double rate = b->bytes > 0 ? b->bytes : b->flops, end = zx_now() + seconds;
    for (int round = 0; round < 3 || (zx_now() < end && n < 4000); round++) {
        probes[round] = probe();
        for (int i = 0; i < b->n_in && (round == 0 || !b->cached); i++) {
            if (in[i].type.dtype == ZMLX_I32 || in[i].type.dim[0] == ZX_TOKENS) continue;
            size_t quants =
                in[i].type.quant.bits ? need[i] / 16 : 0; /* scales or biases: room for the smallest groups */
            in[i].data = pool_take(need[i] + 2 * quants);
            in[i].scales = (char *)in[i].data + need[i];
            in[i].biases = (const char *)in[i].scales + quants;
        }
        for (int64_t i = 0; i < n_idx; i++) {
            bool again = true;
            while (again) {
                idx[i] = (int32_t)(random64() >> 20 & 0x7fffffff) % (int32_t)b->experts;
                again = false;
                for (int64_t q = i / k * k; q < i; q++)
                    again |= idx[q] == idx[i];
            }
        }
        for (int i = 0; i < (b->cached ? 20 : 1); i++)
            times[n++] = once(&j);
    }
    double best = rate / tenth(times, n) / 1e9;
    if (b->bytes > 0 && !b->cached) {
        double memory = (double)probe_bytes / tenth(probes, n) / 1e9;
        printf("%-36s %6.1f GB/s   of %5.1f: %3.0f %%\n", b->label, best, memory, 100 * best / memory);
    } else {
        printf("%-36s %6.1f %s\n", b->label, best, b->bytes > 0 ? "GB/s" : "GFLOP/s");
    }
    fflush(stdout);
}

static zx_type quantized(int bits, int group, int rank, int64_t a, int64_t n, int64_t k)
{
    zx_type t = rank == 2 ? zx_type_make(ZMLX_BF16, 2, n, k) : zx_type_make(ZMLX_BF16, 3, a, n, k);
    t.quant = (zx_quant){bits, group, ZMLX_BF16};
    return t;
}
static double weight_bytes(const zx_type *t)
{
    double n = (double)zx_type_elems(t, 0);
    return t->quant.bits ? n * t->quant.bits / 8 + n / t->quant.group * 4 : n * 2;
}
static zx_type tokens_of(zmlx_dtype t, int64_t n) { return zx_type_make(t, 2, ZX_TOKENS, n); }

static void linear(const char *label, zmlx_dtype x, zx_type w, int64_t tokens, bool cached)
{
    bench b = {.label = label,
               .kernel = "qmm",
               .n_in = 2,
               .in = {tokens_of(x, zx_type_last(&w)), w},
               .tokens = tokens,
               .cached = cached};
    if (tokens <= 4)
        b.bytes = weight_bytes(&w);
    else
        b.flops = 2.0 * (double)tokens * (double)zx_type_elems(&w, 0);
    measure(&b);
}

static void experts(const char *label, const char *kernel, int64_t e, int64_t k, int64_t n, int64_t cols,
                    int64_t tokens)
{
    zx_type w = quantized(4, 64, 3, e, n, cols), idx = zx_type_make(ZMLX_I32, 2, ZX_TOKENS, k);
    bool glu = kernel[0] == 'm';
    bench b = {.label = label, .kernel = kernel, .tokens = tokens, .experts = e, .attr = {.activation = ZX_ACT_SILU}};
    b.in[b.n_in++] = glu ? tokens_of(ZMLX_BF16, cols) : zx_type_make(ZMLX_BF16, 3, ZX_TOKENS, k, cols);
    b.in[b.n_in++] = w;
    if (glu) b.in[b.n_in++] = w;
    b.in[b.n_in++] = idx;
    if (tokens == 1)
        b.bytes = weight_bytes(&w) / (double)e * (double)k * (glu ? 2 : 1);
    else
        b.flops = 2.0 * (double)(tokens * k * n * cols) * (glu ? 2 : 1);
    measure(&b);
}

static void attention(const char *label, zmlx_dtype t, int64_t hq, int64_t hkv, int64_t d, int64_t tokens, int64_t pos)
{
    zx_type cache = zx_type_make(t, 3, hkv, (pos + tokens + 15) / 16 * 16, d);
    bench b = {.label = label,
               .kernel = "sdpa",
               .n_in = 3,
               .in = {zx_type_make(t, 3, ZX_TOKENS, hq, d), cache, cache},
               .tokens = tokens,
               .pos = pos,
               .attr = {.scale = 0.088388346f}};
    if (tokens == 1)
        b.bytes = 2.0 * (double)zx_type_bytes(&cache, 0);
    else
        b.flops = 4.0 * (double)(hq * d) * ((double)tokens * (double)pos + (double)(tokens * (tokens + 1)) / 2);
    measure(&b);
}

int main(int argc, char **argv)
{
    zmlx_err err = {0};
    if (argc > 1) seconds = atof(argv[1]);
    int only = argc > 2 ? atoi(argv[2]) : 0;
    level = zx_cpu_best();
    pool = pages(pool_bytes);
    /* Numbers that are sane as bf16 and f16 alike: exponents around 1, random low bits. */
    for (size_t i = 0; i < pool_bytes / 2; i++)
        ((uint16_t *)(void *)pool)[i] = (uint16_t)(0x3c00 | (random64() & 0x81ff));
    printf("level %s, %d CPUs\n", zx_cpu_level_name(level), zx_cpu_count());
    for (int threads = 1; threads <= zx_cpu_count(); threads *= 2) {
        if (only && threads != only) continue;
        if (zx_team_create(&team, threads, &err) != ZMLX_OK) {
            fprintf(stderr, "%s\n", err.msg);
            return 1;
        }
        printf("\n%d thread%s\n", threads, threads > 1 ? "s" : "");
        linear("decode 4-bit K 2048, cache", ZMLX_BF16, quantized(4, 64, 2, 0, 192 * threads, 2048), 1, true);
        linear("decode 4-bit K 768, cache", ZMLX_BF16, quantized(4, 64, 2, 0, 512 * threads, 768), 1, true);
        linear("decode 4-bit K 2048", ZMLX_BF16, quantized(4, 64, 2, 0, 8192, 2048), 1, false);
        linear("decode 4-bit K 768", ZMLX_BF16, quantized(4, 64, 2, 0, 16384, 768), 1, false);
        linear("decode 4-bit K 2048, 3 tokens", ZMLX_BF16, quantized(4, 64, 2, 0, 8192, 2048), 3, false);
        linear("decode 8-bit K 2048", ZMLX_BF16, quantized(8, 64, 2, 0, 4096, 2048), 1, false);
        linear("decode 4-bit K 2048, x f16", ZMLX_F16, quantized(4, 64, 2, 0, 8192, 2048), 1, false);
        linear("decode bf16 K 2048", ZMLX_BF16, zx_type_make(ZMLX_BF16, 2, (int64_t)2048, (int64_t)2048), 1, false);
        experts("decode moe_experts 8 of 128", "moe_experts", 128, 8, 768, 2048, 1);
        experts("decode gather_qmm 8 of 128", "gather_qmm", 128, 8, 2048, 768, 1);
        attention("decode sdpa 32/4 x 128, 4096", ZMLX_BF16, 32, 4, 128, 1, 4095);
        attention("decode sdpa 32/8 x 64, 4096", ZMLX_BF16, 32, 8, 64, 1, 4095);
        linear("prefill 4-bit K 2048, 8 tokens", ZMLX_BF16, quantized(4, 64, 2, 0, 256, 2048), 8, false);
        linear("prefill 4-bit K 2048, 32 tokens", ZMLX_BF16, quantized(4, 64, 2, 0, 256, 2048), 32, false);
        linear("prefill 4-bit K 2048, 64 tokens", ZMLX_BF16, quantized(4, 64, 2, 0, 256, 2048), 64, false);
        linear("prefill 4-bit K 2048, 512 tokens", ZMLX_BF16, quantized(4, 64, 2, 0, 256, 2048), 512, false);
        linear("prefill 4-bit K 768, 512 tokens", ZMLX_BF16, quantized(4, 64, 2, 0, 512, 768), 512, false);
        linear("prefill bf16 K 2048, 512 tokens", ZMLX_BF16, zx_type_make(ZMLX_BF16, 2, (int64_t)256, (int64_t)2048),
               512, false);
        linear("prefill 8-bit K 2048, 512 tokens", ZMLX_BF16, quantized(8, 64, 2, 0, 128, 2048), 512, false);
        experts("prefill moe_experts, 512 tokens", "moe_experts", 128, 8, 768, 2048, 512);
        experts("prefill gather_qmm, 512 tokens", "gather_qmm", 128, 8, 2048, 768, 512);
        attention("prefill sdpa 32/4 x 128, 512 at 0", ZMLX_BF16, 32, 4, 128, 512, 0);
        attention("prefill sdpa 32/4 x 128, 64 at 4032", ZMLX_BF16, 32, 4, 128, 64, 4032);
        zx_team_destroy(team);
    }
    return 0;
}
