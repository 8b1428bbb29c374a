/* SPDX-License-Identifier: MIT */
#include "checkpoint/config.h"

#include "base/alloc.h"
#include "checkpoint/untrusted.h"

enum { CONFIG_MAX = 16 << 20, EOS_MAX = 256 };

struct zx_config {
    json_t *root;
    const json_t *quant; /* the quantization block, inside root; NULL when there is none */
    const char *quant_key;
    int64_t eos[EOS_MAX];
    int n_eos;
};

static const char CONFIG[] = "config.json";

/* ---- end-of-text ids ---- */

/* An id or a list of ids.  As in Python, `falsy` values (0, an empty list, null) say nothing in
 * generation_config.json. */
static zmlx_status read_eos(zx_config *c, const json_t *v, const char *file, zmlx_err *err)
{
    const bool list = json_is_array(v);
    const size_t n = list ? json_array_size(v) : 1;
    if (n > EOS_MAX)
        return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: eos_token_id has %zu ids, the limit is %d", file, n, EOS_MAX);
    c->n_eos = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *x = list ? json_array_get(v, i) : v;
        if (!json_is_integer(x) || json_integer_value(x) < 0 || json_integer_value(x) > INT32_MAX)
            return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: eos_token_id is %s, expected an integer from 0 to %d", file,
                           ZX_SHOW_JSON(x), INT32_MAX);
        c->eos[c->n_eos++] = json_integer_value(x);
    }
    return ZMLX_OK;
}

static bool is_truthy(const json_t *v)
{
    switch (v ? json_typeof(v) : JSON_NULL) {
    case JSON_OBJECT:
        return json_object_size(v) > 0;
    case JSON_ARRAY:
        return json_array_size(v) > 0;
    case JSON_STRING:
        return json_string_length(v) > 0;
    case JSON_INTEGER:
        return json_integer_value(v) != 0;
    case JSON_REAL:
        return json_real_value(v) != 0;
    case JSON_TRUE:
        return true;
    default:
        return false;
    }
}

/* Duplicate keys are let through here, the last one wins: a Python reader would not call that broken. */
static zmlx_status read_generation_config(zx_config *c, const char *text, size_t len, zmlx_err *err)
{
    static const char file[] = "generation_config.json";
    json_t *root = NULL;
    zmlx_err ignored = {0};
    const zmlx_status parsed = zx_json_parse(&root, text, len, 0, file, 0, &ignored);
    if (parsed == ZMLX_E_NOMEM) return zx_fail(err, parsed, -1, "%s", ignored.msg);
    const json_t *eos = json_object_get(root, "eos_token_id");
    const zmlx_status st = is_truthy(eos) ? read_eos(c, eos, file, err) : ZMLX_OK;
    json_decref(root);
    return st;
}

/* ---- opening ---- */

static zmlx_status check_int_field(const json_t *block, const char *key, const char *field, zmlx_err *err)
{
    const json_t *v = json_object_get(block, field);
    if (!v || json_is_null(v) || json_is_integer(v)) return ZMLX_OK;
    return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: %s.%s is %s, not an integer", CONFIG, ZX_SHOW(key), field,
                   ZX_SHOW_JSON(v));
}

/* The types of the three parameters, of the global block or of a module. */
static zmlx_status check_params(const json_t *block, const char *key, zmlx_err *err)
{
    ZX_TRY(check_int_field(block, key, "bits", err));
    ZX_TRY(check_int_field(block, key, "group_size", err));
    const json_t *mode = json_object_get(block, "mode");
    if (mode && !json_is_string(mode))
        return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: %s.mode is %s, not a string", CONFIG, ZX_SHOW(key),
                       ZX_SHOW_JSON(mode));
    return ZMLX_OK;
}

/* `quantization` is mlx-lm's own block; `quantization_config` is its copy for the hub, or another tool's, which then
 * names its method. */
