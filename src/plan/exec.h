/* SPDX-License-Identifier: MIT */
/* Runs plans.  An executor is bound to one plan, one state and one team; a step allocates nothing. */
#ifndef ZX_PLAN_EXEC_H
#define ZX_PLAN_EXEC_H

#include "base/cpu.h"
#include "base/team.h"
#include "plan/plan.h"

/* Caches and step memory, shared by the executors of one session (their plans must agree on the states). */
typedef struct zx_memory zx_memory;
/* Reserve memory for the largest of `n` plans: pages are touched when they are used. */
zmlx_status zx_memory_create(zx_memory **out, const zx_plan *const *plans, int n, int threads, zmlx_err *err);
void zx_memory_destroy(zx_memory *m);

typedef struct zx_exec zx_exec;
zmlx_status zx_exec_create(zx_exec **out, const zx_plan *p, zx_memory *m, zx_team *team, zx_cpu_level level,
                           zmlx_err *err);
void zx_exec_destroy(zx_exec *e);
/* Run one step over n tokens (1 .. plan->max_tokens) whose first has position pos; pos + n <= plan->ctx.  Preconditions
 * are the caller's.  Logits, if the plan has them, lie at zx_exec_logits until the next step of the session. */
void zx_exec_step(zx_exec *e, const int32_t *tokens, int64_t n, int64_t pos);
const void *zx_exec_logits(const zx_exec *e, zmlx_dtype *dtype, int64_t *vocab); /* [n, vocab]; NULL without logits */
/* Add the seconds that each node takes to seconds_per_node[node] from now on; NULL switches timing off. */
void zx_exec_profile(zx_exec *e, double *seconds_per_node);

#endif
