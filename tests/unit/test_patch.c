/* SPDX-License-Identifier: MIT */
/* src/patch: selection, matching, rewriting; and that no change of a plan makes a pattern give other bits.
 *
 * Plans are built here, of random weights and of two kernels of this file: "source" gives a random activation of any
 * type, "tap" keeps a copy of what it reads.  The mutation tests change one thing of such a plan at a time (an
 * attribute, an op, an operand, a type, a reader, the order) and patch what comes out: either the pattern declines, or
 * every tap of every step must be equal bit for bit. */
#include "base/alloc.h"
#include "base/buf.h"
#include "base/half.h"
#include "patch/patch.h"
#include "plan/exec.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_TOKENS = 8, CTX = 32, N_SOURCES = 6, N_TAPS = 48, ROWS = 16, TAP_BYTES = MAX_TOKENS * 4096, MAX_NODES = 64 };

/* --- random numbers --- */
static uint64_t rng_next(uint64_t *s)
{
    uint64_t z = (*s += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static float rng_float(uint64_t *s) { return (float)(rng_next(s) >> 40) / (float)(1 << 23) - 1.0f; } /* [-1, 1) */

static void put_float(void *p, zmlx_dtype t, int64_t i, float v)
{
    if (t == ZMLX_F32) ((float *)p)[i] = v;
    if (t == ZMLX_F16) ((uint16_t *)p)[i] = zx_f32_to_f16(v);
    if (t == ZMLX_BF16) ((uint16_t *)p)[i] = zx_f32_to_bf16(v);
}

static void fill_floats(void *p, zmlx_dtype t, int64_t n, uint64_t seed, float centre, float spread)
{
    for (int64_t i = 0; i < n; i++)
        put_float(p, t, i, centre + spread * rng_float(&seed));
}

/* --- kernels of the test --- */
static struct {
    zx_type type;
    int64_t modulus; /* integers are below it */
    uint64_t seed;
    bool coarse; /* few different values, some -inf: ties among experts, and experts that are masked */
} source[N_SOURCES];
static uint8_t tap[N_TAPS][TAP_BYTES];

static int64_t one_task(const zx_call *c, int phase)
{
    (void)c, (void)phase;
    return 1;
}

static zmlx_status source_infer(const zx_type *in, const zx_attr *a, zx_type *out, zmlx_err *err)
{
    (void)in;
    if (a->layer < 0 || a->layer >= N_SOURCES || !source[a->layer].type.rank)
        return zx_fail(err, ZMLX_E_FORMAT, -1, "no source %d", a->layer);
    out[0] = source[a->layer].type;
    return ZMLX_OK;
}

static void source_run(const zx_call *c, int phase, int64_t begin, int64_t end, void *scratch)
{
    (void)phase, (void)begin, (void)end, (void)scratch;
    const zx_type *t = &c->out[0].type;
    int64_t row = zx_type_row(t);
    uint64_t seed = source[c->attr->layer].seed + (uint64_t)c->pos * 1000;
    if (t->dtype == ZMLX_I32) {
        /* The chosen experts of a token differ, as they do in a model. */
        for (int64_t i = 0; i < c->tokens; i++) {
            uint64_t first = rng_next(&seed);
            for (int64_t j = 0; j < row; j++)
                ((int32_t *)c->out[0].data)[i * row + j] =
                    (int32_t)((first + (uint64_t)j * 3) % (uint64_t)source[c->attr->layer].modulus);
        }
    } else if (source[c->attr->layer].coarse) {
        for (int64_t i = 0; i < c->tokens * row; i++) {
            uint64_t r = rng_next(&seed) >> 32;
            put_float(c->out[0].data, t->dtype, i, r % 16 == 0 ? -INFINITY : (float)(r % 5) * 0.5f);
        }
    } else {
        fill_floats(c->out[0].data, t->dtype, c->tokens * row, seed, 0, 2.0f);
    }
}

static zmlx_status same_infer(const zx_type *in, const zx_attr *a, zx_type *out, zmlx_err *err)
{
    (void)a, (void)err;
    out[0] = in[0];
    return ZMLX_OK;
}

static zmlx_status column_infer(const zx_type *in, const zx_attr *a, zx_type *out, zmlx_err *err)
{
    (void)a;
    if (in[0].rank != 2) return zx_fail(err, ZMLX_E_FORMAT, -1, "not a matrix");
    out[0] = in[0];
    out[0].dim[1] = 1;
    return ZMLX_OK;
}

static void copy_run(const zx_call *c, int phase, int64_t begin, int64_t end, void *scratch)
{
    (void)phase, (void)begin, (void)end, (void)scratch;
    const zx_type *from = &c->in[0].type, *to = &c->out[0].type;
    size_t size = zmlx_dtype_size(from->dtype), a = (size_t)zx_type_row(from) * size,
           b = (size_t)zx_type_row(to) * size;
    for (int64_t i = 0; i < c->tokens; i++)
        memcpy((char *)c->out[0].data + (size_t)i * b, (const char *)c->in[0].data + (size_t)i * a, ZX_MIN(a, b));
}

static void tap_run(const zx_call *c, int phase, int64_t begin, int64_t end, void *scratch)
{
    copy_run(c, phase, begin, end, scratch);
    memcpy(tap[c->attr->layer], c->in[0].data, zx_type_bytes(&c->in[0].type, c->tokens));
}

#define TEST_KERNEL(ident, ins, infer_, run_)                                                                          \
    static const zx_kernel_def ident = {.name = #ident,                                                                \
                                        .doc = "of this test",                                                         \
                                        .n_in = ins,                                                                   \
                                        .n_out = 1,                                                                    \
                                        .infer = infer_,                                                               \
                                        .phases = 1,                                                                   \
                                        .tasks = one_task,                                                             \
                                        .run = {[ZX_CPU_SCALAR] = run_}}
TEST_KERNEL(k_source, 1, source_infer, source_run);
TEST_KERNEL(k_tap, 1, same_infer, tap_run);
TEST_KERNEL(k_same, 1, same_infer, copy_run);     /* an unknown op of one operand */
TEST_KERNEL(k_gelu_mul, 2, same_infer, copy_run); /* an unknown activation */
TEST_KERNEL(k_column, 1, column_infer, copy_run); /* an unknown sum */
static const zx_kernel_def *const test_kernels[] = {&k_same, &k_gelu_mul, &k_column};

/* --- building plans --- */
typedef struct net {
    zx_plan *p;
    int layer, taps;
} net;

static net net_new(void)
{
    net n = {.p = zx_plan_create("decode", MAX_TOKENS, CTX)};
    assert_non_null(n.p);
    memset(source, 0, sizeof source);
    zx_value tokens = {.kind = ZX_VAL_INPUT, .type = zx_type_make(ZMLX_I32, 1, ZX_TOKENS), .name = "tokens"};
    n.p->tokens = zx_plan_add_value(n.p, &tokens);
    return n;
}

static zx_val net_kernel(net *n, const zx_kernel_def *k, const zx_attr *attr, const zx_val *in)
{
    zx_node node = {.op = k, .n_in = k->n_in, .n_out = k->n_out, .layer = n->layer};
    zx_type types[ZX_MAX_IN], out[ZX_MAX_OUT];
    if (attr) node.attr = *attr;
    for (int i = 0; i < k->n_in; i++) {
        node.in[i] = in[i];
        types[i] = n->p->value[in[i]].type;
    }
    zmlx_err err = {0};
    if (k->infer(types, &node.attr, out, &err) != ZMLX_OK) fail_msg("%s: %s", k->name, err.msg);
    for (int i = 0; i < k->n_out; i++) {
        zx_value v = {.kind = ZX_VAL_NODE, .type = out[i], .node = n->p->n_nodes, .slot = i};
        node.out[i] = zx_plan_add_value(n->p, &v);
    }
    zx_plan_add_node(n->p, &node);
    return k->n_out ? node.out[0] : -1;
}

static zx_val op(net *n, const char *name, const zx_attr *attr, zx_val a, zx_val b, zx_val c)
{
    const zx_kernel_def *k = zx_kernel_find(name);
    if (!k) fail_msg("no kernel %s", name);
    return net_kernel(n, k, attr, (zx_val[]){a, b, c});
}

static zx_val op1(net *n, const char *name, zx_val a) { return op(n, name, NULL, a, -1, -1); }
static zx_val op2(net *n, const char *name, zx_val a, zx_val b) { return op(n, name, NULL, a, b, -1); }

static zx_val src(net *n, int i, zmlx_dtype t, int64_t a, int64_t b, int64_t modulus)
{
    source[i].type = b ? zx_type_make(t, 3, ZX_TOKENS, a, b) : zx_type_make(t, 2, ZX_TOKENS, a);
    source[i].modulus = modulus;
    source[i].seed = 77u + (uint64_t)i;
    return net_kernel(n, &k_source, &(zx_attr){.layer = i}, &n->p->tokens);
}

static void add_tap(net *n, zx_val v)
{
    assert_true(n->taps < N_TAPS);
    net_kernel(n, &k_tap, &(zx_attr){.layer = n->taps++}, &v);
}

static zx_weight *make_weight(zx_arena *a, zx_type t, uint64_t seed)
{
    zx_weight *w = zx_arena_alloc(a, sizeof *w);
    int64_t elems = zx_type_elems(&t, 1);
    size_t bytes = zx_type_bytes(&t, 1);
    w->op.type = t;
    w->op.data = zx_arena_alloc(a, bytes);
    w->bytes = bytes;
    w->name = "w";
    if (!t.quant.bits) {
        fill_floats(w->op.data, t.dtype, elems, seed, t.rank == 1 ? 1.0f : 0.0f, t.rank == 1 ? 0.25f : 0.2f);
        return w;
    }
    for (size_t i = 0; i < bytes; i++)
        ((uint8_t *)w->op.data)[i] = (uint8_t)(rng_next(&seed) >> 32);
    int64_t groups = elems / t.quant.group;
    void *scales = zx_arena_alloc(a, (size_t)groups * 4), *biases = zx_arena_alloc(a, (size_t)groups * 4);
    float step = 0.4f / (float)(1 << t.quant.bits);
    fill_floats(scales, t.quant.scales, groups, seed, step, step * 0.5f);
    fill_floats(biases, t.quant.scales, groups, seed + 1, -0.2f, 0.05f);
    w->op.scales = scales;
    w->op.biases = biases;
    return w;
}

static zx_val weight(net *n, zx_type t)
{
    zx_value v = {.kind = ZX_VAL_WEIGHT, .type = t, .name = "w"};
    v.weight = make_weight(n->p->arena, t, 1000u + (uint64_t)n->p->n_values);
    return zx_plan_add_value(n->p, &v);
}

static zx_val norm_weight(net *n, zmlx_dtype t, int64_t len) { return weight(n, zx_type_make(t, 1, len)); }

static zx_type linear_type(zmlx_dtype t, zx_quant q, int64_t experts, int64_t out, int64_t in)
{
    zx_type w = experts ? zx_type_make(t, 3, experts, out, in) : zx_type_make(t, 2, out, in);
    w.quant = q;
    if (q.bits) w.dtype = q.scales;
    return w;
}

static zx_val state(net *n, const char *name, zmlx_dtype t, int64_t heads, int64_t dim)
{
    zx_value v = {.kind = ZX_VAL_STATE, .type = zx_type_make(t, 3, heads, (int64_t)CTX, dim), .name = name};
    return zx_plan_add_value(n->p, &v);
}

static void finish(net *n)
{
    zmlx_err err = {0};
    if (zx_plan_verify(n->p, &err) != ZMLX_OK || zx_plan_layout(n->p, &err) != ZMLX_OK) fail_msg("%s", err.msg);
}

/* What a net is made of. */
typedef struct kind {
    zmlx_dtype dtype;
    zx_quant quant;
    int64_t k;
} kind;

enum { HIDDEN = 64, WIDTH = 96, EXPERTS = 12, HEADS = 4, KV_HEADS = 2, HEAD_DIM = 32 };

static zx_val build_gating(net *n, const kind *c, zx_val logits, bool renorm, zx_val *idx)
{
    zx_val p = op1(n, "softmax", logits);
    *idx = op(n, "argpartition", &(zx_attr){.k = (int32_t)c->k}, p, -1, -1);
    zx_val s = op2(n, "take", p, *idx);
    return renorm ? op2(n, "div", s, op1(n, "sum_last", s)) : s;
}

static net net_gating(const kind *c, bool renorm, bool coarse)
{
    net n = net_new();
    zx_val g = src(&n, 0, c->dtype, EXPERTS, 0, 0), idx;
    source[0].coarse = coarse;
    src(&n, 1, c->dtype, EXPERTS, 0, 0);
    src(&n, 2, ZMLX_I32, c->k, 0, EXPERTS);
    zx_val s = build_gating(&n, c, g, renorm, &idx);
    add_tap(&n, s);
    add_tap(&n, idx);
    finish(&n);
    return n;
}

static net net_gating_renorm(const kind *c) { return net_gating(c, true, false); }
static net net_gating_plain(const kind *c) { return net_gating(c, false, false); }
static net net_gating_ties(const kind *c) { return net_gating(c, true, true); }

static net net_experts(const kind *c)
{
    net n = net_new();
    zx_val x = src(&n, 0, c->dtype, HIDDEN, 0, 0), idx = src(&n, 1, ZMLX_I32, c->k, 0, EXPERTS);
    src(&n, 2, c->dtype, HIDDEN, 0, 0);
    src(&n, 3, ZMLX_I32, c->k, 0, EXPERTS);
    src(&n, 4, c->dtype, c->k, HIDDEN, 0);
    zx_type t = linear_type(c->dtype, c->quant, EXPERTS, WIDTH, HIDDEN);
    zx_val w_up = weight(&n, t), w_gate = weight(&n, t);
    weight(&n, t);
    zx_val up = op(&n, "gather_qmm", NULL, x, w_up, idx), gate = op(&n, "gather_qmm", NULL, x, w_gate, idx);
    add_tap(&n, op2(&n, "swiglu", gate, up));
    finish(&n);
    return n;
}

static net net_combine(const kind *c)
{
    net n = net_new();
    zx_val y = src(&n, 0, c->dtype, c->k, HIDDEN, 0), s = src(&n, 1, c->dtype, c->k, 0, 0);
    src(&n, 2, c->dtype, c->k, HIDDEN, 0);
    src(&n, 3, c->dtype, c->k, 0, 0);
    add_tap(&n, op1(&n, "sum_experts", op2(&n, "mul_scores", y, s)));
    finish(&n);
    return n;
}

static net net_swiglu(const kind *c)
{
    net n = net_new();
    zx_val x = src(&n, 0, c->dtype, HIDDEN, 0, 0);
    src(&n, 1, c->dtype, HIDDEN, 0, 0);
    zx_type t = linear_type(c->dtype, c->quant, 0, WIDTH, HIDDEN);
    zx_val w_gate = weight(&n, t), w_up = weight(&n, t);
    weight(&n, t);
    zx_val gate = op2(&n, "qmm", x, w_gate), up = op2(&n, "qmm", x, w_up);
    add_tap(&n, op2(&n, "swiglu", gate, up));
    finish(&n);
    return n;
}

static net net_residual(const kind *c)
{
    net n = net_new();
    zx_val x = src(&n, 0, c->dtype, HIDDEN, 0, 0), y = src(&n, 1, c->dtype, HIDDEN, 0, 0);
    src(&n, 2, c->dtype, HIDDEN, 0, 0);
    zx_val w = norm_weight(&n, c->dtype, HIDDEN);
    norm_weight(&n, c->dtype, HIDDEN);
    norm_weight(&n, c->dtype, HIDDEN / 2);
    zx_val h = op2(&n, "add", x, y), z = op(&n, "rms_norm", &(zx_attr){.eps = 1e-6f}, h, w, -1);
    add_tap(&n, op2(&n, "add", h, z));
    add_tap(&n, h);
    add_tap(&n, z);
    finish(&n);
    return n;
}

static zx_val build_attention(net *n, const kind *c, zx_val x, bool tapped)
{
    zx_type q_t = linear_type(c->dtype, c->quant, 0, HEADS * HEAD_DIM, HIDDEN);
    zx_type kv_t = linear_type(c->dtype, c->quant, 0, KV_HEADS * HEAD_DIM, HIDDEN);
    zx_val wq = weight(n, q_t), wk = weight(n, kv_t), wv = weight(n, kv_t);
    zx_val keys = state(n, "keys", c->dtype, KV_HEADS, HEAD_DIM),
           values = state(n, "values", c->dtype, KV_HEADS, HEAD_DIM);
    zx_val q = op2(n, "qmm", x, wq), k = op2(n, "qmm", x, wk), v = op2(n, "qmm", x, wv);
    if (tapped) {
        add_tap(n, q);
        add_tap(n, k);
        add_tap(n, v);
    }
    q = op(n, "rms_norm", &(zx_attr){.eps = 1e-6f}, q, norm_weight(n, c->dtype, HEAD_DIM), -1);
    k = op(n, "rms_norm", &(zx_attr){.eps = 1e-6f}, k, norm_weight(n, c->dtype, HEAD_DIM), -1);
    q = op(n, "rope", &(zx_attr){.theta = 1e4f, .dims = HEAD_DIM, .heads = HEADS}, q, -1, -1);
    k = op(n, "rope", &(zx_attr){.theta = 1e4f, .dims = HEAD_DIM, .heads = KV_HEADS}, k, -1, -1);
    op(n, "kv_append", &(zx_attr){.role = 0, .layer = n->layer}, keys, k, -1);
    op(n, "kv_append", &(zx_attr){.role = 1, .layer = n->layer}, values, v, -1);
    return op(n, "sdpa", &(zx_attr){.scale = 0.17f, .layer = n->layer}, q, keys, values);
}

static net net_qkv(const kind *c)
{
    net n = net_new();
    zx_val x = src(&n, 0, c->dtype, HIDDEN, 0, 0);
    src(&n, 1, c->dtype, HIDDEN, 0, 0);
    weight(&n, linear_type(c->dtype, c->quant, 0, KV_HEADS * HEAD_DIM, HIDDEN));
    add_tap(&n, build_attention(&n, c, x, true));
    finish(&n);
    return n;
}

/* Two whole layers: attention, then a mixture of experts in the first and a dense MLP in the second; logits at the end.
 */
static net net_model(const kind *c)
{
    net n = net_new();
    zx_val h = src(&n, 0, c->dtype, HIDDEN, 0, 0), idx;
    zx_type up_t = linear_type(c->dtype, c->quant, EXPERTS, WIDTH, HIDDEN),
            down_t = linear_type(c->dtype, c->quant, EXPERTS, HIDDEN, WIDTH);
    zx_type dense_t = linear_type(c->dtype, c->quant, 0, WIDTH, HIDDEN),
            back_t = linear_type(c->dtype, c->quant, 0, HIDDEN, WIDTH);
    zx_type o_t = linear_type(c->dtype, c->quant, 0, HIDDEN, HEADS * HEAD_DIM),
            g_t = linear_type(c->dtype, c->quant, 0, EXPERTS, HIDDEN);
    const zx_attr norm = {.eps = 1e-6f};
    for (n.layer = 0; n.layer < 2; n.layer++) {
        zx_val x = op(&n, "rms_norm", &norm, h, norm_weight(&n, c->dtype, HIDDEN), -1);
        zx_val a = build_attention(&n, c, x, false);
        h = op2(&n, "add", h, op2(&n, "qmm", a, weight(&n, o_t)));
        x = op(&n, "rms_norm", &norm, h, norm_weight(&n, c->dtype, HIDDEN), -1);
        zx_val y;
        if (n.layer == 0) {
            zx_val s = build_gating(&n, c, op2(&n, "qmm", x, weight(&n, g_t)), true, &idx);
            zx_val up = op(&n, "gather_qmm", NULL, x, weight(&n, up_t), idx);
            zx_val gate = op(&n, "gather_qmm", NULL, x, weight(&n, up_t), idx);
            y = op(&n, "gather_qmm", NULL, op2(&n, "swiglu", gate, up), weight(&n, down_t), idx);
            y = op1(&n, "sum_experts", op2(&n, "mul_scores", y, s));
        } else {
            zx_val gate = op2(&n, "qmm", x, weight(&n, dense_t)), up = op2(&n, "qmm", x, weight(&n, dense_t));
            y = op2(&n, "qmm", op2(&n, "swiglu", gate, up), weight(&n, back_t));
        }
        h = op2(&n, "add", h, y);
    }
    n.layer = -1;
    h = op(&n, "rms_norm", &norm, h, norm_weight(&n, c->dtype, HIDDEN), -1);
    n.p->logits = op2(&n, "qmm", h, weight(&n, linear_type(c->dtype, c->quant, 0, 128, HIDDEN)));
    add_tap(&n, n.p->logits);
    finish(&n);
    return n;
}

/* --- running --- */
static zx_team *team[3];

/* Everything that a plan's taps and logits say in five steps. */
static zx_buf run_plan(const zx_plan *p, int threads, zx_cpu_level level)
{
    static const int64_t steps[] = {1, 2, 3, 8, 1};
    zx_buf t = {0};
    zx_memory *m = NULL;
    zx_exec *e = NULL;
    zmlx_err err = {0};
    if (zx_memory_create(&m, &p, 1, threads, &err) != ZMLX_OK ||
        zx_exec_create(&e, p, m, team[threads - 1], level, &err) != ZMLX_OK)
        fail_msg("%s", err.msg);
    int32_t tokens[MAX_TOKENS] = {0};
    int64_t pos = 0;
    for (size_t i = 0; i < ZX_COUNT(steps); i++) {
        zx_exec_step(e, tokens, steps[i], pos);
        for (int j = 0; j < p->n_nodes; j++)
            if (p->node[j].op == &k_tap)
                zx_buf_add(&t, tap[p->node[j].attr.layer], zx_type_bytes(&p->value[p->node[j].in[0]].type, steps[i]));
        zmlx_dtype dtype;
        int64_t vocab;
        const void *logits = zx_exec_logits(e, &dtype, &vocab);
        if (logits) zx_buf_add(&t, logits, (size_t)(steps[i] * vocab) * zmlx_dtype_size(dtype));
        pos += steps[i];
    }
    zx_exec_destroy(e);
    zx_memory_destroy(m);
    assert_false(t.failed);
    assert_true(t.len > 0);
    return t;
}

static bool same_bits(const zx_plan *a, int a_threads, const zx_plan *b, int b_threads, zx_cpu_level level)
{
    zx_buf x = run_plan(a, a_threads, level), y = run_plan(b, b_threads, level);
    bool same = x.len == y.len && !memcmp(x.data, y.data, x.len);
    zx_buf_clear(&x);
    zx_buf_clear(&y);
    return same;
}

static const zx_pattern *pattern(const char *name)
{
    for (int i = 0; zx_patterns[i]; i++)
        if (!strcmp(zx_patterns[i]->name, name)) return zx_patterns[i];
    fail_msg("no pattern %s", name);
    return NULL;
}

typedef struct log {
    char text[1 << 14]; /* "event where name: what\n"; ops only counted */
    size_t n;
    int ops;
} log_t;

static void log_event(void *user, const char *event, const char *where, const char *name, const char *what)
{
    log_t *l = user;
    if (!strcmp(event, "op")) {
        l->ops++;
        return;
    }
    int w = snprintf(l->text + l->n, sizeof l->text - l->n, "%s %s %s: %s\n", event, where, name, what);
    if (w > 0) l->n = ZX_MIN(l->n + (size_t)w, sizeof l->text - 1);
}

static zx_plan *patch(const zx_plan *p, const zx_pattern *pat, zmlx_patch_result *r, log_t *l)
{
    zx_plan *out = NULL;
    zmlx_err err = {0};
    int n = 0;
    if (l) memset(l, 0, sizeof *l);
    while (zx_patterns[n])
        n++;
    zmlx_status s = pat ? zx_patch_apply(&out, p, "test", &pat, 1, r, l ? log_event : NULL, l, &err)
                        : zx_patch_apply(&out, p, "test", zx_patterns, n, r, l ? log_event : NULL, l, &err);
    if (s != ZMLX_OK) fail_msg("%s", err.msg);
    return out;
}

static int total(const zmlx_patch_result *r)
{
    int n = 0;
    for (int i = 0; i < r->n; i++)
        n += r->pattern[i].matched;
    return n;
}

/* --- what matches, and that it gives the same bits --- */
typedef net net_fn(const kind *c);
static const struct {
    const char *pattern; /* NULL: all */
    const char *what;
    net_fn *make;
    int matched, before, after;
} nets[] = {
    {"moe_gating", "renormalised", net_gating_renorm, 1, 10, 6},
    {"moe_gating", "plain", net_gating_plain, 1, 8, 6},
    {"moe_gating", "ties", net_gating_ties, 1, 10, 6},
    {"moe_experts", "", net_experts, 1, 9, 7},
    {"moe_combine", "", net_combine, 1, 7, 6},
    {"swiglu_mlp", "", net_swiglu, 1, 6, 4},
    {"residual_norm", "", net_residual, 1, 9, 8},
    {"qkv_proj", "", net_qkv, 1, 16, 14},
    {NULL, "two layers", net_model, 10, 50, 33},
};

static const kind kinds[] = {
    {ZMLX_BF16, {4, 32, ZMLX_BF16}, 4}, {ZMLX_BF16, {8, 32, ZMLX_BF16}, 8}, {ZMLX_BF16, {0, 0, 0}, 1},
    {ZMLX_F16, {4, 32, ZMLX_F16}, 2},   {ZMLX_F16, {0, 0, 0}, 3},           {ZMLX_F32, {4, 32, ZMLX_F32}, 12},
    {ZMLX_F32, {0, 0, 0}, 10},          {ZMLX_F32, {8, 32, ZMLX_BF16}, 4},
};

static void kind_text(const kind *c, char *buf, size_t n)
{
    snprintf(buf, n, "%s, %d-bit group %d %s, k %lld", zmlx_dtype_name(c->dtype), c->quant.bits, c->quant.group,
             zmlx_dtype_name(c->quant.scales), (long long)c->k);
}

static void patched_bits_are_equal(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < ZX_COUNT(nets); i++) {
        for (size_t j = 0; j < ZX_COUNT(kinds); j++) {
            char text[96];
            kind_text(&kinds[j], text, sizeof text);
            net n = nets[i].make(&kinds[j]);
            zmlx_patch_result r;
            static log_t l;
            zx_plan *p = patch(n.p, nets[i].pattern ? pattern(nets[i].pattern) : NULL, &r, &l);
            const char *name = nets[i].pattern ? nets[i].pattern : "all";
            if (total(&r) != nets[i].matched)
                fail_msg("%s %s (%s): %d places, expected %d\n%s", name, nets[i].what, text, total(&r), nets[i].matched,
                         l.text);
            assert_int_equal(r.ops_before, n.p->n_nodes);
            assert_int_equal(r.ops_after, p->n_nodes);
            assert_int_equal(r.ops_before, nets[i].before);
            assert_int_equal(r.ops_after, nets[i].after);
            for (int threads = 1; threads <= 3; threads++)
                for (zx_cpu_level level = ZX_CPU_SCALAR; level <= zx_cpu_best(); level++)
                    if (!same_bits(n.p, 1, p, threads, level))
                        fail_msg("%s %s (%s), %d threads, %s: bits differ", name, nets[i].what, text, threads,
                                 zx_cpu_level_name(level));
            zx_plan_destroy(p);
            zx_plan_destroy(n.p);
        }
    }
}

static void patched_twice_is_patched_once(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < ZX_COUNT(nets); i++) {
        net n = nets[i].make(&kinds[0]);
        zmlx_patch_result r;
        zx_plan *once = patch(n.p, NULL, &r, NULL), *twice = patch(once, NULL, &r, NULL);
        assert_int_equal(total(&r), 0);
        assert_int_equal(r.ops_before, r.ops_after);
        assert_int_equal(once->n_nodes, twice->n_nodes);
        assert_int_equal(once->n_values, twice->n_values);
        assert_memory_equal(once->node, twice->node, (size_t)once->n_nodes * sizeof *once->node);
        zx_plan_destroy(twice);
        zx_plan_destroy(once);
        zx_plan_destroy(n.p);
    }
}

