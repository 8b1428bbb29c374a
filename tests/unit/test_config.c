/* SPDX-License-Identifier: MIT */
/* config.json: typed fields, end-of-text ids, the quantization block; and weights resolved by it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "checkpoint/config.h"
#include "scratch.h"

static zmlx_err err;

static void check_refused(zmlx_status st, zmlx_status want, const char *part)
{
    if (st != want || !strstr(err.msg, part))
        fail_msg("status %d, expected %d; message \"%s\", expected \"%s\"", st, want, err.msg, part);
    assert_int_equal(err.code, want);
    assert_null(strpbrk(err.msg, "\n\r\t\x1b"));
}

static zx_config *parse_ok(const char *json)
{
    zx_config *c = NULL;
    if (zx_config_parse(&c, json, strlen(json), &err) != ZMLX_OK) fail_msg("%s", err.msg);
    return c;
}

static void parse_refused(const char *json, zmlx_status want, const char *part)
{
    zx_config *c = NULL;
    check_refused(zx_config_parse(&c, json, strlen(json), &err), want, part);
    assert_null(c);
}

static void test_fields(void **state)
{
    (void)state;
    zx_config *c =
        parse_ok("{\"i\":7,\"r\":1e-6,\"whole\":1000000.0,\"t\":true,\"s\":\"silu\",\"n\":null,\"l\":[1,2,3],"
                 "\"big\":9223372036854775807,\"o\":{}}");
    int64_t i = 0, list[4];
    double r = 0;
    bool b = false;
    int n = 9;
    assert_int_equal(zx_config_int(c, "i", 1, 7, &i, &err), ZMLX_OK);
    assert_int_equal(i, 7);
    assert_int_equal(zx_config_int_or(c, "n", 1, 7, 3, &i, &err), ZMLX_OK);
    assert_int_equal(i, 3);
    assert_int_equal(zx_config_int_or(c, "absent", 1, 7, 4, &i, &err), ZMLX_OK);
    assert_int_equal(i, 4);
    assert_int_equal(zx_config_real(c, "r", 0, 1, &r, &err), ZMLX_OK);
    assert_true(r == 1e-6);
    assert_int_equal(zx_config_real(c, "i", 0, 10, &r, &err), ZMLX_OK);
    assert_true(r == 7);
    assert_int_equal(zx_config_real_or(c, "absent", 0, 1, 0.5, &r, &err), ZMLX_OK);
    assert_true(r == 0.5);
    assert_int_equal(zx_config_bool_or(c, "t", false, &b, &err), ZMLX_OK);
    assert_true(b);
    assert_int_equal(zx_config_bool_or(c, "n", false, &b, &err), ZMLX_OK);
    assert_false(b);
    assert_int_equal(zx_config_ints_or(c, "l", 1, 3, list, 4, &n, &err), ZMLX_OK);
    assert_int_equal(n, 3);
    assert_int_equal(list[2], 3);
    assert_int_equal(zx_config_ints_or(c, "n", 1, 3, list, 4, &n, &err), ZMLX_OK);
    assert_int_equal(n, 0);
    assert_string_equal(zx_config_text(c, "s"), "silu");
    assert_null(zx_config_text(c, "i"));
    assert_null(zx_config_text(c, "absent"));
    assert_true(zx_config_has(c, "o"));
    assert_false(zx_config_has(c, "n"));
    assert_false(zx_config_has(c, "absent"));

    check_refused(zx_config_int(c, "absent", 1, 7, &i, &err), ZMLX_E_FORMAT,
                  "config.json: absent is absent, expected an integer from 1 to 7");
    check_refused(zx_config_int(c, "i", 8, 9, &i, &err), ZMLX_E_FORMAT, "i is 7, expected an integer from 8 to 9");
    check_refused(zx_config_int(c, "whole", 1, 9, &i, &err), ZMLX_E_FORMAT, "whole is 1000000, expected an integer");
    check_refused(zx_config_int(c, "s", 1, 9, &i, &err), ZMLX_E_FORMAT, "s is \"silu\", expected an integer");
    check_refused(zx_config_int(c, "big", 1, 9, &i, &err), ZMLX_E_FORMAT, "big is 9223372036854775807");
    check_refused(zx_config_int_or(c, "t", 0, 1, 0, &i, &err), ZMLX_E_FORMAT, "t is true, expected an integer");
    check_refused(zx_config_real(c, "r", 1, 2, &r, &err), ZMLX_E_FORMAT, "expected a number from 1 to 2");
    check_refused(zx_config_real(c, "n", 1, 2, &r, &err), ZMLX_E_FORMAT, "n is absent, expected a number");
    check_refused(zx_config_real_or(c, "l", 1, 2, 1, &r, &err), ZMLX_E_FORMAT, "l is a list, expected a number");
    check_refused(zx_config_bool_or(c, "i", true, &b, &err), ZMLX_E_FORMAT, "i is 7, expected true or false");
    check_refused(zx_config_ints_or(c, "l", 1, 3, list, 2, &n, &err), ZMLX_E_FORMAT, "3 elements, the limit is 2");
    check_refused(zx_config_ints_or(c, "l", 1, 2, list, 4, &n, &err), ZMLX_E_FORMAT, "l is 3, expected an integer");
    check_refused(zx_config_ints_or(c, "o", 1, 2, list, 4, &n, &err), ZMLX_E_FORMAT, "o is an object, expected a list");
    assert_int_equal(zx_config_int(c, "absent", 1, 7, &i, NULL), ZMLX_E_FORMAT);
    zx_config_close(c);
    zx_config_close(NULL);
}

static void test_refuses_files(void **state)
{
    (void)state;
    parse_refused("", ZMLX_E_FORMAT, "config.json: not JSON at byte 0");
    parse_refused("[]", ZMLX_E_FORMAT, "it is a list, not an object");
    parse_refused("{\"a\":1,\"a\":2}", ZMLX_E_FORMAT, "duplicate");
    parse_refused("{\"a\":NaN}", ZMLX_E_FORMAT, "not JSON");
    parse_refused("{\"a\":-Infinity}", ZMLX_E_FORMAT, "not JSON");
    parse_refused("{\"a\":1e999}", ZMLX_E_FORMAT, "real number overflow");
    parse_refused("{\"a\":99999999999999999999}", ZMLX_E_FORMAT, "too big integer");
    parse_refused("{\"a\":\"\xc0\x80\"}", ZMLX_E_FORMAT, "not JSON");
    parse_refused("\xef\xbb\xbf{}", ZMLX_E_FORMAT, "not JSON");
    parse_refused("{} {}", ZMLX_E_FORMAT, "not JSON");
    parse_refused("{\"model_file\":\"m.py\"}", ZMLX_E_UNSUPPORTED, "its own Python code is not supported");
    parse_refused("{\"quantize_activations\":true}", ZMLX_E_UNSUPPORTED, "quantize_activations is not supported yet");
    parse_refused("{\"eos_token_id\":\"x\"}", ZMLX_E_FORMAT, "config.json: eos_token_id is \"x\"");
    parse_refused("{\"eos_token_id\":[1,-1]}", ZMLX_E_FORMAT, "eos_token_id is -1");
    parse_refused("{\"eos_token_id\":2147483648}", ZMLX_E_FORMAT, "eos_token_id is 2147483648");

    const size_t n = 17 << 20;
    char *big = malloc(n + 1), *p = big;
    assert_non_null(big);
    memset(big, '[', n);
    big[n] = 0;
    parse_refused(big, ZMLX_E_FORMAT, "17825792 bytes, at most 16777216 are accepted");
    big[1 << 20] = 0;
    parse_refused(big, ZMLX_E_FORMAT, "maximum parsing depth");
    p += sprintf(p, "{\"k\":0");
    for (int i = 0; i < 100000; i++)
        p += sprintf(p, ",\"k%d\":{}", i);
    sprintf(p, "}");
    zx_config_close(parse_ok(big));
    free(big);
}

static void check_eos(const char *config, const char *generation, int n, int64_t first)
{
    scratch_reset();
    scratch_puts("config.json", config);
    if (generation) scratch_puts("generation_config.json", generation);
    zx_config *c;
    if (zx_config_open(&c, scratch_path(""), &err) != ZMLX_OK) fail_msg("%s", err.msg);
    const int64_t *ids;
    assert_int_equal(zx_config_eos(c, &ids), n);
    if (n) assert_int_equal(ids[0], first);
    zx_config_close(c);
}

static void test_eos(void **state)
{
    (void)state;
    check_eos("{}", NULL, 0, 0);
    check_eos("{\"eos_token_id\":null}", NULL, 0, 0);
    check_eos("{\"eos_token_id\":5}", NULL, 1, 5);
    check_eos("{\"eos_token_id\":[7,8]}", NULL, 2, 7);
    check_eos("{\"eos_token_id\":5}", "{\"eos_token_id\":[6,7,8]}", 3, 6);
    check_eos("{\"eos_token_id\":[5,6]}", "{\"eos_token_id\":9}", 1, 9);
    check_eos("{}", "{\"eos_token_id\":9}", 1, 9);
    /* falsy values replace nothing */
    check_eos("{\"eos_token_id\":5}", "{\"eos_token_id\":0}", 1, 5);
    check_eos("{\"eos_token_id\":5}", "{\"eos_token_id\":[]}", 1, 5);
    check_eos("{\"eos_token_id\":5}", "{\"eos_token_id\":null}", 1, 5);
    check_eos("{\"eos_token_id\":5}", "{}", 1, 5);
    /* broken JSON is ignored; a repeated key is not broken, the last one counts */
    check_eos("{\"eos_token_id\":5}", "{\"eos_token_id\":9,}", 1, 5);
    check_eos("{\"eos_token_id\":5}", "", 1, 5);
    check_eos("{\"eos_token_id\":5}", "{\"eos_token_id\":8,\"eos_token_id\":9}", 1, 9);

    zx_config *c;
    scratch_puts("generation_config.json", "{\"eos_token_id\":\"no\"}");
    check_refused(zx_config_open(&c, scratch_path(""), &err), ZMLX_E_FORMAT,
                  "generation_config.json: eos_token_id is \"no\"");
    unlink(scratch_path("generation_config.json"));
    scratch_mkdir("generation_config.json");
    check_refused(zx_config_open(&c, scratch_path(""), &err), ZMLX_E_FORMAT, "not a regular file");
    unlink(scratch_path("config.json"));
    check_refused(zx_config_open(&c, scratch_path(""), &err), ZMLX_E_NOT_FOUND, "no config.json in it");
    check_refused(zx_config_open(&c, scratch_path("gone"), &err), ZMLX_E_NOT_FOUND, "no such folder");
}

