/* SPDX-License-Identifier: MIT */
/* Elementary functions against double libm: every 211th float, all exponents, specials and the neighbourhoods where
 * the code changes branch.  `test_vmath STEP` takes every STEP-th float instead; 1 is all of them (minutes). */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "kernels/kernel.h"
#include "kernels/vmath.h"

#include <stdio.h>
#include <stdlib.h>

enum { CHUNK = 1 << 14 };

typedef struct function {
    const char *name;
    double (*exact)(double);
    double bound;      /* ulp */
    float branches[6]; /* where another formula takes over */
} function;

static double sigmoid_exact(double x) { return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x)); }

static const function functions[] = {
    {"exp", exp, 1.0, {88.722839f, 88.722832f, -87.336544f, -103.972084f, 0.34657359f, -0.34657359f}},
    {"log", log, 1.0, {1.0f, 0x1p-126f, 0x1p-149f, 0.70710678f, 1.41421356f, 2.0f}},
    {"tanh", tanh, 2.0, {0.625f, -0.625f, 9.0f, 44.0f, 0x1p-12f, 0x1p-126f}},
    {"sigmoid", sigmoid_exact, 2.0, {0.0f, -87.33f, -103.97f, 17.3f, 1.0f, -1.0f}},
};

static uint32_t step = 211;
static double worst;
static float worst_at;

static double ulps(float got, double want)
{
    if (isnan(want) || isnan(got)) return isnan(want) && isnan(got) ? 0 : INFINITY;
    if (fabs(want) >= 0x1p128) return (double)got == copysign(INFINITY, want) ? 0 : INFINITY;
    double g = isinf(got) ? copysign(0x1p128, (double)got) : (double)got;
    int e;
    frexp(want, &e);
    return fabs(g - want) / ldexp(1.0, ZX_MAX(e, -125) - 24);
}

static void run(const zx_kernel_def *k, zx_cpu_level level, float *x, float *y, int64_t n)
{
    zx_operand in = {.type = zx_type_make(ZMLX_F32, 2, ZX_TOKENS, n), .data = x};
    zx_operand out = {.type = in.type, .data = y};
    zx_call c = {.in = &in, .out = &out, .attr = &(zx_attr){0}, .tokens = 1};
    zx_kernel_run(k, level)(&c, 0, 0, 1, NULL);
}

static void check(const function *f, const zx_kernel_def *k, float *x, int64_t n)
{
    static float y[ZX_CPU_LEVELS][CHUNK];
    for (int l = 0; l <= (int)zx_cpu_best(); l++) {
        run(k, (zx_cpu_level)l, x, y[l], n);
        if (memcmp(y[l], y[0], (size_t)n * sizeof(float)))
            for (int64_t i = 0; i < n; i++)
                if (zx_f32_bits(y[l][i]) != zx_f32_bits(y[0][i]))
                    fail_msg("%s(%a): %a at level %s, %a at scalar", f->name, (double)x[i], (double)y[l][i],
                             zx_cpu_level_name((zx_cpu_level)l), (double)y[0][i]);
    }
    for (int64_t i = 0; i < n; i++) {
        double want = f->exact((double)x[i]), u = ulps(y[0][i], want);
        if (!(u <= f->bound))
            fail_msg("%s(%a) = %a, exact %a: %g ulp", f->name, (double)x[i], (double)y[0][i], want, u);
        if (want == 0 && !isnan(x[i])) assert_int_equal(signbit(y[0][i]) != 0, signbit(want) != 0);
        if (u > worst) worst = u, worst_at = x[i];
    }
}

