/* SPDX-License-Identifier: MIT */
#include "base/alloc.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/mman.h>
#include <unistd.h>
#endif

static _Atomic int64_t count;
static _Atomic int64_t fail_at = -1; /* allocations with this number and later ones fail */

static bool may_allocate(void)
{
    int64_t number = atomic_fetch_add_explicit(&count, 1, memory_order_relaxed);
    int64_t limit = atomic_load_explicit(&fail_at, memory_order_relaxed);
    return limit < 0 || number < limit;
}

int64_t zx_alloc_count(void) { return atomic_load(&count); }
void zx_alloc_fail_after(int64_t n) { atomic_store(&fail_at, n < 0 ? -1 : atomic_load(&count) + n); }

/* A size of 0 gives a valid pointer: NULL always means failure. */
void *zx_malloc(size_t n) { return may_allocate() ? malloc(n ? n : 1) : NULL; }

void *zx_calloc(size_t n, size_t size)
{
    size_t all;
    if (!may_allocate() || !zx_mul_size(&all, n, size)) return NULL;
    return all ? calloc(n, size) : calloc(1, 1);
}

void *zx_realloc(void *p, size_t n) { return may_allocate() ? realloc(p, n ? n : 1) : NULL; }
void zx_free(void *p) { free(p); }

/* Zero n bytes fresh from malloc.  Large blocks are handed back to the kernel page by page instead, which gives
 * zero pages on first touch: a cache for thousands of positions costs memory only as it fills. */
static void zero_lazily(char *p, size_t n)
{
#ifdef __linux__
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (n >= 64 * page) {
        char *first = p + (page - (uintptr_t)p % page) % page;
        size_t whole = (n - (size_t)(first - p)) / page * page;
        if (madvise(first, whole, MADV_DONTNEED) == 0) {
            memset(p, 0, (size_t)(first - p));
            memset(first + whole, 0, n - (size_t)(first - p) - whole);
            return;
        }
    }
#endif
    memset(p, 0, n);
}

void *zx_aligned_alloc(size_t align, size_t n)
{
    void *p = NULL;
    if (!may_allocate()) return NULL;
    if (align < sizeof(void *)) align = sizeof(void *);
    if (posix_memalign(&p, align, n ? n : 1) != 0) return NULL;
    zero_lazily(p, n);
    return p;
}

char *zx_strndup(const char *s, size_t n)
{
    n = strnlen(s, n);
    char *copy = zx_malloc(n + 1);
    if (!copy) return NULL;
    memcpy(copy, s, n);
    copy[n] = 0;
    return copy;
}

char *zx_strdup(const char *s) { return zx_strndup(s, strlen(s)); }
