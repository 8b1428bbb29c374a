/* SPDX-License-Identifier: MIT */
/* The model under models/demo on 2,000 positions of texts it was not trained on, against a forward pass in double
 * precision (tools/demo/make_positions.py) and the emulation of docs/NUMERICS.md (tools/golden/make_demo.py):
 *
 *   bfloat16  the greedy choice of the emulation at every position; that of the double pass wherever the two largest
 *             logits are at least 2 ulp apart, except where the emulation too differs and a router switch explains it
 *   float32   the same weights widened: the choice of the double pass, unless the two largest logits are closer than
 *             float32 can tell */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "../unit/scratch.h"
#include "base/alloc.h"
#include "base/file.h"
#include "base/half.h"
#include "zmlx/zmlx.h"

#include <jansson.h>
#include <math.h>

enum { STEP = 8, POSITIONS = 2000 };

static json_t *golden, *emulated;

static json_t *load(const char *path)
{
    json_error_t e;
    json_t *j = json_load_file(path, 0, &e);
    if (!j) fail_msg("%s: %s", path, e.text);
    return j;
}

static const json_t *list(const json_t *j, const char *key)
{
    const json_t *a = json_object_get(j, key);
    if (!json_is_array(a)) fail_msg("no %s", key);
    return a;
}

static double at2(const json_t *j, const char *key, size_t window, size_t i)
{
    const json_t *v = json_array_get(json_array_get(list(j, key), window), i);
    if (!json_is_number(v)) fail_msg("%s: no entry %zu of window %zu", key, i, window);
    return json_number_value(v);
}

static int set_up(void **state)
{
    (void)state;
    golden = load("tests/golden/demo_positions.json");
    emulated = load("tests/golden/demo_bf16.json");
    scratch_reset();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scratch_end();
    json_decref(golden);
    json_decref(emulated);
    return 0;
}

/* --- running -------------------------------------------------------------------------------------- */

static int32_t argmax(const zmlx_logits *l)
{
    const uint16_t *h = l->data;
    const float *f = l->data;
    float most = -INFINITY;
    int32_t best = -1;
    for (int64_t i = 0; i < l->vocab; i++) {
        float x = l->dtype == ZMLX_F32 ? f[i] : zx_bf16_to_f32(h[i]);
        if (x > most) most = x, best = (int32_t)i;
    }
    return best;
}

/* The greedy choices of a model at all positions, windows one after another. */
static void choices(const char *dir, zmlx_dtype t, int32_t *out)
{
    zmlx_err err = {0};
    zmlx_model *m = NULL;
    zmlx_session *s = NULL;
    if (zmlx_model_open(&m, dir, NULL, &err) != ZMLX_OK || zmlx_model_patch(m, NULL, NULL, &err) != ZMLX_OK ||
        zmlx_session_create(&s, m, NULL, &err) != ZMLX_OK)
        fail_msg("%s", err.msg);
    size_t w, done = 0;
    const json_t *window;
    json_array_foreach(list(golden, "windows"), w, window)
    {
        const json_t *tokens = list(window, "tokens");
        size_t n = json_array_size(tokens) - 1;
        assert_int_equal(json_array_size(json_array_get(list(golden, "argmax"), w)), n);
        assert_true(done + n <= POSITIONS);
        zmlx_session_reset(s);
        for (size_t p = 0; p < n; p += STEP) {
            int32_t ids[STEP];
            zmlx_logits l[STEP];
            size_t k = n - p < STEP ? n - p : STEP;
            for (size_t i = 0; i < k; i++)
                ids[i] = (int32_t)json_integer_value(json_array_get(tokens, p + i));
            if (zmlx_session_step(s, ids, (int64_t)k, l, &err) != ZMLX_OK) fail_msg("%s", err.msg);
            assert_int_equal(l[0].dtype, t);
            for (size_t i = 0; i < k; i++)
                out[done++] = argmax(&l[i]);
        }
    }
    assert_int_equal(done, POSITIONS);
    zmlx_session_destroy(s);
    zmlx_model_close(m);
}

/* --- the tests ------------------------------------------------------------------------------------ */

/* Did an expert change hands there, by the emulation's list? */
static bool listed(size_t window, size_t position)
{
    size_t i;
    const json_t *e;
    json_array_foreach(list(emulated, "exceptions"), i, e)
    {
        if ((size_t)json_integer_value(json_object_get(e, "window")) == window &&
            (size_t)json_integer_value(json_object_get(e, "position")) == position)
            return json_array_size(list(e, "switches")) > 0;
    }
    return false;
}

/* Against the double pass; `least` is the smallest gap, in ulp of bfloat16 or as it is, at which a difference is an
 * error. */
