/* SPDX-License-Identifier: MIT */
/* Options as tables: one row gives parsing, range check, default, help; completions and the manual read the same rows.
 */
#ifndef ZMLX_CLI_OPTIONS_H
#define ZMLX_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* What a row writes at its offset. */
typedef enum cli_kind {
    CLI_END,  /* ends a table */
    CLI_FLAG, /* bool */
    CLI_INT,  /* int64_t */
    CLI_U64,  /* uint64_t, decimal */
    CLI_REAL, /* double */
    CLI_TEXT, /* const char *: NULL when absent */
    CLI_LIST  /* cli_list: may be given more than once */
} cli_kind;

enum { CLI_LIST_MAX = 64, CLI_ARGS_MAX = 4 };

typedef struct cli_list {
    const char *text[CLI_LIST_MAX];
    int n;
} cli_list;

typedef struct cli_option {
    cli_kind kind;
    const char *name; /* long form without the dashes */
    char letter;      /* 0 = none */
    const char *arg;  /* what help calls the value: "N" */
    size_t offset;    /* into the command's struct */
    const char *dflt; /* parsed like a value; NULL = zero, and help must say what that means */
    double min, max;  /* of numbers; bounds are allowed */
    const char *help;
} cli_option;

/* A subcommand: one file cli/cmd_NAME.c that defines `const cli_command cmd_NAME`, found by its file name. */
typedef struct cli_command {
    const char *name;
    const char *summary; /* one line */
    const char *args;    /* "MODEL": positional arguments, all required */
    int n_args;
    const char *examples; /* lines that a user can paste */
    const char *notes;    /* after the options; NULL = none */
    const cli_option *options;
    size_t size; /* of the struct that the options fill */
    /* `options` points to that struct; args to n_args texts.  Returns the exit code. */
    int (*run)(void *options, const char *const *args);
} cli_command;

extern const cli_command *const cli_commands[]; /* sorted by name, NULL at the end; generated from the file names */

/* Parse argv[0..argc) (after the command's name) into *options, a zeroed struct of c->size.  Returns true to go on;
 * else *exit_code says how to end: 0 after --help, 2 after a message about what is wrong. */
bool cli_parse(const cli_command *c, int argc, char *const *argv, void *options, const char **args, int *exit_code);

void cli_print_help(const cli_command *c, FILE *f);
/* The nearest of a NULL-terminated list of names, or NULL when none is near. */
const char *cli_nearest(const char *word, const char *const *names);

#endif