static void stock_plan_stays(void **unused)
{
    (void)unused;
    net n = net_model(&kinds[0]);
    zx_plan head = *n.p;
    size_t nodes = (size_t)n.p->n_nodes * sizeof *n.p->node, values = (size_t)n.p->n_values * sizeof *n.p->value;
    zx_node *node = zx_malloc(nodes);
    zx_value *value = zx_malloc(values);
    memcpy(node, n.p->node, nodes);
    memcpy(value, n.p->value, values);
    zmlx_patch_result r;
    zx_plan *p = patch(n.p, NULL, &r, NULL);
    assert_int_equal(total(&r), 10);
    zx_plan_destroy(p);
    assert_memory_equal(&head, n.p, sizeof head);
    assert_memory_equal(node, n.p->node, nodes);
    assert_memory_equal(value, n.p->value, values);
    zx_free(node);
    zx_free(value);
    zx_plan_destroy(n.p);
}

static void nothing_selected_changes_nothing(void **unused)
{
    (void)unused;
    net n = net_model(&kinds[0]);
    zmlx_patch_result r;
    zx_plan *p = NULL;
    zmlx_err err = {0};
    assert_int_equal(zx_patch_apply(&p, n.p, NULL, NULL, 0, &r, NULL, NULL, &err), ZMLX_OK);
    assert_int_equal(r.n, 0);
    assert_int_equal(p->n_nodes, n.p->n_nodes);
    assert_int_equal(p->n_values, n.p->n_values);
    assert_memory_equal(p->node, n.p->node, (size_t)p->n_nodes * sizeof *p->node);
    zx_plan_destroy(p);
    zx_plan_destroy(n.p);
}

