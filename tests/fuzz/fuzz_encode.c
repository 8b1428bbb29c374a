/* SPDX-License-Identifier: MIT */
/* Any text through a tokenizer that knows all bytes: what comes back is the text, normalized where the tokenizer
 * does that; what is not UTF-8 is refused. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "checkpoint/tokenizer_impl.h"

#define QWEN                                                                                                           \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| "                                  \
    "?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
static const char gpt2[] = "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false}";
static const char qwen[] =
    "\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\","
    "\"pattern\":{\"Regex\":\"" QWEN "\"},\"behavior\":\"Isolated\",\"invert\":false},"
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]}";

static void put_char(zx_buf *b, int byte)
{
    char c[2];
    const int n = zx_tok_byte_char((unsigned char)byte, c);
    if (c[0] == '"' || c[0] == '\\') zx_buf_putc(b, '\\');
    zx_buf_add(b, c, (size_t)n);
}

/* 256 bytes, every pair of two of "eatZ \n", of the bytes C3 and 81, and one added token that no mark joins. */
static zx_tokenizer *make(const char *settings)
{
    static const unsigned char often[] = "eatZ \n\xc3\x81";
    zx_buf vocab = {0}, merges = {0}, all = {0};
    zx_tokenizer *t = NULL;
    for (int i = 0; i < 256; i++) {
        zx_buf_puts(&vocab, i ? ",\"" : "\"");
        put_char(&vocab, i);
        zx_buf_printf(&vocab, "\":%d", i);
    }
    for (int i = 0; i < 64; i++) {
        zx_buf_puts(&vocab, ",\"");
        put_char(&vocab, often[i / 8]);
        put_char(&vocab, often[i % 8]);
        zx_buf_printf(&vocab, "\":%d", 256 + i);
        zx_buf_puts(&merges, i ? ",[\"" : "[\"");
        put_char(&merges, often[i / 8]);
        zx_buf_puts(&merges, "\",\"");
        put_char(&merges, often[i % 8]);
        zx_buf_puts(&merges, "\"]");
    }
    zx_buf_printf(&all,
                  "{%s,\"model\":{\"vocab\":{%s},\"merges\":[%s]},\"added_tokens\":[{\"id\":400,\"content\":"
                  "\"|x|\"}]}",
                  settings, vocab.data, merges.data);
    if (zx_tokenizer_parse(&t, all.data, all.len, NULL) != ZMLX_OK) abort();
    zx_buf_clear(&vocab);
    zx_buf_clear(&merges);
    zx_buf_clear(&all);
    return t;
}

static void check(const zx_tokenizer *t, const uint8_t *data, size_t size, const uint8_t *want, size_t n)
{
    zx_ids ids = {0};
    zx_buf out = {0};
    const zmlx_status st = zx_tokenizer_encode(t, (const char *)data, size, false, &ids, NULL);
    if (st != (want ? ZMLX_OK : ZMLX_E_ARG)) abort();
    if (zx_tokenizer_decode(t, ids.id, ids.n, false, &out, NULL) != ZMLX_OK) abort();
    if (want && (out.len != n || (n && memcmp(out.data, want, n)))) abort();
    zx_ids_clear(&ids);
    zx_buf_clear(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static zx_tokenizer *plain, *normal; /* made once, kept until the end */
    static const uint8_t nothing[1];
    if (!plain) plain = make(gpt2);
    if (!normal) normal = make(qwen);
    utf8proc_uint8_t *nfc = NULL;
    const utf8proc_ssize_t n =
        utf8proc_map(size ? data : nothing, (utf8proc_ssize_t)size, &nfc, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    check(plain, data, size, n < 0 ? NULL : size ? data : nothing, size);
    check(normal, data, size, n < 0 ? NULL : nfc, n < 0 ? 0 : (size_t)n);
    free(nfc);
    return 0;
}
