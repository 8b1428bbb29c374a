/* SPDX-License-Identifier: MIT */
/* Opening a model: checkpoint, tokenizer, family, stock plans; patching and asking about it. */
#include "run/model.h"

#include "base/alloc.h"
#include "checkpoint/locate.h"
#include "patch/patch.h"

#include <stdio.h>
#include <string.h>

enum { DEFAULT_CTX = 4096, DEFAULT_CHUNK = 512, MAX_CHUNK = 8192, DECODE_TOKENS = 8 };

static zmlx_status build_plan(zx_plan **out, const zmlx_model *m, const char *what, int64_t max_tokens,
                              bool with_logits, zmlx_err *err)
{
    *out = zx_plan_create(what, ZX_MIN(max_tokens, m->ctx), m->ctx);
    if (!*out) return zx_fail(err, ZMLX_E_NOMEM, -1, "%s plan", what);
    zx_builder b;
    zx_build_init(&b, *out, m->config, m->shards);
    zx_val logits = m->family->step(&b, &m->dims, with_logits);
    return zx_build_finish(&b, logits, err);
}

static zmlx_status find_family(zmlx_model *m, zmlx_err *err)
{
    const char *type = zx_config_text(m->config, "model_type");
    if (!type) return zx_fail(err, ZMLX_E_FORMAT, -1, "%s/config.json: no model_type", m->path);
    m->family = zx_family_find(type);
    if (m->family) return ZMLX_OK;
    char known[256] = "";
    for (int i = 0; zx_families[i]; i++) {
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", zx_families[i]->model_type);
    }
    return zx_fail(err, ZMLX_E_UNSUPPORTED, -1, "%s: model_type '%.64s' is not supported (supported: %s)", m->path,
                   type, known);
}

static zmlx_status choose_sizes(zmlx_model *m, const zmlx_model_options *o, zmlx_err *err)
{
    int64_t ctx = o ? o->ctx : 0, chunk = o ? o->prefill_tokens : 0;
    if (ctx < 0 || chunk < 0 || chunk > MAX_CHUNK)
        return zx_fail(err, ZMLX_E_ARG, -1, "context %lld or prefill chunk %lld out of range (chunk 1 to %d)",
                       (long long)ctx, (long long)chunk, MAX_CHUNK);
    if (ctx > m->dims.max_positions)
        return zx_fail(err, ZMLX_E_LIMIT, -1, "context of %lld positions exceeds the model's %lld", (long long)ctx,
                       (long long)m->dims.max_positions);
    m->ctx = ctx ? ctx : ZX_MIN((int64_t)DEFAULT_CTX, m->dims.max_positions);
    m->prefill_tokens = chunk ? chunk : DEFAULT_CHUNK;
    return ZMLX_OK;
}

/* eos: the files' rule, else the tokenizer's own eos_token. */
static zmlx_status collect_eos(zmlx_model *m, zmlx_err *err)
{
    const int64_t *ids = NULL;
    int n = zx_config_eos(m->config, &ids);
    int64_t from_tokenizer = zx_tokenizer_eos(m->tokenizer);
    if (n == 0 && from_tokenizer >= 0) {
        ids = &from_tokenizer;
        n = 1;
    }
    m->eos = zx_calloc((size_t)n + 1, sizeof *m->eos);
    if (!m->eos) return zx_fail(err, ZMLX_E_NOMEM, -1, "eos ids");
    if (n) memcpy(m->eos, ids, (size_t)n * sizeof *ids);
    m->n_eos = n;
    return ZMLX_OK;
}

/* A token id must have a row in the embedding, else a prompt could read beyond it. */
static zmlx_status check_vocabulary(const zmlx_model *m, zmlx_err *err)
{
    int64_t n = zx_tokenizer_size(m->tokenizer);
    if (n <= m->dims.vocab) return ZMLX_OK;
    return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: tokenizer.json has ids up to %lld, config.json vocab_size is %lld",
                   m->path, (long long)n - 1, (long long)m->dims.vocab);
}

