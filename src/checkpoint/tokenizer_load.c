/* SPDX-License-Identifier: MIT */
/* tokenizer.json and tokenizer_config.json -> the tables of a tokenizer.  What we cannot run exactly as
 * `tokenizers` does is refused by name; nothing is guessed. */
#include "checkpoint/tokenizer_impl.h"

#include <jansson.h>
#include <string.h>

#include "base/alloc.h"
#include "checkpoint/untrusted.h"

#define FILE_NAME "tokenizer.json"
#define IN(where) FILE_NAME ": " where

static zmlx_status malformed(zmlx_err *err, const char *where, const char *what)
{
    return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: %s", where, what);
}

static zmlx_status refuse(zmlx_err *err, const char *where, const char *name, const char *supported)
{
    return zx_fail(err, ZMLX_E_UNSUPPORTED, -1, "%s '%s' is not supported; %s", where, ZX_SHOW(name), supported);
}

/* --- small readers ------------------------------------------------------------------------------- */

static bool is_null(const json_t *j) { return !j || json_is_null(j); }

/* The string in "type" of an object. */
static zmlx_status type_of(const json_t *j, const char *where, const char **type, zmlx_err *err)
{
    if (!json_is_object(j)) return malformed(err, where, "not an object");
    *type = json_string_value(json_object_get(j, "type"));
    return *type ? ZMLX_OK : malformed(err, where, "'type' is missing or not a string");
}

static zmlx_status get_bool(const json_t *obj, const char *where, const char *key, bool missing, bool *out,
                            zmlx_err *err)
{
    const json_t *j = json_object_get(obj, key);
    *out = missing;
    if (!j) return ZMLX_OK;
    if (!json_is_boolean(j)) return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: '%s' is not true or false", where, key);
    *out = json_is_true(j);
    return ZMLX_OK;
}

/* A component is an object or a Sequence of objects; run `one` on each. */
typedef zmlx_status component_fn(zx_tokenizer *t, const json_t *j, const char *type, zmlx_err *err);

static zmlx_status each_component(zx_tokenizer *t, const json_t *j, const char *where, const char *list_key,
                                  component_fn *one, zmlx_err *err)
{
    const char *type = NULL;
    ZX_TRY(type_of(j, where, &type, err));
    if (strcmp(type, "Sequence")) return one(t, j, type, err);
    const json_t *list = json_object_get(j, list_key);
    if (!json_is_array(list)) return malformed(err, where, "a Sequence without its list");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        ZX_TRY(type_of(item, where, &type, err));
        ZX_TRY(one(t, item, type, err));
    }
    return ZMLX_OK;
}

/* --- normalizer, pre_tokenizer, decoder ---------------------------------------------------------- */

static zmlx_status one_normalizer(zx_tokenizer *t, const json_t *j, const char *type, zmlx_err *err)
{
    (void)j;
    if (strcmp(type, "NFC")) return refuse(err, IN("normalizer"), type, "null and NFC are");
    t->nfc = true;
    return ZMLX_OK;
}

static zmlx_status one_decoder(zx_tokenizer *t, const json_t *j, const char *type, zmlx_err *err)
{
    (void)t;
    (void)j;
    return strcmp(type, "ByteLevel") ? refuse(err, IN("decoder"), type, "ByteLevel is") : ZMLX_OK;
}

static zmlx_status load_split(zx_tokenizer *t, const json_t *j, zmlx_err *err)
{
    const json_t *pattern = json_object_get(j, "pattern");
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    const char *behavior = json_string_value(json_object_get(j, "behavior"));
    bool invert = false;
    ZX_TRY(get_bool(j, IN("pre_tokenizer: Split"), "invert", false, &invert, err));
    if (!regex && json_object_get(pattern, "String"))
        return refuse(err, IN("pre_tokenizer: Split pattern"), "String", "a Regex is");
    if (!regex) return malformed(err, IN("pre_tokenizer: Split"), "'pattern' has no Regex");
    if (!behavior) return malformed(err, IN("pre_tokenizer: Split"), "'behavior' is missing or not a string");
    if (strcmp(behavior, "Isolated")) return refuse(err, IN("pre_tokenizer: Split behavior"), behavior, "Isolated is");
    if (invert) return refuse(err, IN("pre_tokenizer: Split"), "invert", "only false is");
    const char *ours = zx_tok_pattern_find(regex);
    if (!ours) return refuse(err, IN("pre_tokenizer: pattern"), regex, "the patterns of GPT-2, Qwen and Llama-3 are");
    return zx_tok_pattern_compile(t, ours, err);
}

