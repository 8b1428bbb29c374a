/* SPDX-License-Identifier: MIT */
#include "base/team.h"

#include "base/alloc.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

/* Waiting is the same everywhere: a word changes.  Members spin on it, then yield, then sleep on `wake`.  Who changes
 * a word looks at `sleepers` afterwards; who goes to sleep counts itself there before it looks at the word for the last
 * time.  Both in sequentially consistent order, so one of the two sees the other. */
typedef struct word {
    _Alignas(64) _Atomic uint32_t v;
} word;

typedef struct member {
    zx_team *team;
    pthread_t thread;
    int index;
} member;

struct zx_team {
    word epoch;    /* one more per run */
    word finished; /* one more when the last worker has returned from fn */
    word running;  /* workers that have not */
    word phase;    /* of the barrier */
    word arrived;  /* members that have come to it */
    word sleepers;
    _Atomic bool quit;
    zx_team_fn *fn; /* written between runs only, published by epoch */
    void *ctx;
    int n, spins, yields;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int n_started; /* threads, in members[1..] */
    member members[];
};

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

static void wait_change(zx_team *t, word *w, uint32_t old)
{
    for (int i = 0; i < t->spins; i++) {
        if (atomic_load_explicit(&w->v, memory_order_acquire) != old) return;
        relax();
    }
    for (int i = 0; i < t->yields; i++) {
        if (atomic_load_explicit(&w->v, memory_order_acquire) != old) return;
        sched_yield();
    }
    pthread_mutex_lock(&t->lock);
    atomic_fetch_add(&t->sleepers.v, 1);
    while (atomic_load(&w->v) == old)
        pthread_cond_wait(&t->wake, &t->lock);
    atomic_fetch_sub(&t->sleepers.v, 1);
    pthread_mutex_unlock(&t->lock);
}

static void change(zx_team *t, word *w, uint32_t value)
{
    atomic_store(&w->v, value);
    if (atomic_load(&t->sleepers.v) == 0) return;
    pthread_mutex_lock(&t->lock);
    pthread_cond_broadcast(&t->wake);
    pthread_mutex_unlock(&t->lock);
}

static void *work(void *arg)
{
    member *m = arg;
    zx_team *t = m->team;
    for (uint32_t epoch = 0;; epoch++) {
        wait_change(t, &t->epoch, epoch);
        if (atomic_load_explicit(&t->quit, memory_order_relaxed)) return NULL;
        t->fn(t->ctx, m->index, t->n);
        if (atomic_fetch_sub_explicit(&t->running.v, 1, memory_order_acq_rel) == 1) change(t, &t->finished, epoch + 1);
    }
}

void zx_team_run(zx_team *t, zx_team_fn *fn, void *ctx)
{
    if (t->n == 1) {
        fn(ctx, 0, 1);
        return;
    }
    uint32_t epoch = atomic_load_explicit(&t->epoch.v, memory_order_relaxed);
    t->fn = fn;
    t->ctx = ctx;
    atomic_store_explicit(&t->running.v, (uint32_t)t->n - 1, memory_order_relaxed);
    change(t, &t->epoch, epoch + 1);
    fn(ctx, 0, t->n);
    wait_change(t, &t->finished, epoch);
}

void zx_team_barrier(zx_team *t)
{
    if (t->n == 1) return;
    uint32_t phase = atomic_load_explicit(&t->phase.v, memory_order_relaxed); /* cannot change before we arrive */
    if (atomic_fetch_add_explicit(&t->arrived.v, 1, memory_order_acq_rel) + 1 == (uint32_t)t->n) {
        atomic_store_explicit(&t->arrived.v, 0, memory_order_relaxed);
        change(t, &t->phase, phase + 1);
    } else {
        wait_change(t, &t->phase, phase);
    }
}

int zx_team_size(const zx_team *t) { return t->n; }

void zx_team_destroy(zx_team *t)
{
    if (!t) return;
    atomic_store(&t->quit, true);
    change(t, &t->epoch, atomic_load(&t->epoch.v) + 1);
    for (int i = 1; i <= t->n_started; i++)
        pthread_join(t->members[i].thread, NULL);
    pthread_cond_destroy(&t->wake);
    pthread_mutex_destroy(&t->lock);
    zx_free(t);
}

zmlx_status zx_team_create(zx_team **out, int n, zmlx_err *err)
{
    *out = NULL;
    int cpus = zx_cpu_count();
    if (n > ZX_TEAM_MAX) return zx_fail(err, ZMLX_E_ARG, -1, "%d threads, at most %d are possible", n, ZX_TEAM_MAX);
    if (n <= 0) n = ZX_MIN(cpus, (int)ZX_TEAM_MAX);
    zx_team *t = zx_aligned_alloc(64, sizeof *t + (size_t)n * sizeof t->members[0]);
    if (!t) return zx_fail(err, ZMLX_E_NOMEM, -1, "no memory for a team of %d threads", n);
    t->n = n;
    /* A pause takes 15 to 50 ns.  With more members than CPUs whoever spins keeps a member from working. */
    t->spins = n <= cpus ? 1000 : 8;
    t->yields = n <= cpus ? 20 : 4;
    int e = pthread_mutex_init(&t->lock, NULL);
    if (e == 0 && (e = pthread_cond_init(&t->wake, NULL)) != 0) pthread_mutex_destroy(&t->lock);
    if (e != 0) {
        zx_free(t);
        return zx_fail(err, ZMLX_E_NOMEM, -1, "cannot make a lock (error %d)", e);
    }
    /* Signals are for the program's own threads. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int i = 1; i < n && e == 0; i++) {
        t->members[i] = (member){.team = t, .index = i};
        e = pthread_create(&t->members[i].thread, NULL, work, &t->members[i]);
        if (e == 0) t->n_started = i;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (e != 0) {
        zx_fail(err, ZMLX_E_NOMEM, -1, "cannot start thread %d of %d (error %d)", t->n_started + 1, n, e);
        zx_team_destroy(t);
        return ZMLX_E_NOMEM;
    }
    *out = t;
    return ZMLX_OK;
}

/* CPUs' worth of time that the control group of a container grants, 0 when there is no limit. */
static int cgroup_cpus(void)
{
    long long quota, period;
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (!f) return 0;
    int got = fscanf(f, "%lld %lld", &quota, &period);
    fclose(f);
    if (got != 2 || quota <= 0 || period <= 0) return 0;
    long long n = (quota + period - 1) / period;
    return n > ZX_TEAM_MAX ? 0 : (int)n;
}

int zx_cpu_count(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
#ifdef __linux__
    cpu_set_t set; /* fails beyond 1024 CPUs; then sysconf's answer stands */
    if (sched_getaffinity(0, sizeof set, &set) == 0) n = CPU_COUNT(&set);
    int granted = cgroup_cpus();
    if (granted && granted < n) n = granted;
#endif
    return n < 1 ? 1 : (int)n;
}