static zmlx_status find_quant(zx_config *c, zmlx_err *err)
{
    c->quant_key = "quantization";
    c->quant = json_object_get(c->root, c->quant_key);
    if (!c->quant || json_is_null(c->quant)) {
        c->quant_key = "quantization_config";
        c->quant = json_object_get(c->root, c->quant_key);
        if (!is_truthy(c->quant)) c->quant = NULL;
    }
    if (!c->quant) return ZMLX_OK;
    if (!json_is_object(c->quant))
        return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: %s is %s, not an object", CONFIG, c->quant_key,
                       ZX_SHOW_JSON(c->quant));
    const json_t *method = json_object_get(c->quant, "quant_method");
    if (method && !strcmp(c->quant_key, "quantization_config"))
        return zx_fail(err, ZMLX_E_UNSUPPORTED, -1, "%s: quant_method %s is not supported yet", CONFIG,
                       ZX_SHOW_JSON(method));
    for (int i = 0; i < 2; i++) {
        static const char *const required[] = {"bits", "group_size"};
        if (!json_object_get(c->quant, required[i]))
            return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: %s.%s is absent", CONFIG, c->quant_key, required[i]);
    }
    return check_params(c->quant, c->quant_key, err);
}

static zmlx_status read_config(zx_config *c, const char *text, size_t len, zmlx_err *err)
{
    if (len > CONFIG_MAX)
        return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: %zu bytes, at most %d are accepted", CONFIG, len, CONFIG_MAX);
    ZX_TRY(zx_json_parse(&c->root, text, len, JSON_REJECT_DUPLICATES, CONFIG, 0, err));
    if (!json_is_object(c->root))
        return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: it is %s, not an object", CONFIG, ZX_SHOW_JSON(c->root));
    if (is_truthy(json_object_get(c->root, "model_file")))
        return zx_fail(err, ZMLX_E_UNSUPPORTED, -1,
                       "%s: model_file %s: a model defined by its own Python code is not "
                       "supported",
                       CONFIG, ZX_SHOW_JSON(json_object_get(c->root, "model_file")));
    if (is_truthy(json_object_get(c->root, "quantize_activations")))
        return zx_fail(err, ZMLX_E_UNSUPPORTED, -1, "%s: quantize_activations is not supported yet", CONFIG);
    ZX_TRY(find_quant(c, err));
    const json_t *eos = json_object_get(c->root, "eos_token_id");
    return eos && !json_is_null(eos) ? read_eos(c, eos, CONFIG, err) : ZMLX_OK;
}

zmlx_status zx_config_parse(zx_config **out, const char *json, size_t len, zmlx_err *err)
{
    *out = NULL;
    zx_config *c = zx_new(zx_config);
    if (!c) return zx_fail(err, ZMLX_E_NOMEM, -1, "%s: out of memory", CONFIG);
    const zmlx_status st = read_config(c, json, len, err);
    if (st == ZMLX_OK)
        *out = c;
    else
        zx_config_close(c);
    return st;
}

static zmlx_status read_in(char **text, size_t *len, const char *dir, const char *name, zmlx_err *err)
{
    *text = NULL;
    char *path = zx_path_join(dir, name);
    if (!path) return zx_fail(err, ZMLX_E_NOMEM, -1, "%s: out of memory", name);
    const zmlx_status st = zx_file_read(text, len, path, CONFIG_MAX, err);
    zx_free(path);
    return st;
}

zmlx_status zx_config_open(zx_config **out, const char *dir, zmlx_err *err)
{
    *out = NULL;
    char *text;
    size_t len;
    zx_config *c;
    if (!zx_dir_exists(dir)) return zx_fail(err, ZMLX_E_NOT_FOUND, -1, "%s: no such folder", ZX_SHOW(dir));
    zmlx_status st = read_in(&text, &len, dir, CONFIG, err);
    if (st == ZMLX_E_NOT_FOUND) return zx_fail(err, st, -1, "%s: no %s in it", ZX_SHOW(dir), CONFIG);
    if (st != ZMLX_OK) return st;
    st = zx_config_parse(&c, text, len, err);
    zx_free(text);
    if (st != ZMLX_OK) return st;

    zmlx_err e = {0};
    st = read_in(&text, &len, dir, "generation_config.json", &e);
    if (st == ZMLX_OK)
        st = read_generation_config(c, text, len, err);
    else if (st == ZMLX_E_NOT_FOUND)
        st = ZMLX_OK;
    else
        st = zx_fail(err, st, -1, "%s", e.msg);
    zx_free(text);
    if (st == ZMLX_OK)
        *out = c;
    else
        zx_config_close(c);
    return st;
}

