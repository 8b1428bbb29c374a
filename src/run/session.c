/* SPDX-License-Identifier: MIT */
/* Sessions: one sequence, its caches and the team that runs it.  The last token of a prompt takes the decode plan, as
 * mlx-lm does; longer steps than a patched plan's guard take the stock plan. */
#include "run/model.h"

#include "base/alloc.h"

static zmlx_status make_executors(zmlx_session *s, bool stock, zx_cpu_level level, zmlx_err *err)
{
    zmlx_model *m = s->model;
    const zx_plan *patched = stock ? NULL : m->patched;
    const zx_plan *plans[3] = {m->decode, m->prefill, patched};
    ZX_TRY(zx_memory_create(&s->memory, plans, patched ? 3 : 2, zx_team_size(s->team), err));
    ZX_TRY(zx_exec_create(&s->decode, m->decode, s->memory, s->team, level, err));
    ZX_TRY(zx_exec_create(&s->prefill, m->prefill, s->memory, s->team, level, err));
    if (patched) ZX_TRY(zx_exec_create(&s->patched, patched, s->memory, s->team, level, err));
    s->patched_max_tokens = patched ? patched->max_tokens : 0;
    return ZMLX_OK;
}

/* What each member does: its share of every shard, so that the first tokens do not pay for a page fault every 64 KiB.
 */
static void populate(void *ctx, int member, int members)
{
    const zx_shards *shards = ctx;
    for (int i = 0; i < zx_shards_files(shards); i++) {
        const zx_map *map = zx_shards_map(shards, i);
        size_t begin = map->size / (size_t)members * (size_t)member;
        size_t end = member + 1 == members ? map->size : map->size / (size_t)members * (size_t)(member + 1);
        zx_map_populate(map, begin, end - begin);
    }
}

/* Once per model, and only where the weights fit well: a larger model is better left to fault in what it uses. */
static void populate_weights(zmlx_session *s)
{
    zmlx_machine machine;
    if (atomic_exchange(&s->model->populated, true)) return;
    zmlx_machine_info(&machine);
    if (machine.available_bytes < 0 ||
        (double)zx_shards_bytes(s->model->shards) > 0.8 * (double)machine.available_bytes)
        return;
    zx_team_run(s->team, populate, s->model->shards);
}

/* A thread for every 8 MB of weights that a token reads, at most one per CPU.  With less to do, meeting at the barriers
 * costs more than it brings, above all when another program holds one of the CPUs. */
static int default_threads(const zmlx_model *m)
{
    size_t most = zx_plan_bytes_per_token(m->decode) / 8000000 + 1;
    return (int)ZX_MIN(most, (size_t)zx_cpu_count());
}

zmlx_status zmlx_session_create(zmlx_session **out, zmlx_model *m, const zmlx_session_options *options, zmlx_err *err)
{
    if (!out || !m) return zx_fail(err, ZMLX_E_ARG, -1, "zmlx_session_create: out or model is NULL");
    *out = NULL;
    zmlx_session_options o = options ? *options : (zmlx_session_options){0};
    zx_cpu_level level;
    ZX_TRY(zx_cpu_level_parse(&level, o.cpu_level, err));
    zmlx_session *s = zx_new(zmlx_session);
    if (!s) return zx_fail(err, ZMLX_E_NOMEM, -1, "session handle");
    s->model = m;
    zmlx_status st = zx_team_create(&s->team, o.threads > 0 ? o.threads : default_threads(m), err);
    if (st == ZMLX_OK) st = make_executors(s, o.stock, level, err);
    if (st != ZMLX_OK) {
        zmlx_session_destroy(s);
        return st;
    }
    populate_weights(s);
    *out = s;
    return ZMLX_OK;
}

void zmlx_session_destroy(zmlx_session *s)
{
    if (!s) return;
    zx_exec_destroy(s->patched);
    zx_exec_destroy(s->prefill);
    zx_exec_destroy(s->decode);
    zx_memory_destroy(s->memory);
    zx_team_destroy(s->team);
    zx_free(s);
}

void zmlx_session_reset(zmlx_session *s) { s->pos = 0; }
int64_t zmlx_session_position(const zmlx_session *s) { return s->pos; }

/* Everything that a step needs to be true, checked before anything changes. */
static zmlx_status check_step(const zmlx_session *s, const int32_t *ids, int64_t n, zmlx_err *err)
{
    if (!ids || n < 1) return zx_fail(err, ZMLX_E_ARG, -1, "%lld tokens given, at least 1 is needed", (long long)n);
    if (n > s->model->ctx - s->pos)
        return zx_fail(err, ZMLX_E_LIMIT, -1, "%lld tokens at position %lld exceed the context of %lld positions",
                       (long long)n, (long long)s->pos, (long long)s->model->ctx);
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= s->model->dims.vocab)
            return zx_fail(err, ZMLX_E_ARG, -1, "token %lld has id %d, the vocabulary has %lld", (long long)i, ids[i],
                           (long long)s->model->dims.vocab);
    return ZMLX_OK;
}

static void decode(zmlx_session *s, const int32_t *ids, int64_t n, zmlx_logits *logits)
{
    zx_exec *e = s->patched && n <= s->patched_max_tokens ? s->patched : s->decode;
    zx_exec_step(e, ids, n, s->pos);
    s->pos += n;
    if (!logits) return;
    zmlx_dtype t;
    int64_t vocab;
    const char *data = zx_exec_logits(e, &t, &vocab);
    for (int64_t i = 0; i < n; i++)
        logits[i] = (zmlx_logits){data + (size_t)i * (size_t)vocab * zmlx_dtype_size(t), t, vocab};
}

zmlx_status zmlx_session_step(zmlx_session *s, const int32_t *ids, int64_t n, zmlx_logits *logits, zmlx_err *err)
{
    ZX_TRY(check_step(s, ids, n, err));
    if (n > s->model->decode->max_tokens)
        return zx_fail(err, ZMLX_E_ARG, -1, "a decode step of %lld tokens, at most %lld", (long long)n,
                       (long long)s->model->decode->max_tokens);
    decode(s, ids, n, logits);
    return ZMLX_OK;
}

zmlx_status zmlx_session_prompt(zmlx_session *s, const int32_t *ids, int64_t n, zmlx_logits *logits,
                                zmlx_progress_fn *progress, void *user, zmlx_err *err)
{
    ZX_TRY(check_step(s, ids, n, err));
    int64_t done = 0;
    while (done < n - 1) {
        int64_t chunk = ZX_MIN(n - 1 - done, s->model->prefill->max_tokens);
        zx_exec_step(s->prefill, ids + done, chunk, s->pos);
        s->pos += chunk;
        done += chunk;
        if (progress && !progress(user, done, n)) {
            zmlx_session_reset(s);
            return zx_fail(err, ZMLX_E_CANCELLED, -1, "stopped after %lld of %lld prompt tokens", (long long)done,
                           (long long)n);
        }
    }
    decode(s, ids + done, 1, logits);
    if (progress) progress(user, n, n);
    return ZMLX_OK;
}
