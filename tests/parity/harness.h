/* SPDX-License-Identifier: MIT */
/* Operands with red zones, random contents, and running a kernel in pieces: what the parity programs share. */
#ifndef ZX_TESTS_PARITY_HARNESS_H
#define ZX_TESTS_PARITY_HARNESS_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/half.h"
#include "kernels/kernel.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define HAVE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAVE_ASAN 1
#endif
#endif
#ifdef HAVE_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n)   ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

#define UNUSED __attribute__((unused))

static inline UNUSED uint32_t rng_bits(uint64_t *rng)
{
    *rng = *rng * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*rng >> 32);
}
static inline UNUSED double rng_normal(uint64_t *rng)
{
    double u = (rng_bits(rng) + 1.0) / 4294967296.0, v = rng_bits(rng) / 4294967296.0;
    return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

/* --- memory between guard bytes ------------------------------------------------------------------ */

enum { GUARD = 192, GUARD_BYTE = 0xa5 };

typedef struct block {
    uint8_t *base, *data;
    size_t n;
} block;

/* n bytes `offset` past a 64-byte boundary.  With the address sanitizer the guards cannot even be read. */
static inline UNUSED block block_make(size_t n, size_t offset)
{
    block b = {.n = n};
    b.base = zx_aligned_alloc(64, n + offset + 2 * GUARD);
    assert_non_null(b.base);
    b.data = b.base + GUARD + offset;
    memset(b.base, GUARD_BYTE, n + offset + 2 * GUARD);
    memset(b.data, 0, n);
    ASAN_POISON_MEMORY_REGION(b.base, GUARD);
    ASAN_POISON_MEMORY_REGION(b.data + n, GUARD);
    return b;
}

static inline UNUSED void block_open(const block *b)
{
    ASAN_UNPOISON_MEMORY_REGION(b->base, (size_t)(b->data - b->base) + b->n + GUARD);
}

static inline UNUSED bool block_intact(const block *b)
{
    block_open(b);
    bool ok = true;
    for (const uint8_t *p = b->base; p < b->data; p++)
        ok &= *p == GUARD_BYTE;
    for (size_t i = 0; i < GUARD; i++)
        ok &= b->data[b->n + i] == GUARD_BYTE;
    ASAN_POISON_MEMORY_REGION(b->base, GUARD);
    ASAN_POISON_MEMORY_REGION(b->data + b->n, GUARD);
    return ok;
}

static inline UNUSED void block_free(block *b)
{
    if (!b->base) return;
    block_open(b);
    zx_free(b->base);
    *b = (block){0};
}

/* --- operands -------------------------------------------------------------------------------------- */

/* A value in memory: elements or codes, scales, biases. */
typedef struct value {
    zx_type type;
    block data, scales, biases;
} value;

/* Does the type have one row per token?  Everything else is a weight or a cache. */
static inline UNUSED bool is_activation(const zx_type *t) { return t->rank > 0 && t->dim[0] == ZX_TOKENS; }

static inline UNUSED size_t scales_bytes(const zx_type *t)
{
    return (size_t)(zx_type_elems(t, 1) / t->quant.group) * zmlx_dtype_size(t->quant.scales);
}

/* Activations and caches lie on cache lines, weights wherever `offset` says. */
static inline UNUSED value value_make(const zx_type *t, int64_t tokens, size_t offset)
{
    value v = {.type = *t, .data = block_make(zx_type_bytes(t, tokens), offset)};
    if (t->quant.bits) {
        v.scales = block_make(scales_bytes(t), offset);
        v.biases = block_make(scales_bytes(t), offset ? offset + 2 : 0);
    }
    return v;
}

static inline UNUSED void value_free(value *v)
{
    block_free(&v->data);
    block_free(&v->scales);
    block_free(&v->biases);
}

static inline UNUSED bool value_intact(const value *v)
{
    return block_intact(&v->data) && (!v->type.quant.bits || (block_intact(&v->scales) && block_intact(&v->biases)));
}

static inline UNUSED zx_operand value_operand(const value *v)
{
    return (zx_operand){.type = v->type, .data = v->data.data, .scales = v->scales.data, .biases = v->biases.data};
}

static inline UNUSED void put(void *p, zmlx_dtype t, size_t i, double d)
{
    char *at = (char *)p + i * zmlx_dtype_size(t);
    float f = (float)d;
    uint16_t h = t == ZMLX_BF16 ? zx_f64_to_bf16(d) : zx_f64_to_f16(d);
    if (t == ZMLX_F32)
        memcpy(at, &f, 4);
    else
        memcpy(at, &h, 2);
}

/* Weights have variance 1 / columns, so that products stay near 1; vectors lie around 1; activations are normal, one in
 * eight much larger or smaller. */
static inline UNUSED void value_random(value *v, int64_t tokens, uint64_t *rng)
{
    const zx_type *t = &v->type;
    size_t n = (size_t)zx_type_elems(t, tokens);
    double spread = 1 / sqrt((double)zx_type_last(t));
    if (t->quant.bits) {
        size_t groups = n / (size_t)t->quant.group;
        for (size_t i = 0; i < v->data.n; i++)
            v->data.data[i] = (uint8_t)(rng_bits(rng) >> 13);
        for (size_t i = 0; i < groups; i++) {
            put(v->scales.data, t->quant.scales, i, rng_normal(rng) * spread * (t->quant.bits == 4 ? 0.2 : 0.0125));
            put(v->biases.data, t->quant.scales, i, rng_normal(rng) * spread);
        }
        return;
    }
    if (!zx_is_float16_32(t->dtype)) return; /* zero: indices are the business of the kernel's fill */
    for (size_t i = 0; i < n; i++) {
        double x = rng_normal(rng);
        if (!is_activation(t))
            x = t->rank == 1 ? 1 + 0.25 * x : x * spread;
        else if (rng_bits(rng) >> 29 == 0)
            x *= rng_bits(rng) >> 31 ? 6 : 0.01;
        put(v->data.data, t->dtype, i, x);
    }
}

/* --- running --------------------------------------------------------------------------------------- */

/* Each phase in `pieces` ranges of tasks, in a shuffled order, with dirty scratch for each; 0 = every task alone. */
static inline UNUSED void run_pieces(const zx_kernel_def *k, zx_cpu_level level, zx_call *c, int pieces, uint64_t *rng)
{
    zx_run_fn *run = zx_kernel_run(k, level);
    block shared = block_make(k->shared ? k->shared(c) : 0, 0), scratch = block_make(k->scratch ? k->scratch(c) : 0, 0);
    memset(shared.data, (int)(rng_bits(rng) >> 24), shared.n);
    c->shared = shared.data;
    for (int ph = 0; ph < k->phases; ph++) {
        int64_t tasks = k->tasks(c, ph), n = pieces && pieces < tasks ? pieces : tasks;
        int64_t *order = zx_calloc((size_t)n + 1, sizeof *order);
        assert_non_null(order);
        for (int64_t i = 0; i < n; i++)
            order[i] = i;
        for (int64_t i = n - 1; i > 0; i--) {
            int64_t j = rng_bits(rng) % (uint64_t)(i + 1), o = order[i];
            order[i] = order[j], order[j] = o;
        }
        for (int64_t i = 0; i < n; i++) {
            memset(scratch.data, (int)(rng_bits(rng) >> 24), scratch.n);
            run(c, ph, tasks * order[i] / n, tasks * (order[i] + 1) / n, scratch.data);
            if (!block_intact(&scratch))
                fail_msg("%s: phase %d wrote outside its scratch of %zu bytes", k->name, ph, scratch.n);
        }
        zx_free(order);
    }
    if (!block_intact(&shared)) fail_msg("%s: wrote outside its shared memory of %zu bytes", k->name, shared.n);
    block_free(&shared);
    block_free(&scratch);
    c->shared = NULL;
}

/* Equal bits, except that one NaN is as good as another.  The index of the first difference, or -1. */
static inline UNUSED int64_t first_difference(const void *a, const void *b, zmlx_dtype t, size_t n)
{
    size_t size = zmlx_dtype_size(t);
    if (!memcmp(a, b, n * size)) return -1;
    for (size_t i = 0; i < n; i++) {
        const char *x = (const char *)a + i * size, *y = (const char *)b + i * size;
        if (!memcmp(x, y, size)) continue;
        double d[2];
        zx_operand o[2] = {{.type = zx_type_make(t, 1, (int64_t)1), .data = (void *)(uintptr_t)x},
                           {.type = zx_type_make(t, 1, (int64_t)1), .data = (void *)(uintptr_t)y}};
        for (int j = 0; j < 2; j++)
            zx_operand_to_double(&o[j], 0, 1, &d[j]);
        if (!(isnan(d[0]) && isnan(d[1]))) return (int64_t)i;
    }
    return -1;
}

#endif
