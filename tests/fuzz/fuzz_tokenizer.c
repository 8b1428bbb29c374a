/* SPDX-License-Identifier: MIT */
/* Any bytes as tokenizer.json: refused with a message, or a tokenizer that encodes and decodes. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "checkpoint/tokenizer.h"

static const char text[] =
    "Hello  world 123\r\n\n don't <|x|> ab\xcc\xa3\xcc\x81 \xe4\xbd\xa0\xe5\xa5\xbd \xf0\x9f\x91\x8d\t ";

static void use(const zx_tokenizer *t)
{
    zx_ids ids = {0};
    zx_buf all = {0}, parts = {0};
    zx_detok d;
    if (zx_tokenizer_encode(t, text, sizeof text - 1, true, &ids, NULL) != ZMLX_OK) abort();
    zx_detok_init(&d, t, false);
    for (int64_t i = 0; i < ids.n; i++) {
        size_t len = 0;
        if (!zx_tokenizer_bytes(t, ids.id[i], &len)) abort();
        zx_detok_push(&d, ids.id[i], &parts);
    }
    zx_detok_finish(&d, &parts);
    if (zx_tokenizer_decode(t, ids.id, ids.n, false, &all, NULL) != ZMLX_OK) abort();
    if (all.len != parts.len || (all.len && memcmp(all.data, parts.data, all.len))) abort();
    zx_ids_clear(&ids);
    zx_buf_clear(&all);
    zx_buf_clear(&parts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    zmlx_err err = {0};
    zx_tokenizer *t = NULL;
    const zmlx_status st = zx_tokenizer_parse(&t, (const char *)data, size, &err);
    if ((st == ZMLX_OK) != (t != NULL)) abort();
    if (st != ZMLX_OK && (err.code != st || !err.msg[0])) abort();
    if (t) use(t);
    zx_tokenizer_close(t);
    return 0;
}