static void compare(const int32_t *ours, double least, bool ulps, bool exceptions)
{
    size_t done = 0;
    int near = 0, near_differ = 0, exempt = 0, wrong = 0;
    for (size_t w = 0; w < json_array_size(list(golden, "windows")); w++)
        for (size_t p = 0; p < json_array_size(json_array_get(list(golden, "argmax"), w)); p++, done++) {
            double gap = at2(golden, "gap", w, p), want = at2(golden, "argmax", w, p);
            if (ulps) gap /= ldexp(1.0, ilogb(at2(golden, "top1", w, p)) - 7);
            near += gap < least;
            if (ours[done] == (int32_t)want) continue;
            if (gap < least) {
                near_differ++;
                continue;
            }
            bool known = exceptions && listed(w, p);
            exempt += known;
            wrong += !known;
            printf("window %zu, position %zu: token %d instead of %d, gap %.3g%s%s\n", w, p, (int)ours[done], (int)want,
                   gap, ulps ? " ulp" : "", known ? ": router switch" : "");
        }
    printf("%d positions: %d with a gap below %g%s, of which %d differ; %d listed exceptions\n", POSITIONS, near, least,
           ulps ? " ulp" : "", near_differ, exempt);
    assert_int_equal(wrong, 0);
}

static void test_bfloat16(void **state)
{
    (void)state;
    int32_t ours[POSITIONS];
    size_t done = 0;
    choices("models/demo", ZMLX_BF16, ours);
    for (size_t w = 0; w < json_array_size(list(golden, "windows")); w++)
        for (size_t p = 0; p < json_array_size(json_array_get(list(golden, "argmax"), w)); p++, done++)
            if (ours[done] != (int32_t)at2(emulated, "argmax", w, p))
                fail_msg("window %zu, position %zu: token %d, emulated %d", w, p, (int)ours[done],
                         (int)at2(emulated, "argmax", w, p));
    compare(ours, 2, true, true);
}

/* models/demo with every bfloat16 tensor as float32. */
static void widen(const char *name)
{
    static const char *const texts[] = {"config.json", "generation_config.json", "tokenizer.json",
                                        "tokenizer_config.json"};
    zmlx_err err = {0};
    size_t n;
    char *file = NULL, path[64];
    for (size_t i = 0; i < ZX_COUNT(texts); i++) {
        snprintf(path, sizeof path, "models/demo/%s", texts[i]);
        if (zx_file_read(&file, &n, path, (size_t)1 << 24, &err) != ZMLX_OK) fail_msg("%s", err.msg);
        snprintf(path, sizeof path, "%s/%s", name, texts[i]);
        scratch_write(path, file, n);
        zx_free(file);
    }
    if (zx_file_read(&file, &n, "models/demo/model.safetensors", (size_t)1 << 26, &err) != ZMLX_OK)
        fail_msg("%s", err.msg);
    uint64_t length;
    memcpy(&length, file, 8);
    json_t *head = json_loadb(file + 8, length, 0, NULL), *t;
    char *data = malloc(2 * n), *out = data;
    assert_true(head && data);
    const char *key;
    json_object_foreach(head, key, t)
    {
        if (!strcmp(key, "__metadata__")) continue;
        json_t *range = json_object_get(t, "data_offsets");
        size_t from = (size_t)json_integer_value(json_array_get(range, 0));
        size_t size = (size_t)json_integer_value(json_array_get(range, 1)) - from;
        const char *in = file + 8 + length + from;
        char *start = out;
        if (!strcmp(json_string_value(json_object_get(t, "dtype")), "BF16")) {
            json_object_set_new(t, "dtype", json_string("F32"));
            for (size_t i = 0; i < size; i += 2, out += 4) {
                memset(out, 0, 2); /* bfloat16 is the upper half of float32, which little endian puts last */
                memcpy(out + 2, in + i, 2);
            }
        } else {
            memcpy(out, in, size);
            out += size;
        }
        json_object_set_new(t, "data_offsets",
                            json_pack("[I, I]", (json_int_t)(start - data), (json_int_t)(out - data)));
    }
    char *text = json_dumps(head, JSON_COMPACT);
    assert_non_null(text);
    length = strlen(text);
    char *all = malloc(8 + length + (size_t)(out - data));
    assert_non_null(all);
    memcpy(all, &length, 8);
    memcpy(all + 8, text, length);
    memcpy(all + 8 + length, data, (size_t)(out - data));
    snprintf(path, sizeof path, "%s/model.safetensors", name);
    scratch_write(path, all, 8 + length + (size_t)(out - data));
    free(all);
    free(text);
    free(data);
    json_decref(head);
    zx_free(file);
}

static void test_float32(void **state)
{
    (void)state;
    int32_t ours[POSITIONS];
    scratch_mkdir("wide");
    widen("wide");
    choices(scratch_path("wide"), ZMLX_F32, ours);
    compare(ours, 1e-4, false, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bfloat16), cmocka_unit_test(test_float32)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
