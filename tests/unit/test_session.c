/* SPDX-License-Identifier: MIT */
/* Sessions: what they refuse and leave as it was, and that nothing of an earlier sequence, another thread or a change
 * of the model's plan shows in their logits. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "scratch.h"
#include "base/cpu.h"
#include "base/hash.h"
#include "zmlx/zmlx.h"

#include <pthread.h>

enum { CTX = 40, N = 24, VOCAB = 1024 };

static const char *folder;
static int32_t prompt[N];
static zmlx_err err;

static void ok(zmlx_status s)
{
    if (s != ZMLX_OK) fail_msg("%s", err.msg);
}

static void refused(zmlx_status got, zmlx_status want, const char *part)
{
    assert_int_equal(got, want);
    assert_int_equal(err.code, want);
    if (!strstr(err.msg, part)) fail_msg("'%s' does not contain '%s'", err.msg, part);
}

static zmlx_model *open_model(void)
{
    zmlx_model *m = NULL;
    zmlx_model_options o = {.ctx = CTX, .prefill_tokens = 5};
    ok(zmlx_model_open(&m, folder, &o, &err));
    return m;
}

static zmlx_session *open_session(zmlx_model *m, const zmlx_session_options *o)
{
    zmlx_session *s = NULL;
    ok(zmlx_session_create(&s, m, o, &err));
    return s;
}

static uint64_t digest(const zmlx_logits *l)
{
    return zx_hash64(l->data, (size_t)l->vocab * zmlx_dtype_size(l->dtype), 0);
}

/* Digest of all logits of a prompt of n tokens and four more steps. */
static uint64_t run(zmlx_session *s, const int32_t *ids, int64_t n)
{
    zmlx_logits l;
    zmlx_err e = {0};
    uint64_t sum = 0;
    zmlx_session_reset(s);
    if (zmlx_session_prompt(s, ids, n, &l, NULL, NULL, &e) != ZMLX_OK) return 0;
    sum = digest(&l);
    for (int i = 0; i < 4; i++) {
        if (zmlx_session_step(s, ids + i, 1, &l, &e) != ZMLX_OK) return 0;
        sum = sum * 31 + digest(&l);
    }
    return sum;
}

static int set_up(void **state)
{
    (void)state;
    scratch_reset();
    static char path[768];
    snprintf(path, sizeof path, "%s", scratch_path("model"));
    folder = path;
    zmlx_synth_options o = {.tiny = true, .seed = 3, .layers = 2};
    ok(zmlx_synth("qwen3-30b-a3b", folder, &o, &err));
    for (int i = 0; i < N; i++)
        prompt[i] = (i * 389 + 17) % VOCAB;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scratch_end();
    return 0;
}

static void test_context(void **state)
{
    (void)state;
    zmlx_model *m = NULL;
    zmlx_model_options o = {.ctx = 1025};
    refused(zmlx_model_open(&m, folder, &o, &err), ZMLX_E_LIMIT, "context of 1025 positions exceeds the model's 1024");
    assert_null(m);
    o.ctx = -1;
    refused(zmlx_model_open(&m, folder, &o, &err), ZMLX_E_ARG, "context -1");
    o = (zmlx_model_options){.prefill_tokens = 100000};
    refused(zmlx_model_open(&m, folder, &o, &err), ZMLX_E_ARG, "prefill chunk 100000");
    zmlx_model_info info;
    ok(zmlx_model_open(&m, folder, NULL, &err));
    zmlx_model_get_info(m, &info);
    assert_int_equal(info.ctx, 1024);
    assert_int_equal(info.vocab, VOCAB);
    zmlx_model_close(m);

    m = open_model();
    zmlx_model_get_info(m, &info);
    assert_int_equal(info.ctx, CTX);
    zmlx_session *s = open_session(m, NULL);
    zmlx_logits l;
    ok(zmlx_session_prompt(s, prompt, N, &l, NULL, NULL, &err));
    uint64_t before = digest(&l);
    refused(zmlx_session_prompt(s, prompt, N, &l, NULL, NULL, &err), ZMLX_E_LIMIT,
            "24 tokens at position 24 exceed the context of 40 positions");
    assert_int_equal(zmlx_session_position(s), N);
    assert_true(digest(&l) == before);
    ok(zmlx_session_step(s, prompt, 8, NULL, &err));
    ok(zmlx_session_step(s, prompt, 7, NULL, &err));
    refused(zmlx_session_step(s, prompt, 2, NULL, &err), ZMLX_E_LIMIT, "2 tokens at position 39");
    ok(zmlx_session_step(s, prompt, 1, NULL, &err)); /* the last place */
    refused(zmlx_session_step(s, prompt, 1, NULL, &err), ZMLX_E_LIMIT, "1 tokens at position 40");
    assert_int_equal(zmlx_session_position(s), CTX);
    zmlx_session_destroy(s);
    zmlx_model_close(m);
}