/* --- mutations --- */

/* Types of everything after a change; false when a kernel refuses: such a plan cannot exist. */
static bool infer_again(zx_plan *p)
{
    for (int i = 0; i < p->n_nodes; i++) {
        zx_node *n = &p->node[i];
        zx_type in[ZX_MAX_IN], out[ZX_MAX_OUT];
        for (int k = 0; k < n->n_in; k++)
            in[k] = p->value[n->in[k]].type;
        if (n->op->infer(in, &n->attr, out, NULL) != ZMLX_OK) return false;
        for (int k = 0; k < n->n_out; k++) {
            p->value[n->out[k]].type = out[k];
            if (n->op == &k_tap && zx_type_bytes(&out[k], MAX_TOKENS) > TAP_BYTES) return false;
        }
    }
    return zx_plan_verify(p, NULL) == ZMLX_OK && zx_plan_layout(p, NULL) == ZMLX_OK;
}

typedef struct tally {
    const zx_pattern *pat;
    int invalid, declined, equal, differ;
    char first[256]; /* the first that differs */
} tally;

/* Judge one mutant, which is destroyed. */
static void judge(tally *t, zx_plan *mutant, const char *fmt, ...) ZMLX_PRINTF(3, 4);
static void judge(tally *t, zx_plan *mutant, const char *fmt, ...)
{
    if (!infer_again(mutant)) {
        t->invalid++;
        zx_plan_destroy(mutant);
        return;
    }
    zmlx_patch_result r;
    zx_plan *p = patch(mutant, t->pat, &r, NULL);
    if (!total(&r)) {
        t->declined++;
    } else {
        /* Thread counts take turns: every one meets every kind of mutation. */
        int threads = 1 + t->equal % 3;
        if (same_bits(mutant, 1, p, threads, zx_cpu_best())) {
            t->equal++;
        } else if (t->differ++ == 0) {
            va_list ap;
            va_start(ap, fmt);
            vsnprintf(t->first, sizeof t->first, fmt, ap);
            va_end(ap);
        }
    }
    zx_plan_destroy(p);
    zx_plan_destroy(mutant);
}

