/* SPDX-License-Identifier: MIT */
/* One safetensors file: u64 header length, JSON header, data.  The acceptance rule is in docs/FORMATS.md.
 *
 * The header may have 100 MB and comes from strangers, so it is not handed to the JSON parser in one piece, whose tree
 * would take twenty times as much memory: its members are cut apart here (which needs no more than strings and
 * brackets) and parsed one by one. */
#include "checkpoint/safetensors.h"

#include <stdlib.h>
#include <utf8proc.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "checkpoint/untrusted.h"

enum {
    HEADER_MAX = 100000000,
    NAME_BYTES_MAX = 1024,
    ENTRY_MAX = 16384,      /* JSON of one tensor */
    METADATA_MAX = 1 << 24, /* JSON of __metadata__ */
    DEPTH_MAX = 8,
};

typedef struct entry {
    zx_tensor t;
    int64_t begin;
} entry;

typedef struct header {
    const char *what;
    const char *json; /* the header, `len` bytes; `at` is the cursor */
    size_t len, at;
    zx_arena *names;
    entry *e;
    size_t n, cap;
    bool has_metadata;
    zmlx_err *err;
} header;

static int64_t file_pos(size_t at) { return 8 + (int64_t)at; }

static zmlx_status bad_syntax(const header *h, const char *why)
{
    return zx_fail(h->err, ZMLX_E_FORMAT, file_pos(h->at), "%s: header is not JSON at byte %lld: %s", h->what,
                   (long long)file_pos(h->at), why);
}

/* Rules 1 and 2: a length that fits, and UTF-8 that begins with '{'. */
static zmlx_status header_init(header *h, const uint8_t *data, size_t size)
{
    if (size < 8)
        return zx_fail(h->err, ZMLX_E_FORMAT, 0, "%s: %zu bytes, a safetensors file has at least 8", h->what, size);
    uint64_t n = 0;
    for (int i = 7; i >= 0; i--)
        n = n << 8 | data[i];
    if (n > HEADER_MAX)
        return zx_fail(h->err, ZMLX_E_FORMAT, 0, "%s: header length %llu, the limit is %d", h->what,
                       (unsigned long long)n, HEADER_MAX);
    if (n > size - 8)
        return zx_fail(h->err, ZMLX_E_FORMAT, 0, "%s: header length %llu, but only %zu bytes follow", h->what,
                       (unsigned long long)n, size - 8);
    h->json = (const char *)data + 8;
    h->len = (size_t)n;
    if (n == 0 || h->json[0] != '{')
        return zx_fail(h->err, ZMLX_E_FORMAT, 8, "%s: header does not begin with '{'", h->what);
    for (size_t i = 0; i < h->len;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t k = 1;
        if (data[8 + i] >= 0x80) k = utf8proc_iterate(data + 8 + i, (utf8proc_ssize_t)(h->len - i), &c);
        if (k <= 0)
            return zx_fail(h->err, ZMLX_E_FORMAT, file_pos(i), "%s: header is not UTF-8 at byte %lld", h->what,
                           (long long)file_pos(i));
        i += (size_t)k;
    }
    return ZMLX_OK;
}

static char peek(header *h)
{
    while (h->at < h->len && memchr(" \t\r\n", h->json[h->at], 4))
        h->at++;
    return h->at < h->len ? h->json[h->at] : 0;
}

/* The cursor is at a quote; move it behind the closing one. */
static bool skip_string(header *h)
{
    for (h->at++; h->at < h->len; h->at++) {
        if (h->json[h->at] == '\\')
            h->at++;
        else if (h->json[h->at] == '"')
            return h->at++, true;
    }
    h->at = h->len; /* a final backslash went past it */
    return false;
}

/* The cursor is at '{'; move it behind the matching bracket.  Which bracket matches which is the JSON parser's
 * business; here only their number counts. */