/* ---- weights ---- */

typedef struct part {
    const char *name, *dtype, *shape;
    size_t bytes;
} part;

/* model.safetensors of these parts, opened. */
static zx_shards *make_shards(const part *p, size_t n)
{
    char header[8192], *h = header + sprintf(header, "{");
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        h += sprintf(h, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}", i ? "," : "", p[i].name,
                     p[i].dtype, p[i].shape, at, at + p[i].bytes);
        at += p[i].bytes;
    }
    sprintf(h, "}");
    scratch_reset();
    scratch_safetensors("model.safetensors", header, at);
    zx_shards *s;
    if (zx_shards_open(&s, scratch_path(""), &err) != ZMLX_OK) fail_msg("%s", err.msg);
    return s;
}

/* [6, 128] at 4 bits in groups of 64 unless its name says otherwise. */
static zx_shards *standard_shards(void)
{
    static const part parts[] = {
        {"q4.weight", "U32", "[6,16]", 384},  {"q4.scales", "BF16", "[6,2]", 24},
        {"q4.biases", "BF16", "[6,2]", 24},   {"q8.weight", "U32", "[6,32]", 768},
        {"q8.scales", "F16", "[6,4]", 48},    {"q8.biases", "F16", "[6,4]", 48},
        {"e.weight", "U32", "[2,6,16]", 768}, {"e.scales", "F32", "[2,6,1]", 48},
        {"e.biases", "F32", "[2,6,1]", 48},   {"p.weight", "BF16", "[6,128]", 1536},
        {"norm.weight", "F32", "[128]", 512}, {"i.weight", "I32", "[6,128]", 3072},
        {"u.weight", "U32", "[6,16]", 384},   {"x.weight", "U32", "[6,16]", 384},
        {"x.scales", "BF16", "[6,2]", 24},    {"m.weight", "U32", "[6,16]", 384},
        {"m.scales", "BF16", "[6,2]", 24},    {"m.biases", "F16", "[6,2]", 24},
        {"s.weight", "U32", "[6,16]", 384},   {"s.scales", "U8", "[6,2]", 12},
        {"s.biases", "U8", "[6,2]", 12},      {"w.weight", "I32", "[6,16]", 384},
        {"w.scales", "BF16", "[6,2]", 24},    {"w.biases", "BF16", "[6,2]", 24},
        {"b.weight", "U32", "[6,16]", 384},   {"b.scales", "BF16", "[6,2]", 24},
        {"b.biases", "BF16", "[6,1]", 12},    {"r.weight", "U32", "[96]", 384},
        {"r.scales", "BF16", "[12]", 24},     {"r.biases", "BF16", "[12]", 24},
    };
    return make_shards(parts, ZX_COUNT(parts));
}

