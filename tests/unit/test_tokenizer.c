/* SPDX-License-Identifier: MIT */
/* The tokenizer against what the `tokenizers` package made of the same texts and ids (tests/golden/tokenizer,
 * written by tools/golden/make_tokenizer.py), and every way a file can be refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/alloc.h"
#include "base/file.h"
#include "checkpoint/tokenizer.h"
#include "scratch.h"

#define GOLDEN "tests/golden/tokenizer/"
#define QWEN3  GOLDEN "qwen3"

static zx_tokenizer *open_golden(const char *dir)
{
    zmlx_err err = {0};
    zx_tokenizer *t = NULL;
    if (zx_tokenizer_open(&t, dir, &err) != ZMLX_OK) fail_msg("%s", err.msg);
    return t;
}

/* --- goldens ------------------------------------------------------------------------------------- */

static void check_encode(const zx_tokenizer *t, const json_t *c, const char *key, bool special)
{
    const json_t *want = json_object_get(c, key), *text = json_object_get(c, "text");
    zx_ids ids = {0};
    zmlx_err err = {0};
    if (!want) want = json_object_get(c, "ids");
    assert_int_equal(zx_tokenizer_encode(t, json_string_value(text), json_string_length(text), special, &ids, &err), 0);
    assert_int_equal(ids.n, json_array_size(want));
    for (int64_t i = 0; i < ids.n; i++)
        assert_int_equal(ids.id[i], json_integer_value(json_array_get(want, (size_t)i)));
    zx_ids_clear(&ids);
}

static bool whole_utf8(const char *s, size_t n)
{
    json_t *j = json_stringn(s, n); /* refuses what is not UTF-8 */
    json_decref(j);
    return j != NULL;
}

/* Decode at once and id by id: the same text, and every part whole. */
static void check_decode(const zx_tokenizer *t, const json_t *c, const char *key, bool skip)
{
    const json_t *want = json_object_get(c, key), *list = json_object_get(c, "ids");
    size_t n = json_array_size(list);
    int32_t *id = calloc(n + 1, sizeof *id);
    zx_buf all = {0}, parts = {0};
    zx_detok d;
    if (!want) want = json_object_get(c, "text");
    zx_detok_init(&d, t, skip);
    for (size_t i = 0; i < n; i++) {
        size_t before = parts.len;
        id[i] = (int32_t)json_integer_value(json_array_get(list, i));
        zx_detok_push(&d, id[i], &parts);
        assert_true(parts.len == before || whole_utf8(parts.data + before, parts.len - before));
    }
    zx_detok_finish(&d, &parts);
    assert_int_equal(zx_tokenizer_decode(t, id, (int64_t)n, skip, &all, NULL), ZMLX_OK);
    assert_int_equal(all.len, json_string_length(want));
    assert_int_equal(parts.len, all.len);
    if (all.len) assert_memory_equal(all.data, json_string_value(want), all.len);
    if (all.len) assert_memory_equal(all.data, parts.data, all.len);
    zx_buf_clear(&all);
    zx_buf_clear(&parts);
    free(id);
}

static void check_golden(const char *dir)
{
    char path[200];
    json_error_t e;
    size_t i;
    json_t *c;
    snprintf(path, sizeof path, "%s/cases.json", dir);
    json_t *root = json_load_file(path, JSON_ALLOW_NUL, &e);
    if (!root) fail_msg("%s: %s", path, e.text);
    zx_tokenizer *t = open_golden(dir);
    json_array_foreach(json_object_get(root, "encode"), i, c)
    {
        check_encode(t, c, "ids", false);
        check_encode(t, c, "special", true);
    }
    assert_true(i >= 300);
    json_array_foreach(json_object_get(root, "decode"), i, c)
    {
        check_decode(t, c, "text", false);
        check_decode(t, c, "skipped", true);
    }
    assert_true(i >= 300);
    zx_tokenizer_close(t);
    json_decref(root);
}

static void golden_gpt2(void **state) { (void)state, check_golden(GOLDEN "gpt2"); }
static void golden_qwen3(void **state) { (void)state, check_golden(QWEN3); }
static void golden_llama3(void **state) { (void)state, check_golden(GOLDEN "llama3"); }

/* --- files that differ from a good one in one place ---------------------------------------------- */

