/* SPDX-License-Identifier: MIT */
/* Every kernel, every case: against its double reference, and the same bits at every level, in every division of the
 * work and with the tokens one by one.  `parity -k NAME` runs one kernel.
 *
 * A kernel that writes into states (its first n_state inputs) is checked on them as on outputs: its reference finds
 * their former contents in out[n_out], out[n_out + 1], ... and updates them. */
#include "harness.h"

static const double MAX_ERROR_TEXT = 1e300;

typedef struct fixture {
    const zx_kernel_def *k;
    const zx_case *c;
    int index; /* of the case */
    const char *what;
    value in[ZX_MAX_IN], out[ZX_MAX_OUT];
    uint8_t *before[ZX_MAX_IN];             /* contents of the inputs */
    uint8_t *first[ZX_MAX_OUT + ZX_MAX_IN]; /* bits of the first run: outputs, then states */
    uint64_t rng;
} fixture;

#define FAIL(f, ...)                                                                                                   \
    do {                                                                                                               \
        char text_[600];                                                                                               \
        snprintf(text_, sizeof text_, __VA_ARGS__);                                                                    \
        fail_msg("%s, case %d, %s: %s", (f)->k->name, (f)->index, (f)->what, text_);                                   \
    } while (0)

static double ulp_of(zmlx_dtype t, double x)
{
    int e;
    frexp(x, &e);
    if (t == ZMLX_F32) return ldexp(1, ZX_MAX(e - 1, -126) - 23);
    if (t == ZMLX_F16) return ldexp(1, ZX_MAX(e - 1, -14) - 10);
    return t == ZMLX_BF16 ? ldexp(1, ZX_MAX(e - 1, -126) - 7) : 0;
}

static void setup(fixture *f)
{
    const zx_kernel_def *k = f->k;
    zx_type in[ZX_MAX_IN], out[ZX_MAX_OUT];
    memset(in, 0, sizeof in);
    memset(out, 0, sizeof out);
    k->make_case(f->c, in);
    zmlx_err err = {0};
    if (k->infer(in, &f->c->attr, out, &err) != ZMLX_OK) FAIL(f, "infer refuses: %s", err.msg);
    zx_operand ops[ZX_MAX_IN];
    for (int i = 0; i < k->n_in; i++) {
        /* Weights at odd addresses, as in a mapped file; caches belong to the session and are aligned. */
        bool weight = !is_activation(&in[i]) && i >= k->n_state;
        f->in[i] = value_make(&in[i], f->c->tokens, weight ? 1 + 2 * (size_t)i : 0);
        value_random(&f->in[i], f->c->tokens, &f->rng);
        ops[i] = value_operand(&f->in[i]);
    }
    if (k->fill) k->fill(f->c, ops, &f->rng);
    for (int o = 0; o < k->n_out; o++) {
        if (!is_activation(&out[o])) FAIL(f, "output %d has no dimension of tokens", o);
        f->out[o] = value_make(&out[o], f->c->tokens, 0);
    }
}

static void remember_inputs(fixture *f)
{
    for (int i = 0; i < f->k->n_in; i++) {
        zx_free(f->before[i]);
        f->before[i] = zx_malloc(f->in[i].data.n + 1);
        assert_non_null(f->before[i]);
        memcpy(f->before[i], f->in[i].data.data, f->in[i].data.n);
    }
}

static void teardown(fixture *f)
{
    for (int i = 0; i < ZX_MAX_IN; i++)
        value_free(&f->in[i]), zx_free(f->before[i]);
    for (int o = 0; o < ZX_MAX_OUT; o++)
        value_free(&f->out[o]);
    for (int o = 0; o < ZX_MAX_OUT + ZX_MAX_IN; o++)
        zx_free(f->first[o]);
}

static void bind(const fixture *f, zx_operand *in, zx_operand *out)
{
    for (int i = 0; i < f->k->n_in; i++)
        in[i] = value_operand(&f->in[i]);
    for (int o = 0; o < f->k->n_out; o++)
        out[o] = value_operand(&f->out[o]);
}

