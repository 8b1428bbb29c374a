/* SPDX-License-Identifier: MIT */
/* src/base: status, memory, strings, files, half precision, hashes, CPU levels, thread teams. */
#include "base/alloc.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/cpu.h"
#include "base/file.h"
#include "base/half.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/team.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* --- status ------------------------------------------------------------------------------------ */
static void status_names(void **state)
{
    (void)state;
    assert_string_equal(zmlx_status_text(ZMLX_E_LIMIT), "does not fit");
    assert_int_equal(zmlx_status_exit_code(ZMLX_E_FORMAT), 4);
    assert_int_equal(zmlx_status_exit_code(ZMLX_E_CANCELLED), 130);
    assert_string_equal(zmlx_status_text((zmlx_status)99), "unknown status");
    assert_string_equal(zmlx_version(), ZMLX_VERSION_TEXT);
    assert_string_equal(zmlx_dtype_name(ZMLX_BF16), "bfloat16");
    assert_string_equal(zmlx_dtype_name(ZMLX_DTYPE_COUNT), "?");
    assert_int_equal(zmlx_dtype_size(ZMLX_F64), 8);
    assert_int_equal(zmlx_dtype_size((zmlx_dtype)-1), 0);
    assert_int_equal(zx_promote(ZMLX_F16, ZMLX_BF16), ZMLX_F32);
    assert_int_equal(zx_promote(ZMLX_BF16, ZMLX_BF16), ZMLX_BF16);
    assert_int_equal(zx_promote(ZMLX_F32, ZMLX_F16), ZMLX_F32);
    assert_true(zx_is_float16_32(ZMLX_F16));
    assert_false(zx_is_float16_32(ZMLX_F64));
}

static void status_messages(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } row[] = {
        {"layers.3: shape [128,2048]", "layers.3: shape [128,2048]"},
        {"two\nlines\x1b[31m\x7f", "two?lines?[31m?"},
        {"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},
        {"bad \xff \xc3", "bad ? ?"},
        {"c1 \xc2\x9b overlong \xc0\xaf surrogate \xed\xa0\x80", "c1 ?? overlong ?? surrogate ???"},
    };
    for (size_t i = 0; i < ZX_COUNT(row); i++) {
        zmlx_err err = {0};
        assert_int_equal(zx_fail(&err, ZMLX_E_FORMAT, 7, "%s", row[i].in), ZMLX_E_FORMAT);
        assert_int_equal(err.code, ZMLX_E_FORMAT);
        assert_int_equal(err.pos, 7);
        assert_string_equal(err.msg, row[i].out);
    }
    assert_int_equal(zx_fail(NULL, ZMLX_E_IO, -1, "nobody listens"), ZMLX_E_IO);

    /* Cut between characters, with dots, whatever the offset of the multi-byte ones. */
    char text[2048];
    for (int lead = 0; lead < 4; lead++) {
        memset(text, 'x', (size_t)lead);
        size_t n = (size_t)lead;
        for (; n + 4 < sizeof text; n += 3)
            memcpy(text + n, "\xe2\x82\xac", 3);
        text[n] = 0;
        zmlx_err err = {0};
        zx_fail(&err, ZMLX_E_FAIL, -1, "%s", text);
        size_t len = strlen(err.msg);
        assert_in_range(len, sizeof err.msg - 4, sizeof err.msg - 1);
        assert_string_equal(err.msg + len - 3, "...");
        assert_memory_equal(err.msg, text, len - 3);
        assert_int_equal((len - 3 - (size_t)lead) % 3, 0);
    }
    memset(text, 'y', sizeof text);
    zmlx_err err = {0};
    text[sizeof err.msg - 1] = 0; /* just fits */
    zx_fail(&err, ZMLX_E_FAIL, -1, "%s", text);
    assert_string_equal(err.msg, text);
}