void zx_config_close(zx_config *c)
{
    if (!c) return;
    json_decref(c->root);
    zx_free(c);
}

/* ---- fields ---- */

static const json_t *field(const zx_config *c, const char *key)
{
    const json_t *v = json_object_get(c->root, key);
    return v && !json_is_null(v) ? v : NULL;
}

bool zx_config_has(const zx_config *c, const char *key) { return field(c, key) != NULL; }

static zmlx_status bad_int(const char *key, const json_t *v, int64_t min, int64_t max, zmlx_err *err)
{
    return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: %s is %s, expected an integer from %lld to %lld", CONFIG, key,
                   ZX_SHOW_JSON(v), (long long)min, (long long)max);
}

zmlx_status zx_config_int(const zx_config *c, const char *key, int64_t min, int64_t max, int64_t *out, zmlx_err *err)
{
    const json_t *v = field(c, key);
    if (!json_is_integer(v) || json_integer_value(v) < min || json_integer_value(v) > max)
        return bad_int(key, v, min, max, err);
    *out = json_integer_value(v);
    return ZMLX_OK;
}

zmlx_status zx_config_int_or(const zx_config *c, const char *key, int64_t min, int64_t max, int64_t dflt, int64_t *out,
                             zmlx_err *err)
{
    if (field(c, key)) return zx_config_int(c, key, min, max, out, err);
    *out = dflt;
    return ZMLX_OK;
}

zmlx_status zx_config_real(const zx_config *c, const char *key, double min, double max, double *out, zmlx_err *err)
{
    const json_t *v = field(c, key);
    const double r = json_number_value(v); /* never NaN: JSON has none */
    if (!json_is_number(v) || r < min || r > max)
        return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: %s is %s, expected a number from %g to %g", CONFIG, key,
                       ZX_SHOW_JSON(v), min, max);
    *out = r;
    return ZMLX_OK;
}

zmlx_status zx_config_real_or(const zx_config *c, const char *key, double min, double max, double dflt, double *out,
                              zmlx_err *err)
{
    if (field(c, key)) return zx_config_real(c, key, min, max, out, err);
    *out = dflt;
    return ZMLX_OK;
}

zmlx_status zx_config_bool_or(const zx_config *c, const char *key, bool dflt, bool *out, zmlx_err *err)
{
    const json_t *v = field(c, key);
    if (v && !json_is_boolean(v))
        return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: %s is %s, expected true or false", CONFIG, key, ZX_SHOW_JSON(v));
    *out = v ? json_is_true(v) : dflt;
    return ZMLX_OK;
}

zmlx_status zx_config_ints_or(const zx_config *c, const char *key, int64_t min, int64_t max, int64_t *out, int max_n,
                              int *n, zmlx_err *err)
{
    *n = 0;
    const json_t *v = field(c, key);
    if (!v) return ZMLX_OK;
    if (!json_is_array(v))
        return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: %s is %s, expected a list of integers", CONFIG, key,
                       ZX_SHOW_JSON(v));
    const size_t have = json_array_size(v);
    if (have > (size_t)max_n)
        return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: %s has %zu elements, the limit is %d", CONFIG, key, have, max_n);
    for (size_t i = 0; i < have; i++) {
        const json_t *x = json_array_get(v, i);
        if (!json_is_integer(x) || json_integer_value(x) < min || json_integer_value(x) > max)
            return bad_int(key, x, min, max, err);
        out[i] = json_integer_value(x);
    }
    *n = (int)have;
    return ZMLX_OK;
}