static void check_memory(const fixture *f)
{
    for (int i = 0; i < f->k->n_in; i++) {
        if (!value_intact(&f->in[i])) FAIL(f, "wrote around input %d", i);
        if (i >= f->k->n_state && memcmp(f->before[i], f->in[i].data.data, f->in[i].data.n))
            FAIL(f, "changed input %d", i);
    }
    for (int o = 0; o < f->k->n_out; o++)
        if (!value_intact(&f->out[o])) FAIL(f, "wrote around output %d", o);
}

/* States as they were, outputs full of rubbish. */
static void reset(fixture *f)
{
    for (int i = 0; i < f->k->n_state; i++)
        memcpy(f->in[i].data.data, f->before[i], f->in[i].data.n);
    int rubbish = (int)(rng_bits(&f->rng) >> 24);
    for (int o = 0; o < f->k->n_out; o++)
        memset(f->out[o].data.data, rubbish, f->out[o].data.n);
}

static void run_whole(fixture *f, zx_cpu_level level, int pieces)
{
    zx_operand in[ZX_MAX_IN], out[ZX_MAX_OUT];
    bind(f, in, out);
    reset(f);
    zx_call c = {.in = in, .out = out, .attr = &f->c->attr, .tokens = f->c->tokens, .pos = f->c->pos};
    run_pieces(f->k, level, &c, pieces, &f->rng);
    check_memory(f);
}

/* Token by token, each at its own position: rows of activations are cut out, weights and caches are passed whole. */
static void run_tokens(fixture *f, zx_cpu_level level)
{
    const zx_kernel_def *k = f->k;
    reset(f);
    for (int64_t t = 0; t < f->c->tokens; t++) {
        zx_operand in[ZX_MAX_IN], out[ZX_MAX_OUT];
        block rows[ZX_MAX_IN + ZX_MAX_OUT] = {{0}};
        bind(f, in, out);
        for (int i = 0; i < k->n_in + k->n_out; i++) {
            zx_operand *o = i < k->n_in ? &in[i] : &out[i - k->n_in];
            if (!is_activation(&o->type)) continue;
            size_t row = zx_type_bytes(&o->type, 1);
            rows[i] = block_make(row, 0);
            memcpy(rows[i].data, (char *)o->data + (size_t)t * row, row);
            o->data = rows[i].data;
        }
        zx_call c = {.in = in, .out = out, .attr = &f->c->attr, .tokens = 1, .pos = f->c->pos + t};
        run_pieces(k, level, &c, 1, &f->rng);
        for (int i = 0; i < k->n_in + k->n_out; i++) {
            if (!rows[i].base) continue;
            if (!block_intact(&rows[i])) FAIL(f, "token %lld: wrote around operand %d", (long long)t, i);
            if (i >= k->n_in) memcpy(f->out[i - k->n_in].data.data + (size_t)t * rows[i].n, rows[i].data, rows[i].n);
            block_free(&rows[i]);
        }
    }
    check_memory(f);
}

/* What a run has written: outputs, then states. */
static value *written(fixture *f, int i) { return i < f->k->n_out ? &f->out[i] : &f->in[i - f->k->n_out]; }

static void keep_first(fixture *f)
{
    for (int i = 0; i < f->k->n_out + f->k->n_state; i++) {
        value *v = written(f, i);
        zx_free(f->first[i]);
        f->first[i] = zx_malloc(v->data.n + 1);
        assert_non_null(f->first[i]);
        memcpy(f->first[i], v->data.data, v->data.n);
    }
}

static void check_same(fixture *f, const char *how, zx_cpu_level level, int pieces)
{
    for (int i = 0; i < f->k->n_out + f->k->n_state; i++) {
        value *v = written(f, i);
        size_t n = (size_t)zx_type_elems(&v->type, f->c->tokens);
        int64_t at = first_difference(f->first[i], v->data.data, v->type.dtype, n);
        if (at >= 0)
            FAIL(f, "output %d, element %lld of %zu: %s, level %s, %d pieces: other bits than scalar in one piece", i,
                 (long long)at, n, how, zx_cpu_level_name(level), pieces);
    }
}