/* --- memory ------------------------------------------------------------------------------------ */
static void alloc_works(void **state)
{
    (void)state;
    int64_t before = zx_alloc_count();
    void *p = zx_malloc(0);
    assert_non_null(p);
    p = zx_realloc(p, 100);
    assert_non_null(p);
    zx_free(p);
    zx_free(NULL);
    assert_null(zx_calloc(SIZE_MAX / 2, 3));
    assert_int_equal(zx_alloc_count() - before, 3);
    char *s = zx_strndup("hello", 3);
    assert_string_equal(s, "hel");
    zx_free(s);
    s = zx_strndup("hello", 30);
    assert_string_equal(s, "hello");
    zx_free(s);

    static const size_t sizes[] = {0, 1, 63, 4096, 100000, 1 << 20, (5 << 20) + 12345};
    for (int round = 0; round < 3; round++) /* freed and dirty memory must come back zeroed, too */
        for (size_t i = 0; i < ZX_COUNT(sizes); i++)
            for (size_t align = 1; align <= 4096; align *= 64) {
                unsigned char *q = zx_aligned_alloc(align, sizes[i]);
                assert_non_null(q);
                assert_int_equal((uintptr_t)q % align, 0);
                size_t bad = 0;
                for (size_t k = 0; k < sizes[i]; k++)
                    bad += q[k] != 0;
                assert_int_equal(bad, 0);
                memset(q, 0xa5, sizes[i]);
                zx_free(q);
            }
}

static void alloc_fails_on_request(void **state)
{
    (void)state;
    zx_alloc_fail_after(2);
    void *a = zx_malloc(1), *b = zx_calloc(1, 1), *c = zx_malloc(1), *d = zx_aligned_alloc(64, 64);
    char *s = zx_strdup("x");
    zx_buf buf = {0};
    zx_buf_puts(&buf, "x");
    assert_null(zx_arena_create());
    zx_team *t;
    zmlx_err err = {0};
    assert_int_equal(zx_team_create(&t, 2, &err), ZMLX_E_NOMEM);
    assert_null(t);
    zx_alloc_fail_after(-1);
    assert_non_null(a);
    assert_non_null(b);
    assert_null(c);
    assert_null(d);
    assert_null(s);
    assert_true(buf.failed);
    assert_null(buf.data);
    zx_free(a);
    zx_free(b);
    c = zx_malloc(1);
    assert_non_null(c);
    zx_free(c);
}

static void arena_works(void **state)
{
    (void)state;
    zx_arena *a = zx_arena_create();
    assert_non_null(a);
    char *p[2000];
    size_t size[2000];
    for (size_t i = 0; i < ZX_COUNT(p); i++) {
        size[i] = i % 97 == 0 ? i * 100 : i % 61;
        p[i] = zx_arena_alloc(a, size[i]);
        assert_non_null(p[i]);
        assert_int_equal((uintptr_t)p[i] % 16, 0);
        for (size_t k = 0; k < size[i]; k++)
            assert_int_equal(p[i][k], 0);
        memset(p[i], (int)(i & 0x7f), size[i]);
    }
    for (size_t i = 0; i < ZX_COUNT(p); i++) /* nobody overwrote anybody */
        for (size_t k = 0; k < size[i]; k++)
            if (p[i][k] != (char)(i & 0x7f)) fail_msg("object %zu byte %zu", i, k);
    assert_string_equal(zx_arena_strdup(a, "abc"), "abc");
    assert_string_equal(zx_arena_printf(a, "%s.%d", "layers", 12), "layers.12");
    assert_null(zx_arena_alloc(a, SIZE_MAX));
    assert_null(zx_arena_alloc(a, SIZE_MAX / 2));
    zx_arena_destroy(a);
    zx_arena_destroy(NULL);

    /* Every allocation inside fails once; nothing leaks, nothing crashes. */
    for (int64_t n = 0;; n++) {
        zx_alloc_fail_after(n);
        bool ok = (a = zx_arena_create()) != NULL;
        for (int i = 0; ok && i < 10; i++)
            ok = zx_arena_alloc(a, 5000) != NULL;
        zx_alloc_fail_after(-1);
        zx_arena_destroy(a);
        if (ok) break;
        assert_true(n < 100);
    }
}

static void buf_works(void **state)
{
    (void)state;
    zx_buf b = {0};
    zx_buf_reset(&b);
    zx_buf_add(&b, NULL, 0);
    assert_string_equal(b.data, "");
    for (int i = 0; i < 1000; i++) {
        zx_buf_puts(&b, "ab");
        zx_buf_putc(&b, 'c');
    }
    zx_buf_printf(&b, "%d %s", 42, "end");
    assert_int_equal(b.len, 3006);
    assert_string_equal(b.data + 2997, "abc42 end");
    assert_int_equal(strlen(b.data), b.len);
    zx_buf_reset(&b);
    assert_string_equal(b.data, "");
    zx_buf_add(&b, "x\0y", 3);
    assert_int_equal(b.len, 3);
    assert_false(zx_buf_reserve(&b, SIZE_MAX));
    assert_true(b.failed);
    zx_buf_puts(&b, "more"); /* a no-op now */
    assert_int_equal(b.len, 3);
    zx_buf_clear(&b);
    assert_false(b.failed);
    zx_buf_puts(&b, "again");
    assert_string_equal(b.data, "again");
    zx_buf_clear(&b);
}

