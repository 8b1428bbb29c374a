/* SPDX-License-Identifier: MIT */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

static zx_log_fn *log_fn;
static void *log_user;
static zx_log_level log_max;

void zx_log_set(zx_log_fn *fn, void *user, zx_log_level max)
{
    log_fn = fn;
    log_user = user;
    log_max = max;
}

void zx_log(zx_log_level level, const char *fmt, ...)
{
    if (!log_fn || level > log_max) return;
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    log_fn(log_user, level, line);
}