static double *as_doubles(const value *v, int64_t tokens)
{
    size_t n = (size_t)zx_type_elems(&v->type, tokens);
    double *d = zx_malloc((n + 1) * sizeof *d);
    assert_non_null(d);
    zx_operand o = value_operand(v);
    if (n) zx_operand_to_double(&o, 0, (int64_t)n / zx_type_last(&v->type), d);
    return d;
}

static double greatest(zmlx_dtype t) { return t == ZMLX_F16 ? 65504 : t == ZMLX_BF16 ? 0x1.fep127 : 0x1.fffffep127; }

/* Errors are counted in places of the output; of the coarsest activation, if that is coarser: a float32 result of
 * bfloat16 numbers has gone through bfloat16 on the way. */
static zmlx_dtype unit_of(const fixture *f, zmlx_dtype t)
{
    for (int i = 0; i < f->k->n_in; i++) {
        zmlx_dtype a = f->in[i].type.dtype;
        if (is_activation(&f->in[i].type) && zx_is_float16_32(a) && ulp_of(a, 1) > ulp_of(t, 1)) t = a;
    }
    return t;
}

static void check_row(fixture *f, int output, const zx_type *t, const double *got, const double *want, int64_t row)
{
    int64_t n = zx_type_last(t);
    zmlx_dtype unit = zx_is_float16_32(t->dtype) ? unit_of(f, t->dtype) : t->dtype;
    double most = 0;
    for (int64_t i = 0; i < n; i++)
        if (fabs(want[i]) > most && fabs(want[i]) < MAX_ERROR_TEXT) most = fabs(want[i]);
    for (int64_t i = 0; i < n; i++) {
        if (got[i] == want[i] || (isnan(got[i]) && isnan(want[i]))) continue;
        if (isinf(got[i]) && fabs(want[i]) > greatest(t->dtype) && (got[i] > 0) == (want[i] > 0)) continue;
        double bound = f->k->tol_ulp * ulp_of(unit, want[i]) + f->k->tol_row_ulp * ulp_of(unit, most);
        if (!(fabs(got[i] - want[i]) <= bound))
            FAIL(f,
                 "output %d, row %lld, element %lld: %.9g, reference %.9g, %.3g ulp of it, %.3g of the row's greatest",
                 output, (long long)row, (long long)i, got[i], want[i], fabs(got[i] - want[i]) / ulp_of(unit, want[i]),
                 fabs(got[i] - want[i]) / ulp_of(unit, most));
    }
}

static void check_reference(fixture *f)
{
    const zx_kernel_def *k = f->k;
    int n_written = k->n_out + k->n_state;
    double *in[ZX_MAX_IN] = {0}, *out[ZX_MAX_OUT + ZX_MAX_IN] = {0};
    zx_operand in_ops[ZX_MAX_IN], out_ops[ZX_MAX_OUT];
    reset(f);
    bind(f, in_ops, out_ops);
    for (int i = 0; i < k->n_in; i++)
        in[i] = as_doubles(&f->in[i], f->c->tokens);
    for (int i = 0; i < n_written; i++)
        out[i] = as_doubles(written(f, i), f->c->tokens);
    zx_call c = {.in = in_ops, .out = out_ops, .attr = &f->c->attr, .tokens = f->c->tokens, .pos = f->c->pos};
    k->reference(&c, (const double *const *)in, out);

    for (int i = 0; i < n_written; i++) {
        value *v = written(f, i);
        memcpy(v->data.data, f->first[i], v->data.n);
        double *got = as_doubles(v, f->c->tokens);
        int64_t n = zx_type_last(&v->type), rows = zx_type_elems(&v->type, f->c->tokens) / n;
        for (int64_t r = 0; r < rows; r++)
            check_row(f, i, &v->type, got + r * n, out[i] + r * n, r);
        zx_free(got);
    }
    for (int i = 0; i < k->n_in; i++)
        zx_free(in[i]);
    for (int i = 0; i < n_written; i++)
        zx_free(out[i]);
}

