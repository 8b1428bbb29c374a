/* SPDX-License-Identifier: MIT */
#include "checkpoint/locate.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "checkpoint/untrusted.h"

static zmlx_status no_memory(zmlx_err *err) { return zx_fail(err, ZMLX_E_NOMEM, -1, "out of memory for a path"); }

/* `model` is what the user typed. */
static zmlx_status check_config(const char *dir, const char *model, zmlx_err *err)
{
    char *path = zx_path_join(dir, "config.json");
    if (!path) return no_memory(err);
    const bool has = zx_file_exists(path);
    zx_free(path);
    return has ? ZMLX_OK
               : zx_fail(err, ZMLX_E_NOT_FOUND, -1, "%s: no config.json in %s", ZX_SHOW(model),
                         dir == model ? "this folder" : ZX_SHOW(dir));
}

/* ---- ORG/NAME[@REVISION] ---- */

/* One part of an id: what the hub allows, and nothing that means something to a file system. */
static bool is_part(const char *s, size_t n)
{
    if (n == 0 || n > 96 || s[0] == '.' || s[0] == '-') return false;
    for (size_t i = 0; i < n; i++) {
        const char c = s[i];
        const bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
        if (!word && c != '.' && c != '-') return false;
        if (c == '.' && i && s[i - 1] == '.') return false;
    }
    return true;
}

/* "--" stands for the slash in the cache's folder names, so an id cannot contain it. */
static bool is_id_part(const char *s, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (s[i] == '-' && s[i - 1] == '-') return false;
    return is_part(s, n);
}

typedef struct hub_id {
    const char *org, *name, *rev; /* into the text; rev is NUL-terminated, the others have a length */
    int n_org, n_name;
} hub_id;

static bool parse_id(hub_id *id, const char *text)
{
    const char *slash = strchr(text, '/'), *at = strchr(text, '@');
    if (!slash || (at && at < slash)) return false;
    const char *end = at ? at : text + strlen(text);
    const size_t n_org = (size_t)(slash - text), n_name = (size_t)(end - slash - 1);
    if (!is_id_part(text, n_org) || !is_id_part(slash + 1, n_name)) return false;
    *id = (hub_id){text, slash + 1, at ? at + 1 : "main", (int)n_org, (int)n_name};
    for (const char *p = id->rev;; p++) { /* a branch may be called refs/pr/1 */
        const size_t n = strcspn(p, "/");
        if (!is_part(p, n)) return false;
        p += n;
        if (!*p) return true;
    }
}

static bool is_hash(const char *s, size_t n)
{
    if (n != 40) return false;
    for (size_t i = 0; i < n; i++)
        if (!((s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f'))) return false;
    return true;
}

/* ---- the cache ---- */

static const char *env(const char *name)
{
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

/* Append a folder from the environment; "~/" is the home folder, as Hugging Face's own client has it. */
static void add_dir(zx_buf *b, const char *dir)
{
    const char *home = env("HOME");
    if (home && dir[0] == '~' && (dir[1] == '/' || !dir[1])) {
        zx_buf_puts(b, home);
        dir++;
    }
    zx_buf_puts(b, dir);
}

/* Empty when not even the home folder is known. */
static void cache_root(zx_buf *b)
{
    const char *hub = env("HF_HUB_CACHE"), *hf = env("HF_HOME"), *xdg = env("XDG_CACHE_HOME"), *home = env("HOME");
    if (hub) {
        add_dir(b, hub);
    } else if (hf) {
        add_dir(b, hf);
        zx_buf_puts(b, "/hub");
    } else if (xdg && xdg[0] == '/') {
        zx_buf_printf(b, "%s/huggingface/hub", xdg);
    } else if (home) {
        zx_buf_printf(b, "%s/.cache/huggingface/hub", home);
    }
}

/* The hash that refs/REV of `repo` names.  *out is "" when there is no such ref. */
static zmlx_status read_ref(char out[41], const char *repo, const char *rev, zmlx_err *err)
{
    out[0] = 0;
    zx_buf path = {0};
    zx_buf_printf(&path, "%s/refs/%s", repo, rev);
    if (path.failed) return no_memory(err);
    char *text;
    size_t len;
    const zmlx_status st = zx_file_read(&text, &len, path.data, 4096, err);
    zx_buf_clear(&path);
    if (st == ZMLX_E_NOT_FOUND) return ZMLX_OK;
    if (st != ZMLX_OK) return st;
    const size_t n = strcspn(text, "\r\n");
    const bool ok = is_hash(text, n) && n + strspn(text + n, "\r\n") == len;
    if (ok) memcpy(out, text, 41), out[40] = 0;
    zx_free(text);
    if (!ok) return zx_fail(err, ZMLX_E_FORMAT, -1, "%s/refs/%s does not hold a commit hash", ZX_SHOW(repo), rev);
    return ZMLX_OK;
}

/* `repo` is CACHE/models--ORG--NAME. */
static zmlx_status find_snapshot(char **out, const char *model, const hub_id *id, const char *repo, zmlx_err *err)
{
    char hash[41] = "";
    if (!zx_dir_exists(repo))
        return zx_fail(err, ZMLX_E_NOT_FOUND, -1, "%s: no such folder, and no %s in the Hugging Face cache",
                       ZX_SHOW(model), ZX_SHOW(repo));
    if (is_hash(id->rev, strlen(id->rev)))
        memcpy(hash, id->rev, sizeof hash);
    else
        ZX_TRY(read_ref(hash, repo, id->rev, err));
    if (!hash[0])
        return zx_fail(err, ZMLX_E_NOT_FOUND, -1, "%s: %s has no revision %s", ZX_SHOW(model), ZX_SHOW(repo),
                       ZX_SHOW(id->rev));
    zx_buf dir = {0};
    zx_buf_printf(&dir, "%s/snapshots/%s", repo, hash);
    if (dir.failed) return no_memory(err);
    zmlx_status st = check_config(dir.data, model, err);
    if (st == ZMLX_OK && !(*out = zx_strdup(dir.data))) st = no_memory(err);
    zx_buf_clear(&dir);
    return st;
}

static zmlx_status locate_id(char **out, const char *model, const hub_id *id, zmlx_err *err)
{
    zx_buf repo = {0};
    cache_root(&repo);
    zmlx_status st;
    if (!repo.failed && !repo.len) {
        st = zx_fail(err, ZMLX_E_NOT_FOUND, -1, "%s: no such folder, and no Hugging Face cache (HOME is not set)",
                     ZX_SHOW(model));
    } else {
        zx_buf_printf(&repo, "/models--%.*s--%.*s", id->n_org, id->org, id->n_name, id->name);
        st = repo.failed ? no_memory(err) : find_snapshot(out, model, id, repo.data, err);
    }
    zx_buf_clear(&repo);
    return st;
}

zmlx_status zx_locate_model(char **out, const char *model, zmlx_err *err)
{
    *out = NULL;
    hub_id id;
    if (zx_dir_exists(model)) {
        ZX_TRY(check_config(model, model, err));
        *out = zx_strdup(model);
        return *out ? ZMLX_OK : no_memory(err);
    }
    if (zx_file_exists(model))
        return zx_fail(err, ZMLX_E_NOT_FOUND, -1, "%s: a file, expected the model's folder", ZX_SHOW(model));
    if (!parse_id(&id, model))
        return zx_fail(err, ZMLX_E_NOT_FOUND, -1, "%s: no such folder, and not an id of the form ORG/NAME[@REVISION]",
                       ZX_SHOW(model));
    return locate_id(out, model, &id, err);
}
