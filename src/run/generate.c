/* SPDX-License-Identifier: MIT */
/* Text generation: prompt by mlx-lm's split, one token per step, text as soon as it is certain. */
#include "run/model.h"
#include "run/sample.h"

#include "base/alloc.h"
#include "base/file.h"

#include <string.h>

enum { DEFAULT_TOKENS = 256 };

typedef struct gen {
    zmlx_session *session;
    const zmlx_generate_options *o;
    int64_t max_tokens;
    zmlx_stats *stats;
    zx_sampler sampler;
    double start, first;
    /* text */
    zx_detok detok;
    zx_buf pend;    /* text that the caller does not have yet */
    size_t scanned; /* how much of it was searched for stop strings */
} gen;

/* --- options ---- */

static bool is_utf8(const char *s)
{
    const unsigned char *p = (const unsigned char *)s;
    while (*p) {
        int n = *p < 0x80                 ? 0
                : *p >= 0xc2 && *p < 0xe0 ? 1
                : *p >= 0xe0 && *p < 0xf0 ? 2
                : *p >= 0xf0 && *p < 0xf5 ? 3
                                          : -1;
        if (n < 0) return false;
        unsigned lo = *p == 0xe0 ? 0xa0 : *p == 0xf0 ? 0x90 : 0x80, hi = *p == 0xed ? 0x9f : *p == 0xf4 ? 0x8f : 0xbf;
        p++;
        for (; n > 0; n--, p++, lo = 0x80, hi = 0xbf)
            if (*p < lo || *p > hi) return false;
    }
    return true;
}

static zmlx_status check_options(const zmlx_generate_options *o, zmlx_err *err)
{
    if (o->max_tokens < 0) return zx_fail(err, ZMLX_E_ARG, -1, "max_tokens %lld is negative", (long long)o->max_tokens);
    if (o->n_stop < 0 || (o->n_stop > 0 && !o->stop)) return zx_fail(err, ZMLX_E_ARG, -1, "%d stop strings", o->n_stop);
    for (int i = 0; i < o->n_stop; i++) {
        if (!o->stop[i] || !*o->stop[i]) return zx_fail(err, ZMLX_E_ARG, -1, "stop string %d is empty", i);
        if (!is_utf8(o->stop[i])) return zx_fail(err, ZMLX_E_ARG, -1, "stop string %d is not UTF-8", i);
    }
    return ZMLX_OK;
}

/* --- text ---- */

/* Hand over the first n bytes.  False when the caller wants no more. */
static bool emit(gen *g, size_t n, int32_t id)
{
    bool more = !g->o->text || g->o->text(g->o->user, g->pend.data ? g->pend.data : "", n, id);
    if (n == 0) return more;
    memmove(g->pend.data, g->pend.data + n, g->pend.len - n);
    g->pend.len -= n;
    g->pend.data[g->pend.len] = 0;
    g->scanned = g->pend.len;
    return more;
}

/* Where the text ends if a stop string is complete, else -1.  Byte by byte, so that the way in which tokens cut the
 * text makes no difference. */
static int64_t find_stop(gen *g)
{
    const zx_buf *b = &g->pend;
    for (size_t end = g->scanned + 1; end <= b->len; end++) {
        size_t longest = 0;
        for (int i = 0; i < g->o->n_stop; i++) {
            size_t n = strlen(g->o->stop[i]);
            if (n <= end && n > longest && memcmp(b->data + end - n, g->o->stop[i], n) == 0) longest = n;
        }
        if (longest) return (int64_t)(end - longest);
    }
    g->scanned = b->len;
    return -1;
}

/* Length of the longest end of the pending text that begins a stop string. */
static size_t held_back(const gen *g)
{
    const zx_buf *b = &g->pend;
    size_t held = 0;
    for (int i = 0; i < g->o->n_stop; i++) {
        size_t n = ZX_MIN(strlen(g->o->stop[i]) - 1, b->len);
        while (n > held && memcmp(b->data + b->len - n, g->o->stop[i], n) != 0)
            n--;
        held = ZX_MAX(held, n);
    }
    return held;
}

/* A token's text.  Sets stats->finish when a stop string or the caller ends the text. */
static zmlx_status put_token(gen *g, int32_t id, zmlx_err *err)
{
    zx_detok_push(&g->detok, id, &g->pend);
    if (g->pend.failed) return zx_fail(err, ZMLX_E_NOMEM, -1, "text");
    int64_t stop = find_stop(g);
    size_t n = stop >= 0 ? (size_t)stop : g->pend.len - held_back(g);
    if (!emit(g, n, id)) g->stats->finish = "cancelled";
    if (stop >= 0) {
        g->stats->finish = "stop";
        zx_buf_reset(&g->pend); /* the stop string and what came after it */
        g->detok.n_pend = 0;
    }
    return ZMLX_OK;
}