/* "a.0.b" in root becomes the JSON value; NULL deletes it. */
static void set_path(json_t *root, const char *path, const char *value)
{
    char key[80], *save = NULL, *part, *next;
    json_t *at = root, *v = value ? json_loads(value, JSON_DECODE_ANY, NULL) : NULL;
    assert_true(!value || v);
    snprintf(key, sizeof key, "%s", path);
    for (part = strtok_r(key, ".", &save); (next = strtok_r(NULL, ".", &save)); part = next)
        at = json_is_array(at) ? json_array_get(at, (size_t)atoi(part)) : json_object_get(at, part);
    assert_non_null(at);
    if (json_is_array(at))
        assert_int_equal(json_array_set_new(at, (size_t)atoi(part), v), 0);
    else if (v)
        assert_int_equal(json_object_set_new(at, part, v), 0);
    else
        assert_int_equal(json_object_del(at, part), 0);
}

static char *changed_file(const char *path, const char *value)
{
    json_t *root = json_load_file(QWEN3 "/tokenizer.json", 0, NULL);
    assert_non_null(root);
    set_path(root, path, value);
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    return text;
}

static void expect(const char *json, size_t len, zmlx_status code, const char *message)
{
    zmlx_err err = {0};
    zx_tokenizer *t = (zx_tokenizer *)1;
    zmlx_status s = zx_tokenizer_parse(&t, json, len, &err);
    if (s != code) fail_msg("status %d, expected %d (%s): %s", s, code, message, err.msg);
    if (s == ZMLX_OK) {
        zx_tokenizer_close(t);
        return;
    }
    assert_null(t);
    assert_int_equal(err.code, code);
    if (strcmp(err.msg, message)) fail_msg("message: %s\nexpected: %s", err.msg, message);
}

#define U              ZMLX_E_UNSUPPORTED
#define F              ZMLX_E_FORMAT
#define J              "tokenizer.json: "
#define SPLIT(pattern) "{\"type\":\"Split\",\"pattern\":" pattern ",\"behavior\":\"Isolated\",\"invert\":false}"
#define BYTES          "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}"
#define ALONE          "{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"use_regex\":true}"
#define SEQ(list)      "{\"type\":\"Sequence\",\"pretokenizers\":[" list "]}"
#define QWEN_SPLIT                                                                                                     \
    SPLIT("{\"Regex\":\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| "               \
          "?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}")
#define TEMPLATE(single, table) "{\"type\":\"TemplateProcessing\",\"single\":" single ",\"special_tokens\":" table "}"
#define A_ONLY                  "[{\"Sequence\":{\"id\":\"A\"}}]"
#define BOS_A                   "[{\"SpecialToken\":{\"id\":\"b\"}},{\"Sequence\":{\"id\":\"A\"}}]"
#define PP                      "pre_tokenizer"