static char logged[2048];
static int n_logged;
static void on_log(void *user, zx_log_level level, const char *line)
{
    assert_ptr_equal(user, logged);
    n_logged++;
    snprintf(logged, sizeof logged, "%d:%s", (int)level, line);
}

static void log_works(void **state)
{
    (void)state;
    zx_log(ZX_LOG_ERROR, "to nobody");
    zx_log_set(on_log, logged, ZX_LOG_WARN);
    zx_log(ZX_LOG_INFO, "too fine");
    assert_int_equal(n_logged, 0);
    zx_log(ZX_LOG_WARN, "%d of %d", 1, 2);
    assert_string_equal(logged, "1:1 of 2");
    zx_log(ZX_LOG_ERROR, "%3000d", 1);
    assert_int_equal(n_logged, 2);
    zx_log_set(NULL, NULL, ZX_LOG_DEBUG);
    zx_log(ZX_LOG_ERROR, "to nobody");
    assert_int_equal(n_logged, 2);
}

/* --- half precision ---------------------------------------------------------------------------- */
static double f16_value(uint16_t h)
{
    int e = h >> 10 & 31, m = h & 1023;
    double v = e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
    return h & 0x8000 ? -v : v;
}

static double bf16_value(uint16_t h)
{
    int e = h >> 7 & 255, m = h & 127;
    double v = e ? ldexp(128 + m, e - 134) : ldexp(m, -133);
    return h & 0x8000 ? -v : v;
}

static void half_every_value(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 65536; i++) {
        uint16_t h = (uint16_t)i;
        float f = zx_f16_to_f32(h), b = zx_bf16_to_f32(h);
        if ((h & 0x7c00) == 0x7c00) { /* infinities and NaN */
            bool ok = h & 0x3ff ? isnan(f) && (zx_f32_to_f16(f) & 0x7e00) == 0x7e00 && zx_f64_to_f16((double)f) & 0x3ff
                                : isinf(f) && zx_f32_to_f16(f) == h && zx_f64_to_f16((double)f) == h;
            if (!ok || !!signbit(f) != h >> 15) fail_msg("f16 %04x", h);
        } else if ((double)f != f16_value(h) || zx_f32_to_f16(f) != h || zx_f64_to_f16((double)f) != h) {
            fail_msg("f16 %04x: %a, back %04x %04x", h, (double)f, zx_f32_to_f16(f), zx_f64_to_f16((double)f));
        }
        if ((h & 0x7f80) == 0x7f80) {
            bool ok = h & 0x7f ? isnan(b) && (zx_f32_to_bf16(b) & 0x7fc0) == 0x7fc0 && zx_f64_to_bf16((double)b) & 0x7f
                               : isinf(b) && zx_f32_to_bf16(b) == h && zx_f64_to_bf16((double)b) == h;
            if (!ok) fail_msg("bf16 %04x", h);
        } else if ((double)b != bf16_value(h) || zx_f32_to_bf16(b) != h || zx_f64_to_bf16((double)b) != h) {
            fail_msg("bf16 %04x: %a, back %04x %04x", h, (double)b, zx_f32_to_bf16(b), zx_f64_to_bf16((double)b));
        }
    }
    assert_int_equal(zx_f32_to_bf16(zx_bits_f32(0x7f800001)), 0x7fc0); /* a payload only in the lost bits */
    assert_int_equal(zx_f64_to_f16(NAN) & 0x7e00, 0x7e00);
}