#define GLOBAL "\"group_size\":64,\"bits\":4"
static const int64_t dims[3] = {2, 6, 128};

static void test_weights(void **state)
{
    (void)state;
    zx_shards *s = standard_shards();
    zx_config *c =
        parse_ok("{\"quantization\":{" GLOBAL ",\"mode\":\"affine\",\"linear_class\":\"other\","
                 "\"q8\":{\"group_size\":32,\"bits\":8},\"e\":{\"group_size\":128,\"quantize_input\":false}}}");
    zx_weight w;
    char path[] = "q4"; /* the caller's text may go away */
    assert_int_equal(zx_weight_module(&w, c, s, path, 2, dims + 1, &err), ZMLX_OK);
    path[0] = 'X';
    assert_string_equal(w.name, "q4");
    assert_int_equal(w.op.type.dtype, ZMLX_BF16);
    assert_int_equal(w.op.type.rank, 2);
    assert_int_equal(w.op.type.dim[0], 6);
    assert_int_equal(w.op.type.dim[1], 128);
    assert_int_equal(w.op.type.quant.bits, 4);
    assert_int_equal(w.op.type.quant.group, 64);
    assert_int_equal(w.op.type.quant.scales, ZMLX_BF16);
    assert_ptr_equal(w.op.data, zx_shards_find(s, "q4.weight")->data);
    assert_ptr_equal(w.op.scales, zx_shards_find(s, "q4.scales")->data);
    assert_ptr_equal(w.op.biases, zx_shards_find(s, "q4.biases")->data);
    assert_int_equal(w.bytes, 384 + 48);

    assert_int_equal(zx_weight_module(&w, c, s, "q8", 2, dims + 1, &err), ZMLX_OK);
    assert_int_equal(w.op.type.quant.bits, 8);
    assert_int_equal(w.op.type.quant.group, 32);
    assert_int_equal(w.op.type.dtype, ZMLX_F16);
    assert_int_equal(zx_weight_module(&w, c, s, "e", 3, dims, &err), ZMLX_OK);
    assert_int_equal(w.op.type.rank, 3);
    assert_int_equal(w.op.type.dim[2], 128);
    assert_int_equal(w.op.type.quant.group, 128);
    assert_int_equal(w.op.type.quant.scales, ZMLX_F32);

    assert_int_equal(zx_weight_module(&w, c, s, "p", 2, dims + 1, &err), ZMLX_OK); /* no scales: plain */
    assert_string_equal(w.name, "p");
    assert_int_equal(w.op.type.quant.bits, 0);
    assert_int_equal(w.op.type.dtype, ZMLX_BF16);
    assert_null(w.op.scales);
    assert_int_equal(w.bytes, 1536);
    assert_int_equal(zx_weight_plain(&w, s, "norm.weight", 1, dims + 2, &err), ZMLX_OK);
    assert_string_equal(w.name, "norm.weight");
    assert_int_equal(w.op.type.dtype, ZMLX_F32);
    assert_int_equal(w.op.type.dim[0], 128);
    zx_config_close(c);
    zx_shards_close(s);
}