static void test_function(void **state)
{
    const function *f = *state;
    const zx_kernel_def *k = zx_kernel_find(f->name);
    assert_non_null(k);
    static float x[CHUNK];
    int64_t n = 0;
    worst = 0, worst_at = 0;

    for (uint64_t u = 0; u < 1ull << 32; u += step) {
        x[n++] = zx_bits_f32((uint32_t)u);
        if (n == CHUNK) check(f, k, x, n), n = 0;
    }
    check(f, k, x, n), n = 0;

    /* Every exponent with both signs: the first, middle and last mantissas; this has zeros, infinities and NaNs. */
    static const uint32_t mantissas[] = {0, 1, 2, 0x3504f2, 0x3504f3, 0x3504f4, 0x3fffff, 0x400000, 0x7ffffe, 0x7fffff};
    for (uint32_t e = 0; e < 512; e++)
        for (size_t m = 0; m < ZX_COUNT(mantissas); m++)
            x[n++] = zx_bits_f32(e << 23 | mantissas[m]);
    check(f, k, x, n), n = 0;

    for (size_t b = 0; b < ZX_COUNT(f->branches); b++) {
        for (uint32_t i = 0; i < CHUNK; i++)
            x[i] = zx_bits_f32(zx_f32_bits(f->branches[b]) + i - CHUNK / 2);
        check(f, k, x, CHUNK);
    }
    printf("%s: at most %.4f ulp, at %a\n", f->name, worst, (double)worst_at);
}

static void test_sincos(void **state)
{
    (void)state;
    double most = 0;
    for (int64_t i = 0; i < 2000000; i++) {
        double x =
            i < 1000000 ? (double)i * 10.000001 : ldexp((double)(i - 1000000) * 0.7853981633974483, -(int)(i % 40));
        if (i & 1) x = (double)(float)x; /* angles of rope are floats */
        double s, c;
        zx_sincos(x, &s, &c);
        most = ZX_MAX(most, ZX_MAX(fabs(s - sin(x)), fabs(c - cos(x))));
        zx_sincos(-x, &s, &c);
        most = ZX_MAX(most, ZX_MAX(fabs(s + sin(x)), fabs(c - cos(x))));
    }
    /* Doubles next to multiples of pi/2 lose the most in the reduction. */
    for (int64_t k = 0; k < 6400000; k += 7) {
        double x = (double)k * 1.5707963267948966, s, c;
        zx_sincos(x, &s, &c);
        most = ZX_MAX(most, ZX_MAX(fabs(s - sin(x)), fabs(c - cos(x))));
    }
    printf("sincos: at most %.3g\n", most);
    assert_true(most < 1e-15);
    double s, c;
    zx_sincos(0.0, &s, &c);
    assert_true(s == 0.0 && c == 1.0);
}

static void test_powers(void **state)
{
    (void)state;
    double most_exp = 0, most_log = 0, most_pow = 0;
    for (int i = -400000; i <= 400000; i++) {
        double x = i * 0.0024999, want = exp2(x);
        most_exp = ZX_MAX(most_exp, fabs(zx_exp2(x) - want) / want);
        double l = log2(want);
        most_log = ZX_MAX(most_log, fabs(zx_log2(want) - l) / ZX_MAX(1.0, fabs(l)));
    }
    for (int i = 0; i < 256; i++) { /* rope: theta^(-2i / dims) */
        static const double bases[] = {10000, 500000, 1000000, 5000000, 150000, 10000000};
        for (size_t b = 0; b < ZX_COUNT(bases); b++) {
            double got = zx_exp2(-(double)i / 256 * zx_log2(bases[b])), want = pow(bases[b], -(double)i / 256);
            most_pow = ZX_MAX(most_pow, fabs(got - want) / want);
        }
    }
    printf("exp2: %.3g relative, log2: %.3g, powers of rope bases: %.3g relative\n", most_exp, most_log, most_pow);
    assert_true(most_exp < 4e-16 && most_log < 4e-16 && most_pow < 4e-15);
    assert_true(zx_exp2(0.0) == 1.0 && zx_exp2(10.0) == 1024.0 && zx_log2(8.0) == 3.0);
}

int main(int argc, char **argv)
{
    if (argc > 1) step = (uint32_t)ZX_MAX(1, atol(argv[1]));
    struct CMUnitTest tests[ZX_COUNT(functions) + 2];
    for (size_t i = 0; i < ZX_COUNT(functions); i++)
        tests[i] = (struct CMUnitTest){functions[i].name, test_function, NULL, NULL, (void *)(uintptr_t)&functions[i]};
    tests[ZX_COUNT(functions)] = (struct CMUnitTest)cmocka_unit_test(test_sincos);
    tests[ZX_COUNT(functions) + 1] = (struct CMUnitTest)cmocka_unit_test(test_powers);
    return cmocka_run_group_tests_name("vmath", tests, NULL, NULL);
}
