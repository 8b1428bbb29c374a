/* SPDX-License-Identifier: MIT */
/* What people see: messages on stderr, a progress bar on a terminal, checked output on stdout; and Ctrl-C. */
#ifndef ZMLX_CLI_TERM_H
#define ZMLX_CLI_TERM_H

#include "zmlx/base.h"

#include <stdbool.h>
#include <stdint.h>

void cli_error(const char *fmt, ...) ZMLX_PRINTF(1, 2);   /* "zmlx: error: ..." */
void cli_warning(const char *fmt, ...) ZMLX_PRINTF(1, 2); /* "zmlx: warning: ..." */
void cli_hint(const char *fmt, ...) ZMLX_PRINTF(1, 2);    /* "zmlx: hint: ..." */
/* Report a failure of the library; returns the exit code that belongs to it. */
int cli_fail(zmlx_status s, const zmlx_err *err);

/* Write to stdout and flush.  False after a message when that fails (a full disk, a closed pipe). */
bool cli_put(const char *text, size_t n);
bool cli_close_stdout(void); /* before the program ends */

/* From now on SIGINT only sets a flag; a second one ends the program. */
void cli_catch_interrupt(void);
bool cli_interrupted(void);

/* "16.2 GiB"; returns buf. */
const char *cli_bytes(char *buf, size_t n, double bytes);

/* A bar on stderr, drawn only on a terminal and at most ten times a second.  It never goes backwards. */
typedef struct cli_bar {
    const char *label, *unit;
    bool on, drawn;
    int64_t best;
    double start, last;
} cli_bar;
void cli_bar_init(cli_bar *b, const char *label, const char *unit, bool quiet);
void cli_bar_update(cli_bar *b, int64_t done, int64_t total);
void cli_bar_clear(cli_bar *b);

#endif