zmlx_status zmlx_model_open(zmlx_model **out, const char *model, const zmlx_model_options *options, zmlx_err *err)
{
    if (!out) return zx_fail(err, ZMLX_E_ARG, -1, "zmlx_model_open: out is NULL");
    *out = NULL;
    if (!model || !*model) return zx_fail(err, ZMLX_E_ARG, -1, "no model given");
    zmlx_model *m = zx_new(zmlx_model);
    if (!m) return zx_fail(err, ZMLX_E_NOMEM, -1, "model handle");
    zmlx_status s = zx_locate_model(&m->path, model, err);
    if (s == ZMLX_OK) s = zx_config_open(&m->config, m->path, err);
    if (s == ZMLX_OK) s = find_family(m, err);
    if (s == ZMLX_OK) s = m->family->dims(&m->dims, m->config, err);
    if (s == ZMLX_OK) s = choose_sizes(m, options, err);
    if (s == ZMLX_OK) s = zx_shards_open(&m->shards, m->path, err);
    if (s == ZMLX_OK) s = build_plan(&m->decode, m, "decode", DECODE_TOKENS, true, err);
    if (s == ZMLX_OK) s = build_plan(&m->prefill, m, "prefill", m->prefill_tokens, false, err);
    if (s == ZMLX_OK) s = zx_tokenizer_open(&m->tokenizer, m->path, err);
    if (s == ZMLX_OK) s = check_vocabulary(m, err);
    if (s == ZMLX_OK) s = collect_eos(m, err);
    if (s != ZMLX_OK) {
        zmlx_model_close(m);
        return s;
    }
    *out = m;
    return ZMLX_OK;
}

void zmlx_model_close(zmlx_model *m)
{
    if (!m) return;
    for (int i = 0; i < m->n_retired; i++)
        zx_plan_destroy(m->retired[i]);
    zx_free(m->retired);
    zx_plan_destroy(m->patched);
    zx_plan_destroy(m->prefill);
    zx_plan_destroy(m->decode);
    zx_tokenizer_close(m->tokenizer);
    zx_shards_close(m->shards);
    zx_config_close(m->config);
    zx_free(m->eos);
    zx_free(m->path);
    zx_free(m);
}

static size_t weights_used(const zx_plan *p)
{
    size_t sum = 0;
    for (int i = 0; i < p->n_values; i++)
        if (p->value[i].kind == ZX_VAL_WEIGHT) sum += p->value[i].weight->bytes;
    return sum;
}

void zmlx_model_get_info(const zmlx_model *m, zmlx_model_info *out)
{
    const zx_dims *d = &m->dims;
    size_t step = ZX_MAX(m->decode->step_bytes, m->prefill->step_bytes);
    size_t shared = ZX_MAX(m->decode->shared_bytes, m->prefill->shared_bytes);
    *out = (zmlx_model_info){
        .path = m->path,
        .model_type = m->family->model_type,
        .dtype = zmlx_dtype_name(m->decode->value[m->decode->node[0].out[0]].type.dtype),
        .ctx = m->ctx,
        .max_positions = d->max_positions,
        .layers = d->layers,
        .hidden = d->hidden,
        .vocab = d->vocab,
        .heads = d->heads,
        .kv_heads = d->kv_heads,
        .head_dim = d->head_dim,
        .experts = d->experts,
        .top_k = d->top_k,
        .file_bytes = zx_shards_bytes(m->shards),
        .weight_bytes = weights_used(m->decode),
        .bytes_per_token = zx_plan_bytes_per_token(m->decode),
        .kv_bytes_per_position = m->decode->state_bytes / (uint64_t)((m->ctx + 15) / 16 * 16),
        .session_bytes = m->decode->state_bytes + step + shared,
        .stock_ops = m->decode->n_nodes,
        .patched_ops = m->patched ? m->patched->n_nodes : 0,
    };
}

