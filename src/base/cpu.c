/* SPDX-License-Identifier: MIT */
#include "base/cpu.h"

#include <stdio.h>
#include <string.h>

static const char *const names[ZX_CPU_LEVELS] = {[ZX_CPU_SCALAR] = "scalar", [ZX_CPU_AVX512] = "avx512"};

zx_cpu_level zx_cpu_best(void)
{
#if defined(__x86_64__) && !defined(ZX_NO_AVX512)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi") &&
        __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("fma"))
        return ZX_CPU_AVX512;
#endif
    return ZX_CPU_SCALAR;
}

const char *zx_cpu_level_name(zx_cpu_level l) { return (size_t)l < ZX_COUNT(names) ? names[l] : "?"; }

zmlx_status zx_cpu_level_parse(zx_cpu_level *out, const char *name, zmlx_err *err)
{
    zx_cpu_level best = zx_cpu_best();
    *out = best;
    if (!name || !*name) return ZMLX_OK;
    for (size_t i = 0; i < ZX_COUNT(names); i++) {
        if (strcmp(name, names[i]) != 0) continue;
        if ((zx_cpu_level)i > best)
            return zx_fail(err, ZMLX_E_DEVICE, -1, "CPU level '%s' is not available here, the best is '%s'", name,
                           names[best]);
        *out = (zx_cpu_level)i;
        return ZMLX_OK;
    }
    return zx_fail(err, ZMLX_E_ARG, -1, "unknown CPU level '%s' (scalar, avx512)", name);
}

void zx_cpu_model_name(char *out, size_t n)
{
    if (!n) return;
    snprintf(out, n, "unknown");
    FILE *f = fopen("/proc/cpuinfo", "re");
    if (!f) return;
    char line[512];
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, "model name", 10) != 0) continue;
        char *value = strchr(line, ':');
        if (!value) continue;
        value += 1 + strspn(value + 1, " \t");
        value[strcspn(value, "\n")] = 0;
        if (*value) snprintf(out, n, "%s", value);
        break;
    }
    fclose(f);
}