static const struct {
    const char *path, *value;
    zmlx_status code;
    const char *message;
} changes[] = {
    /* accepted */
    {"normalizer", "null", 0, ""},
    {"normalizer", "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"NFC\"}]}", 0, ""},
    {"decoder", "null", 0, ""},
    {"decoder", NULL, 0, ""},
    {"version", NULL, 0, ""},
    {"truncation", "{\"max_length\":5}", 0, ""},
    {"padding", "{\"strategy\":\"BatchLongest\"}", 0, ""},
    {"post_processor", "null", 0, ""},
    {"post_processor", TEMPLATE(A_ONLY, "{}"), 0, ""},
    {"post_processor", TEMPLATE(BOS_A, "{\"b\":{\"ids\":[3,4]}}"), 0, ""},
    {PP, ALONE, 0, ""},
    {PP, SEQ(ALONE), 0, ""},
    {PP, SEQ(QWEN_SPLIT "," BYTES), 0, ""},
    {"added_tokens", "null", 0, ""},
    {"added_tokens", "[]", 0, ""},
    {"model.type", NULL, 0, ""},
    {"model.dropout", "0.0", 0, ""},
    {"model.unk_token", "\"\"", 0, ""},
    {"model.continuing_subword_prefix", "\"\"", 0, ""},
    {"model.merges", "[]", 0, ""},
    {"model.merges", "[\"#version: 0.2\",\"h e\",[\"h\",\"e\"]]", 0, ""},
    {"model.vocab.x y", "3999999", 0, ""},

    /* not supported */
    {"version", "\"2.0\"", U, J "version '2.0' is not supported; 1.0 is"},
    {"normalizer", "{\"type\":\"NFKC\"}", U, J "normalizer 'NFKC' is not supported; null and NFC are"},
    {"normalizer", "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Lowercase\"}]}", U,
     J "normalizer 'Lowercase' is not supported; null and NFC are"},
    {"decoder", "{\"type\":\"WordPiece\"}", U, J "decoder 'WordPiece' is not supported; ByteLevel is"},
    {PP, "null", U, J PP " 'null' is not supported; ByteLevel, alone or after Split, is"},
    {PP, "{\"type\":\"Metaspace\"}", U, J PP " 'Metaspace' is not supported; ByteLevel, alone or after Split, is"},
    {PP, SPLIT("{\"Regex\":\"(a+)+$\"}"), U,
     J PP ": pattern '(a+)+$' is not supported; the patterns of GPT-2, Qwen and Llama-3 are"},
    {PP, SPLIT("{\"String\":\" \"}"), U, J PP ": Split pattern 'String' is not supported; a Regex is"},
    {PP, "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},\"behavior\":\"Removed\",\"invert\":false}", U,
     J PP ": Split behavior 'Removed' is not supported; Isolated is"},
    {PP, "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},\"behavior\":\"Isolated\",\"invert\":true}", U,
     J PP ": Split 'invert' is not supported; only false is"},
    {PP, SEQ(QWEN_SPLIT), U, J PP " without 'ByteLevel' is not supported; byte-level vocabularies are"},
    {PP, SEQ(""), U, J PP " without 'ByteLevel' is not supported; byte-level vocabularies are"},
    {PP, SEQ(QWEN_SPLIT "," QWEN_SPLIT "," BYTES), U,
     J PP " 'Split' is not supported; after another one only ByteLevel is"},
    {PP, SEQ(QWEN_SPLIT "," BYTES "," BYTES), U, J PP " 'ByteLevel' is not supported; only one of them is"},
    {PP, SEQ(QWEN_SPLIT ",{\"type\":\"ByteLevel\",\"add_prefix_space\":false}"), U,
     J PP ": ByteLevel 'use_regex: true' is not supported; after a Split only false is"},
    {PP, SEQ(QWEN_SPLIT ",{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"use_regex\":false}"), U,
     J PP ": ByteLevel 'add_prefix_space: true' is not supported; after a Split only false is"},
    {PP, BYTES, U, J PP ": ByteLevel 'use_regex: false' is not supported; without a Split before it only true is"},
    {"model.type", "\"Unigram\"", U, J "model 'Unigram' is not supported; byte-level BPE is"},
    {"model.unk_token", "\"<unk>\"", U, J "model: setting 'unk_token' is not supported; only null is"},
    {"model.continuing_subword_prefix", "\"##\"", U,
     J "model: setting 'continuing_subword_prefix' is not supported; only null is"},
    {"model.end_of_word_suffix", "\"</w>\"", U, J "model: setting 'end_of_word_suffix' is not supported; only null is"},
    {"model.dropout", "0.1", U, J "model: setting 'dropout' is not supported; only null is"},
    {"model.byte_fallback", "true", U, J "model: setting 'byte_fallback' is not supported; only false is"},
    {"added_tokens.0.single_word", "true", U, J "added_tokens: 'single_word' is not supported; only false is"},
    {"post_processor", "{\"type\":\"BertProcessing\"}", U,
     J "post_processor 'BertProcessing' is not supported; ByteLevel and TemplateProcessing are"},
    {"post_processor", TEMPLATE("[{\"Sequence\":{\"id\":\"B\"}}]", "{}"), U,
     J "post_processor: TemplateProcessing 'B' is not supported; the text A, once, is"},
    {"post_processor", TEMPLATE("[]", "{}"), U,
     J "post_processor: TemplateProcessing 'without A' is not supported; the text A, once, is"},
    {"post_processor",
     "{\"type\":\"Sequence\",\"processors\":[" TEMPLATE(BOS_A, "{\"b\":{\"ids\":[3]}}") "," TEMPLATE(A_ONLY, "{}") "]}",
     U, J "post_processor: second 'TemplateProcessing' is not supported; one is"},

    /* malformed */
    {"version", "1", F, J "version: not a string"},
    {"normalizer", "5", F, J "normalizer: not an object"},
    {"normalizer", "{}", F, J "normalizer: 'type' is missing or not a string"},
    {"normalizer", "{\"type\":\"Sequence\"}", F, J "normalizer: a Sequence without its list"},
    {"normalizer", "{\"type\":\"Sequence\",\"normalizers\":[[]]}", F, J "normalizer: not an object"},
    {"decoder", "[]", F, J "decoder: not an object"},
    {PP, SPLIT("{}"), F, J PP ": Split: 'pattern' has no Regex"},
    {PP, "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"}}", F,
     J PP ": Split: 'behavior' is missing or not a string"},
    {PP, "{\"type\":\"Split\",\"invert\":1}", F, J PP ": Split: 'invert' is not true or false"},
    {PP, "{\"type\":\"ByteLevel\"}", F, J PP ": ByteLevel: 'add_prefix_space' is missing"},
    {PP, "{\"type\":\"ByteLevel\",\"add_prefix_space\":1}", F,
     J PP ": ByteLevel: 'add_prefix_space' is not true or false"},
    {"model", "[]", F, J "model: missing or not an object"},
    {"model.type", "1", F, J "model: 'type' is not a string"},
    {"model.unk_token", "1", F, J "model: 'unk_token' is not a string"},
    {"model.byte_fallback", "0", F, J "model: 'byte_fallback' is not true or false"},
    {"model.ignore_merges", "\"yes\"", F, J "model: 'ignore_merges' is not true or false"},
    {"model.vocab", NULL, F, J "model: vocab: missing or not an object"},
    {"model.vocab.a", "1.5", F, J "model: vocab: the id of 'a' is not an integer"},
    {"model.vocab.a\x1b[31m\xc3\xa9", "null", F, J "model: vocab: the id of 'a?[31m\xc3\xa9' is not an integer"},
    {"model.vocab.new", "-1", F, "tokenizer: token 'new': id -1, must be 0 to 3999999"},
    {"model.vocab.new", "4000000", F, "tokenizer: token 'new': id 4000000, must be 0 to 3999999"},
    {"model.vocab.new", "9223372036854775807", F,
     "tokenizer: token 'new': id 9223372036854775807, must be 0 to 3999999"},
    {"model.vocab.new", "0", F, "tokenizer: id 0 belongs to both '!' and 'new'"},
    {"model.merges", "{}", F, J "model: merges: missing or not an array"},
    {"model.merges.1", "\"ab\"", F, J "model: merge 1 is not a pair of tokens"},
    {"model.merges.1", "\"a b c\"", F, J "model: merge 1 is not a pair of tokens"},
    {"model.merges.1", "[\"a\"]", F, J "model: merge 1 is not a pair of tokens"},
    {"model.merges.1", "[\"a\",1]", F, J "model: merge 1 is not a pair of tokens"},
    {"model.merges.1", "[\"zzz\",\"a\"]", F, J "model: merge 1: 'zzz' is not in the vocabulary"},
    {"model.merges.1", "[\"a\",\"zzz\"]", F, J "model: merge 1: 'zzz' is not in the vocabulary"},
    {"model.merges.1", "[\"q\",\"~\"]", F, J "model: merge 1: 'q~' is not in the vocabulary"},
    {"model.merges.1", "[\"<think>\",\"a\"]", F, J "model: merge 1: '<think>' is not in the vocabulary"},
    {"added_tokens", "{}", F, J "added_tokens: not an array"},
    {"added_tokens.0", "7", F, J "added_tokens: 'id' is missing or not an integer"},
    {"added_tokens.0.id", "\"1\"", F, J "added_tokens: 'id' is missing or not an integer"},
    {"added_tokens.0.id", "4000000", F, "tokenizer: token '<|endoftext|>': id 4000000, must be 0 to 3999999"},
    {"added_tokens.0.id", "0", F, "tokenizer: id 0 belongs to both '!' and '<|endoftext|>'"},
    {"added_tokens.0.content", "\"\"", F, J "added_tokens: 'content' is missing, empty or not a string"},
    {"added_tokens.0.content", "\"!\"", F, J "added_tokens: '!' has id 440, but is id 0 already"},
    {"added_tokens.0.special", "1", F, J "added_tokens: 'special' is not true or false"},
    {"added_tokens.1", "{\"id\":440,\"content\":\"<|endoftext|>\"}", F,
     J "added_tokens: '<|endoftext|>' is there twice"},
    {"post_processor", "1", F, J "post_processor: not an object"},
    {"post_processor", "{\"type\":\"TemplateProcessing\",\"single\":\"$A\"}", F,
     J "post_processor: TemplateProcessing: 'single' is missing or not an array"},
    {"post_processor", TEMPLATE("[{}]", "{}"), F,
     J "post_processor: TemplateProcessing: 'single' has something that is no SpecialToken and no Sequence"},
    {"post_processor", TEMPLATE("[{\"SpecialToken\":{}}]", "{}"), F,
     J "post_processor: TemplateProcessing: a SpecialToken has no 'id'"},
    {"post_processor", TEMPLATE(BOS_A, "{}"), F,
     J "post_processor: TemplateProcessing: a SpecialToken is not in 'special_tokens'"},
    {"post_processor", TEMPLATE(BOS_A, "{\"b\":{\"ids\":[449,450]}}"), F,
     J "post_processor: special_tokens: an id is not the id of a token"},
    {"post_processor", TEMPLATE(BOS_A, "{\"b\":{\"ids\":[-1]}}"), F,
     J "post_processor: special_tokens: an id is not the id of a token"},
};