static void module_refused(const char *quant, const zx_shards *s, const char *path, zmlx_status want, const char *part_)
{
    char json[1024];
    zx_weight w;
    snprintf(json, sizeof json, "{%s}", quant);
    zx_config *c = parse_ok(json);
    check_refused(zx_weight_module(&w, c, s, path, 2, dims + 1, &err), want, part_);
    assert_null(w.op.data);
    zx_config_close(c);
}

static void module_accepted(const char *quant, const zx_shards *s, const char *path, int bits)
{
    char json[1024];
    zx_weight w;
    snprintf(json, sizeof json, "{%s}", quant);
    zx_config *c = parse_ok(json);
    if (zx_weight_module(&w, c, s, path, 2, dims + 1, &err) != ZMLX_OK) fail_msg("%s", err.msg);
    assert_int_equal(w.op.type.quant.bits, bits);
    zx_config_close(c);
}

#define Q(rest) "\"quantization\":{" GLOBAL rest "}"

/* Which block decides, and that a module's own block inherits nothing. */
static void test_module_rule(void **state)
{
    (void)state;
    zx_shards *s = standard_shards();
    module_accepted(Q(), s, "q4", 4);
    module_accepted("\"quantization\":null,\"quantization_config\":{" GLOBAL "}", s, "q4", 4);
    module_accepted("\"quantization\":{" GLOBAL "},\"quantization_config\":{\"quant_method\":\"fp8\"}", s, "q4", 4);
    module_accepted(Q(",\"q4\":true"), s, "q4", 4);
    module_accepted(Q(",\"p\":false"), s, "p", 0);
    module_accepted(Q(",\"p\":{}"), s, "p", 0); /* empty is falsy */
    module_accepted(Q(",\"p\":null"), s, "p", 0);
    zx_shards_close(s);
}

