/* SPDX-License-Identifier: MIT */
/* The sampler: greedy choice, filters against a plain reference, frequencies, and numbers that must never change. */
#include "base/half.h"
#include "run/sample.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static zmlx_logits floats(const float *x, int64_t n) { return (zmlx_logits){x, ZMLX_F32, n}; }

static int32_t argmax(const float *x, int64_t n)
{
    int32_t id;
    zmlx_logits l = floats(x, n);
    assert_int_equal(zx_logits_argmax(&l, 0, &id, NULL), ZMLX_OK);
    return id;
}

/* --- greedy ---- */

static void greedy_takes_the_lowest_of_equals(void **state)
{
    (void)state;
    enum { N = 1700 }; /* several blocks, the last one not full */
    static float x[N];
    for (int64_t n = 1; n <= N; n += n < 40 ? 1 : 61) {
        for (int i = 0; i < N; i++)
            x[i] = -1.0f;
        assert_int_equal(argmax(x, n), 0);
        x[n - 1] = 2.0f;
        assert_int_equal(argmax(x, n), n - 1);
        x[n / 2] = 2.0f;
        assert_int_equal(argmax(x, n), n / 2);
    }
    const float zeros[] = {-1.0f, -0.0f, 0.0f};
    assert_int_equal(argmax(zeros, 3), 1);
    const float low[] = {-INFINITY, -INFINITY, -3e38f};
    assert_int_equal(argmax(low, 3), 2);
    assert_int_equal(argmax(low, 2), 0);
    const float high[] = {1.0f, INFINITY, INFINITY};
    assert_int_equal(argmax(high, 3), 1);
}

static void greedy_reads_all_types(void **state)
{
    (void)state;
    uint16_t bf[600], hf[600];
    for (int i = 0; i < 600; i++) {
        bf[i] = zx_f32_to_bf16((float)(i % 37));
        hf[i] = zx_f32_to_f16((float)(i % 41) - 50.0f);
    }
    int32_t id;
    zmlx_logits l = {bf, ZMLX_BF16, 600};
    assert_int_equal(zx_logits_argmax(&l, 0, &id, NULL), ZMLX_OK);
    assert_int_equal(id, 36);
    l = (zmlx_logits){hf, ZMLX_F16, 600};
    assert_int_equal(zx_logits_argmax(&l, 0, &id, NULL), ZMLX_OK);
    assert_int_equal(id, 40);
}

static void nan_is_an_error_that_names_the_place(void **state)
{
    (void)state;
    float x[1000] = {0};
    x[777] = NAN;
    zmlx_logits l = floats(x, 1000);
    zmlx_err err = {0};
    int32_t id;
    assert_int_equal(zx_logits_argmax(&l, 12, &id, &err), ZMLX_E_FAIL);
    assert_non_null(strstr(err.msg, "token 12"));
    assert_non_null(strstr(err.msg, "777"));
}

static void margin_is_the_gap_of_the_two_best(void **state)
{
    (void)state;
    const float x[] = {1.0f, 5.0f, 3.5f, -2.0f}, tie[] = {4.0f, 1.0f, 4.0f};
    zmlx_logits l = floats(x, 4), t = floats(tie, 3);
    assert_true(zx_logits_margin(&l) == 1.5);
    assert_true(zx_logits_margin(&t) == 0.0);
}

/* --- arithmetic ---- */

static void exp_is_accurate(void **state)
{
    (void)state;
    for (double x = 0; x > -699; x -= 0.01237) {
        double want = (double)expl((long double)x);
        assert_true(fabs(zx_sample_exp(x) - want) <= 4e-16 * want);
    }
    assert_true(zx_sample_exp(0.0) == 1.0);
    assert_true(zx_sample_exp(-701.0) == 0.0);
    assert_true(zx_sample_exp(-INFINITY) == 0.0);
}

/* These are part of the promise that a seed means the same text in every version. */
static void random_numbers_never_change(void **state)
{
    (void)state;
    static const struct {
        uint64_t seed, n;
        double u;
    } row[] = {{0, 0, 0x1.c4415072f63b9p-1},
               {0, 1, 0x1.b9e279aa86e58p-2},
               {1, 0, 0x1.7fdf0061bb85ap-1},
               {42, 1000000, 0x1.f57da479c1e98p-1}};
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
        assert_true(zx_sample_uniform(row[i].seed, row[i].n) == row[i].u);
}

