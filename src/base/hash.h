/* SPDX-License-Identifier: MIT */
/* A fast 64-bit digest (XXH64 of libxxhash) for logits and files; not for adversaries. */
#ifndef ZX_BASE_HASH_H
#define ZX_BASE_HASH_H

#include "base/status.h"

uint64_t zx_hash64(const void *p, size_t n, uint64_t seed);

#endif