/* Around the middle between every two neighbours: below it down, on it to even, above it up. */
static void half_rounding(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 0x7c00; i++) {
        double lo = f16_value((uint16_t)i), hi = i == 0x7bff ? 65536.0 : f16_value((uint16_t)(i + 1));
        double mid = (lo + hi) / 2;
        uint16_t even = (uint16_t)(i + (i & 1));
        if (zx_f64_to_f16(mid) != even || zx_f64_to_f16(-mid) != (even | 0x8000) ||
            zx_f64_to_f16(nextafter(mid, 0)) != i || zx_f64_to_f16(nextafter(mid, 1e9)) != i + 1)
            fail_msg("f16 double after %04x", i);
        float fmid = (float)mid;
        if ((double)fmid != mid) fail_msg("f16 middle after %04x is not a float", i);
        if (zx_f32_to_f16(fmid) != even || zx_f32_to_f16(nextafterf(fmid, 0)) != i ||
            zx_f32_to_f16(-nextafterf(fmid, 1e9f)) != ((i + 1) | 0x8000))
            fail_msg("f16 float after %04x", i);
    }
    for (uint32_t i = 0; i < 0x7f80; i++) {
        double lo = bf16_value((uint16_t)i), hi = i == 0x7f7f ? 0x1p128 : bf16_value((uint16_t)(i + 1));
        double mid = (lo + hi) / 2;
        uint16_t even = (uint16_t)(i + (i & 1));
        if (zx_f64_to_bf16(mid) != even || zx_f64_to_bf16(nextafter(mid, 0)) != i ||
            zx_f64_to_bf16(-nextafter(mid, 1e300)) != ((i + 1) | 0x8000))
            fail_msg("bf16 double after %04x", i);
        float fmid = (float)mid;
        if (zx_f32_to_bf16(fmid) != even || zx_f32_to_bf16(nextafterf(fmid, 0)) != i ||
            zx_f32_to_bf16(nextafterf(fmid, INFINITY)) != i + 1)
            fail_msg("bf16 float after %04x", i);
    }
    assert_int_equal(zx_f64_to_f16(1e300), 0x7c00);
    assert_int_equal(zx_f64_to_f16(-1e-300), 0x8000);
    assert_int_equal(zx_f64_to_bf16(4.9e-324), 0);
    assert_int_equal(zx_f64_to_bf16(-1e300), 0xff80);
    /* One rounding, not two: through float this double would land on the tie. */
    assert_int_equal(zx_f64_to_f16(1.0 + 0x1p-11 + 0x1p-40), 0x3c01);
    assert_int_equal(zx_f64_to_f16((double)(float)(1.0 + 0x1p-11 + 0x1p-40)), 0x3c00);
}

static void hash_is_xxh64(void **state)
{
    (void)state;
    assert_true(zx_hash64("", 0, 0) == 0xef46db3751d8e999ull); /* published test vector */
    assert_true(zx_hash64("abc", 3, 0) == 0x44bc2cf5ad770999ull);
    assert_true(zx_hash64("abc", 3, 1) != zx_hash64("abc", 3, 0));
}

/* --- files ------------------------------------------------------------------------------------- */
static char dir[] = "/tmp/zmlx-test-XXXXXX";

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    char cmd[128];
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", dir);
    return system(cmd);
}

static void file_write_and_read(void **state)
{
    (void)state;
    zmlx_err err = {0};
    char *sub = zx_path_join(dir, "a/b//c"), *path = zx_path_join(sub, "file");
    assert_int_equal(zx_mkdirs(sub, &err), ZMLX_OK);
    assert_int_equal(zx_mkdirs(sub, &err), ZMLX_OK);
    assert_true(zx_dir_exists(sub));
    assert_false(zx_file_exists(path));
    char *data;
    size_t len;
    assert_int_equal(zx_file_read(&data, &len, path, 10, &err), ZMLX_E_NOT_FOUND);
    assert_non_null(strstr(err.msg, path));
    assert_null(data);

    assert_int_equal(zx_file_write_atomic(path, "hello", 5, &err), ZMLX_OK);
    assert_true(zx_file_exists(path));
    assert_false(zx_dir_exists(path));
    assert_int_equal(zx_file_read(&data, &len, path, 5, &err), ZMLX_OK);
    assert_int_equal(len, 5);
    assert_string_equal(data, "hello");
    zx_free(data);
    assert_int_equal(zx_file_read(&data, &len, path, 4, &err), ZMLX_E_FORMAT);
    assert_non_null(strstr(err.msg, "5 bytes"));
    assert_non_null(strstr(err.msg, "at most 4"));

    /* Replacing keeps the mode; an open map of the old contents stays what it was. */
    assert_int_equal(chmod(path, 0640), 0);
    zx_map m;
    assert_int_equal(zx_map_open(&m, path, &err), ZMLX_OK);
    assert_int_equal(zx_file_write_atomic(path, "other words", 11, &err), ZMLX_OK);
    assert_int_equal(m.size, 5);
    assert_memory_equal(m.data, "hello", 5);
    zx_map_close(&m);
    zx_map_close(&m);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_int_equal(st.st_size, 11);

    assert_int_equal(zx_file_write_atomic(path, NULL, 0, &err), ZMLX_OK);
    assert_int_equal(zx_file_read(&data, &len, path, 0, &err), ZMLX_OK);
    assert_int_equal(len, 0);
    assert_string_equal(data, "");
    zx_free(data);
    assert_int_equal(zx_map_open(&m, path, &err), ZMLX_OK);
    assert_null(m.data);
    zx_map_close(&m);
    zx_free(path);
    zx_free(sub);
}

