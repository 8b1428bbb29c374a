/* SPDX-License-Identifier: MIT */
/* zmlx validate: is the patched plan the same model, and is it faster? */
#include "common.h"
#include "json.h"
#include "term.h"

#include <stdlib.h>
#include <string.h>

typedef struct options {
    cli_common common;
    const char *prompt, *file, *json_out;
    int64_t max_tokens, runs;
} options;

/* clang-format off */
static const cli_option rows[] = {
    {CLI_INT, "max-tokens", 'n', "N", offsetof(options, max_tokens), "200", 1, 1e6, "tokens to decode in each run, end of text ignored"},
    {CLI_INT, "runs", 'r', "N", offsetof(options, runs), "3", 1, 1000, "timed runs of each plan"},
    {CLI_TEXT, "prompt", 'p', "TEXT", offsetof(options, prompt), NULL, 0, 0, "the text to continue (default: a built-in paragraph)"},
    {CLI_TEXT, "file", 'f', "FILE", offsetof(options, file), NULL, 0, 0, "read it from a file, - is standard input; at most 64 MiB"},
    CLI_ROWS_PATCH(options),
    CLI_ROW_CTX(options),
    CLI_ROWS_RUN(options),
    {CLI_TEXT, "json-out", 0, "FILE", offsetof(options, json_out), NULL, 0, 0, "write the results there as well, with every run's raw values"},
    CLI_ROW_JSON(options),
    CLI_ROW_QUIET(options),
    {.kind = CLI_END},
};
/* clang-format on */

typedef struct output {
    cli_bar bar;
    json_t *runs;
} output;

static bool on_progress(void *user, int64_t done, int64_t total)
{
    output *out = user;
    cli_bar_update(&out->bar, done, total);
    return !cli_interrupted();
}

static void on_run(void *user, const zmlx_validate_run *r)
{
    output *out = user;
    json_t *o = json_object(), *ids = json_array(), *digests = json_array();
    for (int64_t i = 0; i < r->n; i++) {
        char hex[20];
        snprintf(hex, sizeof hex, "%016llx", (unsigned long long)r->digest[i]);
        json_array_append_new(ids, json_integer(r->ids[i]));
        json_array_append_new(digests, json_string(hex));
    }
    json_object_set_new(o, "plan", json_string(r->patched ? "patched" : "stock"));
    json_object_set_new(o, "run", json_integer(r->run));
    json_object_set_new(o, "order", json_integer(r->order));
    json_object_set_new(o, "prompt_seconds", cli_json_real(r->prompt_seconds));
    json_object_set_new(o, "decode_seconds", cli_json_real(r->decode_seconds));
    json_object_set_new(o, "tokens", ids);
    json_object_set_new(o, "logits_xxh64", digests);
    json_array_append_new(out->runs, o);
}

/* --- JSON ---- */

static json_t *pair(const double v[2])
{
    json_t *o = json_object();
    json_object_set_new(o, "stock", cli_json_real(v[0]));
    json_object_set_new(o, "patched", cli_json_real(v[1]));
    return o;
}

static json_t *divergence(const zmlx_validate_report *r)
{
    if (r->diverged_token < 0) return json_null();
    json_t *o = json_object();
    json_object_set_new(o, "plan", json_string(r->diverged_patched ? "patched" : "stock"));
    json_object_set_new(o, "run", json_integer(r->diverged_run));
    json_object_set_new(o, "token", json_integer(r->diverged_token));
    json_object_set_new(o, "stock_id", json_integer(r->diverged_ids[0]));
    json_object_set_new(o, "other_id", json_integer(r->diverged_ids[1]));
    json_object_set_new(o, "stock_top2_margin", cli_json_real(r->diverged_margin));
    return o;
}

static json_t *options_json(const options *o, const zmlx_validate_report *r)
{
    json_t *j = json_object();
    json_object_set_new(j, "max_tokens", json_integer(r->max_tokens));
    json_object_set_new(j, "runs", json_integer(r->runs));
    json_object_set_new(j, "prompt", cli_json_text(o->prompt));
    json_object_set_new(j, "file", cli_json_text(o->file));
    json_object_set_new(j, "patterns", cli_json_text(o->common.patterns));
    json_object_set_new(j, "exclude", cli_json_text(o->common.exclude));
    json_object_set_new(j, "threads", json_integer(r->threads));
    json_object_set_new(j, "cpu_level", cli_json_text(o->common.cpu_level));
    return j;
}