static void test_modes(void **state)
{
    (void)state;
    zx_shards *s = standard_shards();
    /* the global block is 8 bits in groups of 32 or another mode: a module's own dict falls back to 64, 4, affine */
    module_accepted("\"quantization\":{\"group_size\":32,\"bits\":8,\"q4\":{\"mode\":\"affine\"}}", s, "q4", 4);
    module_accepted(
        "\"quantization\":{\"group_size\":32,\"bits\":4,\"mode\":\"mxfp4\",\"q4\":{\"bits\":4,\"group_size\":64}}", s,
        "q4", 4);
    module_accepted("\"quantization\":{\"group_size\":null,\"bits\":0}", s, "q4", 4);
    module_accepted("\"quantization\":{\"group_size\":32,\"bits\":8}", s, "q8", 8);

    static const struct {
        const char *quant, *part;
    } bad[] = {
        {"\"quantization\":{\"group_size\":32,\"bits\":4,\"mode\":\"mxfp4\"}",
         "q4: quantization mode mxfp4 is not supported yet"},
        {Q(",\"q4\":{\"mode\":\"nvfp4\"}"), "q4: quantization mode nvfp4 is not supported yet"},
        {Q(",\"q4\":{\"mode\":\"mxfp8\"}"), "mode mxfp8 is not supported yet"},
        {Q(",\"mode\":\"magic\""), "q4: quantization mode magic is not known"},
        {"\"quantization\":{\"group_size\":64,\"bits\":3}",
         "q4: affine quantization with 3 bits is not supported yet (4 and 8"},
        {"\"quantization\":{\"group_size\":64,\"bits\":7}", "with 7 bits is not supported (4 and 8 are)"},
        {"\"quantization\":{\"group_size\":64,\"bits\":-4}", "with -4 bits is not supported (4 and 8 are)"},
        {"\"quantization\":{\"group_size\":64,\"bits\":4294967300}", "with 4294967300 bits is not supported"},
        {"\"quantization\":{\"group_size\":16,\"bits\":4}",
         "q4: affine quantization with groups of 16 is not supported (32, 64 and 128"},
        {Q(",\"q4\":{\"group_size\":-64}"), "groups of -64 is not supported"},
        {Q(",\"q4\":{\"zero\":1}"), "q4: quantization parameter zero is not supported"},
        {Q(",\"q4\":{\"quantize_input\":true}"), "quantization parameter quantize_input is not supported"},
    };
    for (size_t i = 0; i < ZX_COUNT(bad); i++)
        module_refused(bad[i].quant, s, "q4", ZMLX_E_UNSUPPORTED, bad[i].part);
    module_refused(Q(",\"q4\":3"), s, "q4", ZMLX_E_FORMAT,
                   "quantization[\"q4\"] is 3, expected an object, true or false");
    module_refused(Q(",\"q4\":\"\""), s, "q4", ZMLX_E_FORMAT, "quantization[\"q4\"] is \"\"");
    module_refused(Q(",\"q4\":{\"bits\":4.0}"), s, "q4", ZMLX_E_FORMAT, "q4.bits is 4, not an integer");
    module_refused(Q(",\"q4\":{\"mode\":null}"), s, "q4", ZMLX_E_FORMAT, "q4.mode is null, not a string");
    zx_shards_close(s);

    parse_refused("{\"quantization\":[]}", ZMLX_E_FORMAT, "quantization is a list, not an object");
    parse_refused("{\"quantization\":{}}", ZMLX_E_FORMAT, "quantization.bits is absent");
    parse_refused("{\"quantization\":{\"bits\":4}}", ZMLX_E_FORMAT, "quantization.group_size is absent");
    parse_refused("{\"quantization\":{\"bits\":\"4\",\"group_size\":64}}", ZMLX_E_FORMAT, "quantization.bits is \"4\"");
    parse_refused("{\"quantization\":{\"bits\":4,\"group_size\":64.5}}", ZMLX_E_FORMAT,
                  "group_size is 64.5, not an integer");
    parse_refused("{\"quantization\":{\"bits\":4,\"group_size\":64,\"mode\":1}}", ZMLX_E_FORMAT,
                  "quantization.mode is 1");
    parse_refused("{\"quantization_config\":{\"quant_method\":\"awq\",\"bits\":4}}", ZMLX_E_UNSUPPORTED,
                  "quant_method \"awq\" is not supported yet");
    parse_refused("{\"quantization_config\":\"x\"}", ZMLX_E_FORMAT, "quantization_config is \"x\", not an object");
}

