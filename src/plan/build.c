/* SPDX-License-Identifier: MIT */
#include "plan/build.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { NAME_MAX_LEN = 512 };

void zx_build_init(zx_builder *b, zx_plan *p, const zx_config *c, const zx_shards *s)
{
    *b = (zx_builder){.plan = p, .config = c, .shards = s, .layer = -1};
    zx_value tokens = {.kind = ZX_VAL_INPUT, .type = zx_type_make(ZMLX_I32, 1, ZX_TOKENS), .name = "tokens"};
    p->tokens = zx_plan_add_value(p, &tokens);
    if (p->tokens < 0) b->status = zx_fail(&b->err, ZMLX_E_NOMEM, -1, "plan");
}

/* The builder's sticky error. */
static zx_val give_up(zx_builder *b, zmlx_status s)
{
    if (b->status == ZMLX_OK) b->status = s;
    return -1;
}

static zx_val no_memory(zx_builder *b)
{
    return give_up(b, zx_fail(&b->err, ZMLX_E_NOMEM, -1, "%s plan", b->plan->what));
}

zmlx_status zx_build_finish(zx_builder *b, zx_val logits, zmlx_err *err)
{
    if (b->status != ZMLX_OK) {
        if (err) *err = b->err;
        return b->status;
    }
    b->plan->logits = logits;
    ZX_TRY(zx_plan_verify(b->plan, err));
    return zx_plan_layout(b->plan, err);
}

zx_val zx_build_op(zx_builder *b, const char *kernel, const zx_attr *attr, int n, const zx_val *in)
{
    if (b->status != ZMLX_OK) return -1;
    const zx_kernel_def *k = zx_kernel_find(kernel);
    if (!k || k->n_in != n)
        return give_up(b, zx_fail(&b->err, ZMLX_E_FAIL, -1, "no kernel '%s' with %d inputs", kernel, n));
    zx_node node = {.op = k, .n_in = n, .n_out = k->n_out, .layer = b->layer};
    if (attr) node.attr = *attr;
    zx_type types[ZX_MAX_IN], out[ZX_MAX_OUT];
    for (int i = 0; i < n; i++) {
        if (in[i] < 0 || in[i] >= b->plan->n_values)
            return give_up(b,
                           zx_fail(&b->err, ZMLX_E_FAIL, -1, "%s, layer %d: input %d is missing", kernel, b->layer, i));
        node.in[i] = in[i];
        types[i] = b->plan->value[in[i]].type;
    }
    zmlx_err why = {0};
    zmlx_status s = k->infer(types, &node.attr, out, &why);
    if (s != ZMLX_OK) return give_up(b, zx_fail(&b->err, s, -1, "layer %d, %s: %s", b->layer, kernel, why.msg));
    for (int i = 0; i < k->n_out; i++) {
        zx_value v = {.kind = ZX_VAL_NODE, .type = out[i], .node = b->plan->n_nodes, .slot = i};
        node.out[i] = zx_plan_add_value(b->plan, &v);
        if (node.out[i] < 0) return no_memory(b);
    }
    if (zx_plan_add_node(b->plan, &node) < 0) return no_memory(b);
    return k->n_out ? node.out[0] : -1;
}

zx_val zx_build_out(zx_builder *b, zx_val first, int k)
{
    if (b->status != ZMLX_OK || first < 0) return -1;
    return b->plan->node[b->plan->value[first].node].out[k];
}

static zx_val add_weight(zx_builder *b, const zx_weight *w)
{
    zx_weight *kept = zx_arena_alloc(b->plan->arena, sizeof *kept);
    if (!kept) return no_memory(b);
    *kept = *w;
    kept->name = zx_arena_strdup(b->plan->arena, w->name);
    if (!kept->name) return no_memory(b);
    zx_value v = {.kind = ZX_VAL_WEIGHT, .type = w->op.type, .name = kept->name, .weight = kept};
    zx_val id = zx_plan_add_value(b->plan, &v);
    return id < 0 ? no_memory(b) : id;
}

zx_val zx_build_module(zx_builder *b, int rank, const int64_t *dim, const char *fmt, ...)
{
    if (b->status != ZMLX_OK) return -1;
    char path[NAME_MAX_LEN];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(path, sizeof path, fmt, ap);
    va_end(ap);
    zx_weight w = {0};
    zmlx_status s = zx_weight_module(&w, b->config, b->shards, path, rank, dim, &b->err);
    if (s != ZMLX_OK) return give_up(b, s);
    w.name = path;
    return add_weight(b, &w);
}

