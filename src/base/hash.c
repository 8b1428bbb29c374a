/* SPDX-License-Identifier: MIT */
#include "base/hash.h"

#include <xxhash.h>

uint64_t zx_hash64(const void *p, size_t n, uint64_t seed) { return XXH64(p, n, seed); }
