/* SPDX-License-Identifier: MIT */
#include "json.h"

#include "term.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- values ---- */

json_t *cli_json_text(const char *s)
{
    if (!s) return json_null();
    json_t *j = json_string(s);
    if (j) return j;
    char *fixed = malloc(3 * strlen(s) + 1), *o = fixed;
    if (!fixed) return NULL;
    for (; *s; s++) { /* the whole text is known to be bad: keep its ASCII */
        if ((unsigned char)*s < 0x80)
            *o++ = *s;
        else
            o = (char *)memcpy(o, "\xef\xbf\xbd", 3) + 3;
    }
    *o = 0;
    j = json_string(fixed);
    free(fixed);
    return j;
}

json_t *cli_json_real(double x) { return isfinite(x) ? json_real(x) : json_null(); }
json_t *cli_json_bytes(int64_t n) { return n < 0 ? json_null() : json_integer(n); }

static void set_int(json_t *o, const char *key, uint64_t n)
{
    json_object_set_new(o, key, json_integer((json_int_t)n));
}

json_t *cli_json_model(const zmlx_model *m)
{
    zmlx_model_info i;
    zmlx_model_get_info(m, &i);
    json_t *o = json_object();
    json_object_set_new(o, "path", cli_json_text(i.path));
    json_object_set_new(o, "model_type", cli_json_text(i.model_type));
    json_object_set_new(o, "dtype", cli_json_text(i.dtype));
    const struct {
        const char *key;
        int64_t n;
    } dims[] = {{"ctx", i.ctx},           {"max_positions", i.max_positions},
                {"layers", i.layers},     {"hidden", i.hidden},
                {"vocab", i.vocab},       {"heads", i.heads},
                {"kv_heads", i.kv_heads}, {"head_dim", i.head_dim},
                {"experts", i.experts},   {"top_k", i.top_k}};
    for (size_t k = 0; k < sizeof dims / sizeof dims[0]; k++)
        set_int(o, dims[k].key, (uint64_t)dims[k].n);
    set_int(o, "file_bytes", i.file_bytes);
    set_int(o, "weight_bytes", i.weight_bytes);
    set_int(o, "bytes_per_token", i.bytes_per_token);
    set_int(o, "kv_bytes_per_position", i.kv_bytes_per_position);
    set_int(o, "session_bytes", i.session_bytes);
    return o;
}

json_t *cli_json_machine(void)
{
    zmlx_machine m;
    zmlx_machine_info(&m);
    json_t *o = json_object();
    json_object_set_new(o, "cpu", cli_json_text(m.cpu));
    json_object_set_new(o, "cpus", json_integer(m.cpus));
    json_object_set_new(o, "cpu_level", cli_json_text(m.cpu_level));
    json_object_set_new(o, "memory_bytes", cli_json_bytes(m.memory_bytes));
    json_object_set_new(o, "available_bytes", cli_json_bytes(m.available_bytes));
    return o;
}

static const char *fidelity_of(const char *pattern)
{
    zmlx_pattern_info p;
    for (int i = 0; zmlx_pattern_at(i, &p); i++)
        if (strcmp(p.name, pattern) == 0) return zmlx_fidelity_name(p.fidelity);
    return NULL;
}

json_t *cli_json_patch(const zmlx_patch_result *r)
{
    json_t *list = json_array();
    for (int i = 0; i < r->n; i++) {
        json_t *o = json_object();
        json_object_set_new(o, "name", cli_json_text(r->pattern[i].name));
        json_object_set_new(o, "fidelity", cli_json_text(fidelity_of(r->pattern[i].name)));
        json_object_set_new(o, "matched", json_integer(r->pattern[i].matched));
        json_object_set_new(o, "skipped", json_integer(r->pattern[i].skipped));
        json_array_append_new(list, o);
    }
    return list;
}

json_t *cli_json_document(const char *schema)
{
    json_t *o = json_object();
    json_object_set_new(o, "schema", json_string(schema));
    json_object_set_new(o, "version", json_integer(1));
    json_object_set_new(o, "zmlx", json_string(zmlx_version()));
    return o;
}

/* --- output ---- */

enum { DUMP_FLAGS = JSON_COMPACT | JSON_REAL_PRECISION(12) };

bool cli_json_print(json_t *doc)
{
    char *text = json_dumps(doc, DUMP_FLAGS);
    json_decref(doc);
    if (!text) {
        cli_error("out of memory");
        return false;
    }
    bool ok = cli_put(text, strlen(text)) && cli_put("\n", 1);
    free(text);
    return ok;
}

static bool file_error(const char *path)
{
    cli_error("cannot write %s: %s", path, strerror(errno));
    return false;
}

bool cli_file_open(cli_file *f, const char *path)
{
    struct stat st;
    *f = (cli_file){.fd = -1};
    char *target = realpath(path, NULL); /* a link is written through, not replaced */
    f->path = target ? target : strdup(path);
    if (!f->path) return file_error(path);
    if (stat(f->path, &st) == 0 && !S_ISREG(st.st_mode)) {
        f->fd = open(f->path, O_WRONLY | O_CLOEXEC);
        return f->fd >= 0 || file_error(path);
    }
    f->temporary = malloc(strlen(f->path) + sizeof ".XXXXXX");
    if (!f->temporary) return file_error(path);
    strcat(strcpy(f->temporary, f->path), ".XXXXXX");
    f->fd = mkostemp(f->temporary, O_CLOEXEC);
    if (f->fd >= 0) return true;
    file_error(path);
    free(f->temporary);
    f->temporary = NULL;
    return false;
}

static int write_some(const char *data, size_t n, void *fd)
{
    while (n > 0) {
        ssize_t k = write(*(int *)fd, data, n);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return -1;
        data += k;
        n -= (size_t)k;
    }
    return 0;
}

bool cli_file_commit(cli_file *f, const json_t *doc)
{
    bool ok = json_dump_callback(doc, write_some, &f->fd, DUMP_FLAGS) == 0 && write_some("\n", 1, &f->fd) == 0;
    if (f->temporary) {
        mode_t mask = umask(0); /* mkostemp's 0600 becomes what an ordinary file has */
        umask(mask);
        ok = ok && fchmod(f->fd, 0666 & ~mask) == 0 && fsync(f->fd) == 0 && rename(f->temporary, f->path) == 0;
        if (ok) {
            free(f->temporary);
            f->temporary = NULL;
        }
    }
    if (!ok) file_error(f->path);
    return ok;
}

void cli_file_discard(cli_file *f)
{
    if (f->temporary) unlink(f->temporary);
    if (f->fd >= 0) close(f->fd);
    free(f->temporary);
    free(f->path);
    *f = (cli_file){.fd = -1};
}
