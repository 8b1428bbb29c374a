/* SPDX-License-Identifier: MIT */
/* The pre-tokenizer patterns we know.  A file names its pattern in the dialect of another engine; we never
 * run the file's text but our own form of it for PCRE2, which differs where the engines do: PCRE2's \s
 * also takes U+180E, so white space is spelled out.  Each form is linear: at one position at most one run
 * is scanned forth and back, and the run is then consumed by at most three matches. */
#include "checkpoint/tokenizer_impl.h"

#include <string.h>

#include "base/alloc.h"

#define SP          "\\x09-\\x0d\\x{85}\\p{Z}" /* Unicode White_Space, inside a class */
#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPACES      "[" SP "]*[\\r\\n]+|[" SP "]+(?![^" SP "])|[" SP "]+"
#define WORD        "[^\\r\\n\\p{L}\\p{N}]?"
#define OTHER       " ?[^" SP "\\p{L}\\p{N}]+[\\r\\n]*"
#define OTHER_M     " ?[^" SP "\\p{L}\\p{M}\\p{N}]+[\\r\\n]*"

static const char gpt2[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" SP "\\p{L}\\p{N}]+|[" SP "]+(?![^" SP "])|[" SP "]+";
static const char qwen2[] = CONTRACTION "|" WORD "\\p{L}+|\\p{N}|" OTHER "|" SPACES;
static const char qwen35[] = CONTRACTION "|" WORD "[\\p{L}\\p{M}]+|\\p{N}|" OTHER_M "|" SPACES;
static const char llama3[] = CONTRACTION "|" WORD "\\p{L}+|\\p{N}{1,3}|" OTHER "|" SPACES;

/* The contractions written out by case match no U+017F, unlike (?i:'s). */
#define UPLOW "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
static const char qwen2_uplow[] = UPLOW "|" WORD "\\p{L}+|\\p{N}|" OTHER "|" SPACES;
static const char llama3_uplow[] = UPLOW "|" WORD "\\p{L}+|\\p{N}{1,3}|" OTHER "|" SPACES;

#define FILE_TAIL " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
static const struct {
    const char *spelling, *ours;
} known[] = {
    {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", gpt2},
    {CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|" FILE_TAIL, qwen2},
    {CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|"
                 "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     qwen35},
    {CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|" FILE_TAIL, llama3},
    {UPLOW "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|" FILE_TAIL, qwen2_uplow},
    {UPLOW "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|" FILE_TAIL, llama3_uplow},
};

const char *zx_tok_pattern_find(const char *spelling)
{
    for (size_t i = 0; i < ZX_COUNT(known); i++)
        if (!strcmp(known[i].spelling, spelling)) return known[i].ours;
    return NULL;
}

const char *zx_tok_pattern_gpt2(void) { return gpt2; }

static void *pattern_malloc(size_t n, void *user)
{
    (void)user;
    return zx_malloc(n);
}

static void pattern_free(void *p, void *user)
{
    (void)user;
    zx_free(p);
}

zmlx_status zx_tok_pattern_compile(zx_tokenizer *t, const char *pattern, zmlx_err *err)
{
    int code = 0;
    PCRE2_SIZE at = 0;
    t->gctx = pcre2_general_context_create(pattern_malloc, pattern_free, NULL);
    pcre2_compile_context *cctx = t->gctx ? pcre2_compile_context_create(t->gctx) : NULL;
    if (!cctx) return zx_fail(err, ZMLX_E_NOMEM, -1, "tokenizer: pre-tokenizer pattern");
    /* Anchored: every position of a text starts a match, so there is nothing to search for. */
    t->pattern = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED,
                               &code, &at, cctx);
    pcre2_compile_context_free(cctx);
    if (!t->pattern)
        return zx_fail(err, code == PCRE2_ERROR_HEAP_FAILED ? ZMLX_E_NOMEM : ZMLX_E_FAIL, -1,
                       "tokenizer: pre-tokenizer pattern: error %d of PCRE2 at %zu", code, (size_t)at);
    (void)pcre2_jit_compile(t->pattern, PCRE2_JIT_COMPLETE); /* without it the interpreter does the work */
    return ZMLX_OK;
}