static void one_change(void **state)
{
    (void)state;
    for (size_t i = 0; i < ZX_COUNT(changes); i++) {
        char *text = changed_file(changes[i].path, changes[i].value);
        expect(text, strlen(text), changes[i].code, changes[i].message);
        free(text);
    }
}

/* --- files that are too much --------------------------------------------------------------------- */

static void expect_text(const char *json, const char *message) { expect(json, strlen(json), F, message); }

static void broken_json(void **state)
{
    (void)state;
    expect_text("", "tokenizer.json: not JSON at byte 0: '[' or '{' expected near end of file");
    expect_text("[]", "tokenizer.json: not an object");
    expect_text("{\"a\":1,\"a\":2}", "tokenizer.json: not JSON at byte 10: duplicate object key near '\"a\"'");
    expect_text("{\"a\":\"\xff\"}", "tokenizer.json: not JSON at byte 6: unable to decode byte 0xff near '\"'");
    expect_text(
        "{\"a\":\"\\u0000\"}",
        "tokenizer.json: not JSON at byte 13: \\u0000 is not allowed without JSON_ALLOW_NUL near '\"\\u0000\"'");
    zx_buf deep = {0};
    for (int i = 0; i < 100000; i++)
        zx_buf_putc(&deep, '[');
    expect_text(deep.data, "tokenizer.json: not JSON at byte 2049: maximum parsing depth reached near '['");
    zx_buf_clear(&deep);
}