zx_val zx_build_plain(zx_builder *b, int rank, const int64_t *dim, const char *fmt, ...)
{
    if (b->status != ZMLX_OK) return -1;
    char name[NAME_MAX_LEN];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    zx_weight w = {0};
    zmlx_status s = zx_weight_plain(&w, b->shards, name, rank, dim, &b->err);
    if (s != ZMLX_OK) return give_up(b, s);
    w.name = name;
    return add_weight(b, &w);
}

zx_val zx_build_state(zx_builder *b, const char *role, const zx_type *type)
{
    if (b->status != ZMLX_OK) return -1;
    zx_value v = {.kind = ZX_VAL_STATE, .type = *type};
    v.name = zx_arena_printf(b->plan->arena, "layers.%d.%s", b->layer, role);
    zx_val id = v.name ? zx_plan_add_value(b->plan, &v) : -1;
    return id < 0 ? no_memory(b) : id;
}

/* --- primitives --- */

static zx_val op1(zx_builder *b, const char *k, const zx_attr *a, zx_val x) { return zx_build_op(b, k, a, 1, &x); }

static zx_val op2(zx_builder *b, const char *k, const zx_attr *a, zx_val x, zx_val y)
{
    return zx_build_op(b, k, a, 2, (zx_val[]){x, y});
}

static zx_val op3(zx_builder *b, const char *k, const zx_attr *a, zx_val x, zx_val y, zx_val z)
{
    return zx_build_op(b, k, a, 3, (zx_val[]){x, y, z});
}

zx_val zx_embedding(zx_builder *b, zx_val table) { return op2(b, "embedding", NULL, b->plan->tokens, table); }

zx_val zx_rms_norm(zx_builder *b, zx_val x, zx_val w, float eps)
{
    return op2(b, "rms_norm", &(zx_attr){.eps = eps}, x, w);
}

zx_val zx_qmm(zx_builder *b, zx_val x, zx_val w) { return op2(b, "qmm", NULL, x, w); }
zx_val zx_add(zx_builder *b, zx_val x, zx_val y) { return op2(b, "add", NULL, x, y); }

zx_val zx_rope(zx_builder *b, zx_val x, int head_dim, int dims, float theta)
{
    if (b->status != ZMLX_OK || x < 0 || head_dim <= 0) return -1;
    int64_t row = zx_type_row(&b->plan->value[x].type);
    return op1(b, "rope", &(zx_attr){.dims = dims, .heads = (int32_t)(row / head_dim), .theta = theta}, x);
}

void zx_kv_append(zx_builder *b, zx_val cache, zx_val x)
{
    if (b->status != ZMLX_OK || cache < 0) return;
    const char *name = b->plan->value[cache].name;
    bool values = strstr(name, ".values") != NULL;
    op2(b, "kv_append", &(zx_attr){.role = values, .layer = b->layer}, cache, x);
}

zx_val zx_sdpa(zx_builder *b, zx_val q, zx_val keys, zx_val values, float scale)
{
    return op3(b, "sdpa", &(zx_attr){.scale = scale, .layer = b->layer}, q, keys, values);
}

zx_val zx_swiglu(zx_builder *b, zx_val gate, zx_val up) { return op2(b, "swiglu", NULL, gate, up); }
zx_val zx_softmax(zx_builder *b, zx_val x) { return op1(b, "softmax", NULL, x); }
zx_val zx_argpartition(zx_builder *b, zx_val x, int k) { return op1(b, "argpartition", &(zx_attr){.k = k}, x); }
zx_val zx_take(zx_builder *b, zx_val x, zx_val idx) { return op2(b, "take", NULL, x, idx); }
zx_val zx_sum_last(zx_builder *b, zx_val x) { return op1(b, "sum_last", NULL, x); }
zx_val zx_div(zx_builder *b, zx_val x, zx_val y) { return op2(b, "div", NULL, x, y); }
zx_val zx_gather_qmm(zx_builder *b, zx_val x, zx_val w, zx_val idx) { return op3(b, "gather_qmm", NULL, x, w, idx); }
zx_val zx_mul_scores(zx_builder *b, zx_val y, zx_val s) { return op2(b, "mul_scores", NULL, y, s); }
zx_val zx_sum_experts(zx_builder *b, zx_val y) { return op1(b, "sum_experts", NULL, y); }
