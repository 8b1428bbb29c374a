/* SPDX-License-Identifier: MIT */
/* Is a patched plan the same model, and is it faster?  Both plans decode the same prompt in turn; every run is compared
 * with the first stock run, token by token and digest by digest. */
#include "run/model.h"
#include "run/sample.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

enum { DEFAULT_TOKENS = 200, DEFAULT_RUNS = 3, MAX_RUNS = 1000, WARM_TOKENS = 5 };

static const char default_prompt[] =
    "A lighthouse keeper writes a letter to the engineer who will replace him. He describes the lamp and its "
    "clockwork, "
    "the wells of oil in the cellar, and the stairs that must be counted in the dark. He explains how fog changes the "
    "sound of the horn, why the logbook is kept in two copies, and which of the shutters jams in an easterly wind. "
    "Then "
    "he comes to the part that no manual covers: how to tell, from the way the birds settle on the rail, that a storm "
    "is "
    "on its way, and what has to be done in the hour before it arrives. The letter continues:";

/* The tokens of one run and the digests of the logits they were chosen from. */
typedef struct trace {
    int32_t *id;
    uint64_t *digest;
    double *margin; /* of stock run 0 only, else NULL */
} trace;

typedef struct validation {
    const zmlx_validate_options *o;
    zmlx_validate_report *r;
    zmlx_session *session[2]; /* stock, patched */
    zmlx_tokens prompt;
    trace base, now;
    double *prefill[2], *decode[2]; /* tokens per second per run */
    int64_t done, all;              /* tokens, for progress */
    bool base_known;
} validation;

/* --- one run ---- */

static bool keep_on(void *user, int64_t done, int64_t total)
{
    validation *v = user;
    (void)done, (void)total; /* chunks of a prompt: only a chance to stop */
    return !v->o->progress || v->o->progress(v->o->user, v->done, v->all);
}

static zmlx_status count_token(validation *v, zmlx_err *err)
{
    v->done++;
    if (keep_on(v, 0, 0)) return ZMLX_OK;
    return zx_fail(err, ZMLX_E_CANCELLED, -1, "cancelled after %lld of %lld tokens", (long long)v->done,
                   (long long)v->all);
}

static void note_logits(const zmlx_logits *l, trace *t, int64_t i)
{
    t->digest[i] = zx_hash64(l->data, (size_t)l->vocab * zmlx_dtype_size(l->dtype), 0);
    if (t->margin) t->margin[i] = zx_logits_margin(l);
}

/* Prompt and n greedy tokens.  The clock stands still while digests are made and the caller is asked. */
static zmlx_status run_once(validation *v, int kind, int64_t n, trace *t, double seconds[2], zmlx_err *err)
{
    zmlx_session *s = v->session[kind];
    zmlx_logits l;
    zmlx_session_reset(s);
    double start = zx_now();
    ZX_TRY(zmlx_session_prompt(s, v->prompt.id, v->prompt.n, &l, keep_on, v, err));
    ZX_TRY(zx_logits_argmax(&l, 0, &t->id[0], err));
    seconds[0] = zx_now() - start;
    seconds[1] = 0;
    for (int64_t i = 0;;) {
        note_logits(&l, t, i);
        ZX_TRY(count_token(v, err));
        if (++i == n) return ZMLX_OK;
        start = zx_now();
        ZX_TRY(zmlx_session_step(s, &t->id[i - 1], 1, &l, err));
        ZX_TRY(zx_logits_argmax(&l, i, &t->id[i], err));
        seconds[1] += zx_now() - start;
    }
}

/* --- comparison with stock run 0 ---- */

static void compare(validation *v, int kind, int run)
{
    zmlx_validate_report *r = v->r;
    const trace *a = &v->base, *b = &v->now;
    int64_t n = r->max_tokens, same = 0, bits = 0;
    while (same < n && a->id[same] == b->id[same])
        same++;
    while (bits < n && a->digest[bits] == b->digest[bits])
        bits++;
    if (kind) {
        r->matched += same;
        r->total += n;
    } else if (same < n || bits < n) {
        r->stock_repeats = false;
    }
    if (bits < n) {
        r->logits_identical = false;
        if (r->diverged_logits_step < 0 || bits < r->diverged_logits_step) r->diverged_logits_step = bits;
    }
    if (same == n || r->diverged_token >= 0) return;
    r->diverged_patched = kind;
    r->diverged_run = run;
    r->diverged_token = same;
    r->diverged_ids[0] = a->id[same];
    r->diverged_ids[1] = b->id[same];
    r->diverged_margin = a->margin[same];
}

