/* SPDX-License-Identifier: MIT */
/* Messages for people who watch: they go to a callback, by default to nobody.  The library never prints. */
#ifndef ZX_BASE_LOG_H
#define ZX_BASE_LOG_H

#include "base/status.h"

typedef enum zx_log_level { ZX_LOG_ERROR, ZX_LOG_WARN, ZX_LOG_INFO, ZX_LOG_DEBUG } zx_log_level;
typedef void zx_log_fn(void *user, zx_log_level level, const char *line);

/* Set once, before other calls; NULL switches logging off.  Not thread-safe against running calls. */
void zx_log_set(zx_log_fn *fn, void *user, zx_log_level max);
void zx_log(zx_log_level level, const char *fmt, ...) ZMLX_PRINTF(2, 3);

#endif