static zmlx_status one_pre_tokenizer(zx_tokenizer *t, const json_t *j, const char *type, zmlx_err *err)
{
    bool use_regex = true, prefix_space = false, first = !t->pattern;
    if (!strcmp(type, "Split")) {
        if (!first) return refuse(err, IN("pre_tokenizer"), "Split", "after another one only ByteLevel is");
        return load_split(t, j, err);
    }
    if (strcmp(type, "ByteLevel")) return refuse(err, IN("pre_tokenizer"), type, "ByteLevel, alone or after Split, is");
    if (t->byte_id[0]) return refuse(err, IN("pre_tokenizer"), "ByteLevel", "only one of them is");
    t->byte_id[0] = 1; /* seen; the table is filled later */
    if (!json_object_get(j, "add_prefix_space"))
        return malformed(err, IN("pre_tokenizer: ByteLevel"), "'add_prefix_space' is missing");
    ZX_TRY(get_bool(j, IN("pre_tokenizer: ByteLevel"), "use_regex", true, &use_regex, err));
    ZX_TRY(get_bool(j, IN("pre_tokenizer: ByteLevel"), "add_prefix_space", false, &prefix_space, err));
    if (first && !use_regex)
        return refuse(err, IN("pre_tokenizer: ByteLevel"), "use_regex: false",
                      "without a Split before it only true is");
    if (!first && use_regex)
        return refuse(err, IN("pre_tokenizer: ByteLevel"), "use_regex: true", "after a Split only false is");
    if (!first && prefix_space)
        return refuse(err, IN("pre_tokenizer: ByteLevel"), "add_prefix_space: true", "after a Split only false is");
    t->prefix_space = prefix_space;
    return first ? zx_tok_pattern_compile(t, zx_tok_pattern_gpt2(), err) : ZMLX_OK;
}

static zmlx_status load_pre_tokenizer(zx_tokenizer *t, const json_t *j, zmlx_err *err)
{
    if (is_null(j)) return refuse(err, IN("pre_tokenizer"), "null", "ByteLevel, alone or after Split, is");
    ZX_TRY(each_component(t, j, IN("pre_tokenizer"), "pretokenizers", one_pre_tokenizer, err));
    if (!t->byte_id[0]) return refuse(err, IN("pre_tokenizer without"), "ByteLevel", "byte-level vocabularies are");
    return ZMLX_OK;
}

/* --- model --------------------------------------------------------------------------------------- */

/* Settings of BPE that must be switched off. */
static zmlx_status check_model_settings(const json_t *model, zmlx_err *err)
{
    static const char *const empty[] = {"unk_token", "continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < ZX_COUNT(empty); i++) {
        const json_t *j = json_object_get(model, empty[i]);
        if (is_null(j)) continue;
        if (!json_is_string(j)) return zx_fail(err, ZMLX_E_FORMAT, -1, IN("model: '%s' is not a string"), empty[i]);
        if (json_string_length(j)) return refuse(err, IN("model: setting"), empty[i], "only null is");
    }
    const json_t *dropout = json_object_get(model, "dropout");
    if (!is_null(dropout) && !(json_is_number(dropout) && json_number_value(dropout) == 0))
        return refuse(err, IN("model: setting"), "dropout", "only null is");
    bool fallback = false;
    ZX_TRY(get_bool(model, IN("model"), "byte_fallback", false, &fallback, err));
    return fallback ? refuse(err, IN("model: setting"), "byte_fallback", "only false is") : ZMLX_OK;
}

