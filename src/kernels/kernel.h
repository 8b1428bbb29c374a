/* SPDX-License-Identifier: MIT */
/* The definition of a kernel: what it computes, what shapes it takes, how its work is divided, its plain
 * reference in double precision, and the cases with which it is tested.  A kernel is one file,
 * src/kernels/NAME.k.c, that defines `const zx_kernel_def zx_kernel_NAME`; the registry finds it by its
 * file name.  docs/ADDING-A-KERNEL.md walks through one.
 *
 * The same file is compiled once per instruction-set level (lanes.h gives it 16 lanes at each), so a
 * kernel has one body and gives the same bits at every level. */
#ifndef ZX_KERNELS_KERNEL_H
#define ZX_KERNELS_KERNEL_H

#include "base/cpu.h"
#include "base/status.h"

enum { ZX_MAX_RANK = 4, ZX_MAX_IN = 12, ZX_MAX_OUT = 4 };

/* In a type: the leading dimension that stands for the tokens of a step. */
#define ZX_TOKENS ((int64_t)-1)

/* How a weight's numbers are stored.  bits == 0: plain numbers of type.dtype.  Otherwise affine:
 * w = scale * q + bias over groups of `group` consecutive elements of the last dimension, q unsigned of
 * `bits` bits, packed little end first (docs/FORMATS.md). */
typedef struct zx_quant {
    int bits;          /* 0, 4 or 8 */
    int group;         /* 32, 64 or 128 */
    zmlx_dtype scales; /* type of scales and biases: F32, F16 or BF16 */
} zx_quant;

/* The logical type of a value: element type and shape.  For a quantized weight dtype is the type that
 * its dequantized elements have (that of the scales) and the shape is the logical one. */
typedef struct zx_type {
    zmlx_dtype dtype;
    int rank;
    int64_t dim[ZX_MAX_RANK];
    zx_quant quant;
} zx_type;

/* A value bound to memory for one call.  Activations are dense row-major and 64-byte aligned; weights
 * are wherever the checkpoint has them, at any alignment. */
typedef struct zx_operand {
    zx_type type;
    void *data;         /* elements, or packed words when quantized */
    const void *scales; /* quantized only: [rows, cols / group] of type.quant.scales */
    const void *biases;
} zx_operand;

/* Scalar parameters of an op.  One flat struct: an op reads the fields its file names, others are 0. */
typedef struct zx_attr {
    float eps;          /* norms */
    float scale;        /* attention: factor on q.k, float32 */
    float theta;        /* rope: base of the frequencies */
    int32_t dims;       /* rope: how many leading features rotate */
    int32_t heads;      /* rows of a token that the op treats one by one (rms_norm on heads, rope) */
    int32_t k;          /* how many experts are chosen */
    int32_t layer;      /* cache ops: which layer's keys and values */
    int32_t renorm;     /* fused gating: divide the chosen scores by their sum */
    int32_t activation; /* zx_activation; fused MLPs */
    int32_t score;      /* zx_score; fused gating */
    int32_t role;       /* kv_append: 0 the cache holds keys, 1 values (their layouts differ) */
} zx_attr;

typedef enum zx_activation { ZX_ACT_SILU = 1, ZX_ACT_GELU_TANH } zx_activation;
typedef enum zx_score { ZX_SCORE_SOFTMAX = 1, ZX_SCORE_SIGMOID } zx_score;

/* One call.  The number of rows of every activation is `tokens` (times the type's other dimensions),
 * whatever dim[0] of its type says: plans are bound once for the largest step. */
typedef struct zx_call {
    const zx_operand *in, *out;
    const zx_attr *attr;
    int64_t tokens; /* rows of this step, at least 1 */
    int64_t pos;    /* position in the sequence of the first of them */
    void *shared;   /* def->shared bytes, 64-byte aligned; written in one phase, read in later ones */
} zx_call;

/* A test case of the parity suite: sizes that `make_case` of the kernel turns into operand types. */
typedef struct zx_case {
    int64_t tokens, pos;
    int64_t n[6];     /* sizes; their meaning is the kernel's own, see its make_case */
    zmlx_dtype dtype; /* of activations (and plain weights) */
    zx_quant quant;   /* of its weights */
    zx_attr attr;
} zx_case;

typedef void zx_run_fn(const zx_call *c, int phase, int64_t begin, int64_t end, void *scratch);