static zmlx_status timed_run(validation *v, int kind, int run, int order, zmlx_err *err)
{
    zmlx_validate_report *r = v->r;
    trace *t = v->base_known ? &v->now : &v->base;
    double seconds[2];
    ZX_TRY(run_once(v, kind, r->max_tokens, t, seconds, err));
    v->prefill[kind][run] = seconds[0] > 0 ? (double)v->prompt.n / seconds[0] : 0;
    v->decode[kind][run] = seconds[1] > 0 ? (double)(r->max_tokens - 1) / seconds[1] : 0;
    if (v->base_known) compare(v, kind, run);
    v->base_known = true;
    zmlx_validate_run raw = {.patched = kind,
                             .run = run,
                             .order = order,
                             .prompt_seconds = seconds[0],
                             .decode_seconds = seconds[1],
                             .ids = t->id,
                             .digest = t->digest,
                             .n = r->max_tokens};
    if (v->o->run) v->o->run(v->o->user, &raw);
    return ZMLX_OK;
}

/* --- summary ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n) /* sorts x */
{
    qsort(x, (size_t)n, sizeof *x, by_value);
    return n & 1 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

/* Patterns that rewrote something and promise equal bits, all of them. */
static bool all_bit_exact(const zmlx_patch_result *p)
{
    zmlx_pattern_info info;
    for (int i = 0; i < p->n; i++)
        for (int j = 0; p->pattern[i].matched > 0 && zmlx_pattern_at(j, &info); j++)
            if (!strcmp(info.name, p->pattern[i].name) && info.fidelity != ZMLX_BIT_EXACT) return false;
    return true;
}

static void summarize(validation *v)
{
    zmlx_validate_report *r = v->r;
    for (int i = 0; i < r->runs; i++) {
        double gain = v->decode[0][i] > 0 ? v->decode[1][i] / v->decode[0][i] : 0;
        if (i == 0 || gain < r->decode_gain_low) r->decode_gain_low = gain;
        if (i == 0 || gain > r->decode_gain_high) r->decode_gain_high = gain;
    }
    for (int k = 0; k < 2; k++) {
        r->prefill_tps[k] = median(v->prefill[k], r->runs);
        r->decode_tps[k] = median(v->decode[k], r->runs);
    }
    if (r->decode_tps[0] > 0) r->decode_gain = r->decode_tps[1] / r->decode_tps[0];
    r->peak_bytes = zx_peak_rss();
    r->bit_exact = all_bit_exact(&r->patch);
    r->pass = r->matched == r->total && r->stock_repeats && (!r->bit_exact || r->logits_identical);
}

/* --- setting up ---- */

static zmlx_status read_options(validation *v, zmlx_err *err)
{
    const zmlx_validate_options *o = v->o;
    zmlx_validate_report *r = v->r;
    *r = (zmlx_validate_report){.diverged_run = -1,
                                .diverged_token = -1,
                                .diverged_logits_step = -1,
                                .peak_bytes = -1,
                                .logits_identical = true,
                                .stock_repeats = true};
    r->max_tokens = o->max_tokens ? o->max_tokens : DEFAULT_TOKENS;
    r->runs = o->runs ? o->runs : DEFAULT_RUNS;
    if (r->max_tokens < 1) return zx_fail(err, ZMLX_E_ARG, -1, "max_tokens %lld is negative", (long long)r->max_tokens);
    if (r->runs < 1 || r->runs > MAX_RUNS)
        return zx_fail(err, ZMLX_E_ARG, -1, "runs %d is outside 1 .. %d", r->runs, MAX_RUNS);
    return ZMLX_OK;
}

static zmlx_status read_prompt(validation *v, zmlx_model *m, zmlx_err *err)
{
    const char *text = v->o->prompt ? v->o->prompt : default_prompt;
    int64_t n = v->r->max_tokens;
    ZX_TRY(zmlx_encode(m, text, strlen(text), true, &v->prompt, err));
    v->r->prompt_tokens = v->prompt.n;
    if (v->prompt.n == 0) return zx_fail(err, ZMLX_E_ARG, -1, "the prompt is empty: it has no tokens");
    if (v->prompt.n > m->ctx || n - 1 > m->ctx - v->prompt.n)
        return zx_fail(err, ZMLX_E_LIMIT, -1, "%lld prompt tokens and %lld to decode do not fit in a context of %lld",
                       (long long)v->prompt.n, (long long)n, (long long)m->ctx);
    return ZMLX_OK;
}

static bool trace_alloc(trace *t, int64_t n, bool margin)
{
    t->id = zx_calloc((size_t)n, sizeof *t->id);
    t->digest = zx_calloc((size_t)n, sizeof *t->digest);
    t->margin = margin ? zx_calloc((size_t)n, sizeof *t->margin) : NULL;
    return t->id && t->digest && (t->margin || !margin);
}

static zmlx_status prepare(validation *v, zmlx_model *m, zmlx_err *err)
{
    bool ok = trace_alloc(&v->base, v->r->max_tokens, true) && trace_alloc(&v->now, v->r->max_tokens, false);
    for (int k = 0; k < 2; k++) {
        v->prefill[k] = zx_calloc((size_t)v->r->runs, sizeof(double));
        v->decode[k] = zx_calloc((size_t)v->r->runs, sizeof(double));
        ok = ok && v->prefill[k] && v->decode[k];
    }
    if (!ok) return zx_fail(err, ZMLX_E_NOMEM, -1, "results of %d runs", 2 * v->r->runs);
    ZX_TRY(zmlx_model_patch(m, &v->o->patch, &v->r->patch, err));
    for (int k = 0; k < 2; k++) {
        zmlx_session_options so = {.threads = v->o->threads, .cpu_level = v->o->cpu_level, .stock = k == 0};
        ZX_TRY(zmlx_session_create(&v->session[k], m, &so, err));
    }
    v->r->threads = zx_team_size(v->session[0]->team);
    return ZMLX_OK;
}

static zmlx_status run_all(validation *v, zmlx_err *err)
{
    int runs = v->r->runs;
    int64_t warm = ZX_MIN(v->r->max_tokens, WARM_TOKENS);
    double unused[2];
    v->all = 2 * (warm + runs * v->r->max_tokens);
    for (int kind = 0; kind < 2; kind++)
        ZX_TRY(run_once(v, kind, warm, &v->now, unused, err));
    for (int order = 0; order < 2 * runs; order++) { /* A B, B A, A B, ...: drift hits both kinds alike */
        int pair = order / 2, kind = (order ^ pair) & 1;
        ZX_TRY(timed_run(v, kind, pair, order, err));
    }
    summarize(v);
    return ZMLX_OK;
}

static void release(validation *v)
{
    for (int k = 0; k < 2; k++) {
        zmlx_session_destroy(v->session[k]);
        zx_free(v->prefill[k]);
        zx_free(v->decode[k]);
    }
    trace *const all[] = {&v->base, &v->now};
    for (size_t i = 0; i < ZX_COUNT(all); i++) {
        zx_free(all[i]->id);
        zx_free(all[i]->digest);
        zx_free(all[i]->margin);
    }
    zmlx_tokens_clear(&v->prompt);
}

zmlx_status zmlx_validate(zmlx_model *m, const zmlx_validate_options *options, zmlx_validate_report *report,
                          zmlx_err *err)
{
    static const zmlx_validate_options defaults;
    validation v = {.o = options ? options : &defaults, .r = report};
    ZX_TRY(read_options(&v, err));

    /* The caller's patched plan is put aside, not retired: the model is afterwards what it was. */
    zx_plan *saved = m->patched;
    m->patched = NULL;
    zmlx_status st = read_prompt(&v, m, err);
    if (st == ZMLX_OK) st = prepare(&v, m, err);
    if (st == ZMLX_OK) st = run_all(&v, err);
    release(&v);
    zx_plan_destroy(m->patched);
    m->patched = saved;
    return st;
}
