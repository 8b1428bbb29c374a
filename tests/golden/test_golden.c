/* SPDX-License-Identifier: MIT */
/* Small checkpoints, written again bit for bit by zmlx_synth, against what mlx-lm and an emulation of docs/NUMERICS.md
 * computed from them (tools/golden/make_goldens.py; docs/TESTING.md has the tolerances); and the same bits from every
 * number of threads, prefill chunk, instruction-set level, step size, patched or not. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "../unit/scratch.h"
#include "base/alloc.h"
#include "base/file.h"
#include "base/half.h"
#include "base/hash.h"
#include "kernels/kernel.h"
#include "zmlx/zmlx.h"

#include <jansson.h>
#include <math.h>

#define FOLDER "tests/golden/"

enum { MAX_CASES = 64, MAX_TOKENS = 1024, MAX_STEP = 8 };

typedef struct golden {
    json_t *j;
    char name[96], dir[768];
    const char *reference;
    zmlx_dtype t;
    size_t row;                 /* bytes of a position's logits */
    int64_t vocab, n_prompt, n; /* n: the prompt and all greedy tokens but the last */
    int32_t ids[MAX_TOKENS];
    char *logits; /* ours after each of the n tokens, one by one, stock plan, one thread */
} golden;

static json_t *doc;
static golden cases[MAX_CASES];
static int n_cases;

#define OK(call)                                                                                                       \
    do {                                                                                                               \
        zmlx_err err_ = {0}, *err = &err_;                                                                             \
        if ((call) != ZMLX_OK) fail_msg("%s", err_.msg);                                                               \
    } while (0)

static const char *text(const json_t *j, const char *key)
{
    const char *s = json_string_value(json_object_get(j, key));
    if (!s) fail_msg("models.json: no %s", key);
    return s;
}

static int64_t number(const json_t *j, const char *key)
{
    const json_t *v = json_object_get(j, key);
    if (!json_is_integer(v)) fail_msg("models.json: no %s", key);
    return json_integer_value(v);
}

static int64_t item(const json_t *array, size_t i) { return json_integer_value(json_array_get(array, i)); }

static zmlx_dtype dtype_of(const char *name)
{
    for (int t = 0; t < ZMLX_DTYPE_COUNT; t++)
        if (!strcmp(name, zmlx_dtype_name((zmlx_dtype)t))) return (zmlx_dtype)t;
    fail_msg("models.json: type %s", name);
    return ZMLX_F32;
}

static double value(const void *p, zmlx_dtype t, int64_t i)
{
    float f;
    uint16_t h;
    memcpy(t == ZMLX_F32 ? (void *)&f : (void *)&h, (const char *)p + i * (int64_t)zmlx_dtype_size(t),
           zmlx_dtype_size(t));
    return (double)(t == ZMLX_F32 ? f : t == ZMLX_BF16 ? zx_bf16_to_f32(h) : zx_f16_to_f32(h));
}

static double ulp(double x, zmlx_dtype t)
{
    return ldexp(1.0, (x == 0 ? -126 : ilogb(x)) - (t == ZMLX_F32 ? 23 : t == ZMLX_BF16 ? 7 : 10));
}

static int64_t argmax(const void *row, zmlx_dtype t, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (value(row, t, i) > value(row, t, best)) best = i;
    return best;
}

/* The bytes of a file; released with zx_free. */
static char *contents(const char *path, size_t *n)
{
    char *p = NULL;
    OK(zx_file_read(&p, n, path, (size_t)1 << 28, err));
    return p;
}

static bool is_long(const golden *g) { return g->n > 100; }

static const golden *find_case(const char *name, const char *reference, zmlx_dtype t)
{
    for (int c = 0; c < n_cases; c++)
        if (!strcmp(text(cases[c].j, "name"), name) && !strcmp(cases[c].reference, reference) && cases[c].t == t)
            return &cases[c];
    fail_msg("models.json: no case %s, %s", name, reference);
    return NULL;
}

/* --- running ------------------------------------------------------------------------------------- */

static zmlx_model *open_model(const golden *g, int64_t chunk)
{
    zmlx_model *m = NULL;
    zmlx_model_options o = {.prefill_tokens = chunk};
    OK(zmlx_model_open(&m, g->dir, &o, err));
    return m;
}