/* A context of one position, and one that is no multiple of the caches' 16. */
static void test_small_contexts(void **state)
{
    (void)state;
    zmlx_model *m;
    zmlx_logits l[2];
    uint64_t first = 0;
    for (int64_t ctx = 1; ctx <= 17; ctx += 16) {
        zmlx_model_options o = {.ctx = ctx};
        ok(zmlx_model_open(&m, folder, &o, &err));
        zmlx_session *s = open_session(m, NULL);
        ok(zmlx_session_prompt(s, prompt, 1, &l[0], NULL, NULL, &err));
        if (ctx == 1) first = digest(&l[0]);
        assert_true(digest(&l[0]) == first);
        zmlx_session_reset(s);
        if (ctx == 1)
            refused(zmlx_session_prompt(s, prompt, 2, &l[0], NULL, NULL, &err), ZMLX_E_LIMIT, "context of 1");
        else
            ok(zmlx_session_prompt(s, prompt, ctx, &l[0], NULL, NULL, &err));
        zmlx_session_destroy(s);
        zmlx_model_close(m);
    }
}

static void test_refused(void **state)
{
    (void)state;
    zmlx_model *m = open_model();
    zmlx_session *s = open_session(m, NULL), *none = s;
    zmlx_logits l[9];
    uint64_t want = run(s, prompt, N);
    int64_t at = zmlx_session_position(s);
    int32_t bad[3] = {1, VOCAB, 2}, negative = -1;
    refused(zmlx_session_step(s, bad, 3, l, &err), ZMLX_E_ARG, "token 1 has id 1024, the vocabulary has 1024");
    refused(zmlx_session_prompt(s, bad, 3, l, NULL, NULL, &err), ZMLX_E_ARG, "id 1024");
    refused(zmlx_session_step(s, &negative, 1, l, &err), ZMLX_E_ARG, "id -1");
    refused(zmlx_session_step(s, prompt, 0, l, &err), ZMLX_E_ARG, "0 tokens");
    refused(zmlx_session_prompt(s, prompt, 0, l, NULL, NULL, &err), ZMLX_E_ARG, "0 tokens");
    refused(zmlx_session_prompt(s, prompt, -1, l, NULL, NULL, &err), ZMLX_E_ARG, "-1 tokens");
    refused(zmlx_session_step(s, NULL, 1, l, &err), ZMLX_E_ARG, "tokens");
    refused(zmlx_session_step(s, prompt, 9, l, &err), ZMLX_E_ARG, "a decode step of 9 tokens, at most 8");
    assert_int_equal(zmlx_session_position(s), at);
    assert_int_equal(zmlx_session_step(s, prompt, 0, l, NULL), ZMLX_E_ARG); /* no details wanted */
    assert_true(run(s, prompt, N) == want);

    zmlx_session_options o = {.cpu_level = "fast"};
    refused(zmlx_session_create(&none, m, &o, &err), ZMLX_E_ARG, "fast");
    assert_null(none);
    if (zx_cpu_best() < ZX_CPU_AVX512) {
        o.cpu_level = "avx512";
        refused(zmlx_session_create(&none, m, &o, &err), ZMLX_E_DEVICE, "avx512");
    }
    o = (zmlx_session_options){.threads = 1000000};
    refused(zmlx_session_create(&none, m, &o, &err), ZMLX_E_ARG, "1000000 threads");
    assert_int_equal(zmlx_session_create(NULL, m, NULL, &err), ZMLX_E_ARG);
    assert_int_equal(zmlx_session_create(&none, NULL, NULL, &err), ZMLX_E_ARG);
    zmlx_session_destroy(NULL);
    zmlx_session_destroy(s);
    zmlx_model_close(m);
}