typedef struct zx_kernel_def {
    const char *name; /* the file's name without .k.c */
    const char *doc;  /* one line: the formula, with shapes */
    int n_in, n_out;
    int n_state; /* the first n_state inputs are written in place (caches) */

    /* Check input types and attributes; fill in the output types.  Messages name the dimension and both
     * numbers.  Called by the builder and again by the verifier. */
    zmlx_status (*infer)(const zx_type *in, const zx_attr *attr, zx_type *out, zmlx_err *err);

    /* Work: phases run one after another with a barrier between them; the tasks of a phase are
     * independent and may run on any thread in any grouping without changing a bit of the result. */
    int phases; /* at least 1 */
    int64_t (*tasks)(const zx_call *c, int phase);
    /* Tasks of very different cost: threads take them one by one instead of in equal halves. */
    bool (*uneven)(const zx_call *c, int phase); /* NULL = never */
    size_t (*shared)(const zx_call *c);          /* bytes of c->shared; NULL = 0; grows with tokens only */
    size_t (*scratch)(const zx_call *c);         /* bytes per thread, 64-byte aligned; NULL = 0 */
    zx_run_fn *run[ZX_CPU_LEVELS];               /* at least ZX_CPU_SCALAR */

    /* The same in double precision, without intermediate rounding, straight from the formula: in[i] and out[i] hold
     * operand i as doubles (weights dequantized; integers as their value), row-major.  out[n_out + i] is state i: its
     * old contents on entry, the new ones on return. */
    void (*reference)(const zx_call *c, const double *const *in, double *const *out);
    /* Bound on |result - reference| for the test inputs, in units of the last place of the coarser of the output's type
     * and the float activations'; docs/NUMERICS.md has the analysis.  The error may also be tol_row_ulp such units of
     * the largest magnitude of the output row (sums that cancel).  Integer outputs must be equal. */
    double tol_ulp, tol_row_ulp;
    /* Operand types of a test case, inputs then outputs' own inference; inputs get random numbers. */
    void (*make_case)(const zx_case *k, zx_type *in);
    /* May rewrite the random inputs (valid indices, ties); NULL = leave them. rng is a seeded stream. */
    void (*fill)(const zx_case *k, const zx_operand *in, uint64_t *rng);
    const zx_case *cases;
    int n_cases;
} zx_kernel_def;

/* All kernels, sorted by name, NULL at the end.  Generated from the file names. */
extern const zx_kernel_def *const zx_kernels[];
const zx_kernel_def *zx_kernel_find(const char *name); /* NULL if there is none */

/* Elements of a type with `tokens` in place of ZX_TOKENS; bytes of its dense representation. */
int64_t zx_type_elems(const zx_type *t, int64_t tokens);
size_t zx_type_bytes(const zx_type *t, int64_t tokens);
int64_t zx_type_last(const zx_type *t); /* the last dimension */
/* Elements per token: the product of all dimensions after the first. */
int64_t zx_type_row(const zx_type *t);
bool zx_type_equal(const zx_type *a, const zx_type *b);
zx_type zx_type_make(zmlx_dtype dtype, int rank, ...); /* rank int64_t dimensions */
/* "bfloat16[tokens, 2048]" or "4-bit[128, 768, 2048] group 64 bfloat16" */
const char *zx_type_text(const zx_type *t, char *buf, size_t n);
/* Plain words for `infer`: fail unless the condition holds. */
#define ZX_REQUIRE(cond, ...)                                                                                          \
    do {                                                                                                               \
        if (!(cond)) return zx_fail(err, ZMLX_E_FORMAT, -1, __VA_ARGS__);                                              \
    } while (0)

/* Dequantize rows [row0, row0 + n_rows) of a weight (all leading dimensions flattened into rows) to
 * double: exact for plain weights, scale * q + bias in double for quantized ones. */
void zx_operand_to_double(const zx_operand *o, int64_t row0, int64_t n_rows, double *out);

/* The level at which calls run: set once per session from zx_cpu_level. */
static inline zx_run_fn *zx_kernel_run(const zx_kernel_def *d, zx_cpu_level level)
{
    for (int l = (int)level; l > 0; l--)
        if (d->run[l]) return d->run[l];
    return d->run[ZX_CPU_SCALAR];
}

/* --- what a kernel file uses -------------------------------------------------------------------
 * The build compiles every *.k.c once per level with ZX_LEVEL defined as 0 (scalar) or 1 (avx512).
 *
 *   ZX_RUN(rms_norm)(const zx_call *c, int phase, int64_t begin, int64_t end, void *scratch) { ... }
 *   #if ZX_LEVEL == 0
 *   const zx_kernel_def zx_kernel_rms_norm = { ..., .run = ZX_RUNS(rms_norm), ... };
 *   #endif
 */
#ifdef ZX_LEVEL
#if ZX_LEVEL == 0
#define ZX_FN(name) name##_scalar
#else
#define ZX_FN(name) name##_avx512
#endif
#define ZX_RUN(name)                                                                                                   \
    void zx_run_##name##_scalar(const zx_call *, int, int64_t, int64_t, void *);                                       \
    void zx_run_##name##_avx512(const zx_call *, int, int64_t, int64_t, void *);                                       \
    void ZX_FN(zx_run_##name)
#ifdef ZX_NO_AVX512 /* set by the Makefile where the compiler does not target x86-64 */
#define ZX_RUNS(name)                                                                                                  \
    {                                                                                                                  \
        [ZX_CPU_SCALAR] = zx_run_##name##_scalar                                                                       \
    }
#else
#define ZX_RUNS(name)                                                                                                  \
    {                                                                                                                  \
        [ZX_CPU_SCALAR] = zx_run_##name##_scalar, [ZX_CPU_AVX512] = zx_run_##name##_avx512                             \
    }
#endif
#endif

#endif