static zmlx_session *open_session(zmlx_model *m, int threads, const char *level)
{
    zmlx_session *s = NULL;
    zmlx_session_options o = {.threads = threads, .cpu_level = level};
    OK(zmlx_session_create(&s, m, &o, err));
    return s;
}

/* All tokens of the case in steps of n. */
static void check_steps(const golden *g, zmlx_session *s, int64_t n, const char *what)
{
    zmlx_session_reset(s);
    for (int64_t at = 0; at < g->n; at += n) {
        zmlx_logits l[MAX_STEP];
        int64_t k = at + n <= g->n ? n : g->n - at;
        OK(zmlx_session_step(s, g->ids + at, k, l, err));
        for (int64_t i = 0; i < k; i++)
            if (memcmp(l[i].data, g->logits + (size_t)(at + i) * g->row, g->row) != 0)
                fail_msg("%s: %s, %d tokens a step: other bits at position %d", g->name, what, (int)n, (int)(at + i));
    }
}

/* The prompt as a prompt, then one token after another. */
static void check_prompt(const golden *g, zmlx_session *s, const char *what)
{
    zmlx_logits l;
    zmlx_session_reset(s);
    OK(zmlx_session_prompt(s, g->ids, g->n_prompt, &l, NULL, NULL, err));
    for (int64_t at = g->n_prompt - 1;;) {
        if (memcmp(l.data, g->logits + (size_t)at * g->row, g->row) != 0)
            fail_msg("%s: %s: other bits at position %d", g->name, what, (int)at);
        if (++at == g->n) return;
        OK(zmlx_session_step(s, g->ids + at, 1, &l, err));
    }
}

/* --- the checkpoints ------------------------------------------------------------------------------ */

static void read_case(golden *g, json_t *j)
{
    const json_t *prompt = json_object_get(j, "prompt"), *tokens = json_object_get(j, "tokens");
    g->j = j;
    g->reference = text(j, "reference");
    snprintf(g->name, sizeof g->name, "%s, %s, %s", text(j, "name"), g->reference, text(j, "dtype"));
    g->t = dtype_of(text(j, "dtype"));
    g->vocab = number(j, "vocab");
    g->row = (size_t)g->vocab * zmlx_dtype_size(g->t);
    g->n_prompt = (int64_t)json_array_size(prompt);
    g->n = g->n_prompt + (int64_t)json_array_size(tokens) - 1;
    assert_true(g->n_prompt > 0 && g->n >= g->n_prompt && g->n <= MAX_TOKENS);
    for (int64_t i = 0; i < g->n; i++)
        g->ids[i] = (int32_t)(i < g->n_prompt ? item(prompt, (size_t)i) : item(tokens, (size_t)(i - g->n_prompt)));
}

static void compute(golden *g)
{
    g->logits = zx_malloc((size_t)g->n * g->row);
    assert_non_null(g->logits);
    zmlx_model *m = open_model(g, 0);
    zmlx_session *s = open_session(m, 1, NULL);
    for (int64_t i = 0; i < g->n; i++) {
        zmlx_logits l;
        OK(zmlx_session_step(s, g->ids + i, 1, &l, err));
        assert_int_equal(l.vocab, g->vocab);
        assert_int_equal(l.dtype, g->t);
        memcpy(g->logits + (size_t)i * g->row, l.data, g->row);
    }
    zmlx_session_destroy(s);
    zmlx_model_close(m);
}

static int set_up(void **state)
{
    (void)state;
    json_error_t e;
    doc = json_load_file(FOLDER "models.json", 0, &e);
    if (!doc) fail_msg("models.json: %s", e.text);
    scratch_reset();
    const json_t *list = json_object_get(doc, "cases");
    n_cases = (int)json_array_size(list);
    assert_in_range(n_cases, 1, MAX_CASES);
    for (int i = 0; i < n_cases; i++) {
        golden *g = &cases[i];
        read_case(g, json_array_get(list, (size_t)i));
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        snprintf(g->dir, sizeof g->dir, "%s", scratch_path(name));
        const zmlx_synth_options o = {.tiny = true,
                                      .layers = number(g->j, "layers"),
                                      .seed = (uint64_t)number(g->j, "seed"),
                                      .bits = (int)number(g->j, "bits"),
                                      .group = (int)number(g->j, "group"),
                                      .dtype = text(g->j, "dtype")};
        OK(zmlx_synth(text(g->j, "preset"), g->dir, &o, err));
        compute(g);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < n_cases; i++)
        zx_free(cases[i].logits);
    json_decref(doc);
    scratch_end();
    return 0;
}

