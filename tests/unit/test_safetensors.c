/* SPDX-License-Identifier: MIT */
/* The acceptance rule of safetensors files and of their index: what is good is read, every attack has its message. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/log.h"
#include "checkpoint/safetensors.h"
#include "scratch.h"

static zmlx_err err;

typedef struct seen {
    int n;
    uint64_t sum; /* of all data bytes: reads every view */
    zx_tensor last;
    char name[2048];
} seen;

static zmlx_status see(void *ctx, const zx_tensor *t, zmlx_err *e)
{
    (void)e;
    seen *s = ctx;
    for (size_t i = 0; i < t->bytes; i++)
        s->sum += ((const uint8_t *)t->data)[i];
    s->n++;
    s->last = *t;
    snprintf(s->name, sizeof s->name, "%s", t->name);
    return ZMLX_OK;
}

static zmlx_status parse_image(const uint8_t *p, size_t size, seen *s)
{
    memset(s, 0, sizeof *s);
    memset(&err, 0, sizeof err);
    return zx_safetensors_parse(p, size, "x.safetensors", see, s, &err);
}

static zmlx_status parse(const char *header, size_t n, seen *s)
{
    size_t size;
    uint8_t *p = scratch_image(header, n, &size);
    const zmlx_status st = parse_image(p, size, s);
    free(p);
    return st;
}

static void check_refused(zmlx_status st, zmlx_status want, const char *part)
{
    if (st != want || !strstr(err.msg, part))
        fail_msg("status %d, expected %d; message \"%s\", expected \"%s\"", st, want, err.msg, part);
    assert_int_equal(err.code, want);
    assert_null(strpbrk(err.msg, "\n\r\t\x1b"));
}

#define T(name, rest) "\"" name "\":{" rest "}"
#define A4            T("a", "\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]")
#define B8            T("b", "\"dtype\":\"BF16\",\"shape\":[2,2],\"data_offsets\":[4,12]")

static void test_accepts(void **state)
{
    (void)state;
    seen s;
    assert_int_equal(parse("{}", 0, &s), ZMLX_OK);
    assert_int_equal(s.n, 0);
    assert_int_equal(parse("{" B8 " ,\n\t" A4 ",\"__metadata__\":{\"format\":\"mlx\"}}      ", 12, &s), ZMLX_OK);
    assert_int_equal(s.n, 2);
    assert_int_equal(s.sum, 66);
    assert_string_equal(s.name, "b"); /* in the order of the data */
    assert_int_equal(s.last.dtype, ZMLX_BF16);
    assert_int_equal(s.last.rank, 2);
    assert_int_equal(s.last.dim[1], 2);
    assert_int_equal(s.last.bytes, 8);
    /* rank 0, empty tensors between others, rank 8, escapes in names */
    static const char mixed[] =
        "{\"e1\":{\"dtype\":\"F64\",\"shape\":[0,3],\"data_offsets\":[2,2]},"
        "\"s\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[0,2]},"
        "\"e2\":{\"dtype\":\"I8\",\"shape\":[0],\"data_offsets\":[0,0]},"
        "\"\\u00e4\\\"{[\":{\"dtype\":\"BOOL\",\"shape\":[1,1,1,1,1,1,1,3],\"data_offsets\":[2,5]}}";
    assert_int_equal(parse(mixed, 5, &s), ZMLX_OK);
    assert_int_equal(s.n, 4);
    assert_string_equal(s.name, "\xc3\xa4\"{[");
    assert_int_equal(s.last.rank, 8);
}