/* One set of inputs: the reference, then every level and division. */
static void check_inputs(fixture *f, bool compare)
{
    static const int pieces[] = {1, 2, 3, 7, 0};
    remember_inputs(f);
    run_whole(f, ZX_CPU_SCALAR, 1);
    keep_first(f);
    if (compare) check_reference(f);
    for (int l = 0; l <= (int)zx_cpu_best(); l++) {
        for (size_t p = 0; p < ZX_COUNT(pieces); p++) {
            if (l == 0 && p == 0) continue;
            if (l == 0 && p > 0 && p < 3) continue; /* plain C is slow: 7 pieces and single tasks will do */
            run_whole(f, (zx_cpu_level)l, pieces[p]);
            check_same(f, "all tokens at once", (zx_cpu_level)l, pieces[p]);
        }
    }
    if (f->c->tokens > 1) {
        run_tokens(f, zx_cpu_best());
        check_same(f, "token by token", zx_cpu_best(), 1);
    }
}

/* Every float activation times `factor`. */
static void scale_activations(fixture *f, double factor)
{
    for (int i = 0; i < f->k->n_in; i++) {
        value *v = &f->in[i];
        if (!is_activation(&v->type) || !zx_is_float16_32(v->type.dtype)) continue;
        double *d = as_doubles(v, f->c->tokens);
        size_t n = (size_t)zx_type_elems(&v->type, f->c->tokens);
        for (size_t j = 0; j < n; j++)
            put(v->data.data, v->type.dtype, j, d[j] * factor);
        zx_free(d);
    }
}

/* Inputs of unusual size.  When they are large only the bits are compared: some results overflow. */
static void test_special(fixture *f)
{
    f->what = "large inputs";
    scale_activations(f, 0x1p12);
    check_inputs(f, false);
    f->what = "huge inputs";
    scale_activations(f, 0x1p110);
    check_inputs(f, false);
    f->what = "zero inputs";
    for (int i = 0; i < f->k->n_in; i++)
        if (is_activation(&f->in[i].type) && zx_is_float16_32(f->in[i].type.dtype))
            memset(f->in[i].data.data, 0, f->in[i].data.n);
    check_inputs(f, true);
}

enum { SEEDS = 4 };

static void test_kernel(void **state)
{
    const zx_kernel_def *k = *state;
    assert_true(k->n_cases > 0);
    for (int i = 0; i < k->n_cases; i++) {
        for (int seed = 0; seed < SEEDS; seed++) {
            fixture f = {.k = k,
                         .c = &k->cases[i],
                         .index = i,
                         .what = "random inputs",
                         .rng = 77 + (uint64_t)(i + 1000 * seed)};
            setup(&f);
            check_inputs(&f, true);
            if (seed == 0) test_special(&f);
            teardown(&f);
        }
    }
}

int main(int argc, char **argv)
{
    const char *only = argc == 3 && !strcmp(argv[1], "-k") ? argv[2] : NULL;
    if (argc > 1 && !only) {
        fprintf(stderr, "usage: parity [-k KERNEL]\n");
        return 2;
    }
    struct CMUnitTest tests[256];
    size_t n = 0;
    for (const zx_kernel_def *const *k = zx_kernels; *k && n < ZX_COUNT(tests); k++)
        if (!only || !strcmp(only, (*k)->name))
            tests[n++] = (struct CMUnitTest){(*k)->name, test_kernel, NULL, NULL, (void *)(uintptr_t)*k};
    if (!n) {
        fprintf(stderr, "parity: no kernel is named %s\n", only ? only : "");
        return 2;
    }
    printf("level %s and below\n", zx_cpu_level_name(zx_cpu_best()));
    return _cmocka_run_group_tests("parity", tests, n, NULL, NULL);
}
