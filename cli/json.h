/* SPDX-License-Identifier: MIT */
/* JSON output: what several commands say in the same words. */
#ifndef ZMLX_CLI_JSON_H
#define ZMLX_CLI_JSON_H

#include "zmlx/zmlx.h"

#include <jansson.h>

/* A string from bytes that may not be UTF-8 (paths): invalid ones become U+FFFD.  NULL gives null. */
json_t *cli_json_text(const char *s);
json_t *cli_json_real(double x);   /* null when it is not finite */
json_t *cli_json_bytes(int64_t n); /* null when negative: unknown */
json_t *cli_json_model(const zmlx_model *m);
json_t *cli_json_machine(void);
json_t *cli_json_patch(const zmlx_patch_result *r); /* [{name, fidelity, matched, skipped}] */
/* A new object {schema, version: 1, zmlx: version}. */
json_t *cli_json_document(const char *schema);

/* One line on stdout.  Takes doc.  False after a message. */
bool cli_json_print(json_t *doc);

/* A file that gets its new contents whole or not at all.  Opened before long work, so that a wrong path is found early.
 */
typedef struct cli_file {
    char *path, *temporary; /* temporary is NULL when path is not a regular file (a pipe, /dev/stdout) */
    int fd;
} cli_file;
bool cli_file_open(cli_file *f, const char *path);    /* false after a message */
bool cli_file_commit(cli_file *f, const json_t *doc); /* false after a message */
void cli_file_discard(cli_file *f);                   /* after commit: does nothing */

#endif
