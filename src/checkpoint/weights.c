/* SPDX-License-Identifier: MIT */
/* From a module's path to its tensors, checked against the shape that the family expects. */
#include <stdio.h>

#include "base/alloc.h"
#include "checkpoint/untrusted.h"

/* "[64,2048]" */
static const char *show_shape(char out[ZX_SHOW_MAX], int rank, const int64_t *dim)
{
    int n = snprintf(out, ZX_SHOW_MAX, "[");
    for (int i = 0; i < rank && n < ZX_SHOW_MAX; i++)
        n += snprintf(out + n, (size_t)(ZX_SHOW_MAX - n), "%s%lld", i ? "," : "", (long long)dim[i]);
    if (n < ZX_SHOW_MAX) snprintf(out + n, (size_t)(ZX_SHOW_MAX - n), "]");
    return out;
}

static zmlx_status check_shape(const zx_tensor *t, int rank, const int64_t *dim, zmlx_err *err)
{
    bool same = t->rank == rank;
    for (int i = 0; same && i < rank; i++)
        same = t->dim[i] == dim[i];
    if (same) return ZMLX_OK;
    char have[ZX_SHOW_MAX], want[ZX_SHOW_MAX];
    return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: shape %s, expected %s", ZX_SHOW(t->name),
                   show_shape(have, t->rank, t->dim), show_shape(want, rank, dim));
}

static zmlx_status check_float(const zx_tensor *t, zmlx_err *err)
{
    if (zx_is_float16_32(t->dtype)) return ZMLX_OK;
    return zx_fail(err, ZMLX_E_UNSUPPORTED, -1, "%s: type %s, expected float32, float16 or bfloat16", ZX_SHOW(t->name),
                   zmlx_dtype_name(t->dtype));
}

/* PATH + suffix; *out stays NULL when the checkpoint does not have it. */
static zmlx_status find_part(const zx_tensor **out, const zx_shards *s, const char *path, const char *suffix,
                             zmlx_err *err)
{
    const size_t n = strlen(path), m = strlen(suffix);
    char *name = zx_malloc(n + m + 1);
    if (!name) return zx_fail(err, ZMLX_E_NOMEM, -1, "%s: out of memory", ZX_SHOW(path));
    memcpy(name, path, n);
    memcpy(name + n, suffix, m + 1);
    *out = zx_shards_find(s, name);
    zx_free(name);
    return ZMLX_OK;
}

static zmlx_status missing(const char *path, const char *suffix, zmlx_err *err)
{
    return zx_fail(err, ZMLX_E_FORMAT, -1, "%s%s is missing", ZX_SHOW(path), suffix);
}

/* What the shapes say about bits and group, when it contradicts the configuration, is more telling than two shapes. */
static zmlx_status check_packing(const char *path, const zx_tensor *w, const zx_tensor *scales, const zx_quant *q,
                                 int rank, int64_t in, zmlx_err *err)
{
    if (in % q->group)
        return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: %lld columns are not a multiple of its groups of %d", ZX_SHOW(path),
                       (long long)in, q->group);
    const int64_t words = w->rank == rank ? w->dim[rank - 1] : 0,
                  groups = scales->rank == rank ? scales->dim[rank - 1] : 0;
    if (words > 0 && words <= in && words * 32 % in == 0 && words * 32 / in != q->bits)
        return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: its shape is that of %lld bits, config.json says %d", ZX_SHOW(path),
                       (long long)(words * 32 / in), q->bits);
    if (groups > 0 && in % groups == 0 && in / groups != q->group)
        return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: its shape is that of groups of %lld, config.json says %d",
                       ZX_SHOW(path), (long long)(in / groups), q->group);
    return ZMLX_OK;
}