int zmlx_model_eos(const zmlx_model *m, const int64_t **ids)
{
    if (ids) *ids = m->eos;
    return m->n_eos;
}

/* --- text --- */

void zmlx_tokens_clear(zmlx_tokens *t)
{
    if (!t) return;
    zx_free(t->id);
    *t = (zmlx_tokens){0};
}

zmlx_status zmlx_encode(const zmlx_model *m, const char *text, size_t len, bool add_special, zmlx_tokens *out,
                        zmlx_err *err)
{
    zx_ids ids = {out->id, out->n, out->capacity};
    zmlx_status s = zx_tokenizer_encode(m->tokenizer, text, len, add_special, &ids, err);
    *out = (zmlx_tokens){ids.id, ids.n, ids.cap};
    return s;
}

zmlx_status zmlx_decode(const zmlx_model *m, const int32_t *ids, int64_t n, bool skip_special, char **out, size_t *len,
                        zmlx_err *err)
{
    *out = NULL;
    zx_buf b = {0};
    zmlx_status s = zx_tokenizer_decode(m->tokenizer, ids, n, skip_special, &b, err);
    zx_buf_add(&b, "", 0);
    if (s == ZMLX_OK && (b.failed || !zx_buf_reserve(&b, 1))) s = zx_fail(err, ZMLX_E_NOMEM, -1, "decoded text");
    if (s != ZMLX_OK) {
        zx_buf_clear(&b);
        return s;
    }
    b.data[b.len] = 0;
    *out = b.data;
    if (len) *len = b.len;
    return ZMLX_OK;
}

void zmlx_free(void *p) { zx_free(p); }

/* --- patching --- */

static zmlx_status make_patched(const zmlx_model *m, const zmlx_patch_options *o, zx_plan **out,
                                zmlx_patch_result *result, zmlx_explain_fn *fn, void *user, zmlx_err *err)
{
    const zx_pattern *sel[ZMLX_PATCH_MAX_PATTERNS];
    int n = 0;
    zmlx_patch_result local = {0};
    if (!result) result = &local;
    *result = (zmlx_patch_result){0};
    ZX_TRY(zx_patch_select(sel, ZMLX_PATCH_MAX_PATTERNS, &n, o, err));
    return zx_patch_apply(out, m->decode, m->family->model_type, sel, n, result, fn, user, err);
}

/* Sessions may still use the plan that is replaced: it lives as long as the model. */
static bool retire(zmlx_model *m)
{
    if (!m->patched) return true;
    if (m->n_retired == m->cap_retired) {
        int cap = m->cap_retired ? 2 * m->cap_retired : 8;
        zx_plan **bigger = zx_realloc(m->retired, (size_t)cap * sizeof(zx_plan *));
        if (!bigger) return false;
        m->retired = bigger;
        m->cap_retired = cap;
    }
    m->retired[m->n_retired++] = m->patched;
    m->patched = NULL;
    return true;
}

zmlx_status zmlx_model_patch(zmlx_model *m, const zmlx_patch_options *options, zmlx_patch_result *result, zmlx_err *err)
{
    zx_plan *p = NULL;
    ZX_TRY(make_patched(m, options, &p, result, NULL, NULL, err));
    if (!retire(m)) {
        zx_plan_destroy(p);
        return zx_fail(err, ZMLX_E_NOMEM, -1, "patched plan");
    }
    m->patched = p;
    return ZMLX_OK;
}

void zmlx_model_unpatch(zmlx_model *m) { retire(m); /* when out of memory it stays patched, which is safe */ }

zmlx_status zmlx_model_explain(const zmlx_model *m, const zmlx_patch_options *options, zmlx_explain_fn *fn, void *user,
                               zmlx_patch_result *result, zmlx_err *err)
{
    zx_plan *p = NULL;
    zmlx_status s = make_patched(m, options, &p, result, fn, user, err);
    zx_plan_destroy(p);
    return s;
}