static void test_dtypes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        zmlx_dtype dtype;
        int size;
    } types[] = {
        {"F64", ZMLX_F64, 8},   {"F32", ZMLX_F32, 4},    {"F16", ZMLX_F16, 2},    {"BF16", ZMLX_BF16, 2},
        {"I8", ZMLX_I8, 1},     {"I16", ZMLX_I16, 2},    {"I32", ZMLX_I32, 4},    {"I64", ZMLX_I64, 8},
        {"U8", ZMLX_U8, 1},     {"U16", ZMLX_U16, 2},    {"U32", ZMLX_U32, 4},    {"U64", ZMLX_U64, 8},
        {"BOOL", ZMLX_BOOL, 1}, {"F8_E4M3", ZMLX_U8, 1}, {"F8_E5M2", ZMLX_U8, 1}, {"F8_E8M0", ZMLX_U8, 1},
    };
    char h[256];
    seen s;
    for (size_t i = 0; i < ZX_COUNT(types); i++) {
        snprintf(h, sizeof h, "{\"t\":{\"dtype\":\"%s\",\"shape\":[3],\"data_offsets\":[0,%d]}}", types[i].text,
                 3 * types[i].size);
        assert_int_equal(parse(h, 3 * (size_t)types[i].size, &s), ZMLX_OK);
        assert_int_equal(s.last.dtype, types[i].dtype);
    }
    static const char *const others[] = {"C64", "F4", "F6_E2M3", "f32", "", "F8_E4M3FNUZ"};
    for (size_t i = 0; i < ZX_COUNT(others); i++) {
        char want[64];
        snprintf(h, sizeof h, "{\"t\":{\"dtype\":\"%s\",\"shape\":[0],\"data_offsets\":[0,0]}}", others[i]);
        snprintf(want, sizeof want, "tensor t: dtype \"%s\" is not supported", others[i]);
        check_refused(parse(h, 0, &s), ZMLX_E_UNSUPPORTED, want);
    }
}

/* One tensor whose members are given. */
#define ONE(rest) "{" T("t", rest) "}"
#define F32       "\"dtype\":\"F32\","