static void too_large(void **state)
{
    (void)state;
    static const char head[] = "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},\"model\":";
    zx_buf b = {0};
    size_t len = (64u << 20) + 1;
    char *big = calloc(1, len);
    assert_non_null(big);
    expect(big, len, F, "tokenizer.json: 67108865 bytes, at most 67108864 are allowed");
    free(big);

    zx_buf_printf(&b, "%s{\"vocab\":{\"", head);
    for (int i = 0; i < 65537; i++)
        zx_buf_putc(&b, 'x');
    zx_buf_puts(&b, "\":1},\"merges\":[]}}");
    char want[300] = "tokenizer: token '...";
    for (int i = 0; i < 124; i++)
        strcat(want, "x");
    strcat(want, "': 65537 bytes, at most 65536 are allowed");
    expect_text(b.data, want);

    zx_buf_reset(&b);
    zx_buf_printf(&b, "%s{\"vocab\":{},\"merges\":[1", head);
    for (int i = 0; i < 4000000; i++)
        zx_buf_puts(&b, ",1");
    zx_buf_puts(&b, "]}}");
    expect_text(b.data, "tokenizer.json: model: 4000001 merges, at most 4000000 are allowed");

    zx_buf_reset(&b);
    zx_buf_printf(&b, "%s{\"vocab\":{},\"merges\":[]},\"added_tokens\":[", head);
    for (int i = 0; i < 65; i++) {
        zx_buf_printf(&b, "%s{\"id\":%d,\"content\":\"%d", i ? "," : "", i, 100 + i);
        for (int k = 3; k < 65536; k++)
            zx_buf_putc(&b, 'a');
        zx_buf_puts(&b, "\"}");
    }
    zx_buf_puts(&b, "]}");
    expect_text(b.data, "tokenizer.json: added_tokens: 4259840 bytes of text, at most 4194304 are allowed");

    zx_buf_reset(&b);
    zx_buf_printf(&b, "%s{\"vocab\":{\"a\":0},\"merges\":[]},\"post_processor\":{\"type\":\"TemplateProcessing\",",
                  head);
    zx_buf_puts(&b, "\"single\":[{\"SpecialToken\":{\"id\":\"b\"}}],\"special_tokens\":{\"b\":{\"ids\":[0");
    for (int i = 0; i < 1024; i++)
        zx_buf_puts(&b, ",0");
    zx_buf_puts(&b, "]}}}}");
    expect_text(b.data, "tokenizer.json: post_processor: 1025 special tokens, at most 1024 are allowed");
    zx_buf_clear(&b);
}