static zmlx_status load_vocab(zx_tokenizer *t, json_t *vocab, zmlx_err *err)
{
    const char *text;
    json_t *id;
    if (!json_is_object(vocab)) return malformed(err, IN("model: vocab"), "missing or not an object");
    ZX_TRY(zx_tok_vocab_reserve(t, (int64_t)json_object_size(vocab), err));
    json_object_foreach(vocab, text, id)
    {
        size_t len = strlen(text);
        if (!json_is_integer(id))
            return zx_fail(err, ZMLX_E_FORMAT, -1, FILE_NAME ": model: vocab: the id of '%s' is not an integer",
                           ZX_SHOW(text));
        ZX_TRY(zx_tok_vocab_add(t, text, len, json_integer_value(id), ZX_TOK_MODEL, err));
    }
    return ZMLX_OK;
}

typedef struct span {
    const char *s;
    size_t n;
} span;

/* "a b" or ["a", "b"]. */
static bool merge_parts(const json_t *m, span *a, span *b)
{
    if (json_is_array(m) && json_array_size(m) == 2) {
        const json_t *l = json_array_get(m, 0), *r = json_array_get(m, 1);
        if (!json_is_string(l) || !json_is_string(r)) return false;
        *a = (span){json_string_value(l), json_string_length(l)};
        *b = (span){json_string_value(r), json_string_length(r)};
        return true;
    }
    const char *s = json_string_value(m), *space = s ? strchr(s, ' ') : NULL;
    if (!space || strchr(space + 1, ' ')) return false;
    *a = (span){s, (size_t)(space - s)};
    *b = (span){space + 1, strlen(space + 1)};
    return true;
}

static zmlx_status merge_id(const zx_tokenizer *t, size_t rank, span s, uint32_t *id, zmlx_err *err)
{
    int64_t found = zx_tok_vocab_find(t, s.s, s.n, ZX_TOK_MODEL);
    if (found < 0)
        return zx_fail(err, ZMLX_E_FORMAT, -1, FILE_NAME ": model: merge %zu: '%s' is not in the vocabulary", rank,
                       zx_show_text((char[ZX_SHOW_MAX]){0}, s.s, s.n));
    *id = (uint32_t)found;
    return ZMLX_OK;
}

static zmlx_status load_merge(zx_tokenizer *t, size_t rank, span a, span b, zx_buf *both, zmlx_err *err)
{
    uint32_t left = 0, right = 0, id = 0;
    ZX_TRY(merge_id(t, rank, a, &left, err));
    ZX_TRY(merge_id(t, rank, b, &right, err));
    zx_buf_reset(both);
    zx_buf_add(both, a.s, a.n);
    zx_buf_add(both, b.s, b.n);
    if (both->failed) return zx_fail(err, ZMLX_E_NOMEM, -1, "tokenizer: merge %zu", rank);
    ZX_TRY(merge_id(t, rank, (span){both->data ? both->data : "", both->len}, &id, err));
    zx_tok_merge_put(t, left, right, (uint32_t)rank, id);
    return ZMLX_OK;
}

static zmlx_status load_merges(zx_tokenizer *t, const json_t *merges, zmlx_err *err)
{
    if (!json_is_array(merges)) return malformed(err, IN("model: merges"), "missing or not an array");
    size_t n = json_array_size(merges);
    if (n > ZX_TOK_MAX_IDS)
        return zx_fail(err, ZMLX_E_FORMAT, -1, FILE_NAME ": model: %zu merges, at most %d are allowed", n,
                       ZX_TOK_MAX_IDS);
    ZX_TRY(zx_tok_merge_reserve(t, n, err));
    zx_buf both = {0};
    zmlx_status s = ZMLX_OK;
    for (size_t i = 0; s == ZMLX_OK && i < n; i++) {
        const json_t *m = json_array_get(merges, i);
        span a, b;
        if (json_is_string(m) && !strncmp(json_string_value(m), "#version", 8)) continue;
        if (merge_parts(m, &a, &b))
            s = load_merge(t, i, a, b, &both, err);
        else
            s = zx_fail(err, ZMLX_E_FORMAT, -1, FILE_NAME ": model: merge %zu is not a pair of tokens", i);
    }
    zx_buf_clear(&both);
    return s;
}