static zmlx_status skip_object(header *h, size_t max)
{
    const size_t start = h->at;
    int depth = 0;
    while (h->at < h->len) {
        if (h->at - start >= max)
            return zx_fail(h->err, ZMLX_E_FORMAT, file_pos(start), "%s: header member at byte %lld is over %zu bytes",
                           h->what, (long long)file_pos(start), max);
        const char c = h->json[h->at];
        if (c == '"') {
            if (!skip_string(h)) break;
            continue;
        }
        h->at++;
        if (c == '{' || c == '[') {
            if (++depth > DEPTH_MAX)
                return zx_fail(h->err, ZMLX_E_FORMAT, file_pos(h->at), "%s: header nests deeper than %d", h->what,
                               DEPTH_MAX);
        } else if ((c == '}' || c == ']') && --depth == 0) {
            return ZMLX_OK;
        }
    }
    return bad_syntax(h, "it ends inside an object");
}

static zmlx_status read_metadata(header *h, const json_t *v)
{
    if (h->has_metadata) return zx_fail(h->err, ZMLX_E_FORMAT, -1, "%s: __metadata__ occurs twice", h->what);
    h->has_metadata = true;
    void *it = json_object_iter((json_t *)(uintptr_t)v);
    for (; it; it = json_object_iter_next((json_t *)(uintptr_t)v, it))
        if (!json_is_string(json_object_iter_value(it)))
            return zx_fail(h->err, ZMLX_E_FORMAT, -1, "%s: __metadata__ \"%s\" is %s, not a string", h->what,
                           ZX_SHOW(json_object_iter_key(it)), ZX_SHOW_JSON(json_object_iter_value(it)));
    return ZMLX_OK;
}

static zmlx_status read_dtype(header *h, zx_tensor *t, const json_t *v)
{
    static const struct {
        const char *text;
        zmlx_dtype dtype;
    } map[] = {
#define X(id, size, text, is_float) {#id, ZMLX_##id},
        ZMLX_DTYPE_MAP(X)
#undef X
        /* 8-bit floats are views of raw bytes, as in MLX. */
        {"F8_E4M3", ZMLX_U8},
        {"F8_E5M2", ZMLX_U8},
        {"F8_E8M0", ZMLX_U8},
    };
    if (!json_is_string(v))
        return zx_fail(h->err, ZMLX_E_FORMAT, -1, "%s: tensor %s: dtype is %s, not a string", h->what, ZX_SHOW(t->name),
                       ZX_SHOW_JSON(v));
    for (size_t i = 0; i < ZX_COUNT(map); i++)
        if (!strcmp(map[i].text, json_string_value(v))) return t->dtype = map[i].dtype, ZMLX_OK;
    return zx_fail(h->err, ZMLX_E_UNSUPPORTED, -1, "%s: tensor %s: dtype %s is not supported", h->what,
                   ZX_SHOW(t->name), ZX_SHOW_JSON(v));
}

/* A list of `n` (or with n < 0 at most 8) non-negative integers. */
static zmlx_status read_counts(header *h, const zx_tensor *t, const char *field, const json_t *v, int n, int64_t *out)
{
    if (!json_is_array(v))
        return zx_fail(h->err, ZMLX_E_FORMAT, -1, "%s: tensor %s: %s is %s, not a list", h->what, ZX_SHOW(t->name),
                       field, ZX_SHOW_JSON(v));
    const size_t have = json_array_size(v);
    if (n < 0 ? have > 8 : have != (size_t)n)
        return zx_fail(h->err, ZMLX_E_FORMAT, -1, "%s: tensor %s: %s has %zu elements, expected %s%d", h->what,
                       ZX_SHOW(t->name), field, have, n < 0 ? "at most " : "", n < 0 ? 8 : n);
    for (size_t i = 0; i < have; i++) {
        const json_t *x = json_array_get(v, i);
        if (!json_is_integer(x) || json_integer_value(x) < 0)
            return zx_fail(h->err, ZMLX_E_FORMAT, -1, "%s: tensor %s: %s[%zu] is %s, not a non-negative integer",
                           h->what, ZX_SHOW(t->name), field, i, ZX_SHOW_JSON(x));
        out[i] = json_integer_value(x);
    }
    return ZMLX_OK;
}

/* Rule 5: the shape's bytes, with zeros left out of the overflow check, so that no later product of some of the
 * dimensions can overflow either. */
