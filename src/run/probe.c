/* SPDX-License-Identifier: MIT */
/* What this machine can do: read bandwidth, processor, memory. */
#include "run/model.h"

#include "base/alloc.h"
#include "base/file.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* --- read bandwidth ---- */

enum { CHUNK = 256 }; /* bytes per turn of the inner loop; four independent chains of 64 bytes */

typedef uint64_t sum_fn(const uint8_t *p, size_t n); /* n is a multiple of CHUNK */

static uint64_t sum_plain(const uint8_t *p, size_t n)
{
    typedef uint64_t lanes __attribute__((vector_size(16), aligned(1), may_alias));
    lanes a[4] = {{0}};
    for (size_t i = 0; i < n; i += CHUNK) {
        const lanes *q = (const lanes *)(const void *)(p + i);
        for (int j = 0; j < CHUNK / 64; j++)
            for (int k = 0; k < 4; k++)
                a[k] ^= q[4 * j + k];
    }
    lanes r = a[0] ^ a[1] ^ a[2] ^ a[3];
    return r[0] ^ r[1];
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) static uint64_t sum_avx512(const uint8_t *p, size_t n)
{
    __m512i a[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
    for (size_t i = 0; i < n; i += CHUNK)
        for (int k = 0; k < 4; k++)
            a[k] = _mm512_xor_si512(a[k], _mm512_loadu_si512(p + i + 64 * k));
    return (uint64_t)_mm512_reduce_add_epi64(
        _mm512_xor_si512(_mm512_xor_si512(a[0], a[1]), _mm512_xor_si512(a[2], a[3])));
}
#endif

static sum_fn *best_sum(void)
{
#if defined(__x86_64__)
    if (zx_cpu_best() >= ZX_CPU_AVX512) return sum_avx512;
#endif
    return sum_plain;
}

typedef struct probe {
    const zx_shards *shards; /* NULL: `memory` */
    uint8_t *memory;
    size_t bytes;
    sum_fn *sum;
    uint64_t sink[ZX_TEAM_MAX]; /* keeps the loads alive */
} probe;

/* Bytes [begin, end) of the files, seen as one. */
static uint64_t read_files(const probe *p, size_t begin, size_t end)
{
    uint64_t x = 0;
    size_t base = 0;
    for (int f = 0; f < zx_shards_files(p->shards) && base < end; f++) {
        const zx_map *m = zx_shards_map(p->shards, f);
        size_t lo = begin > base ? begin - base : 0, hi = ZX_MIN(end - base, m->size);
        if (lo < hi) x ^= p->sum(m->data + lo, (hi - lo) / CHUNK * CHUNK);
        base += m->size;
    }
    return x;
}

static void read_part(void *ctx, int member, int n)
{
    probe *p = ctx;
    size_t part = (p->bytes / (size_t)n + CHUNK - 1) / CHUNK * CHUNK;
    size_t begin = ZX_MIN(part * (size_t)member, p->bytes), end = ZX_MIN(begin + part, p->bytes);
    p->sink[member] ^= p->shards ? read_files(p, begin, end) : p->sum(p->memory + begin, (end - begin) / CHUNK * CHUNK);
}

/* Each thread touches its own part first, so that the pages lie near it. */
static void fill_part(void *ctx, int member, int n)
{
    probe *p = ctx;
    size_t part = (p->bytes / (size_t)n + CHUNK - 1) / CHUNK * CHUNK;
    size_t begin = ZX_MIN(part * (size_t)member, p->bytes), end = ZX_MIN(begin + part, p->bytes);
    memset(p->memory + begin, member + 1, end - begin);
}

static double best_rate(probe *p, zx_team *team, int rounds)
{
    double best = 0;
    if (p->memory) zx_team_run(team, fill_part, p);
    for (int r = 0; r <= rounds; r++) {
        double start = zx_now();
        zx_team_run(team, read_part, p);
        double seconds = zx_now() - start;
        if (r > 0 && seconds > 0) best = ZX_MAX(best, (double)p->bytes / seconds); /* round 0 warms */
    }
    return best;
}

static zmlx_status map_memory(probe *p, zmlx_err *err)
{
    void *m = mmap(NULL, p->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m == MAP_FAILED) return zx_fail(err, ZMLX_E_NOMEM, -1, "%llu bytes to read from", (unsigned long long)p->bytes);
#ifdef MADV_HUGEPAGE
    madvise(m, p->bytes, MADV_HUGEPAGE); /* only a wish */
#endif
    p->memory = m;
    return ZMLX_OK;
}

zmlx_status zmlx_probe_bandwidth(const zmlx_model *m, int threads, uint64_t bytes, int rounds, double *out,
                                 zmlx_err *err)
{
    *out = 0;
    if (threads < 0 || threads > ZX_TEAM_MAX)
        return zx_fail(err, ZMLX_E_ARG, -1, "%d threads, the limit is %d", threads, ZX_TEAM_MAX);
    if (rounds < 0) return zx_fail(err, ZMLX_E_ARG, -1, "%d rounds", rounds);
    probe *p = zx_new(probe);
    if (!p) return zx_fail(err, ZMLX_E_NOMEM, -1, "bandwidth probe");
    p->sum = best_sum();
    p->bytes = (size_t)(bytes ? bytes : (uint64_t)2 << 30);
    p->shards = m ? m->shards : NULL;
    if (m) p->bytes = ZX_MIN(p->bytes, zx_shards_bytes(m->shards));
    p->bytes = ZX_MAX(p->bytes / CHUNK * CHUNK, CHUNK);

    zx_team *team = NULL;
    zmlx_status st = m ? ZMLX_OK : map_memory(p, err);
    if (st == ZMLX_OK) st = zx_team_create(&team, threads, err);
    if (st == ZMLX_OK) *out = best_rate(p, team, rounds ? rounds : 5);
    zx_team_destroy(team);
    if (p->memory) munmap(p->memory, p->bytes);
    zx_free(p);
    return st;
}

/* --- the machine ---- */

/* The number after `key` in a small text file ("" = the first number), or -1. */
static int64_t read_number(const char *path, const char *key)
{
    char line[256];
    long long v = -1;
    FILE *f = fopen(path, "re");
    if (!f) return -1;
    while (v < 0 && fgets(line, sizeof line, f))
        if (strncmp(line, key, strlen(key)) == 0 && sscanf(line + strlen(key), "%lld", &v) != 1) v = -1;
    fclose(f);
    return v;
}

/* A container's limit is the memory that there is for us.  Its use counts file pages, which are given back on demand.
 */
static void apply_limit(zmlx_machine *m)
{
    int64_t limit = read_number("/sys/fs/cgroup/memory.max", ""),
            used = read_number("/sys/fs/cgroup/memory.current", "");
    int64_t files = read_number("/sys/fs/cgroup/memory.stat", "file ");
    if (limit < 0) {
        limit = read_number("/sys/fs/cgroup/memory/memory.limit_in_bytes", "");
        used = read_number("/sys/fs/cgroup/memory/memory.usage_in_bytes", "");
        files = read_number("/sys/fs/cgroup/memory/memory.stat", "total_cache ");
    }
    if (limit < 0 || (m->memory_bytes >= 0 && limit >= m->memory_bytes)) return;
    m->memory_bytes = limit;
    if (used < 0) return;
    int64_t left = limit - used + ZX_MAX(files, 0);
    left = ZX_MIN(ZX_MAX(left, 0), limit);
    if (m->available_bytes < 0 || left < m->available_bytes) m->available_bytes = left;
}

void zmlx_machine_info(zmlx_machine *out)
{
    *out = (zmlx_machine){.cpus = zx_cpu_count(), .cpu_level = zx_cpu_level_name(zx_cpu_best()), .available_bytes = -1};
    zx_cpu_model_name(out->cpu, sizeof out->cpu);
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    out->memory_bytes = pages > 0 && page > 0 ? (int64_t)pages * page : -1;
    int64_t kib = read_number("/proc/meminfo", "MemAvailable:");
    if (kib >= 0) out->available_bytes = kib * 1024;
    apply_limit(out);
}
