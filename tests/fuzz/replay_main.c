/* SPDX-License-Identifier: MIT */
/* Feeds every file of a corpus to a fuzz target, each in a process of its own and for at most 10 seconds, and reports
 * as cmocka does.  usage: fuzz_NAME [FILE...]; without files, all of tests/fuzz/corpus/NAME and an empty input. */
#include "fuzz.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SECONDS = 10 };

static int passed, failed;

/* The contents in a block of exactly that size, so that a sanitizer sees a read past the end. */
static uint8_t *read_all(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    struct stat st;
    uint8_t *data = NULL;
    if (f && fstat(fileno(f), &st) == 0 && S_ISREG(st.st_mode)) {
        *size = (size_t)st.st_size;
        data = malloc(*size ? *size : 1);
        if (data && fread(data, 1, *size, f) != *size) {
            free(data);
            data = NULL;
        }
    }
    if (f) fclose(f);
    return data;
}

static void replay(const char *path) /* NULL: the empty input */
{
    size_t size = 0;
    uint8_t *data = path ? read_all(path, &size) : malloc(1);
    const char *name = path ? path : "(empty input)";
    if (!data) {
        printf("%s: cannot be read\n", name);
        failed++;
        return;
    }
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        alarm(SECONDS);
        LLVMFuzzerTestOneInput(data, size);
        free(data);
        exit(0); /* not _exit: leaks are looked for now */
    }
    free(data);
    int status = -1;
    if (child > 0) waitpid(child, &status, 0);
    if (status == 0) {
        passed++;
        return;
    }
    failed++;
    if (WIFSIGNALED(status))
        printf("%s: killed by signal %d%s\n", name, WTERMSIG(status), WTERMSIG(status) == SIGALRM ? " (too slow)" : "");
    else
        printf("%s: exit status %d\n", name, WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

static int ordinary(const struct dirent *e) { return e->d_name[0] != '.'; }

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        replay(argv[i]);
    if (argc == 1) {
        const char *slash = strrchr(argv[0], '/'), *target = slash ? slash + 1 : argv[0];
        if (strncmp(target, "fuzz_", 5) == 0) target += 5;
        char dir[512], path[1024];
        snprintf(dir, sizeof dir, "tests/fuzz/corpus/%s", target);
        struct dirent **entries = NULL;
        int n = scandir(dir, &entries, ordinary, alphasort);
        for (int i = 0; i < n; i++) {
            snprintf(path, sizeof path, "%s/%s", dir, entries[i]->d_name);
            replay(path);
            free(entries[i]);
        }
        free(entries);
        replay(NULL);
    }
    printf("[  PASSED  ] %d test(s).\n", passed);
    if (failed) printf("[  FAILED  ] %d test(s), listed above.\n", failed);
    return failed ? 1 : 0;
}
