/* SPDX-License-Identifier: MIT */
/* Files: read whole, map, write atomically.  All of it is safe against short reads and EINTR. */
#ifndef ZX_BASE_FILE_H
#define ZX_BASE_FILE_H

#include "base/status.h"

/* Read a regular file of at most `max` bytes into a fresh NUL-terminated buffer (the NUL is not counted).
 * The caller releases *out with zx_free.  ZMLX_E_NOT_FOUND when there is no such file, ZMLX_E_FORMAT when
 * it is not a regular file or larger than `max` (the message has both numbers), ZMLX_E_IO otherwise. */
zmlx_status zx_file_read(char **out, size_t *len, const char *path, size_t max, zmlx_err *err);

/* A read-only shared mapping of a whole regular file. */
typedef struct zx_map {
    const uint8_t *data; /* NULL for an empty file */
    size_t size;
} zx_map;
zmlx_status zx_map_open(zx_map *m, const char *path, zmlx_err *err);
void zx_map_close(zx_map *m); /* a zeroed one is fine */

/* Make the pages of [offset, offset + n) present now, so that later reads do not fault.  Speed only: failure is silent.
 */
void zx_map_populate(const zx_map *m, size_t offset, size_t n);

/* Write a file so that a reader sees the old or the new contents, never a mixture: temporary file in the
 * same folder, fsync, rename. */
zmlx_status zx_file_write_atomic(const char *path, const void *data, size_t n, zmlx_err *err);

bool zx_file_exists(const char *path); /* any kind of file, links followed */
bool zx_dir_exists(const char *path);
zmlx_status zx_mkdirs(const char *path, zmlx_err *err); /* mkdir -p, mode 0777 less umask */
char *zx_path_join(const char *dir, const char *name);  /* released with zx_free; NULL when out of memory */

double zx_now(void);       /* seconds, monotonic */
int64_t zx_peak_rss(void); /* bytes; VmHWM of this process, -1 where unknown */

#endif
