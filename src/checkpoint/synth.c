/* SPDX-License-Identifier: MIT */
/* Writes synthetic checkpoints.  All numbers come from integers and IEEE operations, each tensor from its own stream
 * keyed by its name, so the bytes do not depend on the machine, and a layer not on how many follow. */
#include "checkpoint/synth.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/half.h"
#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const int64_t SHARD_LIMIT = (int64_t)5 << 30;
enum { BLOCK = 1 << 20 };

typedef struct preset {
    const char *name, *doc;
    zx_synth_shape full, tiny;
} preset;

static const preset presets[] = {
    {"qwen3-30b-a3b",
     "Qwen3-30B-A3B: 48 layers, 128 experts of which 8 are chosen; 17.2 GB at 4 bits",
     {.model_type = "qwen3_moe",
      .architecture = "Qwen3MoeForCausalLM",
      .hidden = 2048,
      .layers = 48,
      .heads = 32,
      .kv_heads = 4,
      .head_dim = 128,
      .intermediate = 6144,
      .moe_intermediate = 768,
      .experts = 128,
      .top_k = 8,
      .vocab = 151936,
      .max_positions = 40960,
      .dense_layer = -1,
      .eps = 1e-6,
      .theta = 1e6,
      .norm_topk = true},
     /* One dense layer among the MoE ones, and a width that is no multiple of 128. */
     {.hidden = 128,
      .layers = 4,
      .heads = 4,
      .kv_heads = 2,
      .head_dim = 32,
      .intermediate = 256,
      .moe_intermediate = 192,
      .experts = 16,
      .top_k = 4,
      .vocab = 1024,
      .max_positions = 1024,
      .dense_layer = 1,
      .eps = 1e-6,
      .theta = 1e6,
      .norm_topk = true}},
    {"qwen3-0.6b",
     "Qwen3-0.6B: dense, tied embeddings; 0.34 GB at 4 bits",
     {.model_type = "qwen3",
      .architecture = "Qwen3ForCausalLM",
      .hidden = 1024,
      .layers = 28,
      .heads = 16,
      .kv_heads = 8,
      .head_dim = 128,
      .intermediate = 3072,
      .vocab = 151936,
      .max_positions = 40960,
      .dense_layer = -1,
      .eps = 1e-6,
      .theta = 1e6,
      .tied = true},
     {.hidden = 128,
      .layers = 3,
      .heads = 4,
      .kv_heads = 2,
      .head_dim = 64,
      .intermediate = 384,
      .vocab = 768,
      .max_positions = 1024,
      .dense_layer = -1,
      .eps = 1e-6,
      .theta = 1e6,
      .tied = true}},
};

bool zmlx_preset_at(int i, zmlx_preset_info *out)
{
    if (i < 0 || i >= (int)ZX_COUNT(presets)) return false;
    *out = (zmlx_preset_info){presets[i].name, presets[i].doc};
    return true;
}

/* --- the list of tensors --- */

typedef enum part { PART_PLAIN, PART_CODES, PART_SCALES, PART_BIASES, PART_NORM } part;

typedef struct item {
    char name[160];
    part kind;
    zmlx_dtype dtype;
    int rank, bits, shard;
    int64_t dim[3], k; /* k: length of the rows that are multiplied */
    float gain;        /* standard deviation of a weight is gain / sqrt(k) */
    size_t bytes, offset;
    uint64_t key; /* of the module: codes, scales and biases belong together */
} item;

typedef struct writer {
    const zx_synth_shape *s;
    uint64_t seed;
    item *item;
    int n, cap;
    int shards;
    int64_t total;
    bool failed;
} writer;

static item *add_item(writer *w, const char *name, part kind, zmlx_dtype dtype, int rank, const int64_t *dim)
{
    static item dummy;
    if (w->n == w->cap) {
        int cap = w->cap ? 2 * w->cap : 256;
        item *bigger = zx_realloc(w->item, (size_t)cap * sizeof *bigger);
        if (!bigger) {
            w->failed = true;
            return &dummy;
        }
        w->item = bigger;
        w->cap = cap;
    }
    item *t = &w->item[w->n++];
    *t = (item){.kind = kind, .dtype = dtype, .rank = rank, .bytes = zmlx_dtype_size(dtype)};
    snprintf(t->name, sizeof t->name, "%s", name);
    for (int i = 0; i < rank; i++) {
        t->dim[i] = dim[i];
        t->bytes *= (size_t)dim[i];
    }
    return t;
}

