/* SPDX-License-Identifier: MIT */
/* Opening, closing and looking at a tokenizer. */
#include "checkpoint/tokenizer_impl.h"

#include <string.h>
#include <sys/random.h>

#include "base/alloc.h"
#include "base/file.h"

/* Added tokens are matched on the raw text, or on the normalized text in their normalized form. */
typedef struct added_lists {
    zx_ac_string *raw, *norm;
    size_t n_raw, n_norm;
    size_t *start; /* of norm[i] in nfc */
    zx_buf nfc;
} added_lists;

static zmlx_status list_added(zx_tokenizer *t, added_lists *l, zmlx_err *err)
{
    for (int64_t i = 0; i < t->n_ids; i++) {
        const zx_tok_entry *e = &t->entry[i];
        if (!(e->flags & ZX_TOK_ADDED)) continue;
        zx_ac_string str = {t->blob.data + e->text, e->text_len, (int32_t)i};
        if (!(e->flags & ZX_TOK_NORMALIZED)) {
            l->raw[l->n_raw++] = str;
            continue;
        }
        size_t start = l->start[l->n_norm] = l->nfc.len;
        if (t->nfc)
            ZX_TRY(zx_nfc_append(&l->nfc, str.text, str.len, err));
        else
            zx_buf_add(&l->nfc, str.text, str.len);
        if (l->nfc.failed) return zx_fail(err, ZMLX_E_NOMEM, -1, "tokenizer: added tokens");
        str.len = l->nfc.len - start;
        ZX_TRY(zx_tok_vocab_print_as(t, i, l->nfc.data + start, str.len, err));
        l->norm[l->n_norm++] = str;
    }
    for (size_t i = 0; i < l->n_norm; i++) /* the texts have come to rest now */
        l->norm[i].text = l->nfc.data + l->start[i];
    for (size_t i = 0; i < l->n_raw; i++)
        l->raw[i].text = t->blob.data + t->entry[l->raw[i].value].text;
    return ZMLX_OK;
}

static zmlx_status build_matchers(zx_tokenizer *t, zmlx_err *err)
{
    added_lists l = {0};
    size_t n = 0;
    for (int64_t i = 0; i < t->n_ids; i++)
        if (t->entry[i].flags & ZX_TOK_ADDED) n++;
    if (!n) return ZMLX_OK;
    l.raw = zx_calloc(n, sizeof *l.raw);
    l.norm = zx_calloc(n, sizeof *l.norm);
    l.start = zx_calloc(n, sizeof *l.start);
    zmlx_status s =
        l.raw && l.norm && l.start ? list_added(t, &l, err) : zx_fail(err, ZMLX_E_NOMEM, -1, "tokenizer: added tokens");
    if (s == ZMLX_OK) s = zx_ac_build(&t->added_raw, l.raw, l.n_raw, err);
    if (s == ZMLX_OK) s = zx_ac_build(&t->added_nfc, l.norm, l.n_norm, err);
    zx_free(l.raw);
    zx_free(l.norm);
    zx_free(l.start);
    zx_buf_clear(&l.nfc);
    return s;
}

static zx_tokenizer *tokenizer_create(void)
{
    zx_tokenizer *t = zx_new(zx_tokenizer);
    if (!t) return NULL;
    t->eos = -1;
    if (getrandom(&t->seed, sizeof t->seed, GRND_NONBLOCK) != (ssize_t)sizeof t->seed)
        t->seed ^= (uint64_t)(uintptr_t)t; /* early boot: the address will do */
    return t;
}

static zmlx_status tokenizer_finish(zx_tokenizer **out, zx_tokenizer *t, zmlx_status s, zmlx_err *err)
{
    if (s == ZMLX_OK) s = build_matchers(t, err);
    if (s != ZMLX_OK) {
        zx_tokenizer_close(t);
        return s;
    }
    *out = t;
    return ZMLX_OK;
}

zmlx_status zx_tokenizer_parse(zx_tokenizer **out, const char *json, size_t len, zmlx_err *err)
{
    *out = NULL;
    zx_tokenizer *t = tokenizer_create();
    if (!t) return zx_fail(err, ZMLX_E_NOMEM, -1, "tokenizer handle");
    return tokenizer_finish(out, t, zx_tok_load(t, json, len, err), err);
}

/* Read one file of the folder and hand it to `load`. */
static zmlx_status load_file(zx_tokenizer *t, const char *dir, const char *name, bool optional,
                             zmlx_status (*load)(zx_tokenizer *, const char *, size_t, zmlx_err *), zmlx_err *err)
{
    char *path = zx_path_join(dir, name), *text = NULL;
    size_t len = 0;
    if (!path) return zx_fail(err, ZMLX_E_NOMEM, -1, "%s: path", name);
    zmlx_status s = ZMLX_OK;
    if (!optional || zx_file_exists(path)) {
        s = zx_file_read(&text, &len, path, ZX_TOK_MAX_FILE, err);
        if (s == ZMLX_OK) s = load(t, text, len, err);
    }
    zx_free(text);
    zx_free(path);
    return s;
}

zmlx_status zx_tokenizer_open(zx_tokenizer **out, const char *dir, zmlx_err *err)
{
    *out = NULL;
    zx_tokenizer *t = tokenizer_create();
    if (!t) return zx_fail(err, ZMLX_E_NOMEM, -1, "tokenizer handle");
    zmlx_status s = load_file(t, dir, "tokenizer.json", false, zx_tok_load, err);
    if (s == ZMLX_OK) s = load_file(t, dir, "tokenizer_config.json", true, zx_tok_load_config, err);
    return tokenizer_finish(out, t, s, err);
}

void zx_tokenizer_close(zx_tokenizer *t)
{
    if (!t) return;
    pcre2_code_free(t->pattern);
    pcre2_general_context_free(t->gctx);
    zx_ids_clear(&t->after);
    zx_ids_clear(&t->before);
    zx_ac_clear(&t->added_nfc);
    zx_ac_clear(&t->added_raw);
    zx_free(t->merge);
    zx_free(t->slot);
    zx_free(t->entry);
    zx_buf_clear(&t->blob);
    zx_free(t);
}

static const zx_tok_entry *entry_of(const zx_tokenizer *t, int64_t id)
{
    if (id < 0 || id >= t->n_ids || !(t->entry[id].flags & ZX_TOK_PRESENT)) return NULL;
    return &t->entry[id];
}

int64_t zx_tokenizer_size(const zx_tokenizer *t) { return t->n_ids; }

const char *zx_tokenizer_bytes(const zx_tokenizer *t, int64_t id, size_t *len)
{
    const zx_tok_entry *e = entry_of(t, id);
    *len = 0;
    if (!e) return NULL;
    bool added = e->flags & ZX_TOK_ADDED;
    *len = added ? e->text_len : e->raw_len;
    return t->blob.data + (added ? e->text : e->raw);
}

bool zx_tokenizer_is_special(const zx_tokenizer *t, int64_t id)
{
    const zx_tok_entry *e = entry_of(t, id);
    return e && (e->flags & ZX_TOK_SPECIAL);
}

int64_t zx_tokenizer_eos(const zx_tokenizer *t) { return t->eos; }

int64_t zx_tokenizer_find(const zx_tokenizer *t, const char *token)
{
    return zx_tok_vocab_find(t, token, strlen(token), ZX_TOK_PRESENT);
}

void zx_ids_clear(zx_ids *v)
{
    zx_free(v->id);
    *v = (zx_ids){0};
}
