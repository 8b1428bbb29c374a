/* SPDX-License-Identifier: MIT */
/* The command: finds the subcommand, and nothing else. */
#include "options.h"
#include "term.h"
#include "zmlx/zmlx.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "commands.inc"

extern char **environ;

static void print_usage(FILE *f)
{
    fputs("zmlx: decode mixture-of-experts models in MLX format on the CPU\n\nExamples:\n"
          "  zmlx generate MODEL -p \"The lighthouse\"    continue a text\n"
          "  zmlx validate MODEL                        is the patched plan the same model, and is it faster?\n"
          "  zmlx plan MODEL --explain                  what patching changes, where, and why not elsewhere\n\n"
          "Usage: zmlx COMMAND [options]\n\nCommands:\n",
          f);
    for (int i = 0; cli_commands[i]; i++)
        fprintf(f, "  %-10s  %s\n", cli_commands[i]->name, cli_commands[i]->summary);
    fputs(
        "  help        zmlx help COMMAND: the same as zmlx COMMAND --help\n\n"
        "MODEL is a folder, or ORG/NAME[@REVISION] in the local Hugging Face cache. The network is never used.\n"
        "Exit codes: 0 ok, 1 failure, 2 usage, 3 model not found or not supported, 4 bad model file, 5 does not fit,\n"
        "6 no such device, 7 verification failed, 130 interrupted.\n",
        f);
}

static const cli_command *find(const char *name)
{
    for (int i = 0; cli_commands[i]; i++)
        if (strcmp(cli_commands[i]->name, name) == 0) return cli_commands[i];
    return NULL;
}

static int unknown_command(const char *name)
{
    const char *names[64];
    int n = 0;
    for (int i = 0; cli_commands[i]; i++)
        if (n < 60) names[n++] = cli_commands[i]->name;
    names[n++] = "help";
    names[n] = NULL;
    const char *near = cli_nearest(name, names);
    cli_error("unknown command '%s'", name);
    if (near)
        cli_hint("did you mean zmlx %s?", near);
    else
        cli_hint("zmlx help lists the commands");
    return 2;
}

static int help(const char *name)
{
    if (!name) {
        print_usage(stdout);
        return 0;
    }
    const cli_command *c = find(name);
    if (!c) return unknown_command(name);
    cli_print_help(c, stdout);
    return 0;
}

/* There are no settings in the environment: say so to those who expect some. */
static void warn_environment(void)
{
    for (char **e = environ; *e; e++)
        if (strncmp(*e, "ZMLX_", 5) == 0)
            cli_warning("%.*s is set but nothing reads it; settings are options", (int)strcspn(*e, "="), *e);
}

static int run_command(const cli_command *c, int argc, char *const *argv)
{
    const char *args[CLI_ARGS_MAX] = {NULL};
    int code;
    void *options = calloc(1, c->size ? c->size : 1);
    if (!options) {
        cli_error("out of memory");
        return 1;
    }
    if (cli_parse(c, argc, argv, options, args, &code)) code = c->run(options, args);
    free(options);
    return code;
}

static int dispatch(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : NULL;
    if (!name) {
        print_usage(stderr);
        return 2;
    }
    if (strcmp(name, "help") == 0 && argc > 3) {
        cli_error("help: unexpected argument '%s'", argv[3]);
        return 2;
    }
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) return help(argv[2]);
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        printf("zmlx %s\n", zmlx_version());
        return 0;
    }
    const cli_command *c = find(name);
    if (c) return run_command(c, argc - 2, argv + 2);
    if (*name != '-') return unknown_command(name);
    cli_error("unknown option '%s'", name);
    cli_hint("options come after the command: zmlx COMMAND [options]");
    return 2;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is a write error with a message, not a silent death */
    warn_environment();
    int code = dispatch(argc, argv);
    if (!cli_close_stdout() && code == 0) code = 1;
    return code;
}