static zmlx_status load_model(zx_tokenizer *t, const json_t *model, zmlx_err *err)
{
    if (!json_is_object(model)) return malformed(err, IN("model"), "missing or not an object");
    const json_t *type = json_object_get(model, "type");
    if (type && !json_is_string(type)) return malformed(err, IN("model"), "'type' is not a string");
    if (type && strcmp(json_string_value(type), "BPE"))
        return refuse(err, IN("model"), json_string_value(type), "byte-level BPE is");
    ZX_TRY(check_model_settings(model, err));
    ZX_TRY(get_bool(model, IN("model"), "ignore_merges", false, &t->ignore_merges, err));
    ZX_TRY(load_vocab(t, json_object_get(model, "vocab"), err));
    ZX_TRY(load_merges(t, json_object_get(model, "merges"), err));
    for (int b = 0; b < 256; b++) {
        char text[2];
        int n = zx_tok_byte_char((unsigned char)b, text);
        t->byte_id[b] = (int32_t)zx_tok_vocab_find(t, text, (size_t)n, ZX_TOK_MODEL);
    }
    return ZMLX_OK;
}

/* --- added tokens -------------------------------------------------------------------------------- */

static zmlx_status added_flags(const json_t *j, const char *where, unsigned *flags, zmlx_err *err)
{
    bool special, lstrip, rstrip, single, normalized;
    ZX_TRY(get_bool(j, where, "special", false, &special, err));
    ZX_TRY(get_bool(j, where, "lstrip", false, &lstrip, err));
    ZX_TRY(get_bool(j, where, "rstrip", false, &rstrip, err));
    ZX_TRY(get_bool(j, where, "single_word", false, &single, err));
    ZX_TRY(get_bool(j, where, "normalized", !special, &normalized, err));
    if (single) return zx_fail(err, ZMLX_E_UNSUPPORTED, -1, "%s: 'single_word' is not supported; only false is", where);
    *flags = ZX_TOK_ADDED | (special ? ZX_TOK_SPECIAL : 0u) | (lstrip ? ZX_TOK_LSTRIP : 0u) |
             (rstrip ? ZX_TOK_RSTRIP : 0u) | (normalized ? ZX_TOK_NORMALIZED : 0u);
    return ZMLX_OK;
}

/* `again`: the token may be known already, which tokenizer_config.json does as a rule; then only its being
 * special counts, as in `tokenizers`. */
static zmlx_status load_added(zx_tokenizer *t, const json_t *j, const char *where, int64_t id, bool again,
                              zmlx_err *err)
{
    const json_t *content = json_object_get(j, "content");
    size_t len = json_string_length(content);
    unsigned flags = 0;
    if (!len) return malformed(err, where, "'content' is missing, empty or not a string");
    ZX_TRY(added_flags(j, where, &flags, err));
    const char *text = json_string_value(content);
    int64_t known = zx_tok_vocab_find(t, text, len, ZX_TOK_PRESENT);
    if (known >= 0 && known != id)
        return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: '%s' has id %lld, but is id %lld already", where, ZX_SHOW(text),
                       (long long)id, (long long)known);
    if (known >= 0 && (t->entry[id].flags & ZX_TOK_ADDED)) {
        if (!again) return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: '%s' is there twice", where, ZX_SHOW(text));
        t->entry[id].flags |= flags & ZX_TOK_SPECIAL;
        return ZMLX_OK;
    }
    t->added_bytes += len;
    if (t->added_bytes > ZX_TOK_MAX_ADDED)
        return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: %zu bytes of text, at most %d are allowed", where, t->added_bytes,
                       ZX_TOK_MAX_ADDED);
    if (known < 0) return zx_tok_vocab_add(t, text, len, id, flags, err);
    t->entry[id].flags |= (uint8_t)flags;
    return ZMLX_OK;
}

static zmlx_status load_added_tokens(zx_tokenizer *t, const json_t *list, zmlx_err *err)
{
    if (is_null(list)) return ZMLX_OK;
    if (!json_is_array(list)) return malformed(err, IN("added_tokens"), "not an array");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *j = json_array_get(list, i), *id = json_object_get(j, "id");
        if (!json_is_integer(id)) return malformed(err, IN("added_tokens"), "'id' is missing or not an integer");
        ZX_TRY(load_added(t, j, IN("added_tokens"), json_integer_value(id), false, err));
    }
    return ZMLX_OK;
}