/* Shapes and types of the three tensors; `dim` is the logical shape. */
static zmlx_status check_quantized(const char *path, const zx_tensor *w, const zx_tensor *scales,
                                   const zx_tensor *biases, const zx_quant *q, int rank, const int64_t *dim,
                                   zmlx_err *err)
{
    int64_t want[ZX_MAX_RANK];
    const int64_t in = dim[rank - 1];
    memcpy(want, dim, (size_t)rank * sizeof *want);
    if (w->dtype != ZMLX_U32)
        return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: type %s, expected uint32 of a quantized weight", ZX_SHOW(w->name),
                       zmlx_dtype_name(w->dtype));
    ZX_TRY(check_float(scales, err));
    if (biases->dtype != scales->dtype)
        return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: scales are %s, biases %s", ZX_SHOW(path),
                       zmlx_dtype_name(scales->dtype), zmlx_dtype_name(biases->dtype));
    ZX_TRY(check_packing(path, w, scales, q, rank, in, err));
    want[rank - 1] = in / 32 * q->bits; /* a group, and so the row, is a multiple of 32 */
    ZX_TRY(check_shape(w, rank, want, err));
    want[rank - 1] = in / q->group;
    ZX_TRY(check_shape(scales, rank, want, err));
    return check_shape(biases, rank, want, err);
}

/* The mapping is read-only; operands have one pointer type for what is read and what is written. */
static void *unconst(const void *p) { return (void *)(uintptr_t)p; }

static zx_weight plain_weight(const zx_tensor *t, const char *name)
{
    zx_weight w = {.name = name, .bytes = t->bytes};
    w.op.data = unconst(t->data);
    w.op.type.dtype = t->dtype;
    w.op.type.rank = t->rank;
    memcpy(w.op.type.dim, t->dim, (size_t)t->rank * sizeof *t->dim);
    return w;
}

static zmlx_status check_rank(const char *name, int rank, const int64_t *dim, zmlx_err *err)
{
    bool ok = rank >= 1 && rank <= ZX_MAX_RANK;
    for (int i = 0; ok && i < rank; i++)
        ok = dim[i] > 0 && dim[i] <= INT64_MAX / 32; /* times the bits of a word */
    return ok ? ZMLX_OK : zx_fail(err, ZMLX_E_ARG, -1, "%s: an expected shape of rank %d", ZX_SHOW(name), rank);
}

zmlx_status zx_weight_plain(zx_weight *out, const zx_shards *s, const char *name, int rank, const int64_t *dim,
                            zmlx_err *err)
{
    *out = (zx_weight){0};
    ZX_TRY(check_rank(name, rank, dim, err));
    const zx_tensor *t = zx_shards_find(s, name);
    if (!t) return missing(name, "", err);
    ZX_TRY(check_float(t, err));
    ZX_TRY(check_shape(t, rank, dim, err));
    *out = plain_weight(t, t->name);
    return ZMLX_OK;
}

zmlx_status zx_weight_module(zx_weight *out, const zx_config *c, const zx_shards *s, const char *path, int rank,
                             const int64_t *dim, zmlx_err *err)
{
    *out = (zx_weight){0};
    ZX_TRY(check_rank(path, rank, dim, err));
    const zx_tensor *w, *scales, *biases;
    ZX_TRY(find_part(&w, s, path, ".weight", err));
    ZX_TRY(find_part(&scales, s, path, ".scales", err));
    ZX_TRY(find_part(&biases, s, path, ".biases", err));
    if (!w) return missing(path, ".weight", err);
    zx_quant q;
    ZX_TRY(zx_config_quant(c, path, scales != NULL, &q, err));
    if (!q.bits) {
        ZX_TRY(check_float(w, err));
        ZX_TRY(check_shape(w, rank, dim, err));
        *out = plain_weight(w, zx_tensor_module(w));
        return ZMLX_OK;
    }
    if (!scales) return missing(path, ".scales", err);
    if (!biases) return missing(path, ".biases", err);
    ZX_TRY(check_quantized(path, w, scales, biases, &q, rank, dim, err));
    q.scales = scales->dtype;
    *out = plain_weight(w, zx_tensor_module(w));
    out->op.type.dtype = scales->dtype;
    out->op.type.quant = q;
    out->op.type.dim[rank - 1] = dim[rank - 1];
    out->op.scales = scales->data;
    out->op.biases = biases->data;
    out->bytes += scales->bytes + biases->bytes; /* three parts of the files: no overflow */
    return ZMLX_OK;
}