/* --- texts --------------------------------------------------------------------------------------- */

static void bad_text(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int at;
    } bad[] = {{"\xff", 0},          {"ab\x80", 2},       {"\xc0\x80", 0},         {"\xc3", 0},
               {"a\xe0\x80\x80", 1}, {"\xed\xa0\x80", 0}, {"\xf4\x90\x80\x80", 0}, {"\xe4\xbd\xa0\xe4\xbd", 3}};
    zx_tokenizer *t = open_golden(QWEN3);
    for (size_t i = 0; i < ZX_COUNT(bad); i++) {
        zmlx_err err = {0};
        zx_ids ids = {0};
        size_t len = strlen(bad[i].text);
        char want[80];
        snprintf(want, sizeof want, "text: not UTF-8 at byte %d of %zu", bad[i].at, len);
        assert_int_equal(zx_tokenizer_encode(t, bad[i].text, len, true, &ids, &err), ZMLX_E_ARG);
        assert_int_equal(err.pos, bad[i].at);
        assert_string_equal(err.msg, want);
        assert_int_equal(ids.n, 0);
        zx_ids_clear(&ids);
    }
    zmlx_err err = {0};
    zx_ids ids = {0};
    assert_int_equal(zx_tokenizer_encode(t, "", (256u << 20) + 1, true, &ids, &err), ZMLX_E_LIMIT);
    assert_string_equal(err.msg, "text: 268435457 bytes, at most 268435456 are allowed");
    zx_tokenizer_close(t);
}

/* A million times the same few bytes comes back, soon. */
static void check_long(const zx_tokenizer *t, const char *unit, size_t count, bool same)
{
    zx_buf text = {0}, back = {0};
    zx_ids ids = {0};
    zmlx_err err = {0};
    for (size_t i = 0; i < count; i++)
        zx_buf_puts(&text, unit);
    clock_t start = clock(); /* not wall time: the machine may be busy */
    assert_int_equal(zx_tokenizer_encode(t, text.data, text.len, false, &ids, &err), ZMLX_OK);
    double took = (double)(clock() - start) / CLOCKS_PER_SEC;
    if (took > 30) fail_msg("%zu x '%s': %.1f s", count, unit, took);
    assert_int_equal(zx_tokenizer_decode(t, ids.id, ids.n, false, &back, &err), ZMLX_OK);
    if (same) {
        assert_int_equal(back.len, text.len);
        assert_memory_equal(back.data, text.data, text.len);
    }
    zx_buf_clear(&text);
    zx_buf_clear(&back);
    zx_ids_clear(&ids);
}

static void long_texts(void **state)
{
    (void)state;
    static const char *const dirs[] = {QWEN3, GOLDEN "llama3"};
    static const char *const units[] = {"Z", " ", "\n", " \n", "\r\n", "1", "!", "'s", "\xc3\xa9", "<|im_end|>", "<"};
    for (size_t d = 0; d < ZX_COUNT(dirs); d++) {
        zx_tokenizer *t = open_golden(dirs[d]);
        for (size_t i = 0; i < ZX_COUNT(units); i++)
            check_long(t, units[i], 1000000 / strlen(units[i]), true);
        check_long(t, "\xcc\x81\xcc\xa3", 250000, false); /* marks in the wrong order, one run */
        zx_tokenizer_close(t);
    }
    zx_tokenizer *t = open_golden(GOLDEN "gpt2");
    check_long(t, "Z", 1000000, true);
    check_long(t, "\n", 1000000, true);
    check_long(t, " ", 1000000, false); /* an added token here takes spaces along */
    zx_tokenizer_close(t);
}

