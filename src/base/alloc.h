/* SPDX-License-Identifier: MIT */
/* All heap memory of the library goes through these four functions, so that tests can count
 * allocations and let the n-th one fail.  They are thread-safe. */
#ifndef ZX_BASE_ALLOC_H
#define ZX_BASE_ALLOC_H

#include "base/status.h"

void *zx_malloc(size_t n);
void *zx_calloc(size_t count, size_t size); /* NULL also when count * size overflows */
void *zx_realloc(void *p, size_t n);
void zx_free(void *p);                          /* NULL is fine */
void *zx_aligned_alloc(size_t align, size_t n); /* zeroed; release with zx_free */
char *zx_strdup(const char *s);
char *zx_strndup(const char *s, size_t n);
#define zx_new(type) ((type *)zx_calloc(1, sizeof(type)))

/* Test hooks.  `zx_alloc_count` is the number of allocations made so far in this process;
 * `zx_alloc_fail_after(n)` lets the n-th allocation from now (0 = the next) and all later ones fail,
 * a negative n switches that off. */
int64_t zx_alloc_count(void);
void zx_alloc_fail_after(int64_t n);

#endif