static void file_refusals(void **state)
{
    (void)state;
    zmlx_err err = {0};
    char *data;
    size_t len;
    zx_map m;
    assert_int_equal(zx_file_read(&data, &len, dir, 1 << 20, &err), ZMLX_E_FORMAT); /* a folder */
    assert_non_null(strstr(err.msg, "not a regular file"));
    assert_int_equal(zx_map_open(&m, dir, &err), ZMLX_E_FORMAT);
    char *fifo = zx_path_join(dir, "fifo");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(zx_file_read(&data, &len, fifo, 1 << 20, &err), ZMLX_E_FORMAT); /* and does not hang */
    char *below = zx_path_join(fifo, "x");
    assert_int_equal(zx_file_read(&data, &len, below, 1, &err), ZMLX_E_NOT_FOUND);
    assert_int_equal(zx_mkdirs(below, &err), ZMLX_E_IO);
    assert_int_equal(zx_mkdirs("", &err), ZMLX_OK);

    /* A failed write leaves neither a changed target nor a temporary file. */
    char *sub = zx_path_join(dir, "target"), *cmd = zx_malloc(256);
    assert_int_equal(zx_mkdirs(sub, &err), ZMLX_OK);
    assert_int_not_equal(zx_file_write_atomic(sub, "x", 1, &err), ZMLX_OK);
    assert_true(zx_dir_exists(sub));
    snprintf(cmd, 256, "! ls '%s' | grep -q tmp", dir);
    assert_int_equal(system(cmd), 0);
    char *nowhere = zx_path_join(dir, "no/such/folder");
    assert_int_equal(zx_file_write_atomic(nowhere, "x", 1, &err), ZMLX_E_NOT_FOUND);
    zx_free(nowhere);
    zx_free(cmd);
    zx_free(sub);
    zx_free(below);
    zx_free(fifo);
}