static void add_norm(writer *w, int64_t n, const char *name)
{
    item *t = add_item(w, name, PART_NORM, w->s->dtype, 1, &n);
    t->key = zx_hash64(name, strlen(name), w->seed);
}

/* A linear, embedding or stack of experts: bits 16 = plain. */
static void add_module(writer *w, const char *path, int rank, const int64_t *dim, int bits, float gain)
{
    static const struct {
        part kind;
        const char *suffix;
    } parts[] = {{PART_CODES, "weight"}, {PART_SCALES, "scales"}, {PART_BIASES, "biases"}};
    char name[160];
    int64_t k = dim[rank - 1], shape[3];
    memcpy(shape, dim, (size_t)rank * sizeof *shape);
    for (int p = 0; p < (bits == 16 ? 1 : 3); p++) {
        part kind = bits == 16 ? PART_PLAIN : parts[p].kind;
        zmlx_dtype dtype = kind == PART_CODES ? ZMLX_U32 : w->s->dtype;
        shape[rank - 1] = bits == 16 ? k : kind == PART_CODES ? k * bits / 32 : k / w->s->group;
        snprintf(name, sizeof name, "%s.%s", path, parts[p].suffix);
        item *t = add_item(w, name, kind, dtype, rank, shape);
        t->bits = bits;
        t->k = k;
        t->gain = gain;
        t->key = zx_hash64(path, strlen(path), w->seed);
    }
}

static void add_linear(writer *w, const char *at, const char *name, int64_t out, int64_t in)
{
    char path[96];
    snprintf(path, sizeof path, "%s.%s", at, name);
    add_module(w, path, 2, (int64_t[]){out, in}, w->s->bits, 1);
}

static void add_experts(writer *w, const char *mlp, const char *name, int64_t out, int64_t in)
{
    char path[96];
    snprintf(path, sizeof path, "%s.switch_mlp.%s", mlp, name);
    add_module(w, path, 3, (int64_t[]){w->s->experts, out, in}, w->s->bits, 1);
}

static bool is_moe(const zx_synth_shape *s, int64_t layer) { return s->experts && layer != s->dense_layer; }

static void add_layer(writer *w, int64_t l)
{
    const zx_synth_shape *s = w->s;
    char at[80], mlp[80], name[96];
    snprintf(at, sizeof at, "model.layers.%lld.self_attn", (long long)l);
    snprintf(mlp, sizeof mlp, "model.layers.%lld.mlp", (long long)l);
    snprintf(name, sizeof name, "model.layers.%lld.input_layernorm.weight", (long long)l);
    add_norm(w, s->hidden, name);
    add_linear(w, at, "q_proj", s->heads * s->head_dim, s->hidden);
    add_linear(w, at, "k_proj", s->kv_heads * s->head_dim, s->hidden);
    add_linear(w, at, "v_proj", s->kv_heads * s->head_dim, s->hidden);
    add_linear(w, at, "o_proj", s->hidden, s->heads * s->head_dim);
    snprintf(name, sizeof name, "%s.q_norm.weight", at);
    add_norm(w, s->head_dim, name);
    snprintf(name, sizeof name, "%s.k_norm.weight", at);
    add_norm(w, s->head_dim, name);
    snprintf(name, sizeof name, "model.layers.%lld.post_attention_layernorm.weight", (long long)l);
    add_norm(w, s->hidden, name);
    if (!is_moe(s, l)) {
        add_linear(w, mlp, "gate_proj", s->intermediate, s->hidden);
        add_linear(w, mlp, "up_proj", s->intermediate, s->hidden);
        add_linear(w, mlp, "down_proj", s->hidden, s->intermediate);
        return;
    }
    snprintf(name, sizeof name, "%s.gate", mlp);
    add_module(w, name, 2, (int64_t[]){s->experts, s->hidden}, s->bits == 16 ? 16 : 8, 1);
    add_experts(w, mlp, "gate_proj", s->moe_intermediate, s->hidden);
    add_experts(w, mlp, "up_proj", s->moe_intermediate, s->hidden);
    add_experts(w, mlp, "down_proj", s->hidden, s->moe_intermediate);
}