static bool is_helper(const zx_node *n) { return n->op == &k_source || n->op == &k_tap; }

static void mutate_attributes(tally *t, const zx_plan *p)
{
    /* As integers and, where the field is a float, as the bits of 1e-6, 0.5 and 2. */
    static const uint32_t words[] = {0, 1, 2, 3, 5, 8, 0x358637bd, 0x3f000000, 0x40000000};
    for (int i = 0; i < p->n_nodes; i++) {
        for (size_t f = 0; !is_helper(&p->node[i]) && f < sizeof(zx_attr) / 4; f++) {
            for (size_t w = 0; w < ZX_COUNT(words); w++) {
                /* A huge number of heads or dims is no mutation of a float. */
                bool real = f < 3;
                if ((words[w] > 1000 && !real) || (words[w] && words[w] < 1000 && real)) continue;
                zx_plan *m = zx_plan_clone(p);
                if (!memcmp((char *)&m->node[i].attr + 4 * f, &words[w], 4)) {
                    zx_plan_destroy(m);
                    continue;
                }
                memcpy((char *)&m->node[i].attr + 4 * f, &words[w], 4);
                judge(t, m, "attribute %zu of %s = %x", f, p->node[i].op->name, words[w]);
            }
        }
    }
}

static void mutate_op(tally *t, const zx_plan *p, int i, const zx_kernel_def *k, int32_t activation)
{
    const zx_node *n = &p->node[i];
    if (k == n->op || k->n_in != n->n_in || k->n_out != n->n_out || k->n_state != n->op->n_state ||
        !strcmp(k->name, "embedding"))
        return;
    zx_plan *m = zx_plan_clone(p);
    m->node[i].op = k;
    m->node[i].attr.activation = activation;
    if (!m->node[i].attr.k) m->node[i].attr.k = 2;
    judge(t, m, "%s instead of %s", k->name, n->op->name);
}

