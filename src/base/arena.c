/* SPDX-License-Identifier: MIT */
#include "base/arena.h"

#include "base/alloc.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { ALIGN = 16, FIRST_BLOCK = 8192, LAST_BLOCK = 1 << 20 };

typedef struct block {
    struct block *next;
    size_t used, size; /* of the bytes after this header */
} block;
_Static_assert(sizeof(block) <= 2 * ALIGN, "the header takes two units");

struct zx_arena {
    block *blocks; /* the newest, which has the room, first */
    size_t next_size;
};

static char *block_data(block *b) { return (char *)b + 2 * ALIGN; }

zx_arena *zx_arena_create(void)
{
    zx_arena *a = zx_new(zx_arena);
    if (a) a->next_size = FIRST_BLOCK;
    return a;
}

void zx_arena_destroy(zx_arena *a)
{
    if (!a) return;
    for (block *b = a->blocks, *next; b; b = next) {
        next = b->next;
        zx_free(b);
    }
    zx_free(a);
}

void *zx_arena_alloc(zx_arena *a, size_t n)
{
    if (n > SIZE_MAX - 4 * ALIGN) return NULL;
    n = (n + ALIGN - 1) / ALIGN * ALIGN;
    if (!n) n = ALIGN;
    block *b = a->blocks;
    if (!b || b->size - b->used < n) {
        size_t size = ZX_MAX(n, a->next_size);
        block *fresh = zx_calloc(1, 2 * ALIGN + size);
        if (!fresh) return NULL;
        fresh->size = size;
        if (b && size == n) { /* a large object: keep the room that is left in the newest block */
            fresh->next = b->next;
            b->next = fresh;
        } else {
            fresh->next = b;
            a->blocks = fresh;
            if (a->next_size < LAST_BLOCK) a->next_size *= 2;
        }
        b = fresh;
    }
    void *p = block_data(b) + b->used;
    b->used += n;
    return p;
}

char *zx_arena_strdup(zx_arena *a, const char *s)
{
    size_t n = strlen(s) + 1;
    char *copy = zx_arena_alloc(a, n);
    return copy ? memcpy(copy, s, n) : NULL;
}

char *zx_arena_printf(zx_arena *a, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    char *s = n < 0 ? NULL : zx_arena_alloc(a, (size_t)n + 1);
    if (s) vsnprintf(s, (size_t)n + 1, fmt, again);
    va_end(again);
    va_end(ap);
    return s;
}
