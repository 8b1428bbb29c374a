/* SPDX-License-Identifier: MIT */
/* A fuzz target is one file, tests/fuzz/fuzz_NAME.c, that includes this header and defines the function below: it feeds
 * the bytes to one parser and returns 0.  Its corpus is tests/fuzz/corpus/NAME/. */
#ifndef ZX_TESTS_FUZZ_H
#define ZX_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