/* What an earlier sequence left in the caches, be it numbers or none, does not reach a later one. */
static void test_reset(void **state)
{
    (void)state;
    zmlx_model *m = open_model();
    zmlx_session *s = open_session(m, NULL), *fresh = open_session(m, NULL);
    int32_t other[N];
    for (int i = 0; i < N; i++)
        other[i] = (i * 71 + 5) % VOCAB;
    uint64_t want = run(s, prompt, N), short_want = run(fresh, other, 3);
    assert_true(want != 0 && run(s, prompt, N) == want);
    assert_true(run(s, other, N) != want);
    assert_true(run(s, other, 3) == short_want); /* fewer positions than before */
    assert_true(run(s, prompt, N) == want);
    zmlx_session_destroy(s);
    zmlx_session_destroy(fresh);
    zmlx_model_close(m);
}

/* The first half of a tensor to one 16-bit number, in place. */
static void poison(const char *dir, const char *tensor, uint16_t value)
{
    char path[800], *head, *at;
    uint64_t n;
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fread(&n, 8, 1, f), 1);
    head = malloc(n + 1);
    assert_non_null(head);
    assert_int_equal(fread(head, 1, n, f), n);
    head[n] = 0;
    at = strstr(head, tensor);
    assert_non_null(at);
    unsigned long long from, to;
    assert_int_equal(sscanf(strstr(at, "data_offsets"), "data_offsets\":[%llu,%llu]", &from, &to), 2);
    assert_int_equal(fseek(f, (long)(8 + n + from), SEEK_SET), 0);
    for (to = (from + to) / 2; from < to; from += 2)
        assert_int_equal(fwrite(&value, 2, 1, f), 1);
    assert_int_equal(fclose(f), 0);
    free(head);
}

/* The same with caches full of NaN: the first half of the embedding's rows are not numbers. */
static void test_reset_after_nan(void **state)
{
    (void)state;
    const char *dir = scratch_path("nan");
    zmlx_synth_options o = {.tiny = true, .seed = 4, .layers = 2, .bits = 16, .dtype = "float16"};
    ok(zmlx_synth("qwen3-30b-a3b", dir, &o, &err));
    poison(dir, "model.embed_tokens.weight", 0x7e00);
    zmlx_model *m;
    ok(zmlx_model_open(&m, dir, NULL, &err));
    zmlx_session *s = open_session(m, NULL), *fresh = open_session(m, NULL);
    int32_t bad[N], good[N];
    for (int i = 0; i < N; i++)
        bad[i] = i, good[i] = VOCAB - 1 - i;
    zmlx_logits l;
    ok(zmlx_session_prompt(s, bad, N, &l, NULL, NULL, &err));
    uint16_t h;
    memcpy(&h, l.data, 2);
    assert_true((h & 0x7fff) > 0x7c00);
    for (int64_t n = 1; n <= N; n += 7)
        assert_true(run(s, good, n) == run(fresh, good, n));
    ok(zmlx_session_prompt(fresh, good, 1, &l, NULL, NULL, &err));
    memcpy(&h, l.data, 2);
    assert_true((h & 0x7fff) < 0x7c00);
    zmlx_session_destroy(s);
    zmlx_session_destroy(fresh);
    zmlx_model_close(m);
}

typedef struct job {
    zmlx_session *s;
    const int32_t *ids;
    uint64_t digest[3];
} job;

static void *work(void *arg)
{
    job *j = arg;
    for (int i = 0; i < 3; i++)
        j->digest[i] = run(j->s, j->ids, N - 1);
    return NULL;
}

/* Two sessions of one model, at the same time, on different tokens. */
static void test_parallel(void **state)
{
    (void)state;
    zmlx_model *m = open_model();
    ok(zmlx_model_patch(m, NULL, NULL, &err));
    zmlx_session_options o = {.threads = 2};
    job jobs[2];
    pthread_t thread[2];
    uint64_t want[2];
    for (int i = 0; i < 2; i++) {
        jobs[i] = (job){.s = open_session(m, &o), .ids = prompt + i};
        want[i] = run(jobs[i].s, prompt + i, N - 1);
    }
    assert_true(want[0] != want[1]);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, work, &jobs[i]), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 3; k++)
            assert_true(jobs[i].digest[k] == want[i]);
        zmlx_session_destroy(jobs[i].s);
    }
    zmlx_model_close(m);
}

typedef struct counter {
    int calls;
    int64_t stop_at, last, total;
} counter;

static bool count(void *user, int64_t done, int64_t total)
{
    counter *c = user;
    assert_true(done > c->last);
    c->calls++;
    c->last = done;
    c->total = total;
    return done < c->stop_at;
}