const char *zx_config_text(const zx_config *c, const char *key) { return json_string_value(field(c, key)); }

int zx_config_eos(const zx_config *c, const int64_t **ids)
{
    *ids = c->eos;
    return c->n_eos;
}

/* ---- the per-module rule ---- */

/* Absent, null and 0 mean the default, as in MLX. */
static int64_t param_or(const json_t *block, const char *key, int64_t dflt)
{
    const int64_t v = json_integer_value(json_object_get(block, key));
    return v ? v : dflt;
}

/* The parameters of one block, with MLX's defaults of affine mode: never inherited from the global block. */
static zmlx_status read_params(const json_t *block, const char *path, zx_quant *out, zmlx_err *err)
{
    const char *mode = json_string_value(json_object_get(block, "mode"));
    if (mode && strcmp(mode, "affine")) {
        static const char *const later[] = {"mxfp4", "nvfp4", "mxfp8"};
        bool known = false;
        for (size_t i = 0; i < ZX_COUNT(later); i++)
            known = known || !strcmp(mode, later[i]);
        return zx_fail(err, ZMLX_E_UNSUPPORTED, -1, "%s: quantization mode %s is not %s", ZX_SHOW(path), ZX_SHOW(mode),
                       known ? "supported yet" : "known");
    }
    const int64_t bits = param_or(block, "bits", 4), group = param_or(block, "group_size", 64);
    if (bits != 4 && bits != 8) {
        const bool known = bits == 2 || bits == 3 || bits == 5 || bits == 6;
        return zx_fail(err, ZMLX_E_UNSUPPORTED, -1, "%s: affine quantization with %lld bits is not %s (4 and 8 are)",
                       ZX_SHOW(path), (long long)bits, known ? "supported yet" : "supported");
    }
    if (group != 32 && group != 64 && group != 128)
        return zx_fail(err, ZMLX_E_UNSUPPORTED, -1,
                       "%s: affine quantization with groups of %lld is not supported (32, 64 and 128 are)",
                       ZX_SHOW(path), (long long)group);
    out->bits = (int)bits;
    out->group = (int)group;
    return ZMLX_OK;
}

/* A module's own object may hold nothing that MLX would pass on without our knowing it. */
static zmlx_status check_module_block(const json_t *block, const char *path, zmlx_err *err)
{
    json_t *b = (json_t *)(uintptr_t)block;
    for (void *it = json_object_iter(b); it; it = json_object_iter_next(b, it)) {
        const char *key = json_object_iter_key(it);
        if (!strcmp(key, "bits") || !strcmp(key, "group_size") || !strcmp(key, "mode")) continue;
        if (!strcmp(key, "quantize_input") && !is_truthy(json_object_iter_value(it))) continue;
        return zx_fail(err, ZMLX_E_UNSUPPORTED, -1, "%s: quantization parameter %s is not supported", ZX_SHOW(path),
                       ZX_SHOW(key));
    }
    return check_params(block, path, err);
}

zmlx_status zx_config_quant(const zx_config *c, const char *path, bool has_scales, zx_quant *out, zmlx_err *err)
{
    *out = (zx_quant){0};
    if (!c->quant) {
        if (!has_scales) return ZMLX_OK;
        return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: has .scales, but %s has no quantization block", ZX_SHOW(path),
                       CONFIG);
    }
    const json_t *own = json_object_get(c->quant, path);
    if (!own) return has_scales ? read_params(c->quant, path, out, err) : ZMLX_OK;
    if (json_is_true(own)) return read_params(c->quant, path, out, err);
    if (!is_truthy(own) && (json_is_false(own) || json_is_null(own) || json_is_object(own))) return ZMLX_OK;
    if (!json_is_object(own))
        return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: %s[\"%s\"] is %s, expected an object, true or false", CONFIG,
                       c->quant_key, ZX_SHOW(path), ZX_SHOW_JSON(own));
    ZX_TRY(check_module_block(own, path, err));
    return read_params(own, path, out, err);
}