static json_t *report_json(const options *o, const zmlx_model *m, const zmlx_validate_report *r, json_t *runs)
{
    json_t *d = cli_json_document("zmlx.validate"), *gain = json_object();
    json_object_set_new(gain, "ratio", cli_json_real(r->decode_gain));
    json_object_set_new(gain, "low", cli_json_real(r->decode_gain_low));
    json_object_set_new(gain, "high", cli_json_real(r->decode_gain_high));
    json_object_set_new(d, "pass", json_boolean(r->pass));
    json_object_set_new(d, "model", cli_json_model(m));
    json_object_set_new(d, "machine", cli_json_machine());
    json_object_set_new(d, "options", options_json(o, r));
    json_object_set_new(d, "patterns", cli_json_patch(&r->patch));
    json_object_set_new(d, "ops_stock", json_integer(r->patch.ops_before));
    json_object_set_new(d, "ops_patched", json_integer(r->patch.ops_after));
    json_object_set_new(d, "prompt_tokens", json_integer(r->prompt_tokens));
    json_object_set_new(d, "tokens_matched", json_integer(r->matched));
    json_object_set_new(d, "tokens_total", json_integer(r->total));
    json_object_set_new(d, "logits_identical", json_boolean(r->logits_identical));
    json_object_set_new(d, "logits_first_difference", cli_json_bytes(r->diverged_logits_step));
    json_object_set_new(d, "stock_repeats", json_boolean(r->stock_repeats));
    json_object_set_new(d, "bit_exact_promised", json_boolean(r->bit_exact));
    json_object_set_new(d, "divergence", divergence(r));
    json_object_set_new(d, "prefill_tps", pair(r->prefill_tps));
    json_object_set_new(d, "decode_tps", pair(r->decode_tps));
    json_object_set_new(d, "decode_gain", gain);
    json_object_set_new(d, "peak_bytes", cli_json_bytes(r->peak_bytes));
    json_object_set(d, "raw", runs);
    return d;
}

/* --- for people ---- */

static void print_patterns(const zmlx_validate_report *r)
{
    printf("patched    ");
    for (int i = 0; i < r->patch.n; i++)
        printf("%s%s %d", i ? ", " : "", r->patch.pattern[i].name, r->patch.pattern[i].matched);
    printf("%s%d ops per step -> %d\n", r->patch.n ? "; " : "nothing; ", r->patch.ops_before, r->patch.ops_after);
}

static void print_fidelity(const zmlx_validate_report *r)
{
    printf("tokens     %lld/%lld equal to the first stock run\n", (long long)r->matched, (long long)r->total);
    if (r->diverged_token >= 0)
        printf("           first difference: %s run %lld, token %lld: %d where stock chose %d (top-2 margin %.6g)\n",
               r->diverged_patched ? "patched" : "stock", (long long)r->diverged_run, (long long)r->diverged_token,
               r->diverged_ids[1], r->diverged_ids[0], r->diverged_margin);
    if (r->logits_identical)
        printf("logits     bit-identical at every step\n");
    else
        printf("logits     not bit-identical, first difference at token %lld\n", (long long)r->diverged_logits_step);
    if (!r->stock_repeats) printf("stock      does NOT repeat itself: runs of the stock plan differ\n");
}

