/* SPDX-License-Identifier: MIT */
/* Finding added tokens.  The usual forward search restarts after every match and so rescans; with tokens
 * such as "a" and "aaa...b" from a hostile file that is quadratic.  Running backwards is not. */
#include "checkpoint/tokenizer_impl.h"

#include <string.h>

#include "base/alloc.h"

/* What only construction needs. */
typedef struct builder {
    zx_ac *a;
    uint32_t *parent, *depth, *order;
    unsigned char *byte;
} builder;

static uint32_t edge_at(const zx_ac *a, uint32_t key)
{
    uint32_t i = (key * 0x9e3779b1u ^ key >> 11) & a->edge_mask;
    while (a->edge[i].key && a->edge[i].key != key)
        i = (i + 1) & a->edge_mask;
    return i;
}

static inline uint32_t child_of(const zx_ac *a, uint32_t node, unsigned char byte) /* 0: none */
{
    if (!node) return a->root[byte];
    return a->edge[edge_at(a, (node << 8 | byte) + 1)].child;
}

static uint32_t child_make(builder *b, uint32_t node, unsigned char byte)
{
    zx_ac *a = b->a;
    uint32_t child = child_of(a, node, byte);
    if (child) return child;
    child = a->n_nodes++;
    b->parent[child] = node;
    b->depth[child] = b->depth[node] + 1;
    b->byte[child] = byte;
    if (!node) {
        a->root[byte] = child;
    } else {
        uint32_t key = (node << 8 | byte) + 1;
        a->edge[edge_at(a, key)] = (zx_ac_edge){key, child};
    }
    return child;
}

/* Nodes by depth: a failure link always leads to a smaller one. */
static bool order_nodes(builder *b, size_t max_depth)
{
    uint32_t *at = zx_calloc(max_depth + 2, sizeof *at);
    if (!at) return false;
    for (uint32_t i = 0; i < b->a->n_nodes; i++)
        at[b->depth[i] + 1]++;
    for (size_t d = 1; d <= max_depth + 1; d++)
        at[d] += at[d - 1];
    for (uint32_t i = 0; i < b->a->n_nodes; i++)
        b->order[at[b->depth[i]]++] = i;
    zx_free(at);
    return true;
}

static void link_failures(builder *b)
{
    zx_ac *a = b->a;
    for (uint32_t k = 1; k < a->n_nodes; k++) {
        uint32_t node = b->order[k], next = 0;
        if (b->depth[node] > 1) {
            uint32_t f = a->fail[b->parent[node]];
            while (!(next = child_of(a, f, b->byte[node])) && f)
                f = a->fail[f];
        }
        a->fail[node] = next;
        if (!a->hit[node].len) a->hit[node] = a->hit[next];
    }
}

static bool builder_alloc(builder *b, size_t max_nodes)
{
    size_t edges = 16;
    while (edges < 2 * max_nodes)
        edges *= 2;
    b->a->edge_mask = (uint32_t)(edges - 1);
    b->a->edge = zx_calloc(edges, sizeof *b->a->edge);
    b->a->fail = zx_calloc(max_nodes, sizeof *b->a->fail);
    b->a->hit = zx_calloc(max_nodes, sizeof *b->a->hit);
    b->parent = zx_calloc(max_nodes, sizeof *b->parent);
    b->depth = zx_calloc(max_nodes, sizeof *b->depth);
    b->order = zx_calloc(max_nodes, sizeof *b->order);
    b->byte = zx_calloc(max_nodes, 1);
    return b->a->edge && b->a->fail && b->a->hit && b->parent && b->depth && b->order && b->byte;
}

/* The strings are not empty; their total length is bounded by the loader, so node << 8 fits.  Of equal
 * strings the first counts. */
zmlx_status zx_ac_build(zx_ac *a, const zx_ac_string *s, size_t n, zmlx_err *err)
{
    size_t total = 1, longest = 0;
    if (!n) return ZMLX_OK;
    for (size_t i = 0; i < n; i++) {
        total += s[i].len;
        longest = ZX_MAX(longest, s[i].len);
    }
    builder b = {.a = a};
    bool ok = builder_alloc(&b, total);
    if (ok) a->n_nodes = 1;
    for (size_t i = 0; ok && i < n; i++) {
        uint32_t node = 0;
        for (size_t k = s[i].len; k-- > 0;)
            node = child_make(&b, node, (unsigned char)s[i].text[k]);
        if (!a->hit[node].len) a->hit[node] = (zx_ac_hit){s[i].value, (uint32_t)s[i].len};
    }
    ok = ok && order_nodes(&b, longest);
    if (ok) link_failures(&b);
    zx_free(b.parent);
    zx_free(b.depth);
    zx_free(b.order);
    zx_free(b.byte);
    if (ok) return ZMLX_OK;
    zx_ac_clear(a);
    return zx_fail(err, ZMLX_E_NOMEM, -1, "tokenizer: search for %zu added tokens", n);
}

void zx_ac_clear(zx_ac *a)
{
    zx_free(a->edge);
    zx_free(a->fail);
    zx_free(a->hit);
    *a = (zx_ac){0};
}

static bool push_match(zx_ac_match **v, size_t *n, size_t *cap, zx_ac_match m)
{
    if (*n == *cap) {
        size_t want = *cap ? *cap * 2 : 64;
        zx_ac_match *p = zx_realloc(*v, want * sizeof *p);
        if (!p) return false;
        *v = p;
        *cap = want;
    }
    (*v)[(*n)++] = m;
    return true;
}

zmlx_status zx_ac_find(const zx_ac *a, const char *text, size_t len, zx_ac_match **out, size_t *n_out, zmlx_err *err)
{
    zx_ac_match *v = NULL;
    size_t n = 0, cap = 0;
    uint32_t node = 0;
    *out = NULL;
    *n_out = 0;
    if (!a->n_nodes) return ZMLX_OK;
    for (size_t i = len; i-- > 0;) {
        unsigned char c = (unsigned char)text[i];
        uint32_t next;
        while (!(next = child_of(a, node, c)) && node)
            node = a->fail[node];
        node = next;
        if (!a->hit[node].len) continue;
        if (!push_match(&v, &n, &cap, (zx_ac_match){i, a->hit[node]})) {
            zx_free(v);
            return zx_fail(err, ZMLX_E_NOMEM, -1, "tokenizer: %zu added tokens in the text", n);
        }
    }
    *out = v;
    *n_out = n;
    return ZMLX_OK;
}
