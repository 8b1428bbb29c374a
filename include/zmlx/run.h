/* SPDX-License-Identifier: MIT */
/* Running models: sessions, sampling, text generation, validation of a patch, the bandwidth probe. */
#ifndef ZMLX_RUN_H
#define ZMLX_RUN_H

#include "zmlx/patch.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One mutable timeline of a model: caches and a thread team.  A session is single-threaded for its caller. */
typedef struct zmlx_session zmlx_session;

/* Zero-initialise. */
typedef struct zmlx_session_options {
    int threads; /* default: one per CPU this process may use, fewer for a model that reads less than 8 MB per token and
                    thread.  Results do not depend on it */
    const char *cpu_level; /* "scalar", "avx512"; default: the best.  Results do not depend on it */
    bool stock;            /* run the stock plan even where the model is patched */
} zmlx_session_options;

/* The session keeps `m`, which must outlive it, and uses the plan that m has now.  The first session of a model makes
 * the weights' pages present when they fit in 80 % of the available memory (seconds on a cold disk), so that decoding
 * starts at full speed. */
ZMLX_API zmlx_status zmlx_session_create(zmlx_session **out, zmlx_model *m, const zmlx_session_options *options,
                                         zmlx_err *err);
ZMLX_API void zmlx_session_destroy(zmlx_session *s);           /* NULL is fine */
ZMLX_API void zmlx_session_reset(zmlx_session *s);             /* forget the sequence */
ZMLX_API int64_t zmlx_session_position(const zmlx_session *s); /* tokens consumed so far */

/* Logits of the last token of a step: `vocab` numbers of `dtype`, owned by the session, valid until its next call. */
typedef struct zmlx_logits {
    const void *data;
    zmlx_dtype dtype;
    int64_t vocab;
} zmlx_logits;

/* Consume a prompt: all but its last token by the prefill plan in chunks, the last by the decode plan, whose logits
 * come back (mlx-lm's split).  n >= 1.  ZMLX_E_LIMIT when position + n exceeds the context (both numbers in the
 * message), ZMLX_E_ARG for an id outside the vocabulary; the session is unchanged then.  `progress` (may be NULL) is
 * called after each chunk and may return false to stop (ZMLX_E_CANCELLED; the session is reset). */
typedef bool zmlx_progress_fn(void *user, int64_t done, int64_t total);
ZMLX_API zmlx_status zmlx_session_prompt(zmlx_session *s, const int32_t *ids, int64_t n, zmlx_logits *logits,
                                         zmlx_progress_fn *progress, void *user, zmlx_err *err);
/* Consume n (1 to 8) tokens by the decode plan; `logits` (an array of n, may be NULL) receives those of each. */
ZMLX_API zmlx_status zmlx_session_step(zmlx_session *s, const int32_t *ids, int64_t n, zmlx_logits *logits,
                                       zmlx_err *err);

/* --- sampling ---- */
/* Zero-initialise: zero is greedy.  Filters act in mlx-lm's order (top_p, min_p, top_k) on untempered probabilities. */
typedef struct zmlx_sampling {
    float temperature; /* 0 = greedy: the highest logit, lowest id on ties; filters are refused then (ZMLX_E_ARG) */
    float top_p;       /* 0 or >= 1 = off */
    float min_p;       /* 0 = off */
    int64_t top_k;     /* 0 = off */
    uint64_t seed;     /* the same seed, logits and settings give the same tokens on every machine */
} zmlx_sampling;

/* --- text generation ---- */
typedef struct zmlx_stats {
    int64_t prompt_tokens;
    int64_t tokens;             /* sampled, an end-of-text token included */
    double prompt_seconds;      /* to the first token's logits */
    double decode_seconds;      /* from the first token to the last: tokens - 1 steps */
    double first_token_seconds; /* from the call to the first token, tokenization included */
    int64_t peak_bytes;         /* resident memory of the process at its highest; -1 unknown */
    const char
        *finish; /* "stop" (eos or stop string), "length", "context" (it is full), "cancelled"; NULL on failure */
} zmlx_stats;

typedef struct zmlx_generate_options {
    zmlx_sampling sampling;
    int64_t max_tokens; /* default 256; exactly this many unless something else ends the text */
    bool ignore_eos;
    bool no_special;         /* do not add the tokenizer's BOS */
    const char *const *stop; /* stop strings (UTF-8, not empty): the text ends before the one that is complete first */
    int n_stop;
    /* Called once per token (never for an end-of-text token) with the text that is certain now: whole code points, not
     * the possible start of a stop string, maybe none.  A final flush has id -1.  Return false to stop ("cancelled").
     */
    bool (*text)(void *user, const char *text, size_t len, int32_t id);
    zmlx_progress_fn *progress;
    void *user;
} zmlx_generate_options;