static void test_refuses_headers(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t n;
        const char *part;
    } bad[] = {
        {"", 0, "does not begin with '{'"},
        {" {}", 0, "does not begin with '{'"},
        {"[]", 0, "does not begin with '{'"},
        {"{", 0, "a name was expected"},
        {"{\"a", 0, "ends inside a string"},
        {"{\"a\\", 0, "ends inside a string"},
        {"{\"a\"", 0, "':' was expected"},
        {"{\"a\":", 0, "'{' was expected"},
        {"{\"a\":3}", 0, "'{' was expected"},
        {"{\"a\":{", 0, "ends inside an object"},
        {"{\"a\":{\"", 0, "ends inside an object"},
        {"{" A4, 4, "',' or '}' was expected"},
        {"{" A4 ",}", 4, "a name was expected"},
        {"{" A4 " " B8 "}", 12, "',' or '}' was expected"},
        {"{}{}", 0, "something follows"},
        {"{}x", 0, "something follows"},
        {"{\"a\":{]}}", 0, "not JSON at byte"},
        {"{\"\\ud800\":{}}", 0, "not JSON at byte"},
        {"{\"a\\u0000\":{}}", 0, "not JSON at byte"},
        {"{\"a\n\":{}}", 0, "not JSON at byte"},
        {"{\"\xff\":{}}", 0, "not UTF-8 at byte 10"},
        {"{\"a\xed\xa0\x80\":{}}", 0, "not UTF-8 at byte 11"},
        {"{} \xc3", 0, "not UTF-8 at byte 11"},
        {"{\"a\":{\"x\":[[[[[[[[[[]]]]]]]]]]}}", 0, "nests deeper than 8"},
        {"{" A4 "," A4 "}", 4, "tensor a occurs twice"},
        {"{" A4 ",\"\\u0061\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "tensor a occurs twice"},
        {ONE(F32 "\"shape\":[1],\"shape\":[1],\"data_offsets\":[0,4]"), 4, "duplicate"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "__metadata__ occurs twice"},
        {"{\"__metadata__\":{\"k\":\"v\",\"k\":\"v\"}}", 0, "duplicate"},
        {"{\"__metadata__\":{\"k\":{}}}", 0, "__metadata__ \"k\" is an object, not a string"},
        {"{\"__metadata__\":{\"k\":1}}", 0, "__metadata__ \"k\" is 1, not a string"},
        {"{\"__metadata__\":null}", 0, "'{' was expected"},
        {ONE("\"shape\":[1],\"data_offsets\":[0,4]"), 4, "dtype is absent"},
        {ONE("\"dtype\":4,\"shape\":[1],\"data_offsets\":[0,4]"), 4, "dtype is 4, not a string"},
        {ONE(F32 "\"data_offsets\":[0,4]"), 4, "shape is absent, not a list"},
        {ONE(F32 "\"shape\":4,\"data_offsets\":[0,4]"), 4, "shape is 4, not a list"},
        {ONE(F32 "\"shape\":[-1],\"data_offsets\":[0,4]"), 4, "shape[0] is -1, not a non-negative integer"},
        {ONE(F32 "\"shape\":[1.0],\"data_offsets\":[0,4]"), 4, "shape[0] is 1, not a non-negative integer"},
        {ONE(F32 "\"shape\":[1e0],\"data_offsets\":[0,4]"), 4, "not a non-negative integer"},
        {ONE(F32 "\"shape\":[\"1\"],\"data_offsets\":[0,4]"), 4, "shape[0] is \"1\""},
        {ONE(F32 "\"shape\":[true],\"data_offsets\":[0,4]"), 4, "shape[0] is true"},
        {ONE(F32 "\"shape\":[NaN],\"data_offsets\":[0,4]"), 4, "not JSON at byte"},
        {ONE(F32 "\"shape\":[01],\"data_offsets\":[0,4]"), 4, "not JSON at byte"},
        {ONE(F32 "\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]"), 4, "9 elements, expected at most 8"},
        {ONE(F32 "\"shape\":[99999999999999999999],\"data_offsets\":[0,4]"), 4, "too big integer"},
        {ONE(F32 "\"shape\":[4611686018427387904],\"data_offsets\":[0,4]"), 4, "its shape overflows"},
        {ONE(F32 "\"shape\":[2147483648,2147483648,2],\"data_offsets\":[0,0]"), 0, "its shape overflows"},
        {ONE(F32 "\"shape\":[0,4611686018427387904,4611686018427387904],\"data_offsets\":[0,0]"), 0,
         "its shape overflows"},
        {ONE(F32 "\"shape\":[1],\"data_offsets\":[0]"), 4, "data_offsets has 1 elements, expected 2"},
        {ONE(F32 "\"shape\":[1],\"data_offsets\":[0,4,8]"), 4, "data_offsets has 3 elements, expected 2"},
        {ONE(F32 "\"shape\":[1],\"data_offsets\":[-4,0]"), 4, "data_offsets[0] is -4"},
        {ONE(F32 "\"shape\":[1],\"data_offsets\":[4,0]"), 4, "end at 0 before they begin at 4"},
        {ONE(F32 "\"shape\":[1],\"data_offsets\":[0,5]"), 5, "span 5 bytes, its shape needs 4"},
        {ONE(F32 "\"shape\":[2],\"data_offsets\":[0,4]"), 4, "span 4 bytes, its shape needs 8"},
        {ONE(F32 "\"shape\":[1],\"data_offsets\":[0,9223372036854775807]"), 4, "its shape needs 4"},
        {ONE(F32 "\"shape\":[1],\"data_offsets\":[9223372036854775803,9223372036854775807]"), 4, "a hole after"},
        {ONE(F32 "\"shape\":[1],\"data_offsets\":[4,8]"), 8, "begins at 4, a hole after the previous end 0"},
        {"{" A4 "," T("c", F32 "\"shape\":[1],\"data_offsets\":[8,12]") "}", 12,
         "tensor c begins at 8, a hole after the previous end 4"},
        {"{" A4 "," T("c", F32 "\"shape\":[1],\"data_offsets\":[2,6]") "}", 6,
         "tensor c begins at 2, an overlap with the previous end 4"},
        {"{" A4 "," T("c", F32 "\"shape\":[1],\"data_offsets\":[0,4]") "}", 4, "an overlap with the previous end 4"},
        {"{" A4 "}", 5, "its tensors have 4 bytes, the file has 5"},
        {"{" A4 "}", 3, "its tensors have 4 bytes, the file has 3 after its header (truncated?)"},
        {"{}", 1, "its tensors have 0 bytes, the file has 1"},
        {ONE(F32 "\"shape\":[1],\"data_offsets\":[0,4],\"strides\":[1]"), 4, "unknown member \"strides\""},
        {"{\"\\u001b[31m\\n\":{}}", 0, "tensor ?[31m?: dtype is absent"},
    };
    seen s;
    for (size_t i = 0; i < ZX_COUNT(bad); i++) {
        check_refused(parse(bad[i].header, bad[i].n, &s), ZMLX_E_FORMAT, bad[i].part);
        assert_non_null(strstr(err.msg, "x.safetensors: "));
        assert_int_equal(s.n, 0); /* nothing is handed out before everything is checked */
    }
}

