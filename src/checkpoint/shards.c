/* SPDX-License-Identifier: MIT */
/* All safetensors files of a folder: which they are, that they lie in the folder, and that they agree with the index.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/log.h"
#include "checkpoint/untrusted.h"

enum {
    SHARDS_MAX = 10000,
    TENSORS_MAX = 1 << 22,
    INDEX_BYTES_MAX = 64 << 20,
};
static const char INDEX_NAME[] = "model.safetensors.index.json";

typedef struct slot {
    zx_tensor t; /* first, so that a zx_tensor of ours is a slot */
    const char *module;
} slot;

typedef struct shard {
    const char *name; /* file name */
    zx_map map;
} shard;

struct zx_shards {
    zx_arena *names;
    slot *slot;
    int n, cap;
    shard *file;
    int n_files;
    size_t bytes;
    int opening; /* index of the file whose tensors come in */
};

static bool ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

/* ---- the index ---- */

static int by_tensor(const void *a, const void *b)
{
    return strcmp(((const zx_index_entry *)a)->tensor, ((const zx_index_entry *)b)->tensor);
}

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* A plain file name: nothing that could lead out of the folder. */
static bool is_shard_name(const char *s)
{
    return s[0] && s[0] != '.' && !strpbrk(s, "/\\") && !strstr(s, "..") && strlen(s) <= 255 &&
           ends_with(s, ".safetensors");
}

/* mlx-lm writes an integer, some writers of Hugging Face a real such as 123.0. */
static zmlx_status read_total_size(zx_index *x, const char *what, zmlx_err *err)
{
    x->total_size = -1;
    const json_t *meta = json_object_get(x->root, "metadata");
    if (!meta || json_is_null(meta)) return ZMLX_OK;
    if (!json_is_object(meta))
        return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: metadata is %s, not an object", what, ZX_SHOW_JSON(meta));
    const json_t *v = json_object_get(meta, "total_size");
    if (!v || json_is_null(v)) return ZMLX_OK;
    const double r = json_number_value(v);
    if (json_is_integer(v) && json_integer_value(v) >= 0)
        x->total_size = json_integer_value(v);
    else if (json_is_real(v) && r >= 0 && r < 9007199254740992.0 && r == (double)(int64_t)r)
        x->total_size = (int64_t)r;
    else
        return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: total_size is %s, not a non-negative integer", what,
                       ZX_SHOW_JSON(v));
    return ZMLX_OK;
}

static zmlx_status read_weight_map(zx_index *x, const char *what, zmlx_err *err)
{
    json_t *map = json_object_get(x->root, "weight_map");
    if (!json_is_object(map))
        return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: weight_map is %s, not an object", what, ZX_SHOW_JSON(map));
    const size_t n = json_object_size(map);
    if (n == 0 || n > TENSORS_MAX)
        return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: weight_map has %zu tensors, expected 1 to %d", what, n,
                       TENSORS_MAX);
    x->entry = zx_calloc(n, sizeof *x->entry);
    x->file = zx_calloc(n, sizeof *x->file);
    if (!x->entry || !x->file) return zx_fail(err, ZMLX_E_NOMEM, -1, "%s: out of memory", what);
    for (void *it = json_object_iter(map); it; it = json_object_iter_next(map, it)) {
        const char *tensor = json_object_iter_key(it);
        const json_t *v = json_object_iter_value(it);
        if (!json_is_string(v))
            return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: tensor %s: its file is %s, not a string", what, ZX_SHOW(tensor),
                           ZX_SHOW_JSON(v));
        const char *file = json_string_value(v);
        if (!is_shard_name(file))
            return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: tensor %s: %s is not a plain *.safetensors file name", what,
                           ZX_SHOW(tensor), ZX_SHOW_JSON(v));
        x->entry[x->n] = (zx_index_entry){tensor, file};
        x->file[x->n++] = file;
    }
    return ZMLX_OK;
}

static zmlx_status read_index(zx_index *x, const char *what, zmlx_err *err)
{
    if (!json_is_object(x->root))
        return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: it is %s, not an object", what, ZX_SHOW_JSON(x->root));
    ZX_TRY(read_total_size(x, what, err));
    ZX_TRY(read_weight_map(x, what, err));
    qsort(x->entry, (size_t)x->n, sizeof *x->entry, by_tensor);
    qsort(x->file, (size_t)x->n, sizeof *x->file, by_text);
    for (int i = 0; i < x->n; i++)
        if (i == 0 || strcmp(x->file[i], x->file[x->n_files - 1])) x->file[x->n_files++] = x->file[i];
    if (x->n_files > SHARDS_MAX)
        return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: weight_map names %d files, the limit is %d", what, x->n_files,
                       SHARDS_MAX);
    return ZMLX_OK;
}

