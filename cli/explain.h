/* SPDX-License-Identifier: MIT */
/* The stock and the patched plan side by side, from the events of zmlx_model_explain. */
#ifndef ZMLX_CLI_EXPLAIN_H
#define ZMLX_CLI_EXPLAIN_H

#include "zmlx/zmlx.h"

typedef struct event {
    char *kind, *where, *name, *what;
    bool is_op, patched; /* patched: of the patched plan, or about making it */
} event;

typedef struct explanation {
    zmlx_patch_result patch;
    event *event;
    int n_events, cap_events;
    struct {
        const char *name; /* of an event */
        int n[2];         /* in the stock and in the patched plan */
    } count[128];         /* ops, by name */
    int n_counts;
    bool patched, failed; /* while collecting */
} explanation;

/* Zeroed before; clear it also after a failure. */
zmlx_status explain_collect(explanation *e, const zmlx_model *m, const zmlx_patch_options *o, zmlx_err *err);
void explain_clear(explanation *e);
/* Both op lists, matches and skips; neighbouring layers that are alike are printed once. */
void explain_print(const explanation *e);

#endif