/* Tokens made so that a search which restarts after each match would take forever. */
static void hostile_added_tokens(void **state)
{
    (void)state;
    zx_buf b = {0};
    zmlx_err err = {0};
    zx_tokenizer *t = NULL;
    zx_buf_puts(&b, "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},\"model\":{\"vocab\":{},"
                    "\"merges\":[]},\"added_tokens\":[{\"id\":0,\"content\":\"a\"},{\"id\":1,\"content\":\"");
    for (int i = 0; i < 60000; i++)
        zx_buf_putc(&b, 'a');
    zx_buf_puts(&b,
                "b\"},{\"id\":2,\"content\":\"\\n\",\"rstrip\":true,\"lstrip\":true},{\"id\":3,\"content\":\"ab\"}]}");
    assert_int_equal(zx_tokenizer_parse(&t, b.data, b.len, &err), ZMLX_OK);
    check_long(t, "a", 1000000, true);
    check_long(t, "\n", 1000000, false);

    zx_ids ids = {0};
    assert_int_equal(zx_tokenizer_encode(t, "aab \n  \na", 9, false, &ids, &err), ZMLX_OK);
    static const int32_t want[] = {0, 3, 2, 2, 0}; /* the second newline, though taken along, is found again */
    assert_int_equal(ids.n, ZX_COUNT(want));
    assert_memory_equal(ids.id, want, sizeof want);
    zx_ids_clear(&ids);
    zx_buf_clear(&b);
    zx_tokenizer_close(t);
}

/* The space before a text that GPT-2 files may ask for; a byte the vocabulary lacks is dropped. */
static void prefix_space(void **state)
{
    (void)state;
    static const char file[] =
        "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true},\"model\":{\"type\":\"BPE\",\"vocab\":"
        "{\"\":6,\"a\":0,\"b\":1,\"\xc4\xa0\":2,\"ab\":3,\"\xc4\xa0"
        "a\":4},\"merges\":[\"\xc4\xa0 a\",\"a b\"]},\"added_tokens\":[{\"id\":5,\"content\":\"<x>\"}]}";
    static const struct {
        const char *text;
        int n, id[4];
    } want[] = {{"ab", 2, {4, 1}},  {" ab", 2, {4, 1}},         {"  ab", 3, {2, 4, 1}}, {"ba", 3, {2, 1, 0}},
                {"aXb", 2, {4, 1}}, {"b<x>a", 4, {2, 1, 5, 4}}, {"XX", 1, {2}},         {"", 0, {0}}};
    zmlx_err err = {0};
    zx_tokenizer *t = NULL;
    assert_int_equal(zx_tokenizer_parse(&t, file, sizeof file - 1, &err), ZMLX_OK);
    size_t len = 1;
    assert_non_null(zx_tokenizer_bytes(t, 6, &len)); /* a token of no bytes is still a token */
    assert_int_equal(len, 0);
    for (size_t i = 0; i < ZX_COUNT(want); i++) {
        zx_ids ids = {0};
        assert_int_equal(zx_tokenizer_encode(t, want[i].text, strlen(want[i].text), false, &ids, &err), ZMLX_OK);
        assert_int_equal(ids.n, want[i].n);
        for (int k = 0; k < want[i].n; k++)
            assert_int_equal(ids.id[k], want[i].id[k]);
        zx_ids_clear(&ids);
    }
    zx_tokenizer_close(t);
}

static void accessors(void **state)
{
    (void)state;
    zx_tokenizer *t = open_golden(QWEN3);
    size_t len = 1;
    assert_int_equal(zx_tokenizer_size(t), 450);
    assert_int_equal(zx_tokenizer_find(t, "<|im_end|>"), 442);
    assert_int_equal(zx_tokenizer_find(t, "<|no|>"), -1);
    assert_true(zx_tokenizer_is_special(t, 442));
    assert_false(zx_tokenizer_is_special(t, 443));
    assert_false(zx_tokenizer_is_special(t, -1));
    assert_false(zx_tokenizer_is_special(t, 450));
    assert_null(zx_tokenizer_bytes(t, 450, &len));
    assert_int_equal(len, 0);
    assert_null(zx_tokenizer_bytes(t, -1, &len));
    assert_memory_equal(zx_tokenizer_bytes(t, 442, &len), "<|im_end|>", 10);
    assert_int_equal(len, 10);
    assert_memory_equal(zx_tokenizer_bytes(t, 447, &len), "cafe\xcc\x81", 6); /* as in the file */
    assert_int_equal(len, 6);
    assert_memory_equal(zx_tokenizer_bytes(t, zx_tokenizer_find(t, "\xc4\xa0"), &len), " ", 1); /* U+0120 */
    assert_int_equal(len, 1);
    zx_tokenizer_close(t);
    zx_tokenizer_close(NULL);
}