/* What was held back is text after all, unless the flush itself completes a stop string. */
static zmlx_status flush_text(gen *g, zmlx_err *err)
{
    zx_detok_finish(&g->detok, &g->pend);
    if (g->pend.failed) return zx_fail(err, ZMLX_E_NOMEM, -1, "text");
    int64_t stop = find_stop(g);
    if (stop >= 0) g->stats->finish = "stop";
    size_t n = stop >= 0 ? (size_t)stop : g->pend.len;
    if (n > 0) emit(g, n, -1);
    return ZMLX_OK;
}

/* --- tokens ---- */

static bool is_eos(const gen *g, int32_t id)
{
    const int64_t *eos;
    int n = zmlx_model_eos(g->session->model, &eos);
    for (int i = 0; i < n; i++)
        if (eos[i] == id) return true;
    return false;
}

static void count_token(gen *g)
{
    double now = zx_now();
    if (g->stats->tokens++ == 0) g->first = now;
    g->stats->first_token_seconds = g->first - g->start;
    g->stats->decode_seconds = now - g->first;
}

static zmlx_status decode(gen *g, zmlx_logits logits, zmlx_err *err)
{
    zmlx_stats *st = g->stats;
    for (;;) {
        int32_t id;
        ZX_TRY(zx_sampler_pick(&g->sampler, &logits, st->tokens, &id, err));
        count_token(g);
        if (!g->o->ignore_eos && is_eos(g, id)) {
            st->finish = "stop";
            return ZMLX_OK;
        }
        ZX_TRY(put_token(g, id, err));
        if (st->finish) return ZMLX_OK;
        if (st->tokens == g->max_tokens)
            st->finish = "length";
        else if (g->session->pos >= g->session->model->ctx)
            st->finish = "context";
        if (st->finish) return ZMLX_OK;
        ZX_TRY(zmlx_session_step(g->session, &id, 1, &logits, err));
    }
}

static zmlx_status run_prompt(gen *g, const zmlx_tokens *t, zmlx_logits *logits, zmlx_err *err)
{
    const zmlx_session *s = g->session;
    int64_t free_positions = s->model->ctx - s->pos;
    g->stats->prompt_tokens = t->n;
    if (t->n == 0) return zx_fail(err, ZMLX_E_ARG, -1, "the prompt is empty: it has no tokens");
    if (t->n > free_positions)
        return zx_fail(err, ZMLX_E_LIMIT, -1, "the prompt has %lld tokens, the context has room for %lld",
                       (long long)t->n, (long long)free_positions);
    double start = zx_now();
    zmlx_status st = zmlx_session_prompt(g->session, t->id, t->n, logits, g->o->progress, g->o->user, err);
    g->stats->prompt_seconds = zx_now() - start;
    if (st == ZMLX_E_CANCELLED) g->stats->finish = "cancelled";
    return st;
}

static zmlx_status generate(gen *g, const char *prompt, size_t len, zmlx_err *err)
{
    const zmlx_model *m = g->session->model;
    ZX_TRY(check_options(g->o, err));
    ZX_TRY(zx_sampler_init(&g->sampler, &g->o->sampling, m->dims.vocab, err));

    zmlx_tokens t = {0};
    zmlx_logits logits = {0};
    zmlx_status st = zmlx_encode(m, prompt, len, !g->o->no_special, &t, err);
    if (st == ZMLX_OK) st = run_prompt(g, &t, &logits, err);
    zmlx_tokens_clear(&t);
    if (st == ZMLX_OK) st = decode(g, logits, err);
    if (st == ZMLX_OK && strcmp(g->stats->finish, "cancelled") != 0) st = flush_text(g, err);
    return st;
}

zmlx_status zmlx_generate(zmlx_session *s, const char *prompt, size_t len, const zmlx_generate_options *options,
                          zmlx_stats *stats, zmlx_err *err)
{
    static const zmlx_generate_options defaults;
    zmlx_stats local = {0};
    gen g = {.session = s, .o = options ? options : &defaults, .stats = stats ? stats : &local, .start = zx_now()};
    *g.stats = (zmlx_stats){.peak_bytes = -1};
    g.max_tokens = g.o->max_tokens ? g.o->max_tokens : DEFAULT_TOKENS;
    zx_detok_init(&g.detok, s->model->tokenizer, false);
    zmlx_status st = generate(&g, prompt, len, err);
    zx_sampler_clear(&g.sampler);
    zx_buf_clear(&g.pend);
    g.stats->peak_bytes = zx_peak_rss();
    if (st != ZMLX_OK && st != ZMLX_E_CANCELLED) g.stats->finish = NULL;
    return st;
}
