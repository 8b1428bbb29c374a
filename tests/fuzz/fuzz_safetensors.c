/* SPDX-License-Identifier: MIT */
/* Any bytes as a safetensors file: refused with a message, or every view lies in the file. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "checkpoint/safetensors.h"

typedef struct range {
    const uint8_t *data;
    size_t size, seen;
} range;

static zmlx_status check(void *ctx, const zx_tensor *t, zmlx_err *err)
{
    (void)err;
    range *r = ctx;
    const uint8_t *p = t->data;
    if (p < r->data || (size_t)(p - r->data) > r->size || t->bytes > r->size - (size_t)(p - r->data)) abort();
    if (t->rank < 0 || t->rank > 8 || strlen(t->name) > 1024) abort();
    size_t n = zmlx_dtype_size(t->dtype);
    for (int i = 0; i < t->rank; i++)
        if (t->dim[i] < 0 || !zx_mul_size(&n, n, (size_t)t->dim[i])) abort();
    if (n != t->bytes) abort();
    r->seen += t->bytes;
    return ZMLX_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    zmlx_err err = {0};
    range r = {data, size, 0};
    const zmlx_status st = zx_safetensors_parse(data, size, "fuzz.safetensors", check, &r, &err);
    if (st == ZMLX_OK) {
        uint64_t n = 0;
        for (int i = 7; i >= 0; i--)
            n = n << 8 | data[i];
        if (r.seen + n + 8 != size) abort(); /* no byte unaccounted for */
    } else if (err.code != st || !err.msg[0] || strlen(err.msg) >= sizeof err.msg) {
        abort();
    }
    return 0;
}