/* Shards are cut as mlx-lm does: when the running size would exceed 5 GiB. */
static void list_tensors(writer *w)
{
    const zx_synth_shape *s = w->s;
    int64_t table[2] = {s->vocab, s->hidden};
    /* Embedding rows of unit variance; a head that spreads the logits over a few units, so that greedy choices are
     * clear. */
    add_module(w, "model.embed_tokens", 2, table, s->bits, (float)sqrt((double)s->hidden) * (s->tied ? 0.1f : 1.0f));
    for (int64_t l = 0; l < s->layers; l++)
        add_layer(w, l);
    add_norm(w, s->hidden, "model.norm.weight");
    if (!s->tied) add_module(w, "lm_head", 2, table, s->bits, 3);
    int64_t in_shard = 0;
    for (int i = 0; i < w->n; i++) {
        int64_t bytes = (int64_t)w->item[i].bytes;
        if (in_shard && in_shard + bytes > SHARD_LIMIT) {
            w->shards++;
            in_shard = 0;
        }
        w->item[i].shard = w->shards;
        w->item[i].offset = (size_t)in_shard;
        in_shard += bytes;
        w->total += bytes;
    }
    w->shards++;
}

/* --- numbers --- */

static float unit(uint64_t r) { return (float)(r >> 40) * 0x1p-24f; } /* [0, 1) */

static void put_float(uint8_t *out, zmlx_dtype t, int64_t i, float x)
{
    uint16_t h = zx_f32_to_bf16(x); /* every type holds the value that bfloat16 has */
    float f = zx_bf16_to_f32(h);
    if (t == ZMLX_F16) h = zx_f32_to_f16(f);
    if (t == ZMLX_F32)
        memcpy(out + 4 * i, &f, 4);
    else
        memcpy(out + 2 * i, &h, 2);
}

/* The scale of a group: a magnitude that gives uniform codes the wanted deviation, spread by a quarter, of either sign
 * (MLX's quantizer makes negative scales as often as positive ones). */
static float group_scale(const item *t, uint64_t key, int64_t group)
{
    uint64_t state = key + (uint64_t)group * 0x632be59bd9b4e019u;
    uint64_t r = zx_rng_next(&state);
    float levels = (float)(1 << t->bits);
    float deviation = sqrtf((levels * levels - 1.0f) / 12.0f);
    float scale = t->gain / (deviation * sqrtf((float)t->k)) * (0.75f + 0.5f * unit(r));
    scale = zx_bf16_to_f32(zx_f32_to_bf16(scale));
    return r & 1 ? scale : -scale;
}

/* Elements [first, first + n) of a tensor. */
static void fill_items(const item *t, int64_t first, int64_t n, uint8_t *out)
{
    if (t->kind == PART_CODES) {
        for (int64_t i = 0; i < n; i += 2) { /* two words a draw; blocks start at even elements */
            uint64_t state = t->key ^ 0x5bd1e9955bd1e995u;
            state += (uint64_t)((first + i) / 2) * 0x9e3779b97f4a7c15u;
            uint64_t r = zx_rng_next(&state);
            memcpy(out + 4 * i, &r, i + 1 < n ? 8 : 4);
        }
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        uint64_t state = t->key + (uint64_t)(first + i) * 0x632be59bd9b4e019u;
        float x;
        if (t->kind == PART_SCALES)
            x = group_scale(t, t->key, first + i);
        else if (t->kind == PART_BIASES)
            x = -group_scale(t, t->key, first + i) * 0.5f * (float)((1 << t->bits) - 1);
        else if (t->kind == PART_NORM)
            x = 0.75f + 0.5f * unit(zx_rng_next(&state));
        else
            x = t->gain / sqrtf((float)t->k) * 3.4641016f *
                (unit(zx_rng_next(&state)) - 0.5f); /* uniform, deviation 1 */
        put_float(out, t->dtype, i, x);
    }
}

/* --- files --- */

typedef struct shard_file {
    int fd;
    char *path;
} shard_file;

static zmlx_status write_all(const shard_file *f, const void *data, size_t n, zmlx_err *err)
{
    const char *p = data;
    while (n) {
        ssize_t k = write(f->fd, p, n);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return zx_fail(err, ZMLX_E_IO, -1, "%s: %s", f->path, k < 0 ? strerror(errno) : "cannot write");
        p += k;
        n -= (size_t)k;
    }
    return ZMLX_OK;
}

static const char *st_dtype(zmlx_dtype t)
{
    return t == ZMLX_U32 ? "U32" : t == ZMLX_F32 ? "F32" : t == ZMLX_F16 ? "F16" : "BF16";
}

