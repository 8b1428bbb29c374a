/* SPDX-License-Identifier: MIT */
#include "checkpoint/untrusted.h"

#include <stdio.h>

const char *zx_show_text(char out[ZX_SHOW_MAX], const char *text, size_t len)
{
    const size_t room = ZX_SHOW_MAX - 4; /* for "..." and the NUL */
    const size_t skip = len > room ? len - room : 0;
    snprintf(out, ZX_SHOW_MAX, "%s%.*s", skip ? "..." : "", (int)(len - skip), text + skip);
    return out;
}

const char *zx_show_json(char out[ZX_SHOW_MAX], const json_t *v)
{
    const char *kind = "absent";
    switch (v ? json_typeof(v) : JSON_NULL) {
    case JSON_OBJECT:
        kind = "an object";
        break;
    case JSON_ARRAY:
        kind = "a list";
        break;
    case JSON_TRUE:
        kind = "true";
        break;
    case JSON_FALSE:
        kind = "false";
        break;
    case JSON_NULL:
        kind = v ? "null" : "absent";
        break;
    case JSON_INTEGER:
        snprintf(out, ZX_SHOW_MAX, "%lld", (long long)json_integer_value(v));
        return out;
    case JSON_REAL:
        snprintf(out, ZX_SHOW_MAX, "%.17g", json_real_value(v));
        return out;
    case JSON_STRING: {
        char text[ZX_SHOW_MAX];
        zx_show_text(text, json_string_value(v), json_string_length(v));
        snprintf(out, ZX_SHOW_MAX, "\"%.60s\"", text);
        return out;
    }
    }
    snprintf(out, ZX_SHOW_MAX, "%s", kind);
    return out;
}

zmlx_status zx_json_parse(json_t **out, const char *text, size_t len, size_t flags, const char *what, int64_t base,
                          zmlx_err *err)
{
    json_error_t e;
    *out = json_loadb(text, len, flags, &e);
    if (*out) return ZMLX_OK;
    if (json_error_code(&e) == json_error_out_of_memory)
        return zx_fail(err, ZMLX_E_NOMEM, -1, "%s: out of memory", what);
    const int64_t pos = base + (e.position > 0 ? e.position : 0);
    return zx_fail(err, ZMLX_E_FORMAT, pos, "%s: not JSON at byte %lld: %s", what, (long long)pos, ZX_SHOW(e.text));
}
