/* SPDX-License-Identifier: MIT */
/* The executor: all members of a team walk the node list together.  Operands are bound once; a step sets the number of
 * tokens and the position and runs, without allocating. */
#include "plan/exec.h"

#include "base/alloc.h"
#include "base/file.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

enum { MAX_PHASES = 4, ALIGN = 64 };

struct zx_memory {
    uint8_t *base; /* states, then step memory, shared scratch, one scratch per thread */
    size_t size, step, shared, scratch, scratch_each;
    size_t state_bytes;
    int threads;
};

zmlx_status zx_memory_create(zx_memory **out, const zx_plan *const *plans, int n, int threads, zmlx_err *err)
{
    *out = NULL;
    zx_memory *m = zx_new(zx_memory);
    if (!m) return zx_fail(err, ZMLX_E_NOMEM, -1, "session memory");
    size_t step = 0, shared = 0, each = 0, all, total;
    m->state_bytes = plans[0]->state_bytes;
    m->threads = threads;
    for (int i = 0; i < n; i++) {
        if (plans[i]->state_bytes != m->state_bytes) {
            zx_free(m);
            return zx_fail(err, ZMLX_E_FAIL, -1, "plans disagree on the caches: %zu and %zu bytes",
                           plans[i]->state_bytes, plans[0]->state_bytes);
        }
        step = ZX_MAX(step, plans[i]->step_bytes);
        shared = ZX_MAX(shared, plans[i]->shared_bytes);
        each = ZX_MAX(each, plans[i]->scratch_bytes);
    }
    each = (each + 2 * ALIGN - 1) / ALIGN * ALIGN; /* a free line between threads */
    bool ok = zx_mul_size(&all, each, (size_t)threads) && zx_add_size(&total, m->state_bytes, step) &&
              zx_add_size(&total, total, shared) && zx_add_size(&total, total, all);
    if (ok) {
        m->size = total + ALIGN;
        /* Not backed until touched: a long context costs nothing before it is used. */
        m->base = mmap(NULL, m->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        ok = m->base != MAP_FAILED;
    }
    if (!ok) {
        zx_free(m);
        return zx_fail(err, ZMLX_E_LIMIT, -1, "cannot reserve %zu bytes of caches and %zu of activations",
                       plans[0]->state_bytes, step);
    }
    madvise(m->base, m->size, MADV_HUGEPAGE); /* advice: failure costs speed only */
    m->step = m->state_bytes;
    m->shared = m->step + step;
    m->scratch = m->shared + shared;
    m->scratch_each = each;
    *out = m;
    return ZMLX_OK;
}

void zx_memory_destroy(zx_memory *m)
{
    if (!m) return;
    munmap(m->base, m->size);
    zx_free(m);
}

typedef struct bound {
    const zx_kernel_def *def;
    zx_run_fn *run;
    zx_call call;
    atomic_llong next[MAX_PHASES]; /* the next free task of an uneven phase */
} bound;

struct zx_exec {
    const zx_plan *plan;
    zx_memory *memory;
    zx_team *team;
    bound *node;
    zx_operand *operand; /* of all nodes */
    const void *logits;
    double *profile;
};

static void *address(const zx_memory *m, const zx_value *v)
{
    if (v->kind == ZX_VAL_STATE) return m->base + v->offset;
    return m->base + m->step + v->offset;
}

static zx_operand bind_value(const zx_memory *m, const zx_value *v)
{
    if (v->kind == ZX_VAL_WEIGHT) return v->weight->op;
    return (zx_operand){.type = v->type, .data = address(m, v)};
}

zmlx_status zx_exec_create(zx_exec **out, const zx_plan *p, zx_memory *m, zx_team *team, zx_cpu_level level,
                           zmlx_err *err)
{
    *out = NULL;
    zx_exec *e = zx_new(zx_exec);
    size_t n_operands = 1;
    for (int i = 0; i < p->n_nodes; i++)
        n_operands += (size_t)(p->node[i].n_in + p->node[i].n_out);
    if (e) {
        e->node = zx_calloc((size_t)p->n_nodes + 1, sizeof *e->node);
        e->operand = zx_calloc(n_operands, sizeof *e->operand);
    }
    if (!e || !e->node || !e->operand) {
        zx_exec_destroy(e);
        return zx_fail(err, ZMLX_E_NOMEM, -1, "executor");
    }
    e->plan = p;
    e->memory = m;
    e->team = team;
    zx_operand *o = e->operand;
    for (int i = 0; i < p->n_nodes; i++) {
        const zx_node *n = &p->node[i];
        bound *b = &e->node[i];
        if (n->op->phases > MAX_PHASES) {
            zx_exec_destroy(e);
            return zx_fail(err, ZMLX_E_FAIL, -1, "%s: %d phases, at most %d", n->op->name, n->op->phases, MAX_PHASES);
        }
        b->def = n->op;
        b->run = zx_kernel_run(n->op, level);
        b->call = (zx_call){.in = o, .out = o + n->n_in, .attr = &n->attr, .shared = m->base + m->shared};
        for (int j = 0; j < n->n_in; j++)
            *o++ = bind_value(m, &p->value[n->in[j]]);
        for (int j = 0; j < n->n_out; j++)
            *o++ = bind_value(m, &p->value[n->out[j]]);
    }
    if (p->logits >= 0) e->logits = address(m, &p->value[p->logits]);
    *out = e;
    return ZMLX_OK;
}

void zx_exec_destroy(zx_exec *e)
{
    if (!e) return;
    zx_free(e->node);
    zx_free(e->operand);
    zx_free(e);
}

static void run_phase(bound *b, int phase, int64_t tasks, int member, int members, void *scratch)
{
    if (members > 1 && b->def->uneven && b->def->uneven(&b->call, phase)) {
        for (;;) {
            int64_t t = atomic_fetch_add_explicit(&b->next[phase], 1, memory_order_relaxed);
            if (t >= tasks) return;
            b->run(&b->call, phase, t, t + 1, scratch);
        }
    }
    int64_t begin = tasks * member / members, end = tasks * (member + 1) / members;
    if (begin < end) b->run(&b->call, phase, begin, end, scratch);
}

/* What every member does: the whole step.  Phases with one task belong to member 0; between two such phases nobody
 * else has anything to wait for. */
static void step(void *ctx, int member, int members)
{
    zx_exec *e = ctx;
    void *scratch = e->memory->base + e->memory->scratch + (size_t)member * e->memory->scratch_each;
    bool alone = true;
    for (int i = 0; i < e->plan->n_nodes; i++) {
        bound *b = &e->node[i];
        double t0 = member == 0 && e->profile ? zx_now() : 0;
        for (int ph = 0; ph < b->def->phases; ph++) {
            int64_t tasks = b->def->tasks(&b->call, ph);
            bool single = tasks <= 1;
            if (!(single && alone)) zx_team_barrier(e->team);
            alone = single;
            if (!single)
                run_phase(b, ph, tasks, member, members, scratch);
            else if (member == 0 && tasks == 1)
                b->run(&b->call, ph, 0, 1, scratch);
        }
        if (member == 0 && e->profile) e->profile[i] += zx_now() - t0;
    }
}

void zx_exec_step(zx_exec *e, const int32_t *tokens, int64_t n, int64_t pos)
{
    memcpy(address(e->memory, &e->plan->value[e->plan->tokens]), tokens, (size_t)n * sizeof *tokens);
    for (int i = 0; i < e->plan->n_nodes; i++) {
        bound *b = &e->node[i];
        b->call.tokens = n;
        b->call.pos = pos;
        for (int ph = 0; ph < b->def->phases; ph++)
            atomic_store_explicit(&b->next[ph], 0, memory_order_relaxed);
    }
    zx_team_run(e->team, step, e);
}

const void *zx_exec_logits(const zx_exec *e, zmlx_dtype *dtype, int64_t *vocab)
{
    if (!e->logits) return NULL;
    const zx_type *t = &e->plan->value[e->plan->logits].type;
    if (dtype) *dtype = t->dtype;
    if (vocab) *vocab = t->dim[1];
    return e->logits;
}

void zx_exec_profile(zx_exec *e, double *seconds_per_node) { e->profile = seconds_per_node; }