/* --- the folder ---------------------------------------------------------------------------------- */

static void expect_folder(const char *config, zmlx_status code, const char *message, int64_t size)
{
    zmlx_err err = {0};
    zx_tokenizer *t = NULL;
    scratch_puts("tokenizer_config.json", config);
    assert_int_equal(zx_tokenizer_open(&t, scratch_root, &err), code);
    if (code == ZMLX_OK) assert_int_equal(zx_tokenizer_size(t), size);
    if (code != ZMLX_OK) assert_string_equal(err.msg, message);
    zx_tokenizer_close(t);
}

#define C             "tokenizer_config.json: "
#define DECODER(body) "{\"added_tokens_decoder\":" body "}"
static void folder(void **state)
{
    (void)state;
    zmlx_err err = {0};
    zx_tokenizer *t = NULL;
    scratch_reset();
    assert_int_equal(zx_tokenizer_open(&t, scratch_root, &err), ZMLX_E_NOT_FOUND);
    char *text = changed_file("version", NULL);
    scratch_puts("tokenizer.json", text);
    free(text);
    expect_folder("{\"model_max_length\":1000000000000000019884624838656}", 0, "", 450);
    expect_folder(DECODER("{\"450\":{\"content\":\"<new>\",\"special\":true}}"), 0, "", 451);
    expect_folder(DECODER("{\"443\":{\"content\":\"<think>\",\"special\":true}}"), 0, "", 450);
    expect_folder(DECODER("null"), 0, "", 450);
    expect_folder(DECODER("[]"), F, C "added_tokens_decoder: not an object", 0);
    expect_folder(DECODER("{\"x\":{}}"), F, C "added_tokens_decoder: 'x' is not an id", 0);
    expect_folder(DECODER("{\"1234567890\":{}}"), F, C "added_tokens_decoder: '1234567890' is not an id", 0);
    expect_folder(DECODER("{\"7\":{\"content\":\"<think>\"}}"), F,
                  C "added_tokens_decoder: '<think>' has id 7, but is id 443 already", 0);
    expect_folder(DECODER("{\"7\":{\"content\":\"<new>\"}}"), F, "tokenizer: id 7 belongs to both '(' and '<new>'", 0);
    expect_folder("[]", F, C "not an object", 0);
    expect_folder("{", F, C "not JSON at byte 1: string or '}' expected near end of file", 0);
    scratch_end();
}

/* --- out of memory ------------------------------------------------------------------------------- */

static zmlx_status whole_life(const char *json)
{
    static const char text[] =
        "Hello  cafe\xcc\x81 e\xcc\xa3\xcc\x81\xcc\xa3 <think>\n\n1234 don't <|im_end|>\xea\xb0\x81";
    zmlx_err err = {0};
    zx_tokenizer *t = NULL;
    zx_ids ids = {0};
    zx_buf out = {0};
    zmlx_status s = zx_tokenizer_parse(&t, json, strlen(json), &err);
    if (s == ZMLX_OK) s = zx_tokenizer_encode(t, text, sizeof text - 1, true, &ids, &err);
    if (s == ZMLX_OK) s = zx_tokenizer_decode(t, ids.id, ids.n, false, &out, &err);
    zx_ids_clear(&ids);
    zx_buf_clear(&out);
    zx_tokenizer_close(t);
    return s;
}

static void out_of_memory(void **state)
{
    (void)state;
    char *text = changed_file("model.ignore_merges", "true");
    int64_t n = 0;
    for (;; n++) {
        zx_alloc_fail_after(n);
        zmlx_status s = whole_life(text);
        zx_alloc_fail_after(-1);
        if (s == ZMLX_OK) break;
        assert_int_equal(s, ZMLX_E_NOMEM);
    }
    assert_true(n > 30);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_gpt2),   cmocka_unit_test(golden_qwen3), cmocka_unit_test(golden_llama3),
        cmocka_unit_test(one_change),    cmocka_unit_test(broken_json),  cmocka_unit_test(too_large),
        cmocka_unit_test(bad_text),      cmocka_unit_test(long_texts),   cmocka_unit_test(hostile_added_tokens),
        cmocka_unit_test(prefix_space),  cmocka_unit_test(accessors),    cmocka_unit_test(folder),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