static void test_progress(void **state)
{
    (void)state;
    zmlx_model *m = open_model(); /* chunks of 5 */
    zmlx_session *s = open_session(m, NULL);
    zmlx_logits l;
    uint64_t want = run(s, prompt, N);
    counter c = {.stop_at = INT64_MAX};
    zmlx_session_reset(s);
    ok(zmlx_session_prompt(s, prompt, N, &l, count, &c, &err));
    assert_int_equal(c.calls, 6); /* 5 10 15 20 23 24 */
    assert_int_equal(c.last, N);
    assert_int_equal(c.total, N);
    zmlx_session_reset(s);
    c = (counter){.stop_at = 10};
    refused(zmlx_session_prompt(s, prompt, N, &l, count, &c, &err), ZMLX_E_CANCELLED, "stopped after 10 of 24");
    assert_int_equal(zmlx_session_position(s), 0);
    assert_true(run(s, prompt, N) == want);
    zmlx_session_destroy(s);
    zmlx_model_close(m);
}

/* A session keeps the plan that it was made with. */
static void test_patch(void **state)
{
    (void)state;
    zmlx_model *m = open_model();
    zmlx_model_info info;
    zmlx_session *before = open_session(m, NULL);
    uint64_t want = run(before, prompt, N);
    zmlx_patch_result r;
    ok(zmlx_model_patch(m, NULL, &r, &err));
    zmlx_model_get_info(m, &info);
    assert_int_equal(info.patched_ops, r.ops_after);
    assert_true(r.ops_after < r.ops_before && info.stock_ops == r.ops_before);
    zmlx_session *patched = open_session(m, NULL);
    zmlx_session_options stock = {.stock = true};
    zmlx_session *beside = open_session(m, &stock);
    assert_true(run(before, prompt, N) == want && run(patched, prompt, N) == want && run(beside, prompt, N) == want);

    zmlx_patch_options one = {.patterns = "moe_gating"};
    ok(zmlx_model_patch(m, &one, NULL, &err)); /* from the stock plan again */
    zmlx_session *again = open_session(m, NULL);
    zmlx_model_unpatch(m);
    zmlx_model_get_info(m, &info);
    assert_int_equal(info.patched_ops, 0);
    zmlx_session *after = open_session(m, NULL);
    zmlx_patch_options unknown = {.patterns = "no_such"};
    refused(zmlx_model_patch(m, &unknown, NULL, &err), ZMLX_E_ARG, "no_such");
    zmlx_session *all[] = {before, patched, beside, again, after};
    for (int i = 0; i < 5; i++) {
        assert_true(run(all[i], prompt, N) == want);
        zmlx_session_destroy(all[i]);
    }
    zmlx_model_close(m);
}

/* Logits of a step are those of its last token where a prompt stands, of each where an array is given. */
static void test_logits(void **state)
{
    (void)state;
    zmlx_model *m = open_model();
    zmlx_session *s = open_session(m, NULL);
    zmlx_logits l[8];
    uint64_t want[8];
    for (int i = 0; i < 8; i++) {
        ok(zmlx_session_step(s, prompt + i, 1, l, &err));
        assert_int_equal(l[0].vocab, VOCAB);
        assert_int_equal(l[0].dtype, ZMLX_BF16);
        want[i] = digest(l);
    }
    assert_int_equal(zmlx_session_position(s), 8);
    zmlx_session_reset(s);
    assert_int_equal(zmlx_session_position(s), 0);
    ok(zmlx_session_step(s, prompt, 8, l, &err));
    for (int i = 0; i < 8; i++)
        assert_true(digest(&l[i]) == want[i]);
    zmlx_session_reset(s);
    ok(zmlx_session_prompt(s, prompt, 6, NULL, NULL, NULL, &err)); /* nobody looks */
    ok(zmlx_session_prompt(s, prompt + 6, 2, l, NULL, NULL, &err));
    assert_true(digest(l) == want[7]);
    zmlx_session_destroy(s);
    zmlx_model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_context),  cmocka_unit_test(test_small_contexts),  cmocka_unit_test(test_refused),
        cmocka_unit_test(test_reset),    cmocka_unit_test(test_reset_after_nan), cmocka_unit_test(test_parallel),
        cmocka_unit_test(test_progress), cmocka_unit_test(test_patch),           cmocka_unit_test(test_logits),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