static void test_refuses_lengths(void **state)
{
    (void)state;
    static const struct {
        uint64_t n;
        const char *part;
    } bad[] = {
        {100000001, "header length 100000001, the limit is 100000000"},
        {UINT64_MAX, "the limit is 100000000"},
        {UINT64_MAX - 7, "the limit is 100000000"}, /* 8 + N wraps to 0 */
        {(uint64_t)1 << 63, "the limit is 100000000"},
        {100000000, "header length 100000000, but only 2 bytes follow"},
        {3, "header length 3, but only 2 bytes follow"},
        {0, "does not begin with '{'"},
        {1, "a name was expected"},
    };
    seen s;
    for (size_t i = 0; i < ZX_COUNT(bad); i++) {
        uint8_t p[10] = {[8] = '{', [9] = '}'};
        for (int k = 0; k < 8; k++)
            p[k] = (uint8_t)(bad[i].n >> (8 * k));
        check_refused(parse_image(p, sizeof p, &s), ZMLX_E_FORMAT, bad[i].part);
    }
    check_refused(parse_image(NULL, 0, &s), ZMLX_E_FORMAT, "0 bytes, a safetensors file has at least 8");
}

/* Each prefix in its own allocation, so that a sanitizer sees a read behind it. */
static void test_truncated_everywhere(void **state)
{
    (void)state;
    size_t size;
    seen s;
    uint8_t *p = scratch_image("{" A4 "," B8 ",\"__metadata__\":{\"format\":\"mlx\"}}", 12, &size);
    assert_int_equal(parse_image(p, size, &s), ZMLX_OK);
    for (size_t n = 0; n < size; n++) {
        uint8_t *q = malloc(n ? n : 1);
        assert_non_null(q);
        memcpy(q, p, n);
        check_refused(parse_image(q, n, &s), ZMLX_E_FORMAT, "x.safetensors: ");
        assert_int_equal(s.n, 0);
        free(q);
    }
    /* and the header alone cut short, with its length telling the truth */
    const size_t header = size - 20;
    for (size_t n = 0; n < header; n++) {
        char cut[512];
        memcpy(cut, p + 8, n);
        cut[n] = 0;
        check_refused(parse(cut, 12, &s), ZMLX_E_FORMAT, "x.safetensors: ");
    }
    /* every single byte changed: refused or read within bounds, nothing else */
    for (size_t i = 0; i < size; i++)
        for (int bit = 0; bit < 8; bit++) {
            p[i] ^= (uint8_t)(1 << bit);
            parse_image(p, size, &s);
            p[i] ^= (uint8_t)(1 << bit);
        }
    free(p);
}

