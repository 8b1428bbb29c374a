/* SPDX-License-Identifier: MIT */
/* zmlx plan: what a model does per step, what patching changes, and whether it fits. */
#include "common.h"
#include "explain.h"
#include "json.h"
#include "term.h"

#include <stdlib.h>
#include <string.h>

typedef struct options {
    cli_common common;
    bool explain;
} options;

/* clang-format off */
static const cli_option rows[] = {
    {CLI_FLAG, "explain", 'x', NULL, offsetof(options, explain), NULL, 0, 0,
     "list the ops of both plans, every match, and every skip with its reason"},
    CLI_ROWS_PATCH(options),
    CLI_ROW_CTX(options),
    CLI_ROW_JSON(options),
    {.kind = CLI_END},
};
/* clang-format on */

/* --- facts ---- */

static double needed(const zmlx_model_info *i) { return (double)i->weight_bytes + (double)i->session_bytes; }

static const char *fits(const zmlx_model_info *i, const zmlx_machine *m)
{
    if (m->available_bytes < 0) return "unknown";
    return needed(i) <= (double)m->available_bytes ? "yes" : "no";
}

static void print_facts(const zmlx_model *model)
{
    zmlx_model_info i;
    zmlx_machine m;
    char a[32], b[32], c[32];
    zmlx_model_get_info(model, &i);
    zmlx_machine_info(&m);
    printf("model      %s\n", i.path);
    printf("type       %s, %s, %lld layers, hidden %lld, vocabulary %lld\n", i.model_type, i.dtype, (long long)i.layers,
           (long long)i.hidden, (long long)i.vocab);
    printf("heads      %lld of %lld, %lld for keys and values\n", (long long)i.heads, (long long)i.head_dim,
           (long long)i.kv_heads);
    if (i.experts) printf("experts    %lld, %lld per token\n", (long long)i.experts, (long long)i.top_k);
    printf("context    %lld of at most %lld positions\n", (long long)i.ctx, (long long)i.max_positions);
    printf("weights    %s in files, %s used, %s read per token\n", cli_bytes(a, sizeof a, (double)i.file_bytes),
           cli_bytes(b, sizeof b, (double)i.weight_bytes), cli_bytes(c, sizeof c, (double)i.bytes_per_token));
    printf("session    %s reserved, of which the cache takes %s per position\n",
           cli_bytes(a, sizeof a, (double)i.session_bytes), cli_bytes(b, sizeof b, (double)i.kv_bytes_per_position));
    printf("fits       %s (needs %s, %s available)\n\n", fits(&i, &m), cli_bytes(a, sizeof a, needed(&i)),
           cli_bytes(b, sizeof b, (double)m.available_bytes));
}

/* --- ops before and after ---- */

static void print_counts(const explanation *e)
{
    printf("ops per step  %8s %8s\n", "stock", "patched");
    for (int i = 0; i < e->n_counts; i++)
        if (e->count[i].n[0] != e->count[i].n[1])
            printf("  %-20.20s %d -> %d\n", e->count[i].name, e->count[i].n[0], e->count[i].n[1]);
    for (int i = 0; i < e->n_counts; i++)
        if (e->count[i].n[0] == e->count[i].n[1]) printf("  %-20.20s %d\n", e->count[i].name, e->count[i].n[0]);
    printf("  %-20s %d -> %d\n\n", "total", e->patch.ops_before, e->patch.ops_after);
}

static void print_patterns(const explanation *e)
{
    printf("patterns\n");
    for (int i = 0; i < e->patch.n; i++)
        printf("  %-20s %d matched, %d skipped\n", e->patch.pattern[i].name, e->patch.pattern[i].matched,
               e->patch.pattern[i].skipped);
    if (e->patch.n == 0) printf("  none\n");
}

/* --- JSON ---- */

static json_t *counts_json(const explanation *e)
{
    json_t *o = json_object();
    for (int i = 0; i < e->n_counts; i++)
        json_object_set_new(o, e->count[i].name,
                            json_pack("{s:i,s:i}", "stock", e->count[i].n[0], "patched", e->count[i].n[1]));
    return o;
}

static json_t *events_json(const explanation *e)
{
    json_t *list = json_array();
    for (int i = 0; i < e->n_events; i++) {
        const event *v = &e->event[i];
        json_t *o = json_object();
        json_object_set_new(o, "event", cli_json_text(v->kind));
        if (v->is_op) json_object_set_new(o, "plan", json_string(v->patched ? "patched" : "stock"));
        json_object_set_new(o, "where", cli_json_text(v->where));
        json_object_set_new(o, "name", cli_json_text(v->name));
        json_object_set_new(o, "what", cli_json_text(v->what));
        json_array_append_new(list, o);
    }
    return list;
}

static bool print_json(const options *o, const zmlx_model *model, const explanation *e)
{
    zmlx_model_info i;
    zmlx_machine m;
    zmlx_model_get_info(model, &i);
    zmlx_machine_info(&m);
    json_t *d = cli_json_document("zmlx.plan");
    json_object_set_new(d, "model", cli_json_model(model));
    json_object_set_new(d, "machine", cli_json_machine());
    json_object_set_new(d, "fits",
                        m.available_bytes < 0 ? json_null() : json_boolean(strcmp(fits(&i, &m), "yes") == 0));
    json_object_set_new(d, "patterns", cli_json_patch(&e->patch));
    json_object_set_new(d, "ops_stock", json_integer(e->patch.ops_before));
    json_object_set_new(d, "ops_patched", json_integer(e->patch.ops_after));
    json_object_set_new(d, "ops", counts_json(e));
    if (o->explain) json_object_set_new(d, "explain", events_json(e));
    return cli_json_print(d);
}

static int run(void *user, const char *const *args)
{
    const options *o = user;
    zmlx_err err = {.pos = -1};
    zmlx_patch_options po = cli_patch_options(&o->common);
    zmlx_model *m = NULL;
    explanation e = {0};
    int code = cli_open(&m, args[0], &o->common);
    zmlx_status s = code ? ZMLX_OK : explain_collect(&e, m, &po, &err);
    if (code == 0 && s != ZMLX_OK) code = cli_fail(s, &err);
    if (code == 0 && o->common.json) {
        code = print_json(o, m, &e) ? 0 : 1;
    } else if (code == 0) {
        print_facts(m);
        print_counts(&e);
        print_patterns(&e);
        if (o->explain) explain_print(&e);
    }
    explain_clear(&e);
    zmlx_model_close(m);
    return code;
}

const cli_command cmd_plan = {
    .name = "plan",
    .summary = "what a step computes, what patching changes, and whether the model fits",
    .args = "MODEL",
    .n_args = 1,
    .examples = "zmlx plan models/demo\n"
                "zmlx plan ORG/NAME --explain\n"
                "zmlx plan ORG/NAME --patterns all --exclude qkv_proj --json\n",
    .options = rows,
    .size = sizeof(options),
    .run = run,
};
