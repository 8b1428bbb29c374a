/* SPDX-License-Identifier: MIT */
/* A byte-level BPE vocabulary of any size: the 256 bytes, then all pairs and triples over 64 readable characters.  A
 * random model then prints harmless text, and any input can be encoded. */
#include "checkpoint/synth.h"

#include <string.h>

/* The file's alphabet: space is written as U+0120.  Frequent letters first, so that small vocabularies have useful
 * pairs. */
static const char *const readable[64] = {
    "e", "t", "a", "o", "i", "n", "s", "h", "r", "\xc4\xa0", "d", "l", "u", "c", "m", "w", "f", "g", "y", "p", "b", "v",
    "k", "x", "j", "q", "z", ",", ".", "T", "A", "I",        "S", "H", "W", "B", "C", "M", "F", "P", "D", "N", "E", "G",
    "L", "O", "R", "J", "Y", "U", "K", "V", "Q", "X",        "Z", "0", "1", "2", "3", "4", "5", "6", "7", "8"};

/* The character that stands for a byte: itself when printable, else the next of U+0100, U+0101, ... */
static int byte_char(unsigned byte, char out[4])
{
    unsigned code = 256, c;
    bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    if (printable)
        code = byte;
    else
        for (c = 0; c < byte; c++)
            code += !((c >= 33 && c <= 126) || (c >= 161 && c <= 172) || c >= 174);
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    out[0] = (char)(0xc0 | code >> 6);
    out[1] = (char)(0x80 | (code & 63));
    return 2;
}

static void put_quoted(zx_buf *b, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '"' || s[i] == '\\') zx_buf_putc(b, '\\');
        zx_buf_putc(b, s[i]);
    }
}

/* Text of merge number m (0-based), as its two halves: pairs first, then pair + character. */
static void merge_parts(int64_t m, char left[8], char right[4])
{
    if (m < 64 * 64) {
        strcpy(left, readable[m / 64]);
        strcpy(right, readable[m % 64]);
        return;
    }
    m -= 64 * 64;
    int64_t pair = m / 64;
    strcpy(left, readable[pair / 64]);
    strcat(left, readable[pair % 64]);
    strcpy(right, readable[m % 64]);
}

static void put_special(zx_buf *b, int64_t id, const char *text, bool last)
{
    zx_buf_printf(
        b,
        "    {\"id\": %lld, \"content\": \"%s\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, "
        "\"normalized\": false, \"special\": true}%s\n",
        (long long)id, text, last ? "" : ",");
}

/* The pre-tokenizer of Qwen2 and Qwen3, escaped for JSON. */
static const char pattern[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| "
                              "?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+";

int64_t zx_synth_tokenizer(zx_buf *out, int64_t vocab)
{
    enum { SPECIALS = 3, MAX_MERGES = 64 * 64 + 64 * 64 * 64 };
    int64_t merges = vocab - 256 - SPECIALS;
    if (merges < 0) merges = 0;
    if (merges > MAX_MERGES) merges = MAX_MERGES;
    int64_t eos = 256 + merges;
    char a[8], c[4];
    zx_buf_puts(out,
                "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": [\n");
    put_special(out, eos, "<|endoftext|>", false);
    put_special(out, eos + 1, "<|im_start|>", false);
    put_special(out, eos + 2, "<|im_end|>", true);
    zx_buf_printf(
        out,
        "  ],\n  \"normalizer\": {\"type\": \"NFC\"},\n  \"pre_tokenizer\": {\"type\": \"Sequence\", "
        "\"pretokenizers\": [\n"
        "    {\"type\": \"Split\", \"pattern\": {\"Regex\": \"%s\"}, \"behavior\": \"Isolated\", \"invert\": false},\n"
        "    {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": false, \"use_regex\": false}\n  "
        "]},\n"
        "  \"post_processor\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": false, "
        "\"use_regex\": false},\n"
        "  \"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": false, "
        "\"use_regex\": false},\n"
        "  \"model\": {\"type\": \"BPE\", \"dropout\": null, \"unk_token\": null, \"continuing_subword_prefix\": \"\", "
        "\"end_of_word_suffix\": \"\", \"fuse_unk\": false, \"byte_fallback\": false, \"ignore_merges\": false,\n"
        "  \"vocab\": {\n",
        pattern);
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[4];
        int n = byte_char(byte, text);
        zx_buf_puts(out, "    \"");
        put_quoted(out, text, (size_t)n);
        zx_buf_printf(out, "\": %u%s\n", byte, byte < 255 || merges ? "," : "");
    }
    for (int64_t m = 0; m < merges; m++) {
        merge_parts(m, a, c);
        zx_buf_printf(out, "    \"%s%s\": %lld%s\n", a, c, (long long)(256 + m), m + 1 < merges ? "," : "");
    }
    zx_buf_puts(out, "  },\n  \"merges\": [\n");
    for (int64_t m = 0; m < merges; m++) {
        merge_parts(m, a, c);
        zx_buf_printf(out, "    \"%s %s\"%s\n", a, c, m + 1 < merges ? "," : "");
    }
    zx_buf_puts(out, "  ]}\n}\n");
    return eos;
}