static void random_numbers_are_uniform(void **state)
{
    (void)state;
    enum { N = 100000, BINS = 20 };
    int bin[BINS] = {0};
    for (uint64_t i = 0; i < N; i++) {
        double u = zx_sample_uniform(7, i);
        assert_true(u >= 0.0 && u < 1.0);
        bin[(int)(u * BINS)]++;
    }
    for (int b = 0; b < BINS; b++)
        assert_true(abs(bin[b] - N / BINS) < 350); /* five standard deviations */
}

/* --- options ---- */

static void options_out_of_range_are_refused(void **state)
{
    (void)state;
    static const zmlx_sampling bad[] = {
        {.temperature = -1.0f},
        {.temperature = NAN},
        {.temperature = INFINITY},
        {.temperature = 1, .top_p = -0.1f},
        {.temperature = 1, .min_p = 1.5f},
        {.temperature = 1, .top_k = -1},
        {.top_p = 0.5f},
        {.min_p = 0.1f},
        {.top_k = 5},
        {.temperature = 1, .top_p = NAN},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        zx_sampler s;
        assert_int_equal(zx_sampler_init(&s, &bad[i], 10, NULL), ZMLX_E_ARG);
        zx_sampler_clear(&s);
    }
}

/* --- filters ---- */

static const float *sort_key;

static int by_rank(const void *a, const void *b)
{
    int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;
    if (sort_key[i] != sort_key[j]) return sort_key[i] < sort_key[j] ? 1 : -1;
    return (i > j) - (i < j);
}

/* Which ids the filters keep, one after the other over a sorted list: the definition. */
static void reference(const zmlx_sampling *o, const float *x, int n, bool *keep)
{
    int32_t *rank = calloc((size_t)n, sizeof *rank);
    double *p = calloc((size_t)n, sizeof *p), sum = 0, before = 0;
    for (int i = 0; i < n; i++)
        rank[i] = i;
    sort_key = x;
    qsort(rank, (size_t)n, sizeof *rank, by_rank);
    for (int i = 0; i < n; i++)
        sum += p[i] = exp((double)x[i] - (double)x[rank[0]]);
    memset(keep, 0, (size_t)n * sizeof *keep);
    for (int r = 0; r < n; r++) {
        bool ok = r == 0 || ((o->top_p == 0 || o->top_p >= 1 || before / sum < (double)o->top_p) &&
                             p[rank[r]] >= (double)o->min_p && (o->top_k == 0 || r < o->top_k));
        keep[rank[r]] = ok;
        before += p[rank[r]];
    }
    free(rank);
    free(p);
}

/* Draw often: exactly the kept ids appear, about as often as they should. */
static void check_filter(const zmlx_sampling *o, const float *x, int n)
{
    enum { DRAWS = 60000 };
    bool keep[64];
    int seen[64] = {0};
    double w[64], sum = 0, top = x[argmax(x, n)];
    zx_sampler s;
    zmlx_logits l = floats(x, n);
    reference(o, x, n, keep);
    for (int i = 0; i < n; i++)
        sum += w[i] = keep[i] ? exp(((double)x[i] - top) / (double)o->temperature) : 0;
    assert_int_equal(zx_sampler_init(&s, o, n, NULL), ZMLX_OK);
    for (int d = 0; d < DRAWS; d++) {
        int32_t id;
        assert_int_equal(zx_sampler_pick(&s, &l, d, &id, NULL), ZMLX_OK);
        seen[id]++;
    }
    zx_sampler_clear(&s);
    for (int i = 0; i < n; i++) {
        double want = w[i] / sum * DRAWS;
        if (fabs(seen[i] - want) > 5 * sqrt(want + 1)) fail_msg("id %d: %d times, expected %.1f", i, seen[i], want);
        if (!keep[i]) assert_int_equal(seen[i], 0);
    }
}

