/* SPDX-License-Identifier: MIT */
/* Any bytes as model.safetensors.index.json: refused with a message, or plain file names in order. */
#include "fuzz.h"

#include <stdlib.h>

#include "checkpoint/untrusted.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    zmlx_err err = {0};
    zx_index x;
    const zmlx_status st = zx_index_parse(&x, (const char *)data, size, "fuzz.index.json", &err);
    if (st != ZMLX_OK && (err.code != st || !err.msg[0])) abort();
    for (int i = 0; i < x.n_files; i++) {
        if (strchr(x.file[i], '/') || x.file[i][0] == '.') abort();
        if (i && strcmp(x.file[i - 1], x.file[i]) >= 0) abort();
    }
    for (int i = 1; i < x.n; i++)
        if (strcmp(x.entry[i - 1].tensor, x.entry[i].tensor) >= 0) abort();
    if (st == ZMLX_OK && (x.n < 1 || x.n_files < 1 || x.n_files > x.n || x.total_size < -1)) abort();
    zx_index_clear(&x);
    return 0;
}
