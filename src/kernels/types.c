/* SPDX-License-Identifier: MIT */
/* Types and operands of kernels: sizes, text, and weights as doubles for references. */
#include "kernels/kernel.h"

#include "base/half.h"

#include <stdarg.h>
#include <stdio.h>

static int64_t dim_of(const zx_type *t, int i, int64_t tokens) { return t->dim[i] == ZX_TOKENS ? tokens : t->dim[i]; }

int64_t zx_type_elems(const zx_type *t, int64_t tokens)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++)
        n *= dim_of(t, i, tokens);
    return n;
}

size_t zx_type_bytes(const zx_type *t, int64_t tokens)
{
    size_t n = (size_t)zx_type_elems(t, tokens);
    return t->quant.bits ? n * (size_t)t->quant.bits / 8 : n * zmlx_dtype_size(t->dtype);
}

int64_t zx_type_last(const zx_type *t) { return t->rank ? t->dim[t->rank - 1] : 1; }

int64_t zx_type_row(const zx_type *t)
{
    int64_t n = 1;
    for (int i = 1; i < t->rank; i++)
        n *= t->dim[i];
    return n;
}

bool zx_type_equal(const zx_type *a, const zx_type *b)
{
    if (a->dtype != b->dtype || a->rank != b->rank || a->quant.bits != b->quant.bits) return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i]) return false;
    return !a->quant.bits || (a->quant.group == b->quant.group && a->quant.scales == b->quant.scales);
}

zx_type zx_type_make(zmlx_dtype dtype, int rank, ...)
{
    zx_type t = {.dtype = dtype, .rank = rank};
    va_list ap;
    va_start(ap, rank);
    for (int i = 0; i < rank && i < ZX_MAX_RANK; i++)
        t.dim[i] = va_arg(ap, int64_t);
    va_end(ap);
    return t;
}

const char *zx_type_text(const zx_type *t, char *buf, size_t n)
{
    size_t at = 0;
    if (!n) return buf;
#define PUT(...)                                                                                                       \
    do {                                                                                                               \
        int w = snprintf(buf + at, n - at, __VA_ARGS__);                                                               \
        if (w > 0) at = ZX_MIN(at + (size_t)w, n - 1);                                                                 \
    } while (0)
    buf[0] = 0;
    if (t->quant.bits)
        PUT("%d-bit[", t->quant.bits);
    else
        PUT("%s[", zmlx_dtype_name(t->dtype));
    for (int i = 0; i < t->rank; i++) {
        if (i) PUT(", ");
        if (t->dim[i] == ZX_TOKENS)
            PUT("tokens");
        else
            PUT("%lld", (long long)t->dim[i]);
    }
    PUT("]");
    if (t->quant.bits) PUT(" group %d %s", t->quant.group, zmlx_dtype_name(t->quant.scales));
#undef PUT
    return buf;
}

/* Element i of an array at any alignment. */
static double load_double(const void *p, zmlx_dtype t, int64_t i)
{
    const char *at = (const char *)p + (size_t)i * zmlx_dtype_size(t);
    union {
        float f32;
        double f64;
        int8_t i8;
        int16_t i16;
        int32_t i32;
        int64_t i64;
        uint8_t u8;
        uint16_t u16;
        uint32_t u32;
        uint64_t u64;
    } v = {.u64 = 0};
    memcpy(&v, at, zmlx_dtype_size(t));
    switch (t) {
    case ZMLX_F32:
        return (double)v.f32;
    case ZMLX_F16:
        return (double)zx_f16_to_f32(v.u16);
    case ZMLX_BF16:
        return (double)zx_bf16_to_f32(v.u16);
    case ZMLX_F64:
        return v.f64;
    case ZMLX_I8:
        return v.i8;
    case ZMLX_I16:
        return v.i16;
    case ZMLX_I32:
        return v.i32;
    case ZMLX_I64:
        return (double)v.i64;
    case ZMLX_U8:
    case ZMLX_BOOL:
        return v.u8;
    case ZMLX_U16:
        return v.u16;
    case ZMLX_U32:
        return v.u32;
    case ZMLX_U64:
        return (double)v.u64;
    case ZMLX_DTYPE_COUNT:
        break;
    }
    return 0;
}

void zx_operand_to_double(const zx_operand *o, int64_t row0, int64_t n_rows, double *out)
{
    const zx_quant *q = &o->type.quant;
    int64_t cols = zx_type_last(&o->type), first = row0 * cols;
    if (!q->bits) {
        for (int64_t i = 0; i < n_rows * cols; i++)
            out[i] = load_double(o->data, o->type.dtype, first + i);
        return;
    }
    /* A row is a little-endian bit stream; with 4 and 8 bits no element crosses a byte. */
    for (int64_t i = 0; i < n_rows * cols; i++) {
        int64_t at = first + i, bit = at * q->bits;
        int64_t g = (at / cols) * (cols / q->group) + at % cols / q->group;
        int code = ((const uint8_t *)o->data)[bit / 8] >> bit % 8 & ((1 << q->bits) - 1);
        out[i] = load_double(o->scales, q->scales, g) * code + load_double(o->biases, q->scales, g);
    }
}
