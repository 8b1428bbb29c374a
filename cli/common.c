/* SPDX-License-Identifier: MIT */
#include "common.h"

#include "term.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TEXT_MAX = 64 << 20 };

zmlx_patch_options cli_patch_options(const cli_common *c)
{
    return (zmlx_patch_options){.patterns = c->patterns, .exclude = c->exclude};
}

zmlx_session_options cli_session_options(const cli_common *c)
{
    return (zmlx_session_options){.threads = (int)c->threads, .cpu_level = c->cpu_level};
}

static void warn_memory(const zmlx_model *m)
{
    zmlx_model_info info;
    zmlx_machine machine;
    char need[32], have[32];
    zmlx_model_get_info(m, &info);
    zmlx_machine_info(&machine);
    double bytes = (double)info.weight_bytes + (double)info.session_bytes;
    if (machine.memory_bytes < 0 || bytes <= (double)machine.memory_bytes) return;
    cli_warning("weights and session need %s, this machine has %s: weights will be read from disk again and again",
                cli_bytes(need, sizeof need, bytes), cli_bytes(have, sizeof have, (double)machine.memory_bytes));
}

int cli_open(zmlx_model **out, const char *model, const cli_common *c)
{
    zmlx_err err = {.pos = -1};
    zmlx_model_options mo = {.ctx = c->ctx};
    zmlx_status s = zmlx_model_open(out, model, &mo, &err);
    if (s != ZMLX_OK) return cli_fail(s, &err);
    warn_memory(*out);
    return 0;
}

static int read_error(const char *path)
{
    if (cli_interrupted())
        cli_error("interrupted");
    else
        cli_error("cannot read %s: %s", path, strerror(errno));
    return cli_interrupted() ? 130 : 1;
}

/* 0, or the exit code.  Grows the buffer as the data comes: a pipe has no size. */
static int read_all(int fd, const char *path, char **out, size_t *len)
{
    size_t cap = 1 << 16, n = 0;
    char *buf = malloc(cap + 1);
    while (buf) {
        ssize_t k = read(fd, buf + n, cap - n);
        if (k < 0 && errno == EINTR && !cli_interrupted()) continue;
        if (k < 0) {
            free(buf);
            return read_error(path);
        }
        n += (size_t)k;
        if (n > TEXT_MAX) {
            cli_error("%s is larger than %d bytes, the limit for a prompt", path, TEXT_MAX);
            free(buf);
            return 5;
        }
        if (k == 0) {
            buf[n] = 0;
            *out = buf;
            *len = n;
            return 0;
        }
        if (n < cap) continue;
        cap *= 2;
        char *bigger = realloc(buf, cap + 1);
        if (!bigger) free(buf);
        buf = bigger;
    }
    cli_error("out of memory");
    return 1;
}

int cli_read_text(char **out, size_t *len, const char *path)
{
    bool in = strcmp(path, "-") == 0;
    int fd = in ? 0 : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return read_error(path);
    int code = read_all(fd, in ? "standard input" : path, out, len);
    if (!in) close(fd);
    return code;
}