static void test_long_names_and_many(void **state)
{
    (void)state;
    seen s;
    char *h = malloc(16 << 20);
    assert_non_null(h);
    for (int len = 1023; len <= 1025; len++) {
        char name[1100];
        memset(name, 'n', sizeof name);
        name[len] = 0;
        sprintf(h, "{\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", name);
        const zmlx_status st = parse(h, 1, &s);
        if (len <= 1024)
            assert_int_equal(st, ZMLX_OK);
        else
            check_refused(st, ZMLX_E_FORMAT, "tensor name of 1025 bytes, the limit is 1024");
    }
    char *p = h + sprintf(h, "{");
    for (int i = 0; i < 100000; i++)
        p += sprintf(p, "%s\"layer.%d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]}", i ? "," : "", i,
                     99999 - i, 100000 - i);
    sprintf(p, "}");
    assert_int_equal(parse(h, 100000, &s), ZMLX_OK);
    assert_int_equal(s.n, 100000);
    assert_string_equal(s.name, "layer.0");

    /* one object of 10^5 members, and a deep one, end early */
    p = h + sprintf(h, "{\"t\":{\"dtype\":\"U8\"");
    for (int i = 0; i < 100000; i++)
        p += sprintf(p, ",\"k%d\":0", i);
    sprintf(p, "}}");
    check_refused(parse(h, 0, &s), ZMLX_E_FORMAT, "is over 16384 bytes");
    p = h + sprintf(h, "{\"t\":{\"x\":");
    memset(p, '[', 1 << 20);
    p[1 << 20] = 0;
    check_refused(parse(h, 0, &s), ZMLX_E_FORMAT, "nests deeper than 8");
    free(h);
}

/* ---- folders ---- */

static zmlx_status open_root(zx_shards **s)
{
    memset(&err, 0, sizeof err);
    return zx_shards_open(s, scratch_path(""), &err);
}

static void check_folder_refused(zmlx_status want, const char *part)
{
    zx_shards *s;
    check_refused(open_root(&s), want, part);
    assert_null(s);
}

#define SHARD_A   "model-00001-of-00002.safetensors"
#define SHARD_B   "model-00002-of-00002.safetensors"
#define INDEX     "model.safetensors.index.json"
#define B_HEADER  "{" T("b", "\"dtype\":\"BF16\",\"shape\":[2,2],\"data_offsets\":[0,8]") "}"
#define MAP(a, b) "\"weight_map\":{\"a\":\"" a "\",\"b\":\"" b "\"}"

static void two_shards(void)
{
    scratch_reset();
    scratch_safetensors(SHARD_A, "{" A4 "}", 4);
    scratch_safetensors(SHARD_B, B_HEADER, 8);
}

static void check_two_shards(void)
{
    zx_shards *s;
    if (open_root(&s) != ZMLX_OK) fail_msg("%s", err.msg);
    assert_int_equal(zx_shards_count(s), 2);
    assert_int_equal(zx_shards_files(s), 2);
    assert_string_equal(zx_shards_at(s, 0)->name, "a");
    const zx_tensor *t = zx_shards_find(s, "b");
    assert_non_null(t);
    assert_ptr_equal(t, zx_shards_at(s, 1));
    assert_int_equal(t->shard, 1);
    assert_int_equal(((const uint8_t *)t->data)[7], 7);
    const zx_map *m = zx_shards_map(s, 1);
    assert_true((const uint8_t *)t->data + t->bytes == m->data + m->size); /* a view, not a copy */
    assert_int_equal(zx_shards_bytes(s), zx_shards_map(s, 0)->size + m->size);
    assert_null(zx_shards_find(s, "c"));
    assert_null(zx_shards_find(s, ""));
    zx_shards_close(s);
}