static void mutate_ops(tally *t, const zx_plan *p)
{
    for (int i = 0; i < p->n_nodes; i++) {
        if (is_helper(&p->node[i])) continue;
        for (int k = 0; zx_kernels[k]; k++)
            mutate_op(t, p, i, zx_kernels[k], 0);
        for (size_t k = 0; k < ZX_COUNT(test_kernels); k++)
            mutate_op(t, p, i, test_kernels[k], 0);
    }
}

static void mutate_operands(tally *t, const zx_plan *p)
{
    for (int i = 0; i < p->n_nodes; i++) {
        for (int k = 0; !is_helper(&p->node[i]) && k < p->node[i].n_in; k++) {
            for (zx_val v = 0; v < p->n_values; v++) {
                if (v == p->node[i].in[k] || (p->value[v].kind == ZX_VAL_NODE && p->value[v].node >= i)) continue;
                zx_plan *m = zx_plan_clone(p);
                m->node[i].in[k] = v;
                judge(t, m, "operand %d of %s is value %d", k, p->node[i].op->name, v);
            }
        }
        if (p->node[i].n_in != 2 || is_helper(&p->node[i])) continue;
        zx_plan *m = zx_plan_clone(p);
        m->node[i].in[0] = p->node[i].in[1];
        m->node[i].in[1] = p->node[i].in[0];
        judge(t, m, "operands of %s exchanged", p->node[i].op->name);
    }
}

/* The nodes in another order; false when that order computes something before it is read. */
static bool permute(zx_plan *p, const int *order)
{
    zx_node old[MAX_NODES];
    bool done[4 * MAX_NODES] = {false};
    assert_true(p->n_nodes <= MAX_NODES && p->n_values <= 4 * MAX_NODES);
    memcpy(old, p->node, (size_t)p->n_nodes * sizeof *old);
    for (int i = 0; i < p->n_nodes; i++) {
        const zx_node *n = &old[order[i]];
        for (int k = 0; k < n->n_in; k++)
            if (p->value[n->in[k]].kind == ZX_VAL_NODE && !done[n->in[k]]) return false;
        p->node[i] = *n;
        for (int k = 0; k < n->n_out; k++) {
            p->value[n->out[k]].node = i;
            done[n->out[k]] = true;
        }
    }
    return true;
}

static void mutate_order(tally *t, const zx_plan *p)
{
    int order[MAX_NODES];
    for (int i = 0; i < p->n_nodes; i++) {
        for (int j = 0; j < p->n_nodes; j++) { /* node i goes to place j */
            int n = 0;
            for (int k = 0; k < p->n_nodes; k++) {
                if (n == j) order[n++] = i;
                if (k != i) order[n++] = k;
            }
            if (n < p->n_nodes) order[n++] = i;
            zx_plan *m = zx_plan_clone(p);
            if (i != j && permute(m, order))
                judge(t, m, "%s moved from %d to %d", p->node[i].op->name, i, j);
            else
                zx_plan_destroy(m);
        }
    }
}

/* One more reader of a value, at the end or as early as possible; or the value as the plan's logits. */
static void mutate_readers(tally *t, const zx_plan *p, int free_tap)
{
    for (zx_val v = 0; v < p->n_values; v++) {
        if (p->value[v].kind != ZX_VAL_NODE || is_helper(&p->node[p->value[v].node])) continue;
        const char *name = p->node[p->value[v].node].op->name;
        for (int early = 0; early < 2; early++) {
            net n = {.p = zx_plan_clone(p), .taps = free_tap};
            add_tap(&n, v);
            if (early) {
                int order[MAX_NODES], at = p->value[v].node + 1, last = n.p->n_nodes - 1;
                for (int i = 0; i <= last; i++)
                    order[i] = i < at ? i : i == at ? last : i - 1;
                assert_true(permute(n.p, order));
            }
            judge(t, n.p, "%s reader of %s", early ? "early" : "late", name);
        }
        zx_plan *m = zx_plan_clone(p);
        m->logits = v;
        judge(t, m, "%s is the logits", name);
    }
}

static void mutate_sources(tally *t, const zx_plan *p)
{
    static const zmlx_dtype types[] = {ZMLX_F32, ZMLX_F16, ZMLX_BF16};
    for (int s = 0; s < N_SOURCES; s++) {
        zmlx_dtype was = source[s].type.dtype;
        for (size_t k = 0; source[s].type.rank && was != ZMLX_I32 && k < ZX_COUNT(types); k++) {
            if (types[k] == was) continue;
            source[s].type.dtype = types[k];
            judge(t, zx_plan_clone(p), "source %d is %s", s, zmlx_dtype_name(types[k]));
        }
        source[s].type.dtype = was;
    }
}

static void mutate_weights(tally *t, const zx_plan *p)
{
    static const zmlx_dtype types[] = {ZMLX_F32, ZMLX_F16, ZMLX_BF16};
    static const zx_quant quants[] = {{0, 0, 0}, {4, 32, 0}, {8, 32, 0}, {4, 64, 0}};
    for (zx_val v = 0; v < p->n_values; v++) {
        for (size_t i = 0; p->value[v].kind == ZX_VAL_WEIGHT && i < ZX_COUNT(types); i++) {
            for (size_t k = 0; k < ZX_COUNT(quants); k++) {
                zx_type ty = p->value[v].type;
                if (ty.rank == 1 && k) continue;
                ty.dtype = types[i];
                ty.quant = quants[k];
                if (ty.quant.bits) ty.quant.scales = types[i];
                if (zx_type_equal(&ty, &p->value[v].type)) continue;
                zx_plan *m = zx_plan_clone(p);
                m->value[v].type = ty;
                m->value[v].weight = make_weight(m->arena, ty, 5000u + (uint64_t)v);
                char text[96];
                judge(t, m, "weight %d is %s", v, zx_type_text(&ty, text, sizeof text));
            }
        }
    }
}