static zmlx_status check_bytes(header *h, const entry *e, int64_t end)
{
    const zx_tensor *t = &e->t;
    int64_t bytes = (int64_t)zmlx_dtype_size(t->dtype);
    bool fits = true, empty = false;
    for (int i = 0; i < t->rank; i++) {
        if (t->dim[i] == 0)
            empty = true;
        else if (__builtin_mul_overflow(bytes, t->dim[i], &bytes))
            fits = false;
    }
    if (!fits)
        return zx_fail(h->err, ZMLX_E_FORMAT, -1, "%s: tensor %s: the size of its shape overflows", h->what,
                       ZX_SHOW(t->name));
    if (empty) bytes = 0;
    if (end < e->begin)
        return zx_fail(h->err, ZMLX_E_FORMAT, -1, "%s: tensor %s: data_offsets end at %lld before they begin at %lld",
                       h->what, ZX_SHOW(t->name), (long long)end, (long long)e->begin);
    if (end - e->begin != bytes)
        return zx_fail(h->err, ZMLX_E_FORMAT, -1, "%s: tensor %s: data_offsets span %lld bytes, its shape needs %lld",
                       h->what, ZX_SHOW(t->name), (long long)(end - e->begin), (long long)bytes);
    return ZMLX_OK;
}

/* Rules 3 and 5 for one tensor. */
static zmlx_status read_tensor(header *h, const char *name, json_t *v)
{
    if (h->n == h->cap) {
        const size_t cap = h->cap ? h->cap * 2 : 64;
        entry *e = zx_realloc(h->e, cap * sizeof *e);
        if (!e) return zx_fail(h->err, ZMLX_E_NOMEM, -1, "%s: out of memory", h->what);
        h->e = e, h->cap = cap;
    }
    entry *e = &h->e[h->n];
    *e = (entry){.t.name = zx_arena_strdup(h->names, name)};
    if (!e->t.name) return zx_fail(h->err, ZMLX_E_NOMEM, -1, "%s: out of memory", h->what);
    for (void *it = json_object_iter(v); it; it = json_object_iter_next(v, it)) {
        const char *key = json_object_iter_key(it);
        if (strcmp(key, "dtype") && strcmp(key, "shape") && strcmp(key, "data_offsets"))
            return zx_fail(h->err, ZMLX_E_FORMAT, -1, "%s: tensor %s: unknown member \"%s\"", h->what, ZX_SHOW(name),
                           ZX_SHOW(key));
    }
    const json_t *shape = json_object_get(v, "shape");
    int64_t offset[2];
    ZX_TRY(read_dtype(h, &e->t, json_object_get(v, "dtype")));
    ZX_TRY(read_counts(h, &e->t, "shape", shape, -1, e->t.dim));
    ZX_TRY(read_counts(h, &e->t, "data_offsets", json_object_get(v, "data_offsets"), 2, offset));
    e->t.rank = (int)json_array_size(shape);
    e->begin = offset[0];
    ZX_TRY(check_bytes(h, e, offset[1]));
    e->t.bytes = (size_t)(offset[1] - offset[0]);
    h->n++;
    return ZMLX_OK;
}

/* "name": {...} at the cursor. */
static zmlx_status read_member(header *h)
{
    if (peek(h) != '"') return bad_syntax(h, "a name was expected");
    const size_t key_at = h->at;
    if (!skip_string(h)) return bad_syntax(h, "it ends inside a string");
    const size_t key_len = h->at - key_at;
    if (key_len > 6 * NAME_BYTES_MAX + 2) /* every byte written as an escape */
        return zx_fail(h->err, ZMLX_E_FORMAT, file_pos(key_at), "%s: tensor name of %zu bytes, the limit is %d",
                       h->what, key_len - 2, NAME_BYTES_MAX);
    if (peek(h) != ':') return bad_syntax(h, "':' was expected");
    h->at++;
    if (peek(h) != '{') return bad_syntax(h, "'{' was expected");

    json_t *key = NULL, *value = NULL;
    zmlx_status st = zx_json_parse(&key, h->json + key_at, key_len, JSON_DECODE_ANY, h->what, file_pos(key_at), h->err);
    if (st == ZMLX_OK) {
        const char *name = json_string_value(key);
        const bool meta = !strcmp(name, "__metadata__");
        const size_t at = h->at;
        if (json_string_length(key) > NAME_BYTES_MAX)
            st = zx_fail(h->err, ZMLX_E_FORMAT, file_pos(key_at), "%s: tensor name of %zu bytes, the limit is %d",
                         h->what, json_string_length(key), NAME_BYTES_MAX);
        if (st == ZMLX_OK) st = skip_object(h, meta ? METADATA_MAX : ENTRY_MAX);
        if (st == ZMLX_OK)
            st = zx_json_parse(&value, h->json + at, h->at - at, JSON_REJECT_DUPLICATES, h->what, file_pos(at), h->err);
        if (st == ZMLX_OK) st = meta ? read_metadata(h, value) : read_tensor(h, name, value);
    }
    json_decref(value);
    json_decref(key);
    return st;
}

