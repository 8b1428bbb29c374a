/* SPDX-License-Identifier: MIT */
/* zmlx synth: a checkpoint with a real model's shapes and random numbers. */
#include "common.h"
#include "json.h"
#include "term.h"

#include <stdio.h>

typedef struct options {
    cli_common common;
    int64_t layers, bits, group;
    uint64_t seed;
    const char *dtype;
    bool tiny;
} options;

static const cli_option rows[] = {
    {CLI_INT, "layers", 'l', "N", offsetof(options, layers), NULL, 1, 1024,
     "layers of the preset's shape (default: as many as the model has)"},
    {CLI_U64, "seed", 's', "S", offsetof(options, seed), "0", 0, 0,
     "the same seed gives the same bytes on every machine"},
    {CLI_FLAG, "tiny", 0, NULL, offsetof(options, tiny), NULL, 0, 0, "the same architecture with small dimensions"},
    {CLI_INT, "bits", 'b', "N", offsetof(options, bits), "4", 4, 16, "4 or 8 bits per weight, 16 for plain floats"},
    {CLI_INT, "group-size", 'g', "N", offsetof(options, group), "64", 32, 128, "32, 64 or 128 weights per scale"},
    {CLI_TEXT, "dtype", 0, "TYPE", offsetof(options, dtype), "bfloat16", 0, 0,
     "of scales, norms and plain weights: bfloat16, float16 or float32"},
    CLI_ROW_JSON(options),
    CLI_ROW_QUIET(options),
    {.kind = CLI_END},
};

static bool on_progress(void *user, int64_t done, int64_t total)
{
    cli_bar_update(user, done, total);
    return !cli_interrupted();
}

static int run(void *user_options, const char *const *args)
{
    const options *o = user_options;
    cli_bar bar;
    cli_bar_init(&bar, "writing", "B", o->common.quiet);
    cli_catch_interrupt();
    zmlx_synth_options so = {.layers = o->layers,
                             .seed = o->seed,
                             .tiny = o->tiny,
                             .bits = (int)o->bits,
                             .group = (int)o->group,
                             .dtype = o->dtype,
                             .progress = on_progress,
                             .user = &bar};
    zmlx_err err = {0};
    zmlx_status s = zmlx_synth(args[0], args[1], &so, &err);
    cli_bar_clear(&bar);
    if (s != ZMLX_OK) return cli_fail(s, &err);
    if (o->common.json) {
        json_t *doc = cli_json_document("zmlx.synth");
        json_object_set_new(doc, "preset", json_string(args[0]));
        json_object_set_new(doc, "path", cli_json_text(args[1]));
        return cli_json_print(doc) ? 0 : 1;
    }
    if (!o->common.quiet) fprintf(stderr, "%s written to %s\n", args[0], args[1]);
    return 0;
}

const cli_command cmd_synth = {
    .name = "synth",
    .summary = "write a synthetic checkpoint: true format and shapes, random numbers",
    .args = "PRESET DIR",
    .n_args = 2,
    .examples = "zmlx synth qwen3-30b-a3b big --layers 12\n"
                "zmlx synth qwen3-30b-a3b small --tiny --seed 7\n",
    .notes = "presets:\n"
             "  qwen3-30b-a3b  48 layers, 128 experts of which 8 are chosen; 17.2 GB at 4 bits\n"
             "  qwen3-0.6b     dense, tied embeddings; 0.34 GB at 4 bits\n"
             "DIR is made when missing; nothing in it is overwritten.",
    .options = rows,
    .size = sizeof(options),
    .run = run,
};
