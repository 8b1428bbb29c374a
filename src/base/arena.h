/* SPDX-License-Identifier: MIT */
/* A bump allocator: many small objects that die together.  Not thread-safe. */
#ifndef ZX_BASE_ARENA_H
#define ZX_BASE_ARENA_H

#include "base/status.h"

typedef struct zx_arena zx_arena;

zx_arena *zx_arena_create(void);             /* NULL when out of memory */
void zx_arena_destroy(zx_arena *a);          /* NULL is fine; frees everything taken from it */
void *zx_arena_alloc(zx_arena *a, size_t n); /* zeroed, aligned to 16; NULL when out of memory */
char *zx_arena_strdup(zx_arena *a, const char *s);
char *zx_arena_printf(zx_arena *a, const char *fmt, ...) ZMLX_PRINTF(2, 3);

#endif