static void filters_keep_what_they_should(void **state)
{
    (void)state;
    static const float x[] = {1.0f, 3.0f, 2.0f, 3.0f, -1.0f, 0.5f, 2.9f, -INFINITY, 2.0f, -20.0f};
    static const zmlx_sampling row[] = {
        {.temperature = 1},
        {.temperature = 0.5f},
        {.temperature = 3},
        {.temperature = 1, .top_k = 1},
        {.temperature = 1, .top_k = 3},
        {.temperature = 2, .top_k = 4}, /* ties at the cut: ids 2 and 8 */
        {.temperature = 1, .top_k = 100},
        {.temperature = 1, .top_p = 0.01f},
        {.temperature = 1, .top_p = 0.5f},
        {.temperature = 1, .top_p = 0.95f},
        {.temperature = 1, .min_p = 0.3f},
        {.temperature = 1, .min_p = 1.0f},
        {.temperature = 0.7f, .top_p = 0.9f, .min_p = 0.05f, .top_k = 5, .seed = 99},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
        check_filter(&row[i], x, 10);
}

/* The search for the cut looks at the top of the vocabulary first and widens: all depths must agree. */
static void filters_agree_on_large_vocabularies(void **state)
{
    (void)state;
    enum { N = 20000 };
    static float x[N];
    static bool keep[N];
    for (int spread = 0; spread < 5; spread++) {
        static const float scale[] = {0.0f, 1.0f, 20.0f, 300.0f, 5000.0f};
        for (int i = 0; i < N; i++)
            x[i] = (float)((zx_sample_uniform(5, (uint64_t)i) - 0.5) * (double)scale[spread]);
        for (int c = 0; c < 3; c++) {
            const zmlx_sampling o = {
                .temperature = 100, .top_p = c == 0 ? 0.5f : 0, .top_k = c == 1 ? 700 : 0, .min_p = c == 2 ? 0.01f : 0};
            reference(&o, x, N, keep);
            zx_sampler s;
            zmlx_logits l = floats(x, N);
            assert_int_equal(zx_sampler_init(&s, &o, N, NULL), ZMLX_OK);
            for (int d = 0; d < 200; d++) {
                int32_t id;
                assert_int_equal(zx_sampler_pick(&s, &l, d, &id, NULL), ZMLX_OK);
                assert_true(keep[id]);
            }
            zx_sampler_clear(&s);
        }
    }
}

static void seeds_repeat(void **state)
{
    (void)state;
    static const float x[] = {0.1f, 0.2f, 0.3f, 0.0f, 0.25f};
    int32_t id[3][100];
    int same = 0;
    for (int run = 0; run < 3; run++) {
        const zmlx_sampling o = {.temperature = 1, .seed = run == 2 ? 2 : 1};
        zx_sampler s;
        zmlx_logits l = floats(x, 5);
        assert_int_equal(zx_sampler_init(&s, &o, 5, NULL), ZMLX_OK);
        for (int i = 0; i < 100; i++)
            assert_int_equal(zx_sampler_pick(&s, &l, i, &id[run][i], NULL), ZMLX_OK);
        zx_sampler_clear(&s);
    }
    assert_memory_equal(id[0], id[1], sizeof id[0]);
    for (int i = 0; i < 100; i++)
        same += id[0][i] == id[2][i];
    assert_true(same < 50);
}

static void infinite_logits_cannot_be_sampled(void **state)
{
    (void)state;
    static const float bad[2][3] = {{0, INFINITY, 0}, {-INFINITY, -INFINITY, -INFINITY}};
    const zmlx_sampling o = {.temperature = 1};
    for (int i = 0; i < 2; i++) {
        zx_sampler s;
        int32_t id;
        zmlx_logits l = floats(bad[i], 3);
        assert_int_equal(zx_sampler_init(&s, &o, 3, NULL), ZMLX_OK);
        assert_int_equal(zx_sampler_pick(&s, &l, 0, &id, NULL), ZMLX_E_FAIL);
        zx_sampler_clear(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_takes_the_lowest_of_equals),
        cmocka_unit_test(greedy_reads_all_types),
        cmocka_unit_test(nan_is_an_error_that_names_the_place),
        cmocka_unit_test(margin_is_the_gap_of_the_two_best),
        cmocka_unit_test(exp_is_accurate),
        cmocka_unit_test(random_numbers_never_change),
        cmocka_unit_test(random_numbers_are_uniform),
        cmocka_unit_test(options_out_of_range_are_refused),
        cmocka_unit_test(filters_keep_what_they_should),
        cmocka_unit_test(filters_agree_on_large_vocabularies),
        cmocka_unit_test(seeds_repeat),
        cmocka_unit_test(infinite_logits_cannot_be_sampled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