static void mutate_all(tally *t, const net *n)
{
    mutate_attributes(t, n->p);
    mutate_ops(t, n->p);
    mutate_readers(t, n->p, n->taps);
    mutate_order(t, n->p);
    mutate_sources(t, n->p);
    mutate_weights(t, n->p);
    if (n->p->n_nodes <= 16)
        mutate_operands(t, n->p); /* of the small nets only: there every integer is a valid index */
}

static void mutants_decline_or_agree(void **unused)
{
    (void)unused;
    static const size_t of[] = {0, 3}; /* kinds */
    int mutants = 0;
    for (size_t i = 0; i < ZX_COUNT(nets); i++) {
        tally t = {.pat = nets[i].pattern ? pattern(nets[i].pattern) : NULL};
        for (size_t j = 0; j < (nets[i].pattern ? ZX_COUNT(of) : 1); j++) {
            net n = nets[i].make(&kinds[of[j]]);
            mutate_all(&t, &n);
            zx_plan_destroy(n.p);
        }
        const char *name = nets[i].pattern ? nets[i].pattern : "all";
        print_message("%-13s %-12s %5d mutants: %d declined, %d equal (%d were no plans)\n", name, nets[i].what,
                      t.declined + t.equal + t.differ, t.declined, t.equal, t.invalid);
        if (t.differ) fail_msg("%s %s: %d mutants differ, first: %s", name, nets[i].what, t.differ, t.first);
        assert_true(t.equal > 20);
        if (nets[i].pattern) assert_true(t.declined > 20); /* else the mutations would be too tame to mean anything */
        mutants += t.declined + t.equal;
    }
    print_message("%d mutants\n", mutants);
}

/* The mutations must find a pattern that is wrong. */
static void drop_eps(const zx_match *m, zx_attr *out)
{
    (void)m;
    out->eps = 1e-6f;
}

static const char *accept_anything(const zx_match *m, char *buf, size_t n)
{
    (void)m, (void)buf, (void)n;
    return NULL;
}

static void mutants_find_wrong_patterns(void **unused)
{
    (void)unused;
    zx_pattern wrong = *pattern("residual_norm"); /* assumes the usual eps */
    wrong.attr = drop_eps;
    tally t = {.pat = &wrong};
    net n = net_residual(&kinds[0]);
    mutate_attributes(&t, n.p);
    assert_true(t.differ > 0);
    zx_plan_destroy(n.p);

    wrong = *pattern("moe_gating"); /* forgets that the scores are renormalised */
    wrong.form[0] = wrong.form[1];
    wrong.form[0].node[2].attrs = 0;
    wrong.form[0].result[0] = ZX_RES(2, 0);
    wrong.form[1].n_nodes = 0;
    wrong.accept = accept_anything;
    t = (tally){.pat = &wrong};
    n = net_gating_renorm(&kinds[0]);
    mutate_readers(&t, n.p, n.taps);
    assert_int_equal(t.differ, 0); /* the shorter form is exact by itself: the division stays */
    zx_plan_destroy(n.p);

    wrong = *pattern("moe_experts"); /* gate and up in the wrong order */
    wrong.with_in[1] = ZX_CAP(2);
    wrong.with_in[2] = ZX_CAP(1);
    t = (tally){.pat = &wrong};
    n = net_experts(&kinds[0]);
    judge(&t, zx_plan_clone(n.p), "as it is");
    assert_int_equal(t.differ, 1);
    zx_plan_destroy(n.p);
}

/* --- reasons --- */
static zx_val out_of(const zx_plan *p, const char *opname, int nth)
{
    for (int i = 0; i < p->n_nodes; i++)
        if (!strcmp(p->node[i].op->name, opname) && nth-- == 0) return p->node[i].out[0];
    fail_msg("no %s", opname);
    return -1;
}

static void tap_first(net *n, const char *opname) { add_tap(n, out_of(n->p, opname, 0)); }
static zx_node *node_of(net *n, const char *opname, int nth)
{
    return &n->p->node[n->p->value[out_of(n->p, opname, nth)].node];
}

static void m_tap_softmax(net *n) { tap_first(n, "softmax"); }
static void m_tap_take(net *n) { tap_first(n, "take"); }
static void m_tap_gather(net *n) { tap_first(n, "gather_qmm"); }
static void m_tap_mul(net *n) { tap_first(n, "mul_scores"); }
static void m_tap_add(net *n) { tap_first(n, "add"); }
static void m_tap_qmm(net *n) { tap_first(n, "qmm"); }
static void m_logits(net *n) { n->p->logits = out_of(n->p, "qmm", 0); }
static void m_sigmoid(net *n) { node_of(n, "softmax", 0)->op = zx_kernel_find("sigmoid"); }
static void m_gelu(net *n) { node_of(n, "swiglu", 0)->op = &k_gelu_mul; }
static void m_sum(net *n) { node_of(n, "sum_last", 0)->op = &k_column; }
static void m_other_idx(net *n) { node_of(n, "gather_qmm", 1)->in[2] = out_of(n->p, "k_source", 3); }
static void m_other_x(net *n) { node_of(n, "gather_qmm", 1)->in[0] = out_of(n->p, "k_source", 2); }
static void m_slot_x(net *n)
{
    for (int i = 0; i < 2; i++)
        node_of(n, "gather_qmm", i)->in[0] = out_of(n->p, "k_source", 4);
}
static void m_same_op(net *n) { node_of(n, "swiglu", 0)->in[0] = node_of(n, "swiglu", 0)->in[1]; }
static void m_mlp_x(net *n) { node_of(n, "qmm", 1)->in[0] = out_of(n->p, "k_source", 1); }
static void m_qkv_x(net *n) { node_of(n, "qmm", 0)->in[0] = out_of(n->p, "k_source", 1); }
static void m_f32_scores(net *n)
{
    (void)n;
    source[1].type.dtype = ZMLX_F32;
}
static void m_f32_norm(net *n)
{
    zx_val w = node_of(n, "rms_norm", 0)->in[1];
    n->p->value[w].type.dtype = ZMLX_F32;
    n->p->value[w].weight = make_weight(n->p->arena, n->p->value[w].type, 1);
}
static void m_eps(net *n) { node_of(n, "rms_norm", 0)->attr.eps = 1e-5f; }
static void m_norm_heads(net *n) { node_of(n, "rms_norm", 0)->in[1] += 2; /* the weight of half the length */ }
static void m_softmax_scale(net *n) { node_of(n, "softmax", 0)->attr.scale = 0.5f; }
static void m_k(net *n) { node_of(n, "argpartition", 0)->attr.k = 3; }
static void m_quant(net *n)
{
    zx_value *w = &n->p->value[node_of(n, "gather_qmm", 0)->in[1]];
    w->type.quant.bits = 8;
    w->weight = make_weight(n->p->arena, w->type, 1);
}
static void m_reverse(net *n)
{
    int order[MAX_NODES], first = n->p->value[out_of(n->p, "gather_qmm", 0)].node;
    for (int i = 0; i < n->p->n_nodes; i++)
        order[i] = i == first ? i + 1 : i == first + 1 ? i - 1 : i;
    assert_true(permute(n->p, order));
}