zmlx_status zx_index_parse(zx_index *out, const char *json, size_t len, const char *what, zmlx_err *err)
{
    char shown[ZX_SHOW_MAX];
    what = zx_show_text(shown, what, strlen(what));
    *out = (zx_index){0};
    ZX_TRY(zx_json_parse(&out->root, json, len, JSON_REJECT_DUPLICATES, what, 0, err));
    const zmlx_status st = read_index(out, what, err);
    if (st != ZMLX_OK) zx_index_clear(out);
    return st;
}

void zx_index_clear(zx_index *x)
{
    json_decref(x->root);
    zx_free(x->entry);
    zx_free(x->file);
    *x = (zx_index){0};
}

/* ---- where a file of the folder really lies ---- */

/* `path` lies in the first `n` bytes of `root`, a folder without a final slash. */
static bool is_inside(const char *path, const char *root, size_t n)
{
    return n > 0 && !strncmp(path, root, n) && path[n] == '/';
}

/* The length of the parent folder of the first n bytes; 0 at the root. */
static size_t parent_len(const char *path, size_t n)
{
    while (n > 0 && path[n - 1] != '/')
        n--;
    return n > 0 ? n - 1 : 0;
}

/* A link may lead to the folder itself.  In the Hugging Face cache a snapshot consists of links:
 * CACHE/models--ORG--NAME/snapshots/HASH/FILE -> ../../blobs/X, which may in turn be a link to CACHE/blobs/.../X. */
static bool is_allowed(const char *target, const char *dir)
{
    const size_t n = strlen(dir);
    if (is_inside(target, dir, n)) return true;
    const size_t snapshots = parent_len(dir, n), repo = parent_len(dir, snapshots), cache = parent_len(dir, repo);
    if (snapshots - repo != strlen("/snapshots") || strncmp(dir + repo, "/snapshots", snapshots - repo)) return false;
    if (repo - cache < strlen("/models--") || strncmp(dir + cache, "/models--", strlen("/models--"))) return false;
    if (is_inside(target, dir, repo)) return true;
    return is_inside(target, dir, cache) && !strncmp(target + cache, "/blobs/", strlen("/blobs/"));
}

/* The file without links, so that opening it cannot lead elsewhere; *out is released with zx_free. */
static zmlx_status resolve(char **out, const char *dir, const char *name, zmlx_err *err)
{
    *out = NULL;
    char *path = zx_path_join(dir, name);
    if (!path) return zx_fail(err, ZMLX_E_NOMEM, -1, "%s: out of memory", ZX_SHOW(name));
    char *real = realpath(path, NULL);
    const int e = errno;
    zx_free(path);
    if (!real && e == ENOENT)
        return zx_fail(err, ZMLX_E_NOT_FOUND, -1, "%s: %s is missing (incomplete download?)", ZX_SHOW(dir),
                       ZX_SHOW(name));
    if (!real) return zx_fail(err, ZMLX_E_IO, -1, "%s: cannot follow the link %s", ZX_SHOW(dir), ZX_SHOW(name));
    zmlx_status st = ZMLX_OK;
    if (!is_allowed(real, dir))
        st = zx_fail(err, ZMLX_E_FORMAT, -1, "%s: the link %s leads out of the model's folder, to %s", ZX_SHOW(dir),
                     ZX_SHOW(name), ZX_SHOW(real));
    else if (!(*out = zx_strdup(real)))
        st = zx_fail(err, ZMLX_E_NOMEM, -1, "%s: out of memory", ZX_SHOW(name));
    free(real);
    return st;
}

/* ---- opening ---- */

static zmlx_status no_memory(zmlx_err *err, const char *dir)
{
    return zx_fail(err, ZMLX_E_NOMEM, -1, "%s: out of memory", ZX_SHOW(dir));
}

static zmlx_status add_file(zx_shards *s, const char *dir, const char *name, zmlx_err *err)
{
    if (s->n_files == SHARDS_MAX)
        return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: more than %d model*.safetensors", ZX_SHOW(dir), SHARDS_MAX);
    if ((s->n_files & (s->n_files - 1)) == 0) { /* full at every power of two */
        shard *f = zx_realloc(s->file, (s->n_files ? (size_t)s->n_files * 2 : 1) * sizeof *f);
        if (!f) return no_memory(err, dir);
        s->file = f;
    }
    s->file[s->n_files] = (shard){.name = zx_arena_strdup(s->names, name)};
    if (!s->file[s->n_files].name) return no_memory(err, dir);
    s->n_files++;
    return ZMLX_OK;
}

