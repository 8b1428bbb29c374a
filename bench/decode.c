/* SPDX-License-Identifier: MIT */
/* Decode speed of a model, stock against patched, beside the read bandwidth of the same memory in the same run.
 *
 *   build/bench/decode [MODEL [TOKENS [ROUNDS [THREADS]]]]   (default: the demo model, 32 tokens, 5 rounds)
 *
 * Order per round A B B A (stock, patched, patched, stock); medians over rounds; the probe runs before each round. */
#include <zmlx/zmlx.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_ROUNDS = 50 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *v, int n)
{
    double s[2 * MAX_ROUNDS];
    memcpy(s, v, (size_t)n * sizeof *v);
    qsort(s, (size_t)n, sizeof *s, by_value);
    return n & 1 ? s[n / 2] : 0.5 * (s[n / 2 - 1] + s[n / 2]);
}

static void check(zmlx_status s, const zmlx_err *err)
{
    if (s == ZMLX_OK) return;
    fprintf(stderr, "decode: %s\n", err->msg);
    exit(zmlx_status_exit_code(s));
}

/* Greedy in the cheapest way that makes tokens differ: a fixed walk over the vocabulary, so that both kinds read the
 * same experts. */
static double run(zmlx_session *s, int64_t vocab, int64_t tokens)
{
    zmlx_err err = {0};
    zmlx_session_reset(s);
    int32_t id = 17 % (int32_t)vocab;
    zmlx_logits logits;
    check(zmlx_session_step(s, &id, 1, &logits, &err), &err); /* warm: wakes the team */
    double t0 = now();
    for (int64_t i = 0; i < tokens; i++) {
        id = (int32_t)((i * 7919 + 31) % vocab);
        check(zmlx_session_step(s, &id, 1, &logits, &err), &err);
    }
    return (double)tokens / (now() - t0);
}

int main(int argc, char **argv)
{
    const char *model = argc > 1 ? argv[1] : "models/demo";
    int64_t tokens = argc > 2 ? atoll(argv[2]) : 32;
    int rounds = argc > 3 ? atoi(argv[3]) : 5, threads = argc > 4 ? atoi(argv[4]) : 0;
    if (rounds < 1 || rounds > MAX_ROUNDS || tokens < 1) return 2;
    zmlx_err err = {0};
    zmlx_model *m;
    double t0 = now();
    check(zmlx_model_open(&m, model, NULL, &err), &err);
    double load = now() - t0;
    zmlx_model_info info;
    zmlx_session *a, *b;
    zmlx_session_options o = {.threads = threads};
    check(zmlx_session_create(&a, m, &o, &err), &err);
    check(zmlx_model_patch(m, NULL, NULL, &err), &err);
    check(zmlx_session_create(&b, m, &o, &err), &err);
    zmlx_model_get_info(m, &info);
    printf("%s: %.2f GB, %.3f GB read per token, %d stock ops, %d patched; opened in %.2f s\n", info.model_type,
           1e-9 * (double)info.file_bytes, 1e-9 * (double)info.bytes_per_token, info.stock_ops, info.patched_ops, load);
    double stock[2 * MAX_ROUNDS], patched[2 * MAX_ROUNDS], gain[MAX_ROUNDS], probe[MAX_ROUNDS], best = 0;
    for (int r = 0; r < rounds; r++) {
        double bandwidth;
        check(zmlx_probe_bandwidth(m, threads, 0, 1, &bandwidth, &err), &err);
        stock[2 * r] = run(a, info.vocab, tokens);
        patched[2 * r] = run(b, info.vocab, tokens);
        patched[2 * r + 1] = run(b, info.vocab, tokens);
        stock[2 * r + 1] = run(a, info.vocab, tokens);
        gain[r] = (patched[2 * r] + patched[2 * r + 1]) / (stock[2 * r] + stock[2 * r + 1]);
        probe[r] = bandwidth;
        if (bandwidth > best) best = bandwidth;
        printf("round %d: probe %5.1f GB/s  stock %6.2f %6.2f tok/s  patched %6.2f %6.2f tok/s  ratio %.3f\n", r + 1,
               1e-9 * bandwidth, stock[2 * r], stock[2 * r + 1], patched[2 * r], patched[2 * r + 1], gain[r]);
        fflush(stdout);
    }
    double s = median(stock, 2 * rounds), p = median(patched, 2 * rounds), bytes = (double)info.bytes_per_token;
    double typical = median(probe, rounds);
    printf("probe: best %.1f GB/s, median %.1f GB/s\n", 1e-9 * best, 1e-9 * typical);
    printf("median: stock   %.2f tok/s = %.1f GB/s = %.0f %% of the best probe, %.0f %% of the median one\n", s,
           1e-9 * s * bytes, 100 * s * bytes / best, 100 * s * bytes / typical);
    printf("        patched %.2f tok/s = %.1f GB/s = %.0f %%, %.0f %%; patched/stock %.3f\n", p, 1e-9 * p * bytes,
           100 * p * bytes / best, 100 * p * bytes / typical, median(gain, rounds));
    zmlx_session_destroy(a);
    zmlx_session_destroy(b);
    zmlx_model_close(m);
    return 0;
}