static void test_regenerated(void **state)
{
    (void)state;
    for (int i = 0; i < n_cases; i++) {
        const char *file;
        json_t *hash;
        json_object_foreach(json_object_get(cases[i].j, "xxh64"), file, hash)
        {
            char path[1024], digest[17];
            size_t n;
            snprintf(path, sizeof path, "%s/%s", cases[i].dir, file);
            char *p = contents(path, &n);
            snprintf(digest, sizeof digest, "%016llx", (unsigned long long)zx_hash64(p, n, 0));
            if (strcmp(digest, json_string_value(hash)) != 0)
                fail_msg("%s: %s has XXH64 %s, expected %s", cases[i].name, file, digest, json_string_value(hash));
            zx_free(p);
        }
    }
}

/* --- logits and tokens ---------------------------------------------------------------------------- */

static void check_tokens(const golden *g)
{
    const json_t *tokens = json_object_get(g->j, "tokens");
    for (int64_t i = g->n_prompt - 1; i < g->n; i++) {
        int64_t ours = argmax(g->logits + (size_t)i * g->row, g->t, g->vocab);
        int64_t want = item(tokens, (size_t)(i - g->n_prompt + 1));
        if (ours != want)
            fail_msg("%s: token %d after position %d, expected %d", g->name, (int)ours, (int)i, (int)want);
    }
}

/* The golden logits of a case and how many positions they are of; released with zx_free. */
static char *golden_logits(const golden *g, size_t *positions)
{
    char path[256];
    size_t n;
    snprintf(path, sizeof path, FOLDER "%s", text(g->j, "logits"));
    char *p = contents(path, &n);
    *positions = json_array_size(json_object_get(g->j, "positions"));
    assert_int_equal(n, *positions * g->row);
    return p;
}

static void test_mlx(void **state)
{
    (void)state;
    for (int c = 0; c < n_cases; c++) {
        const golden *g = &cases[c];
        if (strcmp(g->reference, "mlx-lm") != 0) continue;
        size_t n;
        char *want = golden_logits(g, &n);
        double worst = 0;
        for (size_t p = 0; p < n; p++) {
            int64_t at = item(json_object_get(g->j, "positions"), p);
            double most = 0, size = 0;
            for (int64_t i = 0; i < g->vocab; i++) {
                double b = value(want + p * g->row, g->t, i), a = value(g->logits + (size_t)at * g->row, g->t, i);
                most = fmax(most, fabs(a - b));
                size = fmax(size, fabs(b));
            }
            if (!(most <= 1e-5 * size)) fail_msg("%s: position %d is off by %g of %g", g->name, (int)at, most, size);
            worst = fmax(worst, most / size);
        }
        check_tokens(g);
        printf("%s: max|a-b|/max|b| %.2g over %zu positions, %d tokens equal\n", g->name, worst, n,
               (int)(g->n - g->n_prompt + 1));
        zx_free(want);
    }
}

/* Every operation is defined to the bit, so not even a router tie is an excuse. */
static void test_emulation(void **state)
{
    (void)state;
    for (int c = 0; c < n_cases; c++) {
        const golden *g = &cases[c];
        if (strcmp(g->reference, "emulation") != 0) continue;
        size_t n, differ = 0;
        char *want = golden_logits(g, &n);
        double worst = 0;
        for (size_t p = 0; p < n; p++) {
            const char *ours = g->logits + (size_t)item(json_object_get(g->j, "positions"), p) * g->row;
            for (int64_t i = 0; i < g->vocab; i++) {
                double a = value(ours, g->t, i), b = value(want + p * g->row, g->t, i);
                differ += a != b;
                worst = fmax(worst, fabs(a - b) / ulp(fmax(fabs(a), fabs(b)), g->t));
            }
        }
        printf("%s: %zu of %zu logits differ, by %.3g ulp at most; %zu router ties\n", g->name, differ,
               n * (size_t)g->vocab, worst, json_array_size(json_object_get(g->j, "ties")));
        if (!(worst <= 2)) fail_msg("%s: %g ulp", g->name, worst);
        assert_int_equal(differ, 0);
        check_tokens(g);
        zx_free(want);
    }
}

/* --- the same bits whatever the circumstances ------------------------------------------------------ */

