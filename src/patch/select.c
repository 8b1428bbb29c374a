/* SPDX-License-Identifier: MIT */
/* Which patterns there are, and which of them a user asked for. */
#include "patch/patch.h"

#include "base/buf.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "patterns.inc"

enum { MAX_NAME = 31 };
static const int n_patterns = (int)ZX_COUNT(zx_patterns) - 1; /* the last entry is NULL */
_Static_assert(ZX_COUNT(zx_patterns) - 1 <= ZMLX_PATCH_MAX_PATTERNS, "zmlx_patch_result holds all patterns");

typedef uint32_t pattern_set; /* bit i: zx_patterns[i] */
_Static_assert(ZMLX_PATCH_MAX_PATTERNS <= 32, "a pattern_set holds all patterns");

/* Names for several patterns.  Those with members list them; the others are computed in preset_set. */
static const struct preset {
    const char *name;
    const char *member[4];
} presets[] = {
    {"default", {NULL}},
    {"all", {NULL}},
    {"none", {NULL}},
    {"moe_mlp", {"moe_gating", "moe_experts", "moe_combine"}},
    {"qwen3", {"moe_gating", "moe_experts", "moe_combine"}},
    {"qwen3-minimal", {"moe_gating", "moe_experts", "moe_combine"}},
};

/* Patterns of the original system that are not built: refused by name, so that nobody believes that they are on. */
static const char *const not_yet[] = {"deepseek_router", "geglu_mlp", "glm47_rope", "layernorm",
                                      "rmsnorm",         "skv_mla",   "softmax"};

const char *zmlx_fidelity_name(zmlx_fidelity f)
{
    switch (f) {
    case ZMLX_BIT_EXACT:
        return "bit-exact";
    case ZMLX_TOKEN_EXACT:
        return "token-exact";
    case ZMLX_APPROXIMATE:
        return "approximate";
    }
    return "?";
}

bool zmlx_pattern_at(int i, zmlx_pattern_info *out)
{
    if (i < 0 || i >= n_patterns) return false;
    const zx_pattern *p = zx_patterns[i];
    *out = (zmlx_pattern_info){p->name, p->doc, p->fidelity, p->max_tokens};
    return true;
}

static pattern_set pattern_named(const char *name, size_t len)
{
    for (int i = 0; i < n_patterns; i++)
        if (strlen(zx_patterns[i]->name) == len && !memcmp(zx_patterns[i]->name, name, len)) return (pattern_set)1 << i;
    return 0;
}

static pattern_set preset_set(const struct preset *p)
{
    pattern_set s = 0;
    for (int i = 0; p->member[i]; i++)
        s |= pattern_named(p->member[i], strlen(p->member[i]));
    bool all = !strcmp(p->name, "all"), dflt = !strcmp(p->name, "default");
    for (int i = 0; i < n_patterns; i++)
        if (all || (dflt && zx_patterns[i]->fidelity == ZMLX_BIT_EXACT)) s |= (pattern_set)1 << i;
    return s;
}

/* Edits (insert, delete, replace) between a word and a known name, case ignored. */
static int distance(const char *a, size_t la, const char *b)
{
    int row[MAX_NAME + 1];
    size_t lb = strlen(b);
    for (size_t j = 0; j <= lb; j++)
        row[j] = (int)j;
    for (size_t i = 1; i <= la; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= lb; j++) {
            int same = tolower((unsigned char)a[i - 1]) == tolower((unsigned char)b[j - 1]);
            int best = diagonal + !same;
            best = ZX_MIN(best, ZX_MIN(row[j], row[j - 1]) + 1);
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[lb];
}

static void consider(const char *name, const char *word, size_t len, int *best, const char **out)
{
    if (strlen(name) > MAX_NAME || len > MAX_NAME) return;
    int d = distance(word, len, name);
    if (d < *best) *best = d, *out = name;
}

static zmlx_status unknown(const char *list, const char *word, size_t len, zmlx_err *err)
{
    const char *like = NULL;
    int best = 4; /* further away is another word, not a slip */
    zx_buf known = {0};
    for (int i = 0; i < n_patterns; i++) {
        consider(zx_patterns[i]->name, word, len, &best, &like);
        zx_buf_printf(&known, "%s%s", i ? ", " : "", zx_patterns[i]->name);
    }
    for (size_t i = 0; i < ZX_COUNT(presets); i++) {
        consider(presets[i].name, word, len, &best, &like);
        zx_buf_printf(&known, "%s%s", i ? ", " : "; sets: ", presets[i].name);
    }
    zmlx_status s =
        zx_fail(err, ZMLX_E_ARG, word - list, "unknown pattern '%.*s'%s%s%s; known: %s", (int)ZX_MIN(len, 40), word,
                like ? " (did you mean '" : "", like ? like : "", like ? "'?)" : "", known.data ? known.data : "");
    zx_buf_clear(&known);
    return s;
}

/* One word of a list. */
static zmlx_status resolve(pattern_set *out, bool *none, const char *list, const char *word, size_t len, zmlx_err *err)
{
    *none = len == 4 && !memcmp(word, "none", 4);
    *out = pattern_named(word, len);
    if (*out) return ZMLX_OK;
    for (size_t i = 0; i < ZX_COUNT(presets); i++) {
        if (strlen(presets[i].name) != len || memcmp(presets[i].name, word, len)) continue;
        *out = preset_set(&presets[i]);
        return ZMLX_OK;
    }
    for (size_t i = 0; i < ZX_COUNT(not_yet); i++)
        if (strlen(not_yet[i]) == len && !memcmp(not_yet[i], word, len))
            return zx_fail(err, ZMLX_E_UNSUPPORTED, word - list, "pattern '%s': not yet", not_yet[i]);
    return unknown(list, word, len, err);
}

static zmlx_status parse(pattern_set *out, const char *what, const char *list, zmlx_err *err)
{
    *out = 0;
    int words = 0;
    bool any_none = false;
    for (const char *at = list;;) {
        size_t span = strcspn(at, ",");
        const char *word = at, *end = at + span;
        while (word < end && *word == ' ')
            word++;
        while (end > word && end[-1] == ' ')
            end--;
        if (word == end)
            return zx_fail(err, ZMLX_E_ARG, at - list, "%s: empty name in '%.80s'; 'none' stands for no pattern", what,
                           list);
        pattern_set s;
        bool none;
        ZX_TRY(resolve(&s, &none, list, word, (size_t)(end - word), err));
        *out |= s;
        any_none |= none;
        words++;
        if (!at[span]) break;
        at += span + 1;
    }
    if (any_none && words > 1)
        return zx_fail(err, ZMLX_E_ARG, 0, "%s: 'none' together with other names in '%.80s'", what, list);
    return ZMLX_OK;
}

zmlx_status zx_patch_select(const zx_pattern **out, int max, int *n, const zmlx_patch_options *o, zmlx_err *err)
{
    *n = 0;
    pattern_set with, without = 0;
    ZX_TRY(parse(&with, "patterns", o && o->patterns ? o->patterns : "default", err));
    if (o && o->exclude) ZX_TRY(parse(&without, "exclude", o->exclude, err));
    for (int i = 0; i < n_patterns; i++) {
        if (!((with & ~without) >> i & 1)) continue;
        if (*n == max) return zx_fail(err, ZMLX_E_LIMIT, -1, "more than %d patterns", max);
        out[(*n)++] = zx_patterns[i];
    }
    return ZMLX_OK;
}