static void named_mutations(void **unused)
{
    (void)unused;
    static const struct {
        const char *pattern;
        net_fn *make;
        void (*mutate)(net *);
        const char *log; /* part of what is said; NULL = nothing at all */
    } row[] = {
        {"moe_gating", net_gating_renorm, NULL,
         "match layers.0 moe_gating: softmax, argpartition, take, sum_last, div -> moe_gating\n"},
        {"moe_gating", net_gating_plain, NULL,
         "match layers.0 moe_gating: softmax, argpartition, take -> moe_gating\n"},
        {"moe_gating", net_gating_renorm, m_tap_softmax,
         "skip layers.0 moe_gating: the result of softmax is used elsewhere: by k_tap\n"},
        {"moe_gating", net_gating_renorm, m_tap_take,
         "skip layers.0 moe_gating: the result of take is used elsewhere: by k_tap\n"},
        {"moe_gating", net_gating_renorm, m_sigmoid,
         "skip layers.0 moe_gating: input 0 of take comes from sigmoid, not from softmax\n"},
        {"moe_gating", net_gating_plain, m_sigmoid,
         "skip layers.0 moe_gating: input 0 of take comes from sigmoid, not from softmax\n"},
        {"moe_gating", net_gating_renorm, m_sum,
         "skip layers.0 moe_gating: input 1 of div comes from k_column, not from sum_last\n"},
        {"moe_gating", net_gating_renorm, m_k, "match layers.0"},
        {"moe_gating", net_gating_renorm, m_softmax_scale,
         "softmax has the attribute scale, which the fused kernel does not know"},
        {"moe_experts", net_experts, NULL,
         "match layers.0 moe_experts: gather_qmm, gather_qmm, swiglu -> moe_experts\n"},
        {"moe_experts", net_experts, m_reverse, "match layers.0"},
        {"moe_experts", net_experts, m_tap_gather, "the result of gather_qmm is used elsewhere: by k_tap"},
        {"moe_experts", net_experts, m_gelu, NULL},
        {"moe_experts", net_experts, m_other_idx,
         "input 2 of gather_qmm is not the value that the other ops of the place read"},
        {"moe_experts", net_experts, m_other_x,
         "input 0 of gather_qmm is not the value that the other ops of the place read"},
        {"moe_experts", net_experts, m_same_op, "input 1 of swiglu comes from another gather_qmm"},
        {"moe_experts", net_experts, m_slot_x, "skip layers.0 moe_experts: "},
        {"moe_experts", net_experts, m_quant, " layers.0 moe_experts: "},
        {"moe_combine", net_combine, NULL, "match layers.0 moe_combine: mul_scores, sum_experts -> moe_combine\n"},
        {"moe_combine", net_combine, m_tap_mul, "the result of mul_scores is used elsewhere: by k_tap"},
        {"moe_combine", net_combine, m_f32_scores, "mixed types: bfloat16 and float32"},
        {"swiglu_mlp", net_swiglu, NULL, "match layers.0 swiglu_mlp: qmm, qmm, swiglu -> swiglu_mlp\n"},
        {"swiglu_mlp", net_swiglu, m_tap_qmm, "the result of qmm is used elsewhere: by k_tap"},
        {"swiglu_mlp", net_swiglu, m_logits, "the result of qmm is used elsewhere: as the logits"},
        {"swiglu_mlp", net_swiglu, m_mlp_x, "input 0 of qmm is not the value that the other ops of the place read"},
        {"swiglu_mlp", net_swiglu, m_gelu, NULL},
        {"swiglu_mlp", net_experts, NULL, NULL},
        {"moe_experts", net_swiglu, NULL, NULL},
        {"residual_norm", net_residual, NULL, "match layers.0 residual_norm: add, rms_norm -> residual_norm\n"},
        {"residual_norm", net_residual, m_tap_add, "match layers.0"},
        {"residual_norm", net_residual, m_eps, "match layers.0"},
        {"residual_norm", net_residual, m_f32_norm, "mixed types: bfloat16 and float32"},
        {"residual_norm", net_residual, m_f32_scores, "mixed types: bfloat16 and float32"},
        {"residual_norm", net_residual, m_norm_heads, "the norm runs over parts of 32 of a row of 64"},
        {"residual_norm", net_qkv, NULL, NULL},
        {"qkv_proj", net_qkv, NULL, "match layers.0 qkv_proj: qmm, qmm, qmm -> qkv_proj\n"},
        {"qkv_proj", net_qkv, m_qkv_x, "skip layers.0 qkv_proj: no further qmm reads the same input\n"},
        {"qkv_proj", net_qkv, m_tap_qmm, "match layers.0"},
        {"qkv_proj", net_swiglu, NULL, NULL},
    };
    static log_t l;
    for (size_t i = 0; i < ZX_COUNT(row); i++) {
        net n = row[i].make(&kinds[0]);
        if (row[i].mutate) row[i].mutate(&n);
        if (!infer_again(n.p)) fail_msg("row %zu (%s): no plan", i, row[i].pattern);
        zmlx_patch_result r;
        zx_plan *p = patch(n.p, pattern(row[i].pattern), &r, &l);
        if (row[i].log ? !strstr(l.text, row[i].log) : l.n > 0)
            fail_msg("row %zu: expected '%s' in:\n%s", i, row[i].log ? row[i].log : "", l.text);
        int matched = 0, skipped = 0;
        for (const char *at = l.text; *at; at = strchr(at, '\n') + 1)
            *at == 'm' ? matched++ : skipped++;
        assert_int_equal(r.pattern[0].matched, matched);
        assert_int_equal(r.pattern[0].skipped, skipped);
        assert_true(matched + skipped <= 1); /* one place, one line */
        assert_int_equal(l.ops, p->n_nodes);
        if (!same_bits(n.p, 1, p, 2, zx_cpu_best())) fail_msg("row %zu (%s): bits differ", i, row[i].pattern);
        zx_plan_destroy(p);
        zx_plan_destroy(n.p);
    }
}

/* A router, a gate and an up projection that share their input are three projections, but not of an attention. */
static void shared_expert_is_no_attention(void **unused)
{
    (void)unused;
    net n = net_new();
    zx_val x = src(&n, 0, ZMLX_BF16, HIDDEN, 0, 0);
    zx_type t = linear_type(ZMLX_BF16, (zx_quant){0}, 0, WIDTH, HIDDEN);
    add_tap(&n, op2(&n, "qmm", x, weight(&n, linear_type(ZMLX_BF16, (zx_quant){0}, 0, EXPERTS, HIDDEN))));
    zx_val gate = op2(&n, "qmm", x, weight(&n, t)), up = op2(&n, "qmm", x, weight(&n, t));
    add_tap(&n, op2(&n, "swiglu", gate, up));
    finish(&n);
    zmlx_patch_result r;
    static log_t l;
    zx_plan *p = patch(n.p, NULL, &r, &l);
    assert_string_equal(l.text, "match layers.0 swiglu_mlp: qmm, qmm, swiglu -> swiglu_mlp\n");
    zx_plan_destroy(p);
    zx_plan_destroy(n.p);
}

static void family_exceptions_hold(void **unused)
{
    (void)unused;
    static const zx_pat_except except[] = {{"other", "no"}, {"test", "its sums differ"}, {NULL, NULL}};
    zx_pattern guarded = *pattern("moe_combine");
    guarded.except = except;
    net n = net_combine(&kinds[0]);
    zmlx_patch_result r;
    static log_t l;
    zx_plan *p = patch(n.p, &guarded, &r, &l);
    assert_string_equal(l.text, "skip layers.0 moe_combine: off for test: its sums differ\n");
    assert_int_equal(r.pattern[0].skipped, 1);
    zx_plan_destroy(p);
    guarded.except = NULL;
    guarded.max_tokens = 4; /* the guard becomes the new plan's largest step */
    p = patch(n.p, &guarded, &r, &l);
    assert_int_equal(p->max_tokens, 4);
    assert_int_equal(n.p->max_tokens, MAX_TOKENS);
    zx_plan_destroy(p);
    zx_plan_destroy(n.p);
}