static void paths_and_clock(void **state)
{
    (void)state;
    static const char *const row[][3] = {{"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"", "b", "b"}, {"/", "b", "/b"}};
    for (size_t i = 0; i < ZX_COUNT(row); i++) {
        char *p = zx_path_join(row[i][0], row[i][1]);
        assert_string_equal(p, row[i][2]);
        zx_free(p);
    }
    double t = zx_now();
    assert_true(zx_now() >= t);
    assert_true(zx_peak_rss() == -1 || zx_peak_rss() > 100000);
}

/* --- CPU and threads --------------------------------------------------------------------------- */
static void cpu_levels(void **state)
{
    (void)state;
    zmlx_err err = {0};
    zx_cpu_level l;
    assert_int_equal(zx_cpu_level_parse(&l, NULL, &err), ZMLX_OK);
    assert_int_equal(l, zx_cpu_best());
    assert_int_equal(zx_cpu_level_parse(&l, "", &err), ZMLX_OK);
    assert_int_equal(l, zx_cpu_best());
    assert_int_equal(zx_cpu_level_parse(&l, "scalar", &err), ZMLX_OK);
    assert_int_equal(l, ZX_CPU_SCALAR);
    assert_int_equal(zx_cpu_level_parse(&l, "avx512", &err), zx_cpu_best() == ZX_CPU_AVX512 ? ZMLX_OK : ZMLX_E_DEVICE);
    assert_int_equal(zx_cpu_level_parse(&l, "sse9", &err), ZMLX_E_ARG);
    assert_non_null(strstr(err.msg, "sse9"));
    assert_string_equal(zx_cpu_level_name(ZX_CPU_SCALAR), "scalar");
    assert_string_equal(zx_cpu_level_name(ZX_CPU_LEVELS), "?");
    char name[128];
    zx_cpu_model_name(name, sizeof name);
    assert_true(name[0] != 0);
    zx_cpu_model_name(name, 4);
    assert_true(strlen(name) < 4);
    assert_true(zx_cpu_count() >= 1);
}

typedef struct shared {
    zx_team *team;
    int rounds;
    long slot[16]; /* plain on purpose: only the barrier orders the accesses */
    long seen[16];
    _Atomic int calls;
} shared;

static void *sleeper(void *arg)
{
    (void)arg;
    usleep(3000);
    return NULL;
}

/* Everybody adds what its neighbour wrote in the round before: a barrier that lets anyone through early shows. */
static void ring(void *ctx, int i, int n)
{
    shared *s = ctx;
    s->calls++;
    for (int r = 0; r < s->rounds; r++) {
        long next = s->slot[(i + 1) % n] + 1;
        zx_team_barrier(s->team);
        s->slot[i] = next;
        zx_team_barrier(s->team);
    }
    s->seen[i] = s->slot[i];
}

static void late(void *ctx, int i, int n)
{
    shared *s = ctx;
    if (i == s->rounds % n) sleeper(NULL); /* the others go to sleep at the barrier, and the caller at the end */
    zx_team_barrier(s->team);
    if (i == n - 1) sleeper(NULL);
    s->calls++;
}

static void team_of(int n)
{
    zmlx_err err = {0};
    shared s = {0};
    assert_int_equal(zx_team_create(&s.team, n, &err), ZMLX_OK);
    assert_int_equal(zx_team_size(s.team), n);
    s.rounds = 5000; /* two barriers each */
    zx_team_run(s.team, ring, &s);
    assert_int_equal(s.calls, n);
    for (int i = 0; i < n; i++)
        assert_int_equal(s.seen[i], 5000);
    s.rounds = 1;
    for (int run = 0; run < 2000; run++)
        zx_team_run(s.team, ring, &s);
    assert_int_equal(s.calls, 2001 * n);
    for (int i = 0; i < n; i++)
        assert_int_equal(s.seen[i], 7000);
    s.calls = 0;
    for (s.rounds = 0; s.rounds < 20; s.rounds++) {
        if (s.rounds % 5 == 0) usleep(3000); /* the team goes to sleep between runs */
        zx_team_run(s.team, late, &s);
        assert_int_equal(s.calls, (s.rounds + 1) * n);
    }
    zx_team_destroy(s.team);
}

static void team_1(void **state) { (void)state, team_of(1); }
static void team_2(void **state) { (void)state, team_of(2); }
static void team_3(void **state) { (void)state, team_of(3); }
static void team_7(void **state) { (void)state, team_of(7); }

static void team_limits(void **state)
{
    (void)state;
    zmlx_err err = {0};
    zx_team *t;
    assert_int_equal(zx_team_create(&t, ZX_TEAM_MAX + 1, &err), ZMLX_E_ARG);
    assert_null(t);
    assert_int_equal(zx_team_create(&t, 0, &err), ZMLX_OK);
    assert_int_equal(zx_team_size(t), ZX_MIN(zx_cpu_count(), (int)ZX_TEAM_MAX));
    zx_team_destroy(t);
    zx_team_destroy(NULL);
    assert_int_equal(zx_team_create(&t, 4, &err), ZMLX_OK); /* destroyed without a run, asleep or not */
    zx_team_destroy(t);
}

static void *run_own_team(void *arg)
{
    (void)arg;
    team_of(2);
    return NULL;
}

static void teams_side_by_side(void **state)
{
    (void)state;
    pthread_t th[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&th[i], NULL, run_own_team, NULL), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(th[i], NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_names),
        cmocka_unit_test(status_messages),
        cmocka_unit_test(alloc_works),
        cmocka_unit_test(alloc_fails_on_request),
        cmocka_unit_test(arena_works),
        cmocka_unit_test(buf_works),
        cmocka_unit_test(log_works),
        cmocka_unit_test(half_every_value),
        cmocka_unit_test(half_rounding),
        cmocka_unit_test(hash_is_xxh64),
        cmocka_unit_test(file_write_and_read),
        cmocka_unit_test(file_refusals),
        cmocka_unit_test(paths_and_clock),
        cmocka_unit_test(cpu_levels),
        cmocka_unit_test(team_1),
        cmocka_unit_test(team_2),
        cmocka_unit_test(team_3),
        cmocka_unit_test(team_7),
        cmocka_unit_test(team_limits),
        cmocka_unit_test(teams_side_by_side),
    };
    return cmocka_run_group_tests_name("base", tests, make_dir, remove_dir);
}
