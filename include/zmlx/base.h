/* SPDX-License-Identifier: MIT */
/* Status codes, error details, element types and the version: what every other public header needs. */
#ifndef ZMLX_BASE_H
#define ZMLX_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ZMLX_VERSION_MAJOR 0
#define ZMLX_VERSION_MINOR 1
#define ZMLX_VERSION_PATCH 0
#define ZMLX_VERSION_TEXT  "0.1.0"

#if defined(__GNUC__)
#define ZMLX_API               __attribute__((visibility("default")))
#define ZMLX_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define ZMLX_API
#define ZMLX_PRINTF(fmt, args)
#endif

/* X(name, value, exit code of the command, text).  Values are stable. */
#define ZMLX_STATUS_MAP(X)                                                                                             \
    X(OK, 0, 0, "ok")                                                                                                  \
    X(E_FAIL, 1, 1, "failed")                                                                                          \
    X(E_NOMEM, 2, 1, "out of memory")                                                                                  \
    X(E_IO, 3, 1, "input or output error")                                                                             \
    X(E_ARG, 4, 2, "invalid argument")                                                                                 \
    X(E_NOT_FOUND, 5, 3, "model not found")                                                                            \
    X(E_UNSUPPORTED, 6, 3, "not supported")                                                                            \
    X(E_FORMAT, 7, 4, "malformed or unsafe file")                                                                      \
    X(E_LIMIT, 8, 5, "does not fit")                                                                                   \
    X(E_DEVICE, 9, 6, "device or requirement not available")                                                           \
    X(E_MISMATCH, 10, 7, "verification failed")                                                                        \
    X(E_CANCELLED, 11, 130, "cancelled")

typedef enum zmlx_status {
#define X(id, value, exit_code, text) ZMLX_##id = value,
    ZMLX_STATUS_MAP(X)
#undef X
} zmlx_status;

/* Details of a failure.  Owned by the caller, never allocates; zero-initialise it.  Every function
 * that takes one accepts NULL.  On success it is left untouched. */
typedef struct zmlx_err {
    zmlx_status code;
    int64_t pos;   /* byte offset in the offending input, or -1 */
    char msg[480]; /* one line of UTF-8; names the thing and, where there are two, both numbers */
} zmlx_err;

/* The text of a status ("does not fit"); never NULL. */
ZMLX_API const char *zmlx_status_text(zmlx_status s);
/* The exit code with which the command reports a status (README, "Exit codes"). */
ZMLX_API int zmlx_status_exit_code(zmlx_status s);
/* "0.1.0": the version of the library that is linked, to compare with ZMLX_VERSION_TEXT. */
ZMLX_API const char *zmlx_version(void);

/* X(name, bytes per element, text, is a floating type) */
#define ZMLX_DTYPE_MAP(X)                                                                                              \
    X(F32, 4, "float32", 1)                                                                                            \
    X(F16, 2, "float16", 1)                                                                                            \
    X(BF16, 2, "bfloat16", 1)                                                                                          \
    X(F64, 8, "float64", 1)                                                                                            \
    X(I8, 1, "int8", 0)                                                                                                \
    X(I16, 2, "int16", 0)                                                                                              \
    X(I32, 4, "int32", 0)                                                                                              \
    X(I64, 8, "int64", 0)                                                                                              \
    X(U8, 1, "uint8", 0)                                                                                               \
    X(U16, 2, "uint16", 0)                                                                                             \
    X(U32, 4, "uint32", 0)                                                                                             \
    X(U64, 8, "uint64", 0)                                                                                             \
    X(BOOL, 1, "bool", 0)

typedef enum zmlx_dtype {
#define X(id, size, text, is_float) ZMLX_##id,
    ZMLX_DTYPE_MAP(X)
#undef X
        ZMLX_DTYPE_COUNT
} zmlx_dtype;

ZMLX_API const char *zmlx_dtype_name(zmlx_dtype t); /* "bfloat16"; "?" outside the enumeration */
ZMLX_API size_t zmlx_dtype_size(zmlx_dtype t);      /* bytes per element; 0 outside it */

#ifdef __cplusplus
}
#endif
#endif