static int by_file(const void *a, const void *b) { return strcmp(((const shard *)a)->name, ((const shard *)b)->name); }

/* No index: model*.safetensors. */
static zmlx_status list_files(zx_shards *s, const char *dir, zmlx_err *err)
{
    DIR *d = opendir(dir);
    if (!d) return zx_fail(err, ZMLX_E_IO, -1, "%s: cannot list the folder", ZX_SHOW(dir));
    zmlx_status st = ZMLX_OK;
    for (struct dirent *e; st == ZMLX_OK && (e = readdir(d));)
        if (!strncmp(e->d_name, "model", 5) && ends_with(e->d_name, ".safetensors"))
            st = add_file(s, dir, e->d_name, err);
    closedir(d);
    if (st == ZMLX_OK && s->n_files == 0)
        st = zx_fail(err, ZMLX_E_NOT_FOUND, -1, "%s: no model*.safetensors in it", ZX_SHOW(dir));
    if (st == ZMLX_OK) qsort(s->file, (size_t)s->n_files, sizeof *s->file, by_file);
    return st;
}

static zmlx_status load_index(zx_shards *s, zx_index *x, const char *dir, zmlx_err *err)
{
    char *path, *text;
    size_t len;
    ZX_TRY(resolve(&path, dir, INDEX_NAME, err));
    zmlx_status st = zx_file_read(&text, &len, path, INDEX_BYTES_MAX, err);
    zx_free(path);
    if (st != ZMLX_OK) return st;
    st = zx_index_parse(x, text, len, INDEX_NAME, err);
    zx_free(text);
    for (int i = 0; st == ZMLX_OK && i < x->n_files; i++)
        st = add_file(s, dir, x->file[i], err);
    return st;
}

static zmlx_status add_tensor(void *ctx, const zx_tensor *t, zmlx_err *err)
{
    zx_shards *s = ctx;
    const char *file = s->file[s->opening].name;
    if (s->n == TENSORS_MAX)
        return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: more than %d tensors", ZX_SHOW(file), TENSORS_MAX);
    if (s->n == s->cap) {
        const int cap = s->cap ? s->cap * 2 : 256;
        slot *p = zx_realloc(s->slot, (size_t)cap * sizeof *p);
        if (!p) return no_memory(err, file);
        s->slot = p, s->cap = cap;
    }
    char *name = zx_arena_strdup(s->names, t->name), *module = name;
    if (name && ends_with(name, ".weight")) {
        module = zx_arena_strdup(s->names, name);
        if (module) module[strlen(name) - strlen(".weight")] = 0;
    }
    if (!name || !module) return no_memory(err, file);
    slot *p = &s->slot[s->n++];
    *p = (slot){.t = *t, .module = module};
    p->t.name = name;
    p->t.shard = s->opening;
    return ZMLX_OK;
}

static zmlx_status open_file(zx_shards *s, int i, const char *dir, zmlx_err *err)
{
    shard *f = &s->file[i];
    char *path;
    ZX_TRY(resolve(&path, dir, f->name, err));
    const zmlx_status st = zx_map_open(&f->map, path, err);
    zx_free(path);
    if (st != ZMLX_OK) return st;
    if (!zx_add_size(&s->bytes, s->bytes, f->map.size))
        return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: the files' size overflows", ZX_SHOW(dir));
    s->opening = i;
    return zx_safetensors_parse(f->map.data, f->map.size, f->name, add_tensor, s, err);
}

/* ---- agreement ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const slot *)a)->t.name, ((const slot *)b)->t.name);
}

static zmlx_status check_unique(const zx_shards *s, const char *dir, zmlx_err *err)
{
    for (int i = 1; i < s->n; i++) {
        const zx_tensor *a = &s->slot[i - 1].t, *b = &s->slot[i].t;
        if (!strcmp(a->name, b->name))
            return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: tensor %s is in %s and in %s", ZX_SHOW(dir), ZX_SHOW(a->name),
                           ZX_SHOW(s->file[ZX_MIN(a->shard, b->shard)].name),
                           ZX_SHOW(s->file[ZX_MAX(a->shard, b->shard)].name));
    }
    return ZMLX_OK;
}

/* Both sides are sorted by name and name each tensor once. */
static zmlx_status check_map(const zx_shards *s, const zx_index *x, zmlx_err *err)
{
    for (int i = 0, k = 0; i < s->n || k < x->n; i++, k++) {
        const zx_tensor *t = i < s->n ? &s->slot[i].t : NULL;
        const zx_index_entry *e = k < x->n ? &x->entry[k] : NULL;
        const int c = !t ? 1 : !e ? -1 : strcmp(t->name, e->tensor);
        if (c > 0)
            return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: tensor %s is not in %s", INDEX_NAME, ZX_SHOW(e->tensor),
                           ZX_SHOW(e->file));
        const char *file = s->file[t->shard].name;
        if (c < 0)
            return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: tensor %s of %s is not in the index", INDEX_NAME,
                           ZX_SHOW(t->name), ZX_SHOW(file));
        if (strcmp(e->file, file))
            return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: tensor %s should be in %s, but is in %s", INDEX_NAME,
                           ZX_SHOW(t->name), ZX_SHOW(e->file), ZX_SHOW(file));
    }
    return ZMLX_OK;
}