static void test_folder(void **state)
{
    (void)state;
    two_shards();
    check_two_shards();
    scratch_puts("other.safetensors", "not looked at");
    scratch_puts(INDEX, "{\"metadata\":{\"total_size\":12,\"total_parameters\":5}," MAP(SHARD_A, SHARD_B) "}");
    check_two_shards();
    scratch_puts(INDEX, "{\"metadata\":{\"total_size\":12.0}," MAP(SHARD_A, SHARD_B) "}");
    check_two_shards();
    scratch_puts(INDEX, "{" MAP(SHARD_A, SHARD_B) "}");
    check_two_shards();
    zx_shards_close(NULL);

    scratch_reset();
    check_folder_refused(ZMLX_E_NOT_FOUND, "no model*.safetensors");
    zx_shards *s;
    check_refused(zx_shards_open(&s, scratch_path("nowhere"), &err), ZMLX_E_NOT_FOUND, "no such folder");
    scratch_puts("model.safetensors", "");
    check_folder_refused(ZMLX_E_FORMAT, "model.safetensors: 0 bytes");
    unlink(scratch_path("model.safetensors"));
    scratch_mkdir("model.safetensors");
    check_folder_refused(ZMLX_E_FORMAT, "not a regular file");
    two_shards();
    scratch_safetensors(SHARD_B, "{" A4 "}", 4);
    check_folder_refused(ZMLX_E_FORMAT, "tensor a is in " SHARD_A " and in " SHARD_B);
}

static void test_refuses_index(void **state)
{
    (void)state;
    static const struct {
        const char *index, *part;
        zmlx_status status;
    } bad[] = {
        {"", "not JSON at byte 0", ZMLX_E_FORMAT},
        {"[]", "it is a list, not an object", ZMLX_E_FORMAT},
        {"{}", "weight_map is absent, not an object", ZMLX_E_FORMAT},
        {"{\"weight_map\":[]}", "weight_map is a list", ZMLX_E_FORMAT},
        {"{\"weight_map\":{}}", "weight_map has 0 tensors", ZMLX_E_FORMAT},
        {"{\"weight_map\":{\"a\":1}}", "tensor a: its file is 1, not a string", ZMLX_E_FORMAT},
        {"{\"weight_map\":{\"a\":\"" SHARD_A "\",\"a\":\"" SHARD_B "\"}}", "duplicate", ZMLX_E_FORMAT},
        {"{" MAP(SHARD_A, SHARD_B) "," MAP(SHARD_A, SHARD_B) "}", "duplicate", ZMLX_E_FORMAT},
        {"{" MAP(SHARD_A, "../" SHARD_B) "}", "is not a plain *.safetensors file name", ZMLX_E_FORMAT},
        {"{" MAP(SHARD_A, "/etc/" SHARD_B) "}", "tensor b: \"/etc/" SHARD_B "\" is not a plain", ZMLX_E_FORMAT},
        {"{" MAP(SHARD_A, "sub/" SHARD_B) "}", "is not a plain", ZMLX_E_FORMAT},
        {"{" MAP(SHARD_A, "..\\\\" SHARD_B) "}", "is not a plain", ZMLX_E_FORMAT},
        {"{" MAP(SHARD_A, "a..safetensors") "}", "is not a plain", ZMLX_E_FORMAT},
        {"{" MAP(SHARD_A, ".safetensors") "}", "is not a plain", ZMLX_E_FORMAT},
        {"{" MAP(SHARD_A, "") "}", "is not a plain", ZMLX_E_FORMAT},
        {"{" MAP(SHARD_A, "config.json") "}", "is not a plain", ZMLX_E_FORMAT},
        {"{" MAP(SHARD_A, SHARD_B "\\u0000.safetensors") "}", "not JSON at byte", ZMLX_E_FORMAT},
        {"{" MAP(SHARD_A, "model-00003.safetensors") "}", "model-00003.safetensors is missing", ZMLX_E_NOT_FOUND},
        {"{" MAP(SHARD_B, SHARD_A) "}", "tensor a should be in " SHARD_B ", but is in " SHARD_A, ZMLX_E_FORMAT},
        {"{" MAP(SHARD_A, SHARD_A) "}", "tensor b is not in " SHARD_A, ZMLX_E_FORMAT},
        {"{\"weight_map\":{\"a\":\"" SHARD_A "\",\"b\":\"" SHARD_B "\",\"c\":\"" SHARD_B "\"}}",
         "tensor c is not in " SHARD_B, ZMLX_E_FORMAT},
        {"{\"weight_map\":{\"a\":\"" SHARD_A "\",\"ab\":\"" SHARD_B "\",\"b\":\"" SHARD_B "\"}}",
         "tensor ab is not in " SHARD_B, ZMLX_E_FORMAT},
        {"{\"weight_map\":{\"b\":\"" SHARD_A "\"}}", "tensor a of " SHARD_A " is not in the index", ZMLX_E_FORMAT},
        {"{\"metadata\":3," MAP(SHARD_A, SHARD_B) "}", "metadata is 3", ZMLX_E_FORMAT},
        {"{\"metadata\":{\"total_size\":-1}," MAP(SHARD_A, SHARD_B) "}", "total_size is -1", ZMLX_E_FORMAT},
        {"{\"metadata\":{\"total_size\":\"12\"}," MAP(SHARD_A, SHARD_B) "}", "total_size is \"12\"", ZMLX_E_FORMAT},
        {"{\"metadata\":{\"total_size\":1.5}," MAP(SHARD_A, SHARD_B) "}", "total_size is 1.5", ZMLX_E_FORMAT},
        {"{\"metadata\":{\"total_size\":1e300}," MAP(SHARD_A, SHARD_B) "}", "total_size is 1", ZMLX_E_FORMAT},
        {"{\"metadata\":{\"total_size\":9223372036854775807}," MAP(SHARD_A, SHARD_B) "}",
         "total_size is 9223372036854775807, but all files together have", ZMLX_E_FORMAT},
    };
    two_shards();
    for (size_t i = 0; i < ZX_COUNT(bad); i++) {
        scratch_puts(INDEX, bad[i].index);
        check_folder_refused(bad[i].status, bad[i].part);
    }
    two_shards();
    if (symlink("nowhere.json", scratch_path(INDEX))) abort();
    check_folder_refused(ZMLX_E_NOT_FOUND, INDEX " is missing");
}