/* --- post_processor ------------------------------------------------------------------------------ */

static zmlx_status push_special(zx_tokenizer *t, zx_ids *out, const json_t *j, zmlx_err *err)
{
    int64_t id = json_is_integer(j) ? json_integer_value(j) : -1;
    if (id < 0 || id >= t->n_ids || !(t->entry[id].flags & ZX_TOK_PRESENT))
        return malformed(err, IN("post_processor: special_tokens"), "an id is not the id of a token");
    if (out->n >= ZX_TOK_MAX_SPECIAL)
        return zx_fail(err, ZMLX_E_FORMAT, -1,
                       FILE_NAME ": post_processor: %lld special tokens, at most %d are allowed", (long long)out->n + 1,
                       ZX_TOK_MAX_SPECIAL);
    if (!out->id) {
        out->id = zx_calloc(ZX_TOK_MAX_SPECIAL, sizeof *out->id);
        if (!out->id) return zx_fail(err, ZMLX_E_NOMEM, -1, "tokenizer: special tokens");
        out->cap = ZX_TOK_MAX_SPECIAL;
    }
    out->id[out->n++] = (int32_t)id;
    return ZMLX_OK;
}

static zmlx_status push_template_token(zx_tokenizer *t, zx_ids *out, const json_t *table, const json_t *piece,
                                       zmlx_err *err)
{
    static const char where[] = IN("post_processor: TemplateProcessing");
    const char *name = json_string_value(json_object_get(piece, "id"));
    if (!name) return malformed(err, where, "a SpecialToken has no 'id'");
    const json_t *ids = json_object_get(json_object_get(table, name), "ids");
    if (!json_is_array(ids)) return malformed(err, where, "a SpecialToken is not in 'special_tokens'");
    for (size_t i = 0; i < json_array_size(ids); i++)
        ZX_TRY(push_special(t, out, json_array_get(ids, i), err));
    return ZMLX_OK;
}

static zmlx_status load_template(zx_tokenizer *t, const json_t *j, zmlx_err *err)
{
    static const char where[] = IN("post_processor: TemplateProcessing");
    const json_t *single = json_object_get(j, "single"), *table = json_object_get(j, "special_tokens");
    bool seen = false;
    if (!json_is_array(single)) return malformed(err, where, "'single' is missing or not an array");
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *item = json_array_get(single, i), *special = json_object_get(item, "SpecialToken");
        const char *seq = json_string_value(json_object_get(json_object_get(item, "Sequence"), "id"));
        if (special) {
            ZX_TRY(push_template_token(t, seen ? &t->after : &t->before, table, special, err));
            continue;
        }
        if (!seq) return malformed(err, where, "'single' has something that is no SpecialToken and no Sequence");
        if (strcmp(seq, "A") || seen) return refuse(err, where, seq, "the text A, once, is");
        seen = true;
    }
    return seen ? ZMLX_OK : refuse(err, where, "without A", "the text A, once, is");
}

static zmlx_status one_post_processor(zx_tokenizer *t, const json_t *j, const char *type, zmlx_err *err)
{
    if (!strcmp(type, "ByteLevel")) return ZMLX_OK; /* moves offsets only, adds no token */
    if (strcmp(type, "TemplateProcessing"))
        return refuse(err, IN("post_processor"), type, "ByteLevel and TemplateProcessing are");
    if (t->before.n || t->after.n) return refuse(err, IN("post_processor: second"), type, "one is");
    return load_template(t, j, err);
}

/* --- the files ----------------------------------------------------------------------------------- */

