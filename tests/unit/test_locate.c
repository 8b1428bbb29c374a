/* SPDX-License-Identifier: MIT */
/* From what the user types to a folder: folders, and ids in caches of every kind. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "checkpoint/locate.h"
#include "scratch.h"

#define HASH "0123456789abcdef0123456789abcdef01234567"

static zmlx_err err;

static void clear_env(void)
{
    unsetenv("HF_HUB_CACHE");
    unsetenv("HF_HOME");
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
}

/* A cache with org/name at main, under `hub`. */
static void make_cache(const char *hub)
{
    char name[512];
    snprintf(name, sizeof name, "%s/models--org--name.v1/snapshots/" HASH, hub);
    scratch_mkdir(name);
    snprintf(name, sizeof name, "%s/models--org--name.v1/snapshots/" HASH "/config.json", hub);
    scratch_puts(name, "{}");
    snprintf(name, sizeof name, "%s/models--org--name.v1/refs/pr", hub);
    scratch_mkdir(name);
    snprintf(name, sizeof name, "%s/models--org--name.v1/refs/main", hub);
    scratch_puts(name, HASH);
    snprintf(name, sizeof name, "%s/models--org--name.v1/refs/pr/1", hub);
    scratch_puts(name, HASH "\n");
}

static void check_found(const char *model, const char *hub)
{
    char *dir = NULL, want[512];
    if (zx_locate_model(&dir, model, &err) != ZMLX_OK) fail_msg("%s: %s", model, err.msg);
    snprintf(want, sizeof want, "%s/models--org--name.v1/snapshots/" HASH, scratch_path(hub));
    assert_string_equal(dir, want);
    zx_free(dir);
}

static void check_refused(const char *model, zmlx_status want, const char *part)
{
    char *dir = NULL;
    const zmlx_status st = zx_locate_model(&dir, model, &err);
    if (st != want || !strstr(err.msg, part))
        fail_msg("status %d, expected %d; message \"%s\", expected \"%s\"", st, want, err.msg, part);
    assert_null(dir);
}

static void test_folders(void **state)
{
    (void)state;
    clear_env();
    scratch_reset();
    scratch_mkdir("m");
    check_refused(scratch_path("m"), ZMLX_E_NOT_FOUND, "no config.json in this folder");
    scratch_puts("m/config.json", "{}");
    char *dir = NULL;
    assert_int_equal(zx_locate_model(&dir, scratch_path("m"), &err), ZMLX_OK);
    assert_string_equal(dir, scratch_path("m"));
    zx_free(dir);
    check_refused(scratch_path("m/config.json"), ZMLX_E_NOT_FOUND, "a file, expected the model's folder");
    check_refused(scratch_path("gone"), ZMLX_E_NOT_FOUND, "no such folder, and not an id of the form");
    check_refused("", ZMLX_E_NOT_FOUND, "no such folder");
}

static void test_cache_places(void **state)
{
    (void)state;
    static const struct {
        const char *hub, *name, *value;
    } places[] = {
        {"h/.cache/huggingface/hub", "HOME", "h"},
        {"x/huggingface/hub", "XDG_CACHE_HOME", "x"},
        {"f/hub", "HF_HOME", "f"},
        {"c", "HF_HUB_CACHE", "c"},
    };
    clear_env();
    scratch_reset();
    check_refused("org/name.v1", ZMLX_E_NOT_FOUND, "HOME is not set");
    for (size_t i = 0; i < ZX_COUNT(places); i++) { /* each goes before the former ones */
        make_cache(places[i].hub);
        setenv(places[i].name, scratch_path(places[i].value), 1);
        check_found("org/name.v1", places[i].hub);
    }
    setenv("HF_HUB_CACHE", "", 1); /* empty is unset */
    check_found("org/name.v1", "f/hub");
    setenv("HF_HOME", "~/sub", 1);
    make_cache("h/sub/hub");
    check_found("org/name.v1", "h/sub/hub");
    unsetenv("HF_HOME");
    setenv("XDG_CACHE_HOME", "relative/path", 1);
    check_found("org/name.v1", "h/.cache/huggingface/hub");
}

static void test_revisions(void **state)
{
    (void)state;
    clear_env();
    scratch_reset();
    make_cache("c");
    setenv("HF_HUB_CACHE", scratch_path("c"), 1);
    check_found("org/name.v1@main", "c");
    check_found("org/name.v1@" HASH, "c");
    check_found("org/name.v1@pr/1", "c");
    check_refused("org/name.v1@v2", ZMLX_E_NOT_FOUND, "has no revision v2");
    check_refused("org/other", ZMLX_E_NOT_FOUND, "models--org--other in the Hugging Face cache");
    check_refused("org/name.v1@1123456789abcdef0123456789abcdef01234567", ZMLX_E_NOT_FOUND, "no config.json in");
    static const char *const broken[] = {
        "", "main", HASH "0", "../../../../etc", HASH "\nmore", "0123456789ABCDEF0123456789ABCDEF01234567"};
    for (size_t i = 0; i < ZX_COUNT(broken); i++) {
        scratch_puts("c/models--org--name.v1/refs/main", broken[i]);
        check_refused("org/name.v1", ZMLX_E_FORMAT, "refs/main does not hold a commit hash");
    }
    scratch_write("c/models--org--name.v1/refs/main", HASH "\0x", 42);
    check_refused("org/name.v1", ZMLX_E_FORMAT, "does not hold a commit hash");
    unlink(scratch_path("c/models--org--name.v1/refs/main"));
    check_refused("org/name.v1", ZMLX_E_NOT_FOUND, "has no revision main");
}

static void test_bad_ids(void **state)
{
    (void)state;
    clear_env();
    scratch_reset();
    make_cache("c");
    setenv("HF_HUB_CACHE", scratch_path("c"), 1);
    static const char *const bad[] = {
        "name",          "/",           "org/",      "/name",           "org/name/x",
        "../name",       "org/..",      "org/a..b",  "org/.name",       "-org/name",
        "org--x/name",   "org/na me",   "org/name@", "org/name@../x",   "org/name@/x",
        "org/name@a//b", "org/name@a/", "o@rg/name", "org/n\xc3\xa4me", "org\\x/name",
        "org/name@a@b",  "~/model",
    };
    for (size_t i = 0; i < ZX_COUNT(bad); i++) {
        if (!strcmp(bad[i], "/")) continue;
        check_refused(bad[i], ZMLX_E_NOT_FOUND, "not an id of the form ORG/NAME[@REVISION]");
    }
    char longest[256];
    memset(longest, 'a', sizeof longest);
    longest[3] = '/';
    longest[255] = 0;
    check_refused(longest, ZMLX_E_NOT_FOUND, "not an id of the form");
}

static void test_out_of_memory(void **state)
{
    (void)state;
    clear_env();
    scratch_reset();
    make_cache("c");
    setenv("HF_HUB_CACHE", scratch_path("c"), 1);
    char *dir = NULL;
    for (int n = 0;; n++) {
        assert_true(n < 100);
        zx_alloc_fail_after(n);
        const zmlx_status st = zx_locate_model(&dir, "org/name.v1", &err);
        zx_alloc_fail_after(-1);
        if (st == ZMLX_OK) break;
        assert_int_equal(st, ZMLX_E_NOMEM);
        assert_null(dir);
    }
    zx_free(dir);
}

static int teardown(void **state)
{
    (void)state;
    scratch_end();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_folders), cmocka_unit_test(test_cache_places),  cmocka_unit_test(test_revisions),
        cmocka_unit_test(test_bad_ids), cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
