/* SPDX-License-Identifier: MIT */
/* A filter for tools/golden/compare_tokenizer.py.  usage: tokenize_main DIR < requests > answers
 * Request: one letter and a count n (decimal) on a line, then a payload.
 *   E n: n bytes of text  -> line of ids;   S n: the same with special tokens
 *   D n, K n: a line of n ids -> byte count on a line, then the text (K skips special tokens) */
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/file.h"
#include "checkpoint/tokenizer.h"

static int fail(const zmlx_err *err)
{
    fprintf(stderr, "%s\n", err->msg);
    return 1;
}

static int encode(const zx_tokenizer *t, size_t n, bool special)
{
    zmlx_err err = {0};
    zx_ids ids = {0};
    char *text = zx_malloc(n + 1);
    if (!text || fread(text, 1, n, stdin) != n) return 1;
    double start = zx_now();
    if (zx_tokenizer_encode(t, text, n, special, &ids, &err) != ZMLX_OK) return fail(&err);
    if (n >= 1000000) fprintf(stderr, "%zu bytes, %lld ids: %.3f s\n", n, (long long)ids.n, zx_now() - start);
    for (int64_t i = 0; i < ids.n; i++)
        printf("%d ", (int)ids.id[i]);
    printf("\n");
    zx_free(text);
    zx_ids_clear(&ids);
    return 0;
}

static int decode(const zx_tokenizer *t, size_t n, bool skip)
{
    zmlx_err err = {0};
    zx_buf out = {0};
    int32_t *id = zx_calloc(n + 1, sizeof *id);
    if (!id) return 1;
    for (size_t i = 0; i < n; i++)
        if (scanf("%d", &id[i]) != 1) return 1;
    if (zx_tokenizer_decode(t, id, (int64_t)n, skip, &out, &err) != ZMLX_OK) return fail(&err);
    printf("%zu\n", out.len);
    fwrite(out.data, 1, out.len, stdout);
    zx_free(id);
    zx_buf_clear(&out);
    return 0;
}

int main(int argc, char **argv)
{
    zmlx_err err = {0};
    zx_tokenizer *t = NULL;
    char what;
    size_t n;
    if (argc != 2) return 2;
    double start = zx_now();
    if (zx_tokenizer_open(&t, argv[1], &err) != ZMLX_OK) return fail(&err);
    fprintf(stderr, "open: %.3f s, %lld ids\n", zx_now() - start, (long long)zx_tokenizer_size(t));
    int rc = 0;
    while (!rc && scanf(" %c %zu", &what, &n) == 2) {
        if (getchar() != '\n') rc = 2;
        if (!rc) rc = what == 'E' || what == 'S' ? encode(t, n, what == 'S') : decode(t, n, what == 'K');
    }
    zx_tokenizer_close(t);
    return rc;
}