static void apply_survives_lack_of_memory(void **unused)
{
    (void)unused;
    net n = net_model(&kinds[0]);
    int count = 0, fails = 0;
    static log_t l;
    while (zx_patterns[count])
        count++;
    for (int i = 0; i < 1000; i++) {
        zx_plan *p = NULL;
        zmlx_err err = {0};
        memset(&l, 0, sizeof l);
        zx_alloc_fail_after(i);
        zmlx_status s = zx_patch_apply(&p, n.p, NULL, zx_patterns, count, NULL, log_event, &l, &err);
        zx_alloc_fail_after(-1);
        if (s == ZMLX_OK) {
            zx_plan_destroy(p);
            break;
        }
        assert_int_equal(s, ZMLX_E_NOMEM);
        assert_null(p);
        fails++;
    }
    assert_in_range(fails, 5, 999);
    zx_plan_destroy(n.p);
}

/* --- selection --- */
#define MOE   "moe_combine,moe_experts,moe_gating"
#define EVERY MOE ",qkv_proj,residual_norm,swiglu_mlp"

static void selections(void **unused)
{
    (void)unused;
    static const struct {
        const char *patterns, *exclude, *out;
    } row[] = {
        {NULL, NULL, EVERY},
        {"default", NULL, EVERY},
        {"all", NULL, EVERY},
        {"none", NULL, ""},
        {"moe_mlp", NULL, MOE},
        {"qwen3", NULL, MOE},
        {"qwen3-minimal", NULL, MOE},
        {"qkv_proj", NULL, "qkv_proj"},
        {"swiglu_mlp,moe_gating,swiglu_mlp", NULL, "moe_gating,swiglu_mlp"},
        {" moe_gating , qkv_proj ", NULL, "moe_gating,qkv_proj"},
        {NULL, "moe_mlp", "qkv_proj,residual_norm,swiglu_mlp"},
        {"moe_mlp,qkv_proj", "moe_experts,residual_norm", "moe_combine,moe_gating,qkv_proj"},
        {"all", "all", ""},
        {"all", "none", EVERY},
    };
    for (size_t i = 0; i < ZX_COUNT(row); i++) {
        const zx_pattern *sel[ZMLX_PATCH_MAX_PATTERNS];
        zmlx_patch_options o = {row[i].patterns, row[i].exclude};
        zmlx_err err = {0};
        int n = -1;
        char text[256] = "";
        assert_int_equal(zx_patch_select(sel, ZMLX_PATCH_MAX_PATTERNS, &n, &o, &err), ZMLX_OK);
        for (int k = 0; k < n; k++)
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", k ? "," : "", sel[k]->name);
        assert_string_equal(text, row[i].out);
    }
    const zx_pattern *sel[1];
    int n;
    assert_int_equal(zx_patch_select(sel, 1, &n, NULL, NULL), ZMLX_E_LIMIT);
}

static void bad_selections(void **unused)
{
    (void)unused;
    static const struct {
        const char *patterns, *exclude;
        zmlx_status status;
        int64_t pos;
        const char *message;
    } row[] = {
        {"", NULL, ZMLX_E_ARG, 0, "patterns: empty name in ''"},
        {NULL, "", ZMLX_E_ARG, 0, "exclude: empty name in ''"},
        {" ", NULL, ZMLX_E_ARG, 0, "empty name"},
        {"moe_mlp,", NULL, ZMLX_E_ARG, 8, "empty name in 'moe_mlp,'"},
        {"moe_mlp,,qkv_proj", NULL, ZMLX_E_ARG, 8, "empty name"},
        {"qkv_proj,moe_gatng", NULL, ZMLX_E_ARG, 9,
         "unknown pattern 'moe_gatng' (did you mean 'moe_gating'?); known: moe_combine, moe_experts, "
         "moe_gating, qkv_proj, residual_norm, swiglu_mlp; sets: default, all, none, moe_mlp, qwen3, qwen3-minimal"},
        {"MOE_MLP", NULL, ZMLX_E_ARG, 0, "unknown pattern 'MOE_MLP' (did you mean 'moe_mlp'?)"},
        {"flash_attention", NULL, ZMLX_E_ARG, 0, "unknown pattern 'flash_attention'; known: "},
        {NULL, "qvk_proj", ZMLX_E_ARG, 0, "did you mean 'qkv_proj'?"},
        {"none,qkv_proj", NULL, ZMLX_E_ARG, 0, "'none' together with other names"},
        {"geglu_mlp", NULL, ZMLX_E_UNSUPPORTED, 0, "pattern 'geglu_mlp': not yet"},
        {"moe_mlp,rmsnorm", NULL, ZMLX_E_UNSUPPORTED, 8, "pattern 'rmsnorm': not yet"},
        {"layernorm", NULL, ZMLX_E_UNSUPPORTED, 0, "not yet"},
        {"softmax", NULL, ZMLX_E_UNSUPPORTED, 0, "not yet"},
        {"deepseek_router", NULL, ZMLX_E_UNSUPPORTED, 0, "not yet"},
        {"glm47_rope", NULL, ZMLX_E_UNSUPPORTED, 0, "not yet"},
        {NULL, "skv_mla", ZMLX_E_UNSUPPORTED, 0, "not yet"},
    };
    for (size_t i = 0; i < ZX_COUNT(row); i++) {
        const zx_pattern *sel[ZMLX_PATCH_MAX_PATTERNS];
        zmlx_patch_options o = {row[i].patterns, row[i].exclude};
        zmlx_err err = {0};
        int n;
        assert_int_equal(zx_patch_select(sel, ZMLX_PATCH_MAX_PATTERNS, &n, &o, &err), row[i].status);
        assert_int_equal(err.pos, row[i].pos);
        if (!strstr(err.msg, row[i].message)) fail_msg("'%s' is not in '%s'", row[i].message, err.msg);
    }
}

static void patterns_state_their_claims(void **unused)
{
    (void)unused;
    zmlx_pattern_info info = {0};
    char before[64] = "";
    int n = 0;
    for (; zmlx_pattern_at(n, &info); n++) {
        assert_true(strcmp(before, info.name) < 0);
        snprintf(before, sizeof before, "%s", info.name);
        assert_int_equal(info.fidelity, ZMLX_BIT_EXACT);
        assert_int_equal(info.max_tokens, 8);
        assert_non_null(info.doc);
        const zx_kernel_def *k = zx_kernel_find(pattern(info.name)->with);
        if (!k) fail_msg("%s: no kernel", info.name);
    }
    assert_int_equal(n, 6);
    assert_false(zmlx_pattern_at(-1, &info));
    assert_string_equal(zmlx_fidelity_name(ZMLX_BIT_EXACT), "bit-exact");
    assert_string_equal(zmlx_fidelity_name(ZMLX_TOKEN_EXACT), "token-exact");
    assert_string_equal(zmlx_fidelity_name(ZMLX_APPROXIMATE), "approximate");
    assert_string_equal(zmlx_fidelity_name((zmlx_fidelity)9), "?");
}

static int make_teams(void **unused)
{
    (void)unused;
    for (int i = 0; i < 3; i++)
        if (zx_team_create(&team[i], i + 1, NULL) != ZMLX_OK) return -1;
    return 0;
}

static int destroy_teams(void **unused)
{
    (void)unused;
    for (int i = 0; i < 3; i++)
        zx_team_destroy(team[i]);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(selections),
        cmocka_unit_test(bad_selections),
        cmocka_unit_test(patterns_state_their_claims),
        cmocka_unit_test(patched_bits_are_equal),
        cmocka_unit_test(patched_twice_is_patched_once),
        cmocka_unit_test(stock_plan_stays),
        cmocka_unit_test(nothing_selected_changes_nothing),
        cmocka_unit_test(named_mutations),
        cmocka_unit_test(shared_expert_is_no_attention),
        cmocka_unit_test(family_exceptions_hold),
        cmocka_unit_test(apply_survives_lack_of_memory),
        cmocka_unit_test(mutants_decline_or_agree),
        cmocka_unit_test(mutants_find_wrong_patterns),
    };
    return cmocka_run_group_tests_name("patch", tests, make_teams, destroy_teams);
}