static void shard_header(const writer *w, int shard, zx_buf *b)
{
    uint64_t n = 0;
    zx_buf_add(b, &n, 8);
    zx_buf_puts(b, "{\"__metadata__\":{\"format\":\"mlx\"}");
    for (int i = 0; i < w->n; i++) {
        const item *t = &w->item[i];
        if (t->shard != shard) continue;
        zx_buf_printf(b, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", t->name, st_dtype(t->dtype));
        for (int d = 0; d < t->rank; d++)
            zx_buf_printf(b, "%s%lld", d ? "," : "", (long long)t->dim[d]);
        zx_buf_printf(b, "],\"data_offsets\":[%zu,%zu]}", t->offset, t->offset + t->bytes);
    }
    zx_buf_putc(b, '}');
    while ((b->len & 7) && !b->failed)
        zx_buf_putc(b, ' ');
    if (b->failed) return;
    n = b->len - 8;
    for (int i = 0; i < 8; i++)
        b->data[i] = (char)(n >> (8 * i));
}

static zmlx_status write_tensor(const writer *w, const item *t, const shard_file *f, uint8_t *block, int64_t *done,
                                const zmlx_synth_options *o, zmlx_err *err)
{
    int64_t size = (int64_t)zmlx_dtype_size(t->dtype), n = (int64_t)t->bytes / size;
    for (int64_t i = 0; i < n; i += BLOCK / 4) {
        int64_t m = ZX_MIN((int64_t)BLOCK / 4, n - i);
        fill_items(t, i, m, block);
        ZX_TRY(write_all(f, block, (size_t)(m * size), err));
        *done += m * size;
        if (o->progress && !o->progress(o->user, *done, w->total)) return zx_fail(err, ZMLX_E_CANCELLED, -1, "stopped");
    }
    return ZMLX_OK;
}

static void shard_name(const writer *w, int shard, char name[64])
{
    if (w->shards == 1)
        snprintf(name, 64, "model.safetensors");
    else
        snprintf(name, 64, "model-%05d-of-%05d.safetensors", shard + 1, w->shards);
}

static zmlx_status write_shard(const writer *w, int shard, const char *dir, int64_t *done, const zmlx_synth_options *o,
                               zmlx_err *err)
{
    char name[64];
    shard_name(w, shard, name);
    shard_file f = {-1, zx_path_join(dir, name)};
    uint8_t *block = zx_malloc(BLOCK);
    zx_buf header = {0};
    shard_header(w, shard, &header);
    zmlx_status s = f.path && block && !header.failed ? ZMLX_OK : zx_fail(err, ZMLX_E_NOMEM, -1, "%s", name);
    if (s == ZMLX_OK) {
        f.fd = open(f.path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (f.fd < 0) s = zx_fail(err, ZMLX_E_IO, -1, "%s: %s", f.path, strerror(errno));
    }
    if (s == ZMLX_OK) s = write_all(&f, header.data, header.len, err);
    for (int i = 0; s == ZMLX_OK && i < w->n; i++)
        if (w->item[i].shard == shard) s = write_tensor(w, &w->item[i], &f, block, done, o, err);
    if (f.fd >= 0 && close(f.fd) && s == ZMLX_OK) s = zx_fail(err, ZMLX_E_IO, -1, "%s: %s", f.path, strerror(errno));
    zx_buf_clear(&header);
    zx_free(block);
    zx_free(f.path);
    return s;
}

static zmlx_status write_text(const char *dir, const char *name, zx_buf *b, zmlx_err *err)
{
    char *path = zx_path_join(dir, name);
    zmlx_status s = path && !b->failed ? zx_file_write_atomic(path, b->data, b->len, err)
                                       : zx_fail(err, ZMLX_E_NOMEM, -1, "%s", name);
    zx_free(path);
    zx_buf_clear(b);
    return s;
}

static void quantization_block(const writer *w, zx_buf *b, const char *key)
{
    const zx_synth_shape *s = w->s;
    if (s->bits == 16) return;
    zx_buf_printf(b, "    \"%s\": {\"group_size\": %d, \"bits\": %d, \"mode\": \"affine\"", key, s->group, s->bits);
    for (int64_t l = 0; l < s->layers; l++)
        if (is_moe(s, l))
            zx_buf_printf(b, ",\n        \"model.layers.%lld.mlp.gate\": {\"group_size\": %d, \"bits\": 8}",
                          (long long)l, s->group);
    zx_buf_puts(b, "},\n");
}

static zmlx_status write_config(const writer *w, const char *dir, int64_t eos, zmlx_err *err)
{
    const zx_synth_shape *s = w->s;
    zx_buf b = {0};
    zx_buf_printf(&b,
                  "{\n    \"architectures\": [\"%s\"],\n    \"attention_bias\": false,\n    \"eos_token_id\": %lld,\n",
                  s->architecture, (long long)eos);
    zx_buf_printf(&b, "    \"head_dim\": %lld,\n    \"hidden_act\": \"silu\",\n    \"hidden_size\": %lld,\n",
                  (long long)s->head_dim, (long long)s->hidden);
    zx_buf_printf(
        &b, "    \"intermediate_size\": %lld,\n    \"max_position_embeddings\": %lld,\n    \"model_type\": \"%s\",\n",
        (long long)s->intermediate, (long long)s->max_positions, s->model_type);
    if (s->experts) {
        zx_buf_puts(&b, "    \"decoder_sparse_step\": 1,\n    \"mlp_only_layers\": [");
        if (s->dense_layer >= 0) zx_buf_printf(&b, "%lld", (long long)s->dense_layer);
        zx_buf_printf(
            &b,
            "],\n    \"moe_intermediate_size\": %lld,\n    \"norm_topk_prob\": %s,\n    \"num_experts\": %lld,\n"
            "    \"num_experts_per_tok\": %lld,\n",
            (long long)s->moe_intermediate, s->norm_topk ? "true" : "false", (long long)s->experts,
            (long long)s->top_k);
    }
    zx_buf_printf(
        &b,
        "    \"num_attention_heads\": %lld,\n    \"num_hidden_layers\": %lld,\n    \"num_key_value_heads\": %lld,\n",
        (long long)s->heads, (long long)s->layers, (long long)s->kv_heads);
    quantization_block(w, &b, "quantization");
    quantization_block(w, &b, "quantization_config");
    zx_buf_printf(&b, "    \"rms_norm_eps\": %g,\n    \"rope_scaling\": null,\n    \"rope_theta\": %.1f,\n", s->eps,
                  s->theta);
    zx_buf_printf(&b, "    \"tie_word_embeddings\": %s,\n    \"torch_dtype\": \"%s\",\n    \"vocab_size\": %lld\n}\n",
                  s->tied ? "true" : "false", zmlx_dtype_name(s->dtype), (long long)s->vocab);
    return write_text(dir, "config.json", &b, err);
}

static zmlx_status write_index(const writer *w, const char *dir, zmlx_err *err)
{
    zx_buf b = {0};
    char name[64];
    zx_buf_printf(&b, "{\n    \"metadata\": {\"total_size\": %lld},\n    \"weight_map\": {\n", (long long)w->total);
    for (int i = 0; i < w->n; i++) {
        shard_name(w, w->item[i].shard, name);
        zx_buf_printf(&b, "        \"%s\": \"%s\"%s\n", w->item[i].name, name, i + 1 < w->n ? "," : "");
    }
    zx_buf_puts(&b, "    }\n}\n");
    return write_text(dir, "model.safetensors.index.json", &b, err);
}

static zmlx_status write_tokenizer(const char *dir, int64_t vocab, int64_t *eos, zmlx_err *err)
{
    zx_buf b = {0};
    *eos = zx_synth_tokenizer(&b, vocab);
    ZX_TRY(write_text(dir, "tokenizer.json", &b, err));
    zx_buf_puts(
        &b, "{\n    \"add_bos_token\": false,\n    \"bos_token\": null,\n    \"clean_up_tokenization_spaces\": false,\n"
            "    \"eos_token\": \"<|im_end|>\",\n    \"pad_token\": \"<|endoftext|>\",\n"
            "    \"tokenizer_class\": \"Qwen2Tokenizer\",\n    \"unk_token\": null\n}\n");
    ZX_TRY(write_text(dir, "tokenizer_config.json", &b, err));
    zx_buf_printf(&b, "{\n    \"eos_token_id\": [%lld, %lld]\n}\n", (long long)*eos + 2, (long long)*eos);
    return write_text(dir, "generation_config.json", &b, err);
}

/* Calls fn on the path of every file of the checkpoint until it returns an error. */
static zmlx_status each_file(const writer *w, const char *dir, zmlx_status (*fn)(const char *path, zmlx_err *err),
                             zmlx_err *err)
{
    static const char *const texts[] = {"config.json", "generation_config.json", "tokenizer.json",
                                        "tokenizer_config.json", "model.safetensors.index.json"};
    int n_texts = (int)ZX_COUNT(texts);
    for (int i = 0; i < n_texts + w->shards; i++) {
        char name[64];
        if (i >= n_texts) shard_name(w, i - n_texts, name);
        char *path = zx_path_join(dir, i < n_texts ? texts[i] : name);
        zmlx_status s = path ? fn(path, err) : zx_fail(err, ZMLX_E_NOMEM, -1, "%s", dir);
        zx_free(path);
        if (s != ZMLX_OK) return s;
    }
    return ZMLX_OK;
}

static zmlx_status refuse_existing(const char *path, zmlx_err *err)
{
    return zx_file_exists(path) ? zx_fail(err, ZMLX_E_ARG, -1, "%s exists already", path) : ZMLX_OK;
}

static zmlx_status remove_file(const char *path, zmlx_err *err)
{
    (void)err;
    unlink(path);
    return ZMLX_OK;
}

static zmlx_status choose_shape(zx_synth_shape *s, const char *name, const zmlx_synth_options *o, zmlx_err *err)
{
    const preset *p = NULL;
    for (size_t i = 0; i < ZX_COUNT(presets); i++)
        if (name && !strcmp(name, presets[i].name)) p = &presets[i];
    if (!p) {
        char known[200] = "";
        for (size_t i = 0; i < ZX_COUNT(presets); i++) {
            size_t used = strlen(known);
            snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", presets[i].name);
        }
        return zx_fail(err, ZMLX_E_ARG, -1, "unknown preset '%.64s' (presets: %s)", name ? name : "", known);
    }
    *s = o->tiny ? p->tiny : p->full;
    s->model_type = p->full.model_type;
    s->architecture = p->full.architecture;
    if (o->layers < 0 || o->layers > 1024)
        return zx_fail(err, ZMLX_E_ARG, -1, "%lld layers, expected 1 to 1024", (long long)o->layers);
    if (o->layers) s->layers = o->layers;
    s->bits = o->bits ? o->bits : 4;
    s->group = o->group ? o->group : 64;
    if (s->bits != 4 && s->bits != 8 && s->bits != 16)
        return zx_fail(err, ZMLX_E_ARG, -1, "bits %d, expected 4, 8 or 16", s->bits);
    if (s->group != 32 && s->group != 64 && s->group != 128)
        return zx_fail(err, ZMLX_E_ARG, -1, "group size %d, expected 32, 64 or 128", s->group);
    if (s->bits != 16 && s->moe_intermediate % s->group)
        return zx_fail(err, ZMLX_E_ARG, -1, "expert width %lld is not a multiple of the group size %d",
                       (long long)s->moe_intermediate, s->group);
    s->dtype = ZMLX_BF16;
    if (o->dtype) {
        static const zmlx_dtype allowed[] = {ZMLX_BF16, ZMLX_F16, ZMLX_F32};
        size_t i = 0;
        while (i < ZX_COUNT(allowed) && strcmp(o->dtype, zmlx_dtype_name(allowed[i])) != 0)
            i++;
        if (i == ZX_COUNT(allowed))
            return zx_fail(err, ZMLX_E_ARG, -1, "dtype '%.32s', expected bfloat16, float16 or float32", o->dtype);
        s->dtype = allowed[i];
    }
    return ZMLX_OK;
}

zmlx_status zmlx_synth(const char *name, const char *dir, const zmlx_synth_options *options, zmlx_err *err)
{
    zmlx_synth_options o = options ? *options : (zmlx_synth_options){0};
    zx_synth_shape shape;
    ZX_TRY(choose_shape(&shape, name, &o, err));
    if (!dir || !*dir) return zx_fail(err, ZMLX_E_ARG, -1, "no folder given");
    ZX_TRY(zx_mkdirs(dir, err));
    writer w = {.s = &shape, .seed = o.seed};
    list_tensors(&w);
    int64_t done = 0, eos = 0;
    zmlx_status s = w.failed ? zx_fail(err, ZMLX_E_NOMEM, -1, "tensor list") : each_file(&w, dir, refuse_existing, err);
    if (s != ZMLX_OK) { /* nothing is ours to remove */
        zx_free(w.item);
        return s;
    }
    for (int i = 0; s == ZMLX_OK && i < w.shards; i++)
        s = write_shard(&w, i, dir, &done, &o, err);
    if (s == ZMLX_OK) s = write_index(&w, dir, err);
    if (s == ZMLX_OK) s = write_tokenizer(dir, shape.vocab, &eos, err);
    if (s == ZMLX_OK) s = write_config(&w, dir, eos, err);
    if (s != ZMLX_OK) each_file(&w, dir, remove_file, NULL);
    zx_free(w.item);
    return s;
}