/* Nothing is allocated by total_size, and writers in use count whole files or forget to count again: only a value that
 * the files cannot hold is refused. */
static zmlx_status check_total(const zx_shards *s, const zx_index *x, zmlx_err *err)
{
    if (x->total_size < 0) return ZMLX_OK;
    size_t sum = 0;
    for (int i = 0; i < s->n; i++)
        sum += s->slot[i].t.bytes; /* at most the size of the files */
    if ((uint64_t)x->total_size > s->bytes)
        return zx_fail(err, ZMLX_E_FORMAT, -1, "%s: total_size is %lld, but all files together have %zu bytes",
                       INDEX_NAME, (long long)x->total_size, s->bytes);
    if ((uint64_t)x->total_size != sum)
        zx_log(ZX_LOG_WARN, "%s: total_size is %lld, the tensors have %zu bytes", INDEX_NAME, (long long)x->total_size,
               sum);
    return ZMLX_OK;
}

/* A link that leads nowhere counts as an index too: it is reported, not overlooked. */
static zmlx_status find_index(bool *has, const char *dir, zmlx_err *err)
{
    struct stat st;
    char *path = zx_path_join(dir, INDEX_NAME);
    if (!path) return no_memory(err, dir);
    *has = lstat(path, &st) == 0;
    zx_free(path);
    return ZMLX_OK;
}

static zmlx_status open_all(zx_shards *s, zx_index *x, const char *dir, zmlx_err *err)
{
    if (!(s->names = zx_arena_create())) return no_memory(err, dir);
    bool indexed = false;
    ZX_TRY(find_index(&indexed, dir, err));
    ZX_TRY(indexed ? load_index(s, x, dir, err) : list_files(s, dir, err));
    for (int i = 0; i < s->n_files; i++)
        ZX_TRY(open_file(s, i, dir, err));
    if (s->n) qsort(s->slot, (size_t)s->n, sizeof *s->slot, by_name);
    ZX_TRY(check_unique(s, dir, err));
    if (!indexed) return ZMLX_OK;
    ZX_TRY(check_map(s, x, err));
    return check_total(s, x, err);
}

zmlx_status zx_shards_open(zx_shards **out, const char *dir, zmlx_err *err)
{
    *out = NULL;
    char *real = zx_dir_exists(dir) ? realpath(dir, NULL) : NULL;
    if (!real) return zx_fail(err, ZMLX_E_NOT_FOUND, -1, "%s: no such folder", ZX_SHOW(dir));
    zx_shards *s = zx_new(zx_shards);
    zx_index x = {0};
    zmlx_status st = s ? open_all(s, &x, real, err) : no_memory(err, dir);
    zx_index_clear(&x);
    free(real);
    if (st == ZMLX_OK)
        *out = s;
    else
        zx_shards_close(s);
    return st;
}

void zx_shards_close(zx_shards *s)
{
    if (!s) return;
    for (int i = 0; i < s->n_files; i++)
        zx_map_close(&s->file[i].map);
    zx_free(s->file);
    zx_free(s->slot);
    zx_arena_destroy(s->names);
    zx_free(s);
}

/* ---- access ---- */

const zx_tensor *zx_shards_find(const zx_shards *s, const char *name)
{
    int lo = 0, hi = s->n;
    while (lo < hi) {
        const int mid = lo + (hi - lo) / 2, c = strcmp(name, s->slot[mid].t.name);
        if (c == 0) return &s->slot[mid].t;
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

const char *zx_tensor_module(const zx_tensor *t) { return ((const slot *)t)->module; }
int zx_shards_count(const zx_shards *s) { return s->n; }
const zx_tensor *zx_shards_at(const zx_shards *s, int i) { return &s->slot[i].t; }
size_t zx_shards_bytes(const zx_shards *s) { return s->bytes; }
int zx_shards_files(const zx_shards *s) { return s->n_files; }
const zx_map *zx_shards_map(const zx_shards *s, int shard_) { return &s->file[shard_].map; }
