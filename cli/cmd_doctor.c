/* SPDX-License-Identifier: MIT */
/* zmlx doctor: what this program is, what machine it runs on, which models it can see. */
#include "common.h"
#include "json.h"
#include "term.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <dirent.h>
#include <limits.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <utf8proc.h>
#include <xxhash.h>

typedef struct options {
    cli_common common;
    bool quick;
} options;

/* clang-format off */
static const cli_option rows[] = {
    {CLI_FLAG, "quick", 0, NULL, offsetof(options, quick), NULL, 0, 0, "measure the read bandwidth over 256 MiB instead of 2 GiB"},
    {CLI_INT, "threads", 't', "N", offsetof(options, common.threads), NULL, 1, 256, "threads that read (default: one per CPU)"},
    CLI_ROW_JSON(options),
    {.kind = CLI_END},
};
/* clang-format on */

#ifdef __clang__
#define COMPILER __VERSION__ /* names itself */
#else
#define COMPILER "gcc " __VERSION__
#endif

enum { MODELS_MAX = 256 };

typedef struct findings {
    zmlx_machine machine;
    double bandwidth; /* bytes per second; 0 = not measured */
    char pcre2[64], xxhash[32], huge_pages[32];
    char cache[PATH_MAX]; /* "" = nowhere: no HOME */
    char *model[MODELS_MAX];
    int n_models;
} findings;

/* --- the Hugging Face cache ---- */

static const char *variable(const char *name)
{
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

static void find_cache(findings *f)
{
    const char *hub = variable("HF_HUB_CACHE"), *hf = variable("HF_HOME"), *xdg = variable("XDG_CACHE_HOME");
    const char *home = variable("HOME");
    if (hub)
        snprintf(f->cache, sizeof f->cache, "%s", hub);
    else if (hf)
        snprintf(f->cache, sizeof f->cache, "%s/hub", hf);
    else if (xdg && *xdg == '/')
        snprintf(f->cache, sizeof f->cache, "%s/huggingface/hub", xdg);
    else if (home)
        snprintf(f->cache, sizeof f->cache, "%s/.cache/huggingface/hub", home);
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* models--ORG--NAME becomes ORG/NAME.  Only those with a snapshot can be opened. */
static void add_model(findings *f, const char *entry)
{
    static const char prefix[] = "models--";
    char path[2 * PATH_MAX];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s/snapshots", f->cache, entry);
    if (strncmp(entry, prefix, sizeof prefix - 1) != 0 || stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) return;
    char *name = strdup(entry + sizeof prefix - 1), *dashes = name ? strstr(name, "--") : NULL;
    if (!dashes || f->n_models == MODELS_MAX) {
        free(name);
        return;
    }
    *dashes = '/';
    memmove(dashes + 1, dashes + 2, strlen(dashes + 2) + 1);
    f->model[f->n_models++] = name;
}

static void list_models(findings *f)
{
    DIR *d = f->cache[0] ? opendir(f->cache) : NULL;
    if (!d) return;
    for (struct dirent *e; (e = readdir(d));)
        add_model(f, e->d_name);
    closedir(d);
    qsort(f->model, (size_t)f->n_models, sizeof f->model[0], by_text);
}

/* --- the rest ---- */

/* "always [madvise] never": the one in brackets. */
static void find_huge_pages(findings *f)
{
    char line[128] = "";
    snprintf(f->huge_pages, sizeof f->huge_pages, "unknown");
    FILE *in = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "re");
    if (!in) return;
    char *open = fgets(line, sizeof line, in) ? strchr(line, '[') : NULL, *close = open ? strchr(open, ']') : NULL;
    if (close) snprintf(f->huge_pages, sizeof f->huge_pages, "%.*s", (int)(close - open - 1), open + 1);
    fclose(in);
}

static int examine(findings *f, const options *o)
{
    zmlx_err err = {.pos = -1};
    uint64_t bytes = o->quick ? (uint64_t)256 << 20 : 0;
    zmlx_machine_info(&f->machine);
    unsigned xxh = XXH_versionNumber();
    snprintf(f->xxhash, sizeof f->xxhash, "%u.%u.%u", xxh / 10000, xxh / 100 % 100, xxh % 100);
    pcre2_config(PCRE2_CONFIG_VERSION, f->pcre2);
    find_huge_pages(f);
    find_cache(f);
    list_models(f);
    if (f->machine.available_bytes >= 0 && (uint64_t)f->machine.available_bytes < (uint64_t)3 << 30 && !o->quick)
        bytes = (uint64_t)f->machine.available_bytes / 4;
    zmlx_status s = zmlx_probe_bandwidth(NULL, (int)o->common.threads, bytes, o->quick ? 3 : 0, &f->bandwidth, &err);
    return s == ZMLX_OK ? 0 : cli_fail(s, &err);
}

static void print_report(const findings *f)
{
    char a[32], b[32];
    printf("zmlx       %s, built with %s\n", zmlx_version(), COMPILER);
    printf("libraries  jansson %s, pcre2 %s, utf8proc %s, xxhash %s\n", jansson_version_str(), f->pcre2,
           utf8proc_version(), f->xxhash);
    printf("machine    %s, %d CPUs for this process\n", f->machine.cpu, f->machine.cpus);
    printf("level      %s\n", f->machine.cpu_level);
    printf("memory     %s, %s available; huge pages: %s\n", cli_bytes(a, sizeof a, (double)f->machine.memory_bytes),
           cli_bytes(b, sizeof b, (double)f->machine.available_bytes), f->huge_pages);
    printf("bandwidth  %.2f GB/s read from memory\n", f->bandwidth * 1e-9);
    printf("cache      %s\n", f->cache[0] ? f->cache : "none: HOME is not set");
    for (int i = 0; i < f->n_models; i++)
        printf("           %s\n", f->model[i]);
    if (f->n_models == 0) printf("           no models there\n");
}

static bool print_json(const findings *f)
{
    json_t *d = cli_json_document("zmlx.doctor"), *models = json_array();
    for (int i = 0; i < f->n_models; i++)
        json_array_append_new(models, cli_json_text(f->model[i]));
    json_object_set_new(d, "compiler", cli_json_text(COMPILER));
    json_object_set_new(d, "libraries",
                        json_pack("{s:s,s:s,s:s,s:s}", "jansson", jansson_version_str(), "pcre2", f->pcre2, "utf8proc",
                                  utf8proc_version(), "xxhash", f->xxhash));
    json_object_set_new(d, "machine", cli_json_machine());
    json_object_set_new(d, "huge_pages", cli_json_text(f->huge_pages));
    json_object_set_new(d, "read_bytes_per_second", cli_json_real(f->bandwidth));
    json_object_set_new(d, "cache", f->cache[0] ? cli_json_text(f->cache) : json_null());
    json_object_set_new(d, "models", models);
    return cli_json_print(d);
}

static int run(void *user, const char *const *args)
{
    const options *o = user;
    (void)args;
    findings *f = calloc(1, sizeof *f);
    if (!f) {
        cli_error("out of memory");
        return 1;
    }
    int code = examine(f, o);
    if (code == 0 && o->common.json)
        code = print_json(f) ? 0 : 1;
    else if (code == 0)
        print_report(f);
    for (int i = 0; i < f->n_models; i++)
        free(f->model[i]);
    free(f);
    return code;
}

const cli_command cmd_doctor = {
    .name = "doctor",
    .summary = "what this program is, what this machine can do, which models are here",
    .args = "",
    .n_args = 0,
    .examples = "zmlx doctor\n"
                "zmlx doctor --quick --json\n",
    .options = rows,
    .size = sizeof(options),
    .run = run,
};
