/* SPDX-License-Identifier: MIT */
/* Options that several commands share, and what follows from them. */
#ifndef ZMLX_CLI_COMMON_H
#define ZMLX_CLI_COMMON_H

#include "options.h"
#include "zmlx/zmlx.h"

typedef struct cli_common {
    int64_t ctx, threads;
    const char *cpu_level, *patterns, *exclude;
    bool json, quiet;
} cli_common;

/* Rows for a struct `T` with a cli_common named `common`. */
/* clang-format off */
#define CLI_ROW_CTX(T)                                                                                                 \
    {CLI_INT, "ctx", 'c', "N", offsetof(T, common.ctx), NULL, 1, 1e9,                                                  \
     "positions a session can hold (default: the smaller of the model's and 4096)"}
#define CLI_ROWS_PATCH(T)                                                                                              \
    {CLI_TEXT, "patterns", 0, "LIST", offsetof(T, common.patterns), "default", 0, 0,                                   \
     "patterns to apply: names, or default, all, none; separated by commas"},                                          \
        {CLI_TEXT, "exclude", 0, "LIST", offsetof(T, common.exclude), NULL, 0, 0, "patterns to leave out"}
#define CLI_ROWS_RUN(T)                                                                                                \
    {CLI_INT, "threads", 't', "N", offsetof(T, common.threads), NULL, 1, 256, "threads (default: one per CPU, fewer for small models); results do not depend on it"}, \
        {CLI_TEXT, "cpu-level", 0, "LEVEL", offsetof(T, common.cpu_level), NULL, 0, 0, "scalar or avx512 (default: the best here); results do not depend on it"}
#define CLI_ROW_JSON(T)                                                                                                \
    {CLI_FLAG, "json", 0, NULL, offsetof(T, common.json), NULL, 0, 0, "print one line of JSON on stdout (schema: docs/CLI.md)"}
#define CLI_ROW_QUIET(T)                                                                                               \
    {CLI_FLAG, "quiet", 'q', NULL, offsetof(T, common.quiet), NULL, 0, 0, "no statistics and no progress on stderr"}
/* clang-format on */

/* Open the model with the context of `c`; a warning when it is larger than the memory of this machine.  Returns 0 or,
 * after a message, the exit code. */
int cli_open(zmlx_model **out, const char *model, const cli_common *c);
zmlx_patch_options cli_patch_options(const cli_common *c);
zmlx_session_options cli_session_options(const cli_common *c);

/* A whole text file, or standard input for "-"; NUL-terminated, released with free.  At most 64 MiB.  Returns 0 or,
 * after a message, the exit code. */
int cli_read_text(char **out, size_t *len, const char *path);

#endif