static zmlx_status load_root(zx_tokenizer *t, const json_t *root, zmlx_err *err)
{
    const json_t *version = json_object_get(root, "version");
    if (version && !json_is_string(version)) return malformed(err, IN("version"), "not a string");
    if (version && strcmp(json_string_value(version), "1.0"))
        return refuse(err, IN("version"), json_string_value(version), "1.0 is");
    /* "truncation" and "padding" shape batches for training; encoding one text for a model uses neither. */
    const json_t *normalizer = json_object_get(root, "normalizer"), *decoder = json_object_get(root, "decoder"),
                 *post = json_object_get(root, "post_processor");
    if (!is_null(normalizer))
        ZX_TRY(each_component(t, normalizer, IN("normalizer"), "normalizers", one_normalizer, err));
    if (!is_null(decoder)) ZX_TRY(each_component(t, decoder, IN("decoder"), "decoders", one_decoder, err));
    ZX_TRY(load_pre_tokenizer(t, json_object_get(root, "pre_tokenizer"), err));
    ZX_TRY(load_model(t, json_object_get(root, "model"), err));
    ZX_TRY(load_added_tokens(t, json_object_get(root, "added_tokens"), err));
    if (!is_null(post)) ZX_TRY(each_component(t, post, IN("post_processor"), "processors", one_post_processor, err));
    return ZMLX_OK;
}

/* Parse `json` and hand its root object to `load`. */
static zmlx_status load_json(zx_tokenizer *t, const char *name, const char *json, size_t len, size_t flags,
                             zmlx_status (*load)(zx_tokenizer *, const json_t *, zmlx_err *), zmlx_err *err)
{
    json_t *root = NULL;
    if (len > ZX_TOK_MAX_FILE)
        return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: %zu bytes, at most %d are allowed", name, len, ZX_TOK_MAX_FILE);
    ZX_TRY(zx_json_parse(&root, json, len, JSON_REJECT_DUPLICATES | flags, name, 0, err));
    zmlx_status s =
        json_is_object(root) ? load(t, root, err) : zx_fail(err, ZMLX_E_FORMAT, -1, "%s: not an object", name);
    json_decref(root);
    return s;
}

zmlx_status zx_tok_load(zx_tokenizer *t, const char *json, size_t len, zmlx_err *err)
{
    zx_buf_putc(&t->blob, 0); /* so that the text of an empty token has an address */
    if (t->blob.failed) return zx_fail(err, ZMLX_E_NOMEM, -1, "tokenizer: token text");
    return load_json(t, FILE_NAME, json, len, 0, load_root, err);
}

/* eos_token: its text, or an added token's object. */
static void load_eos(zx_tokenizer *t, const json_t *root)
{
    const json_t *j = json_object_get(root, "eos_token");
    if (json_is_object(j)) j = json_object_get(j, "content");
    const char *text = json_string_value(j);
    if (text) t->eos = zx_tokenizer_find(t, text);
}

/* {"123": {"content": ...}}: tokens that tokenizer.json may lack. */
static zmlx_status load_added_decoder(zx_tokenizer *t, const json_t *root, zmlx_err *err)
{
    static const char where[] = "tokenizer_config.json: added_tokens_decoder";
    json_t *table = json_object_get(root, "added_tokens_decoder"), *j;
    const char *key;
    if (is_null(table)) return ZMLX_OK;
    if (!json_is_object(table)) return malformed(err, where, "not an object");
    json_object_foreach(table, key, j)
    {
        size_t digits = strspn(key, "0123456789");
        if (!digits || digits > 9 || key[digits])
            return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: '%s' is not an id", where, ZX_SHOW(key));
        int64_t id = 0;
        for (size_t i = 0; i < digits; i++)
            id = id * 10 + (key[i] - '0');
        ZX_TRY(load_added(t, j, where, id, true, err));
    }
    return ZMLX_OK;
}

static zmlx_status load_config_root(zx_tokenizer *t, const json_t *root, zmlx_err *err)
{
    ZX_TRY(load_added_decoder(t, root, err));
    load_eos(t, root);
    return ZMLX_OK;
}

zmlx_status zx_tok_load_config(zx_tokenizer *t, const char *json, size_t len, zmlx_err *err)
{
    /* Real files have a model_max_length of 10^30, which no integer holds; we read no number here. */
    return load_json(t, "tokenizer_config.json", json, len, JSON_DECODE_INT_AS_REAL, load_config_root, err);
}