static const int threads[] = {1, 2, 3, 7};
static const int64_t chunks[] = {1, 2, 3, 7, 512};
static const char *const levels[] = {NULL, "scalar"};

/* Plain C is slow: of its combinations only those of each number of threads and of each chunk, for one case.  Other
 * cases get a few combinations in which each value occurs, a long one two. */
static bool combination(const golden *g, size_t t, size_t k, size_t l)
{
    bool all = g == find_case("moe-4bit-g64", "emulation", ZMLX_BF16);
    if (l) return !is_long(g) && ((t == 0 && k == 4) || (all && (t == 0 || k == 3)));
    if (is_long(g)) return (t == 1 && k == 3) || (t == 2 && k == 4);
    return all || k == t || (t == 3 && k == 4);
}

static void test_threads_chunks_levels(void **state)
{
    (void)state;
    int runs = 0;
    for (int c = 0; c < n_cases; c++)
        for (size_t k = 0; k < ZX_COUNT(chunks); k++) {
            zmlx_model *m = open_model(&cases[c], chunks[k]);
            for (size_t t = 0; t < ZX_COUNT(threads); t++)
                for (size_t l = 0; l < ZX_COUNT(levels); l++) {
                    if (!combination(&cases[c], t, k, l)) continue;
                    char what[80];
                    snprintf(what, sizeof what, "%d threads, chunks of %d, level %s", threads[t], (int)chunks[k],
                             levels[l] ? levels[l] : "best");
                    zmlx_session *s = open_session(m, threads[t], levels[l]);
                    check_prompt(&cases[c], s, what);
                    zmlx_session_destroy(s);
                    runs++;
                }
            zmlx_model_close(m);
        }
    printf("%d runs with the same bits\n", runs);
}

static void test_steps_patched(void **state)
{
    (void)state;
    for (int c = 0; c < n_cases; c++) {
        const golden *g = &cases[c];
        zmlx_model *m = open_model(g, 0);
        zmlx_session *stock = open_session(m, 1, NULL);
        zmlx_patch_options all = {.patterns = "all"};
        zmlx_patch_result result;
        OK(zmlx_model_patch(m, &all, &result, err));
        assert_true(result.ops_after < result.ops_before);
        zmlx_session *patched = open_session(m, 2, NULL), *scalar = open_session(m, 1, "scalar");
        bool plain = strcmp(g->reference, "mlx-lm") != 0; /* once per checkpoint and type is enough for plain C */
        for (int64_t n = 1; n <= MAX_STEP; n++) {
            if (is_long(g) && n % 5 != 3) continue; /* 3 and 8 */
            if (n > 1) check_steps(g, stock, n, "stock");
            check_steps(g, patched, n, "patched");
            if (plain && n == (is_long(g) ? 8 : 5)) check_steps(g, scalar, n, "patched, scalar");
        }
        check_prompt(g, patched, "patched");
        zmlx_session_destroy(stock);
        zmlx_session_destroy(patched);
        zmlx_session_destroy(scalar);
        zmlx_model_close(m);
    }
}

static void test_no_allocations(void **state)
{
    (void)state;
    enum { STEPS = 50 };
    for (int c = 0; c < n_cases; c++) {
        if (is_long(&cases[c])) continue;
        zmlx_model *m = open_model(&cases[c], 0);
        for (int patched = 0; patched < 2; patched++) {
            if (patched) OK(zmlx_model_patch(m, NULL, NULL, err));
            zmlx_session *s = open_session(m, 2, NULL);
            zmlx_logits l;
            int64_t before = zx_alloc_count();
            OK(zmlx_session_prompt(s, cases[c].ids, cases[c].n_prompt, &l, NULL, NULL, err));
            for (int i = 0; i < STEPS; i++)
                OK(zmlx_session_step(s, cases[c].ids + i % cases[c].n_prompt, 1, &l, err));
            assert_int_equal(zx_alloc_count(), before);
            zmlx_session_destroy(s);
        }
        zmlx_model_close(m);
    }
}

/* --- unpacking ------------------------------------------------------------------------------------- */

static const char *const level_names[ZX_CPU_LEVELS] = {"scalar", "avx512"};

