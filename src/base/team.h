/* SPDX-License-Identifier: MIT */
/* A fixed team of threads that runs one function together.  The caller is member 0.  Members that wait
 * spin for a short while and then sleep, so that an idle team costs nothing and a busy one reacts in
 * well under a microsecond. */
#ifndef ZX_BASE_TEAM_H
#define ZX_BASE_TEAM_H

#include "base/status.h"

typedef struct zx_team zx_team;
typedef void zx_team_fn(void *ctx, int member, int n_members);

enum { ZX_TEAM_MAX = 256 };

/* n threads in all, the caller included; n <= 0 means one per CPU this process may run on. */
zmlx_status zx_team_create(zx_team **out, int n, zmlx_err *err);
void zx_team_destroy(zx_team *t); /* NULL is fine; must not run */
int zx_team_size(const zx_team *t);

/* Call fn(ctx, i, n) on all members and return when all have returned.  One caller at a time. */
void zx_team_run(zx_team *t, zx_team_fn *fn, void *ctx);
/* Inside fn: wait until every member has come here.  Memory written before is visible after. */
void zx_team_barrier(zx_team *t);

int zx_cpu_count(void); /* CPUs this process may run on, at least 1 */

#endif