/* Encode, prefill, decode, stream.  The session continues from where it is; the last token sampled is not consumed by
 * it yet.  ZMLX_E_LIMIT when the prompt does not fit in the context, ZMLX_E_ARG for options out of range and prompts
 * that are empty or not UTF-8, ZMLX_E_FAIL for logits that are not numbers, ZMLX_E_CANCELLED when `progress` stopped
 * it. */
ZMLX_API zmlx_status zmlx_generate(zmlx_session *s, const char *prompt, size_t len,
                                   const zmlx_generate_options *options, zmlx_stats *stats, zmlx_err *err);

/* --- validation ---- */
/* Raw results of one run; the pointers are valid during the call that reports them. */
typedef struct zmlx_validate_run {
    bool patched;
    int run, order;                        /* 0.. within its kind; place in the sequence of all runs */
    double prompt_seconds, decode_seconds; /* the latter: n - 1 steps, without the time for digests */
    const int32_t *ids;                    /* the n tokens chosen */
    const uint64_t *digest;                /* XXH64 of the logits that each was chosen from */
    int64_t n;
} zmlx_validate_run;

/* Zero-initialise. */
typedef struct zmlx_validate_options {
    const char *prompt; /* default: a built-in paragraph */
    int64_t max_tokens; /* default 200 */
    int runs;           /* timed runs of each kind, interleaved; default 3 */
    int threads;
    const char *cpu_level;
    zmlx_patch_options patch;
    zmlx_progress_fn *progress;                          /* tokens of all runs; false stops (ZMLX_E_CANCELLED) */
    void (*run)(void *user, const zmlx_validate_run *r); /* after each run */
    void *user;
} zmlx_validate_options;

typedef struct zmlx_validate_report {
    zmlx_patch_result patch;
    int64_t prompt_tokens, max_tokens;
    int runs, threads;      /* threads that each session used */
    int64_t matched, total; /* tokens of the patched runs before they leave stock run 0, and all of them */
    bool logits_identical;  /* digests of all logits of all steps of all runs */
    bool stock_repeats;     /* all stock runs gave the tokens and digests of stock run 0 */
    bool bit_exact;         /* all patterns that matched are of class bit-exact: pass needs identical logits */
    /* The first divergence from stock run 0, if any: which run and token, what stock run 0 and this run chose, the gap
     * between the two highest logits of stock run 0 there. */
    bool diverged_patched;                /* false: a stock run, the machine or the library is not deterministic */
    int64_t diverged_run, diverged_token; /* -1 = none */
    int32_t diverged_ids[2];
    double diverged_margin;
    int64_t diverged_logits_step;         /* first step whose logits differ in any bit, -1 = none */
    double prefill_tps[2], decode_tps[2]; /* medians; [0] stock, [1] patched */
    double decode_gain; /* decode_tps[1] / decode_tps[0], as measured; 0 when there was no decode step to time */
    double decode_gain_low, decode_gain_high; /* range of patched/stock over the pairs of neighbouring runs */
    int64_t peak_bytes;
    bool pass; /* all tokens equal, stock repeats, and with bit_exact all logits identical */
} zmlx_validate_report;

/* Decode the same prompt with the stock and the patched plan, alternating (A B B A ...), in this process and over the
 * same weights; compare tokens and digests of logits of every step of every run.  Returns ZMLX_OK when the comparison
 * ran (see report->pass), else why it could not.  The model's plan is afterwards what it was. */
ZMLX_API zmlx_status zmlx_validate(zmlx_model *m, const zmlx_validate_options *options, zmlx_validate_report *report,
                                   zmlx_err *err);

/* --- probes ---- */
/* Read bandwidth in bytes per second: one sequential stream per thread (0 = one per CPU) over the first `bytes` (0 = 2
 * GiB) of the model's mapped files, all of it if it is smaller, or with NULL over as much anonymous memory; the best of
 * `rounds` (0 = 5) after one that touches every page.  What fits in a cache is measured in that cache. */
ZMLX_API zmlx_status zmlx_probe_bandwidth(const zmlx_model *m, int threads, uint64_t bytes, int rounds, double *out,
                                          zmlx_err *err);

typedef struct zmlx_machine {
    char cpu[128];
    int cpus;                              /* this process may use */
    const char *cpu_level;                 /* best level of this machine */
    int64_t memory_bytes, available_bytes; /* -1 unknown */
} zmlx_machine;
ZMLX_API void zmlx_machine_info(zmlx_machine *out);

#ifdef __cplusplus
}
#endif
#endif