/* Rows of a quantized table by the embedding kernel, at each level. */
static void check_unpacked(const zx_operand *table, const char *want, const char *what)
{
    const zx_kernel_def *k = zx_kernel_find("embedding");
    assert_non_null(k);
    int64_t rows = table->type.dim[0], n = table->type.dim[1];
    int32_t *ids = zx_aligned_alloc(64, (size_t)rows * sizeof *ids);
    size_t bytes = (size_t)(rows * n) * zmlx_dtype_size(table->type.dtype);
    char *y = zx_aligned_alloc(64, bytes);
    assert_true(ids && y);
    for (int64_t i = 0; i < rows; i++)
        ids[i] = (int32_t)i;
    zx_operand in[2] = {{.type = zx_type_make(ZMLX_I32, 1, rows), .data = ids}, *table}, out = {.data = y};
    zx_attr attr = {0};
    zx_type types[2] = {in[0].type, in[1].type};
    OK(k->infer(types, &attr, &out.type, err));
    for (int l = 0; l <= (int)zx_cpu_best(); l++) {
        memset(y, 0xee, bytes);
        zx_call call = {.in = in, .out = &out, .attr = &attr, .tokens = rows};
        zx_kernel_run(k, (zx_cpu_level)l)(&call, 0, 0, rows, NULL);
        if (memcmp(y, want, bytes) != 0) fail_msg("%s, level %s: other numbers", what, level_names[l]);
    }
    zx_free(ids);
    zx_free(y);
}

static zx_operand coded_table(zmlx_dtype t, int bits, int group, int64_t rows, int64_t n, char *words,
                              const char *scales, const char *biases)
{
    zx_operand o = {.type = zx_type_make(t, 2, rows, n), .data = words, .scales = scales, .biases = biases};
    o.type.quant = (zx_quant){bits, group, t};
    return o;
}

static void test_unpack(void **state)
{
    (void)state;
    size_t size, i;
    json_t *j;
    char *p = contents(FOLDER "unpack.bin", &size);
    json_array_foreach(json_object_get(doc, "unpack"), i, j)
    {
        zmlx_dtype t = dtype_of(text(j, "dtype"));
        int bits = (int)number(j, "bits"), group = (int)number(j, "group");
        int64_t rows = number(j, "rows"), n = number(j, "columns");
        size_t words = (size_t)(rows * n * bits / 8), scales = (size_t)(rows * n / group) * zmlx_dtype_size(t);
        char *at = p + number(j, "at"), what[64];
        assert_true((size_t)(at - p) + words + 2 * scales + (size_t)(rows * n) * zmlx_dtype_size(t) <= size);
        zx_operand table = coded_table(t, bits, group, rows, n, at, at + words, at + words + scales);
        snprintf(what, sizeof what, "%s, %d bits, group %d", zmlx_dtype_name(t), bits, group);
        check_unpacked(&table, at + words + 2 * scales, what);
    }
    assert_int_equal(i, 18);
    zx_free(p);
}

/* What MLX's quantizer makes of the row i mod 2^bits (its last element raised to the maximum): scale -1, bias
 * 2^bits - 1, codes that count down. */
static void test_unpack_bytes(void **state)
{
    (void)state;
    static const uint8_t first[2][8] = {{0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x01},
                                        {0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0xfa, 0xf9, 0xf8}};
    for (int bits = 4; bits <= 8; bits += 4) {
        char words[64];
        uint16_t want[64], scale = zx_f32_to_bf16(-1), bias = zx_f32_to_bf16((float)((1 << bits) - 1));
        for (int i = 0; i < 64; i++) {
            words[i] = (char)(bits == 4 ? first[0][i % 8] : 255 - i);
            want[i] = zx_f32_to_bf16((float)(i % (1 << bits)));
        }
        assert_memory_equal(words, first[bits / 8], 8);
        if (bits == 8) words[63] = 0, want[63] = zx_f32_to_bf16(255);
        zx_operand table = coded_table(ZMLX_BF16, bits, 64, 1, 64, words, (char *)&scale, (char *)&bias);
        check_unpacked(&table, (char *)want, bits == 4 ? "4-bit bytes" : "8-bit bytes");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_regenerated),   cmocka_unit_test(test_mlx),
        cmocka_unit_test(test_emulation),     cmocka_unit_test(test_threads_chunks_levels),
        cmocka_unit_test(test_steps_patched), cmocka_unit_test(test_no_allocations),
        cmocka_unit_test(test_unpack),        cmocka_unit_test(test_unpack_bytes),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