static void test_refuses_weights(void **state)
{
    (void)state;
    zx_shards *s = standard_shards();
    static const struct {
        const char *quant, *path;
        zmlx_status status;
        const char *part;
    } bad[] = {
        {Q(), "gone", ZMLX_E_FORMAT, "gone.weight is missing"},
        {Q(), "x", ZMLX_E_FORMAT, "x.biases is missing"},
        {Q(",\"u\":{\"bits\":4}"), "u", ZMLX_E_FORMAT, "u.scales is missing"},
        {Q(), "u", ZMLX_E_UNSUPPORTED, "u.weight: type uint32, expected float32, float16 or bfloat16"},
        {Q(), "i", ZMLX_E_UNSUPPORTED, "i.weight: type int32"},
        {Q(",\"q4\":false"), "q4", ZMLX_E_UNSUPPORTED, "q4.weight: type uint32, expected float32"},
        {"", "q4", ZMLX_E_FORMAT, "q4: has .scales, but config.json has no quantization block"},
        {Q(), "m", ZMLX_E_FORMAT, "m: scales are bfloat16, biases float16"},
        {Q(), "s", ZMLX_E_UNSUPPORTED, "s.scales: type uint8"},
        {Q(), "w", ZMLX_E_FORMAT, "w.weight: type int32, expected uint32"},
        {Q(), "b", ZMLX_E_FORMAT, "b.biases: shape [6,1], expected [6,2]"},
        {Q(), "r", ZMLX_E_FORMAT, "r.weight: shape [96], expected [6,16]"},
        {Q(), "e", ZMLX_E_FORMAT, "e.weight: shape [2,6,16], expected [6,16]"},
        {"\"quantization\":{\"bits\":8,\"group_size\":64}", "q4", ZMLX_E_FORMAT,
         "q4: its shape is that of 4 bits, config.json says 8"},
        {"\"quantization\":{\"bits\":4,\"group_size\":32}", "q8", ZMLX_E_FORMAT,
         "q8: its shape is that of 8 bits, config.json says 4"},
        {"\"quantization\":{\"bits\":4,\"group_size\":32}", "q4", ZMLX_E_FORMAT,
         "q4: its shape is that of groups of 64, config.json says 32"},
    };
    for (size_t i = 0; i < ZX_COUNT(bad); i++)
        module_refused(bad[i].quant, s, bad[i].path, bad[i].status, bad[i].part);

    zx_weight w;
    zx_config *c = parse_ok("{" Q() "}");
    static const int64_t odd[] = {6, 96}, more[] = {7, 128}, huge[] = {6, INT64_MAX / 64 * 64}, none[] = {6, 0};
    check_refused(zx_weight_module(&w, c, s, "q4", 2, odd, &err), ZMLX_E_FORMAT,
                  "q4: 96 columns are not a multiple of its groups of 64");
    check_refused(zx_weight_module(&w, c, s, "q4", 2, more, &err), ZMLX_E_FORMAT, "shape [6,16], expected [7,16]");
    check_refused(zx_weight_module(&w, c, s, "p", 2, more, &err), ZMLX_E_FORMAT,
                  "p.weight: shape [6,128], expected [7,128]");
    check_refused(zx_weight_module(&w, c, s, "q4", 2, huge, &err), ZMLX_E_ARG, "q4: an expected shape");
    check_refused(zx_weight_module(&w, c, s, "q4", 2, none, &err), ZMLX_E_ARG, "q4: an expected shape");
    check_refused(zx_weight_module(&w, c, s, "q4", 5, odd, &err), ZMLX_E_ARG, "rank 5");
    check_refused(zx_weight_plain(&w, s, "gone.weight", 1, odd, &err), ZMLX_E_FORMAT, "gone.weight is missing");
    check_refused(zx_weight_plain(&w, s, "norm.weight", 1, odd, &err), ZMLX_E_FORMAT,
                  "norm.weight: shape [128], expected [6]");
    check_refused(zx_weight_plain(&w, s, "i.weight", 2, odd, &err), ZMLX_E_UNSUPPORTED, "type int32");
    zx_config_close(c);
    zx_shards_close(s);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    zx_shards *s = standard_shards();
    scratch_puts("config.json", "{" Q() "}");
    scratch_puts("generation_config.json", "{\"eos_token_id\":9}");
    zx_config *c = NULL;
    for (int n = 0;; n++) {
        assert_true(n < 100);
        zx_alloc_fail_after(n);
        zx_weight w;
        zmlx_status st = zx_config_open(&c, scratch_path(""), &err);
        if (st == ZMLX_OK) st = zx_weight_module(&w, c, s, "q4", 2, dims + 1, &err);
        zx_alloc_fail_after(-1);
        zx_config_close(c);
        if (st == ZMLX_OK) break;
        assert_int_equal(st, ZMLX_E_NOMEM);
    }
    zx_shards_close(s);
}

static int teardown(void **state)
{
    (void)state;
    scratch_end();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),          cmocka_unit_test(test_refuses_files), cmocka_unit_test(test_eos),
        cmocka_unit_test(test_weights),         cmocka_unit_test(test_module_rule),   cmocka_unit_test(test_modes),
        cmocka_unit_test(test_refuses_weights), cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
