/* SPDX-License-Identifier: MIT */
/* zmlx generate: continue a text. */
#include "common.h"
#include "json.h"
#include "term.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct options {
    cli_common common;
    const char *prompt, *file;
    int64_t max_tokens, top_k;
    double temp, top_p, min_p;
    uint64_t seed;
    cli_list stop;
    bool ignore_eos, no_special;
} options;

/* clang-format off */
static const cli_option rows[] = {
    {CLI_TEXT, "prompt", 'p', "TEXT", offsetof(options, prompt), NULL, 0, 0, "the text to continue"},
    {CLI_TEXT, "file", 'f', "FILE", offsetof(options, file), NULL, 0, 0, "read it from a file, - is standard input; at most 64 MiB"},
    {CLI_INT, "max-tokens", 'n', "N", offsetof(options, max_tokens), "256", 1, 1e9, "stop after N tokens"},
    {CLI_REAL, "temp", 0, "X", offsetof(options, temp), "0", 0, 1e6, "temperature; 0 takes the most likely token each time"},
    {CLI_REAL, "top-p", 0, "X", offsetof(options, top_p), "1", 0, 1, "keep the most likely tokens that make up X; 0 and 1 = off"},
    {CLI_REAL, "min-p", 0, "X", offsetof(options, min_p), "0", 0, 1, "keep tokens at least X times as likely as the first; 0 = off"},
    {CLI_INT, "top-k", 0, "N", offsetof(options, top_k), "0", 0, 1e9, "keep the N most likely tokens; 0 = off"},
    {CLI_U64, "seed", 0, "N", offsetof(options, seed), "0", 0, 0, "the same seed gives the same text on every machine; --temp 0 needs none"},
    {CLI_LIST, "stop", 0, "TEXT", offsetof(options, stop), NULL, 0, 0, "end before this text; may be given up to 64 times"},
    {CLI_FLAG, "ignore-eos", 0, NULL, offsetof(options, ignore_eos), NULL, 0, 0, "go on after an end-of-text token"},
    {CLI_FLAG, "no-special", 0, NULL, offsetof(options, no_special), NULL, 0, 0, "do not add the tokenizer's own begin-of-text token"},
    CLI_ROW_CTX(options),
    CLI_ROWS_PATCH(options),
    CLI_ROWS_RUN(options),
    CLI_ROW_JSON(options),
    CLI_ROW_QUIET(options),
    {.kind = CLI_END},
};
/* clang-format on */

typedef struct output {
    const options *o;
    cli_bar bar;
    json_t *text; /* pieces, with --json */
    json_t *ids;
    bool failed, newline;
} output;

static bool on_text(void *user, const char *text, size_t len, int32_t id)
{
    output *out = user;
    cli_bar_clear(&out->bar);
    if (out->o->common.json) {
        if (id >= 0) json_array_append_new(out->ids, json_integer(id));
        if (len > 0) json_array_append_new(out->text, json_stringn(text, len));
    } else if (len > 0) {
        out->failed = !cli_put(text, len);
        out->newline = text[len - 1] == '\n';
    }
    return !out->failed && !cli_interrupted();
}

static bool on_progress(void *user, int64_t done, int64_t total)
{
    output *out = user;
    cli_bar_update(&out->bar, done, total);
    return !cli_interrupted();
}

static double rate(int64_t n, double seconds) { return n > 0 && seconds > 0 ? (double)n / seconds : 0; }

static void print_stats(const zmlx_stats *st)
{
    char peak[32];
    fprintf(stderr, "prompt       %lld tokens, %.1f tok/s\n", (long long)st->prompt_tokens,
            rate(st->prompt_tokens, st->prompt_seconds));
    fprintf(stderr, "first token  %.3f s\n", st->first_token_seconds);
    fprintf(stderr, "decode       %lld tokens, %.2f tok/s\n", (long long)st->tokens,
            rate(st->tokens - 1, st->decode_seconds));
    fprintf(stderr, "peak memory  %s\n", cli_bytes(peak, sizeof peak, (double)st->peak_bytes));
    fprintf(stderr, "finish       %s\n", st->finish);
}

static json_t *joined(const json_t *pieces)
{
    size_t n = 0, i;
    json_t *p;
    json_array_foreach(pieces, i, p) n += json_string_length(p);
    char *all = malloc(n + 1), *o = all;
    if (!all) return NULL;
    json_array_foreach(pieces, i, p)
    {
        memcpy(o, json_string_value(p), json_string_length(p));
        o += json_string_length(p);
    }
    json_t *j = json_stringn(all, n);
    free(all);
    return j;
}

static json_t *sampling_json(const options *o)
{
    json_t *s = json_object();
    json_object_set_new(s, "temperature", cli_json_real(o->temp));
    json_object_set_new(s, "top_p", cli_json_real(o->top_p));
    json_object_set_new(s, "min_p", cli_json_real(o->min_p));
    json_object_set_new(s, "top_k", json_integer(o->top_k));
    char seed[24]; /* as text: JSON numbers of other programs end at 2^53 */
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)o->seed);
    json_object_set_new(s, "seed", json_string(seed));
    return s;
}