static zmlx_status read_members(header *h)
{
    h->at = 1; /* behind '{' */
    if (peek(h) == '}') {
        h->at++;
    } else {
        for (;;) {
            ZX_TRY(read_member(h));
            const char c = peek(h);
            if (c != ',' && c != '}') return bad_syntax(h, "',' or '}' was expected");
            h->at++;
            if (c == '}') break;
        }
    }
    peek(h);
    return h->at == h->len ? ZMLX_OK : bad_syntax(h, "something follows the object");
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const entry *)a)->t.name, ((const entry *)b)->t.name);
}

/* Empty tensors share their offset with a neighbour: the end decides. */
static int by_offset(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return (x->t.bytes > y->t.bytes) - (x->t.bytes < y->t.bytes);
}

/* Rules 2 (names), 4 and 6: together they leave no byte of the file unaccounted for. */
static zmlx_status check_layout(header *h, size_t data_size)
{
    if (h->n) qsort(h->e, h->n, sizeof *h->e, by_name);
    for (size_t i = 1; i < h->n; i++)
        if (!strcmp(h->e[i - 1].t.name, h->e[i].t.name))
            return zx_fail(h->err, ZMLX_E_FORMAT, -1, "%s: tensor %s occurs twice", h->what, ZX_SHOW(h->e[i].t.name));
    if (h->n) qsort(h->e, h->n, sizeof *h->e, by_offset);
    int64_t end = 0;
    for (size_t i = 0; i < h->n; i++) {
        const entry *e = &h->e[i];
        if (e->begin != end)
            return zx_fail(h->err, ZMLX_E_FORMAT, -1, "%s: tensor %s begins at %lld, %s the previous end %lld", h->what,
                           ZX_SHOW(e->t.name), (long long)e->begin, e->begin < end ? "an overlap with" : "a hole after",
                           (long long)end);
        end = e->begin + (int64_t)e->t.bytes;
    }
    if ((uint64_t)end != data_size)
        return zx_fail(h->err, ZMLX_E_FORMAT, -1,
                       "%s: its tensors have %lld bytes, the file has %zu after its header%s", h->what, (long long)end,
                       data_size, (uint64_t)end > data_size ? " (truncated?)" : "");
    return ZMLX_OK;
}

static zmlx_status parse(header *h, const uint8_t *data, size_t size, zx_tensor_fn *emit, void *ctx)
{
    ZX_TRY(header_init(h, data, size));
    if (!(h->names = zx_arena_create())) return zx_fail(h->err, ZMLX_E_NOMEM, -1, "%s: out of memory", h->what);
    ZX_TRY(read_members(h));
    ZX_TRY(check_layout(h, size - 8 - h->len));
    const uint8_t *base = data + 8 + h->len;
    for (size_t i = 0; i < h->n; i++) {
        h->e[i].t.data = base + h->e[i].begin;
        ZX_TRY(emit(ctx, &h->e[i].t, h->err));
    }
    return ZMLX_OK;
}

zmlx_status zx_safetensors_parse(const uint8_t *data, size_t size, const char *what, zx_tensor_fn *emit, void *ctx,
                                 zmlx_err *err)
{
    char shown[ZX_SHOW_MAX];
    header h = {.what = zx_show_text(shown, what, strlen(what)), .err = err};
    const zmlx_status st = parse(&h, data, size, emit, ctx);
    zx_free(h.e);
    zx_arena_destroy(h.names);
    return st;
}