static void count_warning(void *user, zx_log_level level, const char *line)
{
    if (level == ZX_LOG_WARN && strstr(line, "total_size is 13")) ++*(int *)user;
}

/* Writers in use count whole files, or forget to count again: a warning, no refusal. */
static void test_total_size_differs(void **state)
{
    (void)state;
    int warnings = 0;
    two_shards();
    scratch_puts(INDEX, "{\"metadata\":{\"total_size\":13}," MAP(SHARD_A, SHARD_B) "}");
    zx_log_set(count_warning, &warnings, ZX_LOG_WARN);
    check_two_shards();
    zx_log_set(NULL, NULL, ZX_LOG_ERROR);
    assert_int_equal(warnings, 1);
}

static void test_too_many_shards(void **state)
{
    (void)state;
    two_shards();
    char *h = malloc(1 << 20), *p = h + sprintf(h, "{\"weight_map\":{");
    for (int i = 0; i < 10001; i++)
        p += sprintf(p, "%s\"t%d\":\"m%d.safetensors\"", i ? "," : "", i, i);
    sprintf(p, "}}");
    scratch_puts(INDEX, h);
    free(h);
    check_folder_refused(ZMLX_E_FORMAT, "weight_map names 10001 files, the limit is 10000");
}

static void test_links(void **state)
{
    (void)state;
    /* out of the folder, over one link and over two */
    two_shards();
    scratch_mkdir("m");
    if (symlink("../" SHARD_A, scratch_path("m/model.safetensors"))) abort();
    zx_shards *s;
    check_refused(zx_shards_open(&s, scratch_path("m"), &err), ZMLX_E_FORMAT,
                  "the link model.safetensors leads out of the model's folder, to ");
    scratch_puts("m/" INDEX, "{\"weight_map\":{\"a\":\"evil.safetensors\"}}");
    if (rename(scratch_path("m/model.safetensors"), scratch_path("m/deep")) ||
        symlink("deep", scratch_path("m/evil.safetensors")))
        abort();
    check_refused(zx_shards_open(&s, scratch_path("m"), &err), ZMLX_E_FORMAT, "the link evil.safetensors leads out");
    /* inside it is fine; so is a folder that is a link itself */
    unlink(scratch_path("m/deep"));
    scratch_safetensors("m/deep", "{" A4 "}", 4);
    if (symlink("m", scratch_path("alias"))) abort();
    assert_int_equal(zx_shards_open(&s, scratch_path("alias"), &err), ZMLX_OK);
    zx_shards_close(s);
    /* a sibling whose name merely begins like the folder's */
    scratch_mkdir("m-other");
    scratch_safetensors("m-other/x", "{" A4 "}", 4);
    unlink(scratch_path("m/evil.safetensors"));
    if (symlink("../m-other/x", scratch_path("m/evil.safetensors"))) abort();
    check_refused(zx_shards_open(&s, scratch_path("m"), &err), ZMLX_E_FORMAT, "leads out of the model's folder");
    /* a circle */
    unlink(scratch_path("m/evil.safetensors"));
    if (symlink("evil.safetensors", scratch_path("m/evil.safetensors"))) abort();
    check_refused(zx_shards_open(&s, scratch_path("m"), &err), ZMLX_E_IO, "cannot follow the link evil.safetensors");
}

