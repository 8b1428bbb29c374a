/* SPDX-License-Identifier: MIT */
/* A temporary folder for one test program, and small checkpoints in it. */
#ifndef ZX_TESTS_SCRATCH_H
#define ZX_TESTS_SCRATCH_H

#include <ftw.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wunused-function"
#endif

static char scratch_root[256];

static int scratch_remove(const char *path, const struct stat *st, int type, struct FTW *f)
{
    (void)st, (void)type, (void)f;
    return remove(path);
}

/* Begin with an empty folder; the former one, if any, is removed. */
static void scratch_reset(void)
{
    if (scratch_root[0]) nftw(scratch_root, scratch_remove, 16, FTW_DEPTH | FTW_PHYS);
    const char *tmp = getenv("TMPDIR");
    snprintf(scratch_root, sizeof scratch_root, "%s/zmlx-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(scratch_root)) abort();
}

static void scratch_end(void)
{
    if (scratch_root[0]) nftw(scratch_root, scratch_remove, 16, FTW_DEPTH | FTW_PHYS);
    scratch_root[0] = 0;
}

/* The path of a file in it; the text lives until the eighth call from now. */
static const char *scratch_path(const char *name)
{
    static char path[8][768];
    static int k;
    k = (k + 1) % 8;
    snprintf(path[k], sizeof path[k], "%s%s%s", scratch_root, *name ? "/" : "", name);
    return path[k];
}

static void scratch_mkdir(const char *name)
{
    char path[768];
    snprintf(path, sizeof path, "%s/%s", scratch_root, name);
    for (char *p = path + strlen(scratch_root) + 1;; p++) {
        if (*p && *p != '/') continue;
        const char end = *p;
        *p = 0;
        mkdir(path, 0777);
        *p = end;
        if (!end) break;
    }
}

static void scratch_write(const char *name, const void *data, size_t n)
{
    FILE *f = fopen(scratch_path(name), "wb");
    if (!f || fwrite(data, 1, n, f) != n || fclose(f)) abort();
}

static void scratch_puts(const char *name, const char *text) { scratch_write(name, text, strlen(text)); }

/* A safetensors image: length, header, then n bytes 0, 1, 2, ...  Released with free. */
static uint8_t *scratch_image(const char *header, size_t n, size_t *size)
{
    const size_t len = strlen(header);
    *size = 8 + len + n;
    uint8_t *p = malloc(*size);
    if (!p) abort();
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)((uint64_t)len >> (8 * i));
    memcpy(p + 8, header, len);
    for (size_t i = 0; i < n; i++)
        p[8 + len + i] = (uint8_t)i;
    return p;
}

static void scratch_safetensors(const char *name, const char *header, size_t n)
{
    size_t size;
    uint8_t *p = scratch_image(header, n, &size);
    scratch_write(name, p, size);
    free(p);
}

#endif