static bool print_json(const output *out, const zmlx_model *m, const zmlx_patch_result *patch, const zmlx_stats *st)
{
    json_t *d = cli_json_document("zmlx.generate");
    json_object_set_new(d, "model", cli_json_model(m));
    json_object_set_new(d, "machine", cli_json_machine());
    json_object_set_new(d, "patterns", cli_json_patch(patch));
    json_object_set_new(d, "sampling", sampling_json(out->o));
    json_object_set_new(d, "text", joined(out->text));
    json_object_set(d, "tokens", out->ids);
    json_object_set_new(d, "finish", cli_json_text(st->finish));
    json_object_set_new(d, "prompt_tokens", json_integer(st->prompt_tokens));
    json_object_set_new(d, "generated_tokens", json_integer(st->tokens));
    json_object_set_new(d, "prompt_seconds", cli_json_real(st->prompt_seconds));
    json_object_set_new(d, "first_token_seconds", cli_json_real(st->first_token_seconds));
    json_object_set_new(d, "decode_seconds", cli_json_real(st->decode_seconds));
    json_object_set_new(d, "prompt_tps", cli_json_real(rate(st->prompt_tokens, st->prompt_seconds)));
    json_object_set_new(d, "decode_tps", cli_json_real(rate(st->tokens - 1, st->decode_seconds)));
    json_object_set_new(d, "peak_bytes", cli_json_bytes(st->peak_bytes));
    return cli_json_print(d);
}

static zmlx_generate_options library_options(const options *o, output *out)
{
    return (zmlx_generate_options){
        .sampling = {.temperature = (float)o->temp,
                     .top_p = (float)o->top_p,
                     .min_p = (float)o->min_p,
                     .top_k = o->top_k,
                     .seed = o->seed},
        .max_tokens = o->max_tokens,
        .ignore_eos = o->ignore_eos,
        .no_special = o->no_special,
        .stop = o->stop.text,
        .n_stop = o->stop.n,
        .text = on_text,
        .progress = on_progress,
        .user = out,
    };
}

/* What is left to do when the library is done, one way or another. */
static int finish(output *out, const zmlx_model *m, const zmlx_patch_result *patch, const zmlx_stats *st, zmlx_status s,
                  const zmlx_err *err)
{
    const cli_common *c = &out->o->common;
    cli_bar_clear(&out->bar);
    if (out->failed) return 1;
    if (s != ZMLX_OK && s != ZMLX_E_CANCELLED) return cli_fail(s, err);
    if (!c->json && !out->newline && st->tokens > 0 && isatty(1) && !cli_put("\n", 1)) return 1;
    if (c->json && !print_json(out, m, patch, st)) return 1;
    if (!c->quiet && !c->json) print_stats(st);
    return cli_interrupted() ? 130 : 0;
}

static int generate(const options *o, zmlx_model *m, const char *prompt, size_t len)
{
    zmlx_err err = {.pos = -1};
    zmlx_patch_options po = cli_patch_options(&o->common);
    zmlx_patch_result patch;
    zmlx_session_options so = cli_session_options(&o->common);
    zmlx_session *session = NULL;
    zmlx_status s = zmlx_model_patch(m, &po, &patch, &err);
    if (s == ZMLX_OK) s = zmlx_session_create(&session, m, &so, &err);
    if (s != ZMLX_OK) return cli_fail(s, &err);

    output out = {.o = o, .text = json_array(), .ids = json_array()};
    cli_bar_init(&out.bar, "prompt", "tokens", o->common.quiet);
    zmlx_generate_options go = library_options(o, &out);
    zmlx_stats stats;
    s = zmlx_generate(session, prompt, len, &go, &stats, &err);
    int code = finish(&out, m, &patch, &stats, s, &err);
    json_decref(out.text);
    json_decref(out.ids);
    zmlx_session_destroy(session);
    return code;
}

/* Refused before a model is loaded; the library would refuse it too. */
static bool check(const options *o)
{
    bool top_p = o->top_p > 0 && o->top_p < 1;
    if (!o->prompt == !o->file) {
        cli_error("generate: give the prompt with either --prompt or --file");
        return false;
    }
    if (o->temp > 0 || (!top_p && !(o->min_p > 0) && !o->top_k)) return true;
    cli_error("%s has no effect without --temp above 0", top_p ? "--top-p" : o->min_p > 0 ? "--min-p" : "--top-k");
    return false;
}

static int run(void *user, const char *const *args)
{
    const options *o = user;
    char *text = NULL;
    size_t len = 0;
    if (!check(o)) return 2;
    cli_catch_interrupt();
    int code = o->file ? cli_read_text(&text, &len, o->file) : 0;
    zmlx_model *m = NULL;
    if (code == 0) code = cli_open(&m, args[0], &o->common);
    if (code == 0) code = generate(o, m, o->file ? text : o->prompt, o->file ? len : strlen(o->prompt));
    zmlx_model_close(m);
    free(text);
    return code;
}

const cli_command cmd_generate = {
    .name = "generate",
    .summary = "continue a text",
    .args = "MODEL",
    .n_args = 1,
    .examples = "zmlx generate models/demo -p \"The lighthouse\"\n"
                "zmlx generate ORG/NAME -f prompt.txt -n 500 --temp 0.8 --top-p 0.95 --seed 7\n"
                "echo -n \"Q: 2+2? A:\" | zmlx generate ORG/NAME -f - --stop \"Q:\" --quiet\n",
    .notes =
        "The prompt is used as it is: no chat template. Text goes to stdout as it becomes certain, statistics to "
        "stderr.\n"
        "With all of the context used up, the text ends (\"finish context\"); a prompt that does not fit is refused.\n",
    .options = rows,
    .size = sizeof(options),
    .run = run,
};