/* The Hugging Face cache: blobs of the same model and the shared ones may be reached, nothing else. */
static void test_cache_links(void **state)
{
    (void)state;
    scratch_reset();
    scratch_mkdir("hub/models--o--n/snapshots/abc");
    scratch_mkdir("hub/models--o--n/blobs");
    scratch_mkdir("hub/models--o--other/blobs");
    scratch_mkdir("hub/blobs/ab");
    const char *dir = "hub/models--o--n/snapshots/abc", *link_name = "hub/models--o--n/snapshots/abc/model.safetensors";
    scratch_safetensors("hub/models--o--n/blobs/b1", "{" A4 "}", 4);
    scratch_safetensors("hub/models--o--other/blobs/b2", "{" A4 "}", 4);
    scratch_safetensors("hub/blobs/ab/b3", "{" A4 "}", 4);
    scratch_safetensors("hub/b4", "{" A4 "}", 4);
    if (symlink("../../blobs/ab/b3", scratch_path("hub/models--o--n/blobs/via"))) abort();
    static const struct {
        const char *target;
        zmlx_status status;
    } links[] = {
        {"../../blobs/b1", ZMLX_OK},       {"../../blobs/via", ZMLX_OK},
        {"../../../blobs/ab/b3", ZMLX_OK}, {"../../../models--o--other/blobs/b2", ZMLX_E_FORMAT},
        {"../../../b4", ZMLX_E_FORMAT},    {"../../blobs/gone", ZMLX_E_NOT_FOUND},
    };
    for (size_t i = 0; i < ZX_COUNT(links); i++) {
        zx_shards *s;
        unlink(scratch_path(link_name));
        if (symlink(links[i].target, scratch_path(link_name))) abort();
        assert_int_equal(zx_shards_open(&s, scratch_path(dir), &err), links[i].status);
        zx_shards_close(s);
    }
}

/* Every allocation of an open fails once: a clean error each time, nothing lost (a sanitizer build would say). */
static void test_out_of_memory(void **state)
{
    (void)state;
    two_shards();
    scratch_puts(INDEX, "{" MAP(SHARD_A, SHARD_B) "}");
    zx_shards *s = NULL;
    for (int n = 0;; n++) {
        assert_true(n < 1000);
        zx_alloc_fail_after(n);
        const zmlx_status st = zx_shards_open(&s, scratch_path(""), &err);
        zx_alloc_fail_after(-1);
        if (st == ZMLX_OK) break;
        assert_null(s);
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
        cmocka_unit_test(test_accepts),
        cmocka_unit_test(test_dtypes),
        cmocka_unit_test(test_refuses_headers),
        cmocka_unit_test(test_refuses_lengths),
        cmocka_unit_test(test_truncated_everywhere),
        cmocka_unit_test(test_long_names_and_many),
        cmocka_unit_test(test_folder),
        cmocka_unit_test(test_refuses_index),
        cmocka_unit_test(test_total_size_differs),
        cmocka_unit_test(test_too_many_shards),
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_cache_links),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
