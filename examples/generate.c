/* SPDX-License-Identifier: MIT */
/* The smallest useful program: open, patch, write a text.
 *   build/examples/generate [MODEL [PROMPT]] */
#include <zmlx/zmlx.h>

#include <stdio.h>
#include <string.h>

static bool on_text(void *user, const char *text, size_t len, int32_t id)
{
    (void)user, (void)id;
    fwrite(text, 1, len, stdout);
    return fflush(stdout) == 0;
}

int main(int argc, char **argv)
{
    const char *model = argc > 1 ? argv[1] : "models/demo",
               *prompt = argc > 2 ? argv[2] : "It was in the month of November";
    zmlx_model *m = NULL;
    zmlx_session *s = NULL;
    zmlx_err err = {0};
    zmlx_stats stats;
    zmlx_generate_options o = {
        .max_tokens = 60, .sampling = {.temperature = 0.7f, .top_p = 0.95f, .seed = 7}, .text = on_text};
    zmlx_status st = zmlx_model_open(&m, model, NULL, &err);
    if (st == ZMLX_OK) st = zmlx_model_patch(m, NULL, NULL, &err);
    if (st == ZMLX_OK) st = zmlx_session_create(&s, m, NULL, &err);
    if (st == ZMLX_OK) printf("%s", prompt);
    if (st == ZMLX_OK) st = zmlx_generate(s, prompt, strlen(prompt), &o, &stats, &err);
    if (st == ZMLX_OK)
        printf("\n\n%lld tokens, %.0f tokens per second\n", (long long)stats.tokens,
               (double)stats.tokens / stats.decode_seconds);
    else
        fprintf(stderr, "%s\n", err.msg);
    zmlx_session_destroy(s);
    zmlx_model_close(m);
    return zmlx_status_exit_code(st);
}