static void print_report(const zmlx_model *m, const zmlx_validate_report *r)
{
    zmlx_model_info info;
    zmlx_machine machine;
    char peak[32];
    zmlx_model_get_info(m, &info);
    zmlx_machine_info(&machine);
    printf("model      %s (%s, %s)\n", info.path, info.model_type, info.dtype);
    printf("machine    %s, %d CPUs, %d thread%s used\n", machine.cpu, machine.cpus, r->threads,
           r->threads == 1 ? "" : "s");
    printf("work       %lld prompt tokens, %lld decoded, %d runs of each plan in turn\n", (long long)r->prompt_tokens,
           (long long)r->max_tokens, r->runs);
    print_patterns(r);
    printf("\n           %12s %12s\n", "stock", "patched");
    printf("prefill    %12.2f %12.2f  tok/s\n", r->prefill_tps[0], r->prefill_tps[1]);
    printf("decode     %12.2f %12.2f  tok/s, x %.3f (pairs %.3f .. %.3f)\n", r->decode_tps[0], r->decode_tps[1],
           r->decode_gain, r->decode_gain_low, r->decode_gain_high);
    printf("memory     %s at peak, both plans\n\n", cli_bytes(peak, sizeof peak, (double)r->peak_bytes));
    print_fidelity(r);
    printf("verdict    %s\n", r->pass ? "PASS" : "FAIL");
}

/* --- running ---- */

static int report(const options *o, const zmlx_model *m, const zmlx_validate_report *r, json_t *runs, cli_file *file)
{
    json_t *d = report_json(o, m, r, runs);
    bool ok = !o->json_out || cli_file_commit(file, d);
    if (o->common.json) {
        ok = cli_json_print(d) && ok;
    } else {
        json_decref(d);
        print_report(m, r);
    }
    if (!ok) return 1;
    return r->pass ? 0 : zmlx_status_exit_code(ZMLX_E_MISMATCH);
}

static int validate(const options *o, zmlx_model *m, const char *prompt, cli_file *file)
{
    zmlx_err err = {.pos = -1};
    output out = {.runs = json_array()};
    zmlx_validate_options vo = {
        .prompt = prompt,
        .max_tokens = o->max_tokens,
        .runs = (int)o->runs,
        .threads = (int)o->common.threads,
        .cpu_level = o->common.cpu_level,
        .patch = cli_patch_options(&o->common),
        .progress = on_progress,
        .run = on_run,
        .user = &out,
    };
    zmlx_validate_report r;
    cli_bar_init(&out.bar, "validate", "tokens", o->common.quiet);
    zmlx_status s = zmlx_validate(m, &vo, &r, &err);
    cli_bar_clear(&out.bar);
    int code = s == ZMLX_OK ? report(o, m, &r, out.runs, file) : cli_fail(s, &err);
    json_decref(out.runs);
    return code;
}

static int run(void *user, const char *const *args)
{
    const options *o = user;
    char *text = NULL;
    size_t len = 0;
    cli_file file = {.fd = -1};
    if (o->prompt && o->file) {
        cli_error("validate: give the prompt with either --prompt or --file");
        return 2;
    }
    cli_catch_interrupt();
    int code = o->file ? cli_read_text(&text, &len, o->file) : 0;
    if (code == 0 && text && strlen(text) != len) {
        cli_error("%s: the prompt contains a NUL byte (at byte %zu)", o->file, strlen(text));
        code = 2;
    }
    zmlx_model *m = NULL;
    if (code == 0) code = cli_open(&m, args[0], &o->common);
    if (code == 0 && o->json_out && !cli_file_open(&file, o->json_out)) code = 1;
    if (code == 0) code = validate(o, m, text ? text : o->prompt, &file);
    cli_file_discard(&file);
    zmlx_model_close(m);
    free(text);
    return code;
}

const cli_command cmd_validate = {
    .name = "validate",
    .summary = "compare the patched plan with the stock plan: tokens, logits, speed",
    .args = "MODEL",
    .n_args = 1,
    .examples = "zmlx validate models/demo\n"
                "zmlx validate ORG/NAME --patterns moe_mlp --max-tokens 500 --runs 5\n"
                "zmlx validate ORG/NAME --json-out result.json\n",
    .notes = "Both plans decode the same prompt greedily over the same weights, in turn (stock, patched, patched, "
             "stock, ...),\n"
             "after a short warm-up of each. Every run is compared with the first stock run, token by token and by a "
             "digest of\n"
             "all logits at every step. PASS: all tokens equal, the stock plan repeats itself, and logits "
             "bit-identical where all\n"
             "applied patterns promise it. The gain is what was measured. Exit code 7 unless PASS.\n",
    .options = rows,
    .size = sizeof(options),
    .run = run,
};
