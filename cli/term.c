/* SPDX-License-Identifier: MIT */
#include "term.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* --- messages ---- */

static bool capable(int fd)
{
    const char *term = getenv("TERM");
    return isatty(fd) && term && *term && strcmp(term, "dumb") != 0;
}

/* no-color.org: any value but the empty one. */
static bool colour(int fd)
{
    const char *no = getenv("NO_COLOR");
    return capable(fd) && !(no && *no);
}

static void message(const char *kind, const char *sgr, const char *fmt, va_list ap) ZMLX_PRINTF(3, 0);
static void message(const char *kind, const char *sgr, const char *fmt, va_list ap)
{
    bool c = colour(2);
    fprintf(stderr, "zmlx: %s%s:%s ", c ? sgr : "", kind, c ? "\x1b[0m" : "");
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
}

#define MESSAGE(kind, sgr)                                                                                             \
    va_list ap;                                                                                                        \
    va_start(ap, fmt);                                                                                                 \
    message(kind, sgr, fmt, ap);                                                                                       \
    va_end(ap)

void cli_error(const char *fmt, ...) { MESSAGE("error", "\x1b[1;31m"); }
void cli_warning(const char *fmt, ...) { MESSAGE("warning", "\x1b[1;33m"); }
void cli_hint(const char *fmt, ...) { MESSAGE("hint", "\x1b[1m"); }

int cli_fail(zmlx_status s, const zmlx_err *err)
{
    if (s == ZMLX_E_CANCELLED)
        cli_error("interrupted");
    else if (err->pos >= 0 && !strstr(err->msg, "byte"))
        cli_error("%s (at byte %lld)", err->msg, (long long)err->pos);
    else
        cli_error("%s", err->msg[0] ? err->msg : zmlx_status_text(s));
    if (s == ZMLX_E_NOT_FOUND) cli_hint("`zmlx doctor` lists the models in the local Hugging Face cache");
    return zmlx_status_exit_code(s);
}

/* --- stdout ---- */

static bool output_failed(void)
{
    static bool told;
    if (!told) cli_error("cannot write to standard output: %s", strerror(errno));
    told = true;
    return false;
}

bool cli_put(const char *text, size_t n)
{
    if (fwrite(text, 1, n, stdout) != n || fflush(stdout) != 0) return output_failed();
    return true;
}

bool cli_close_stdout(void)
{
    errno = EIO;
    if (ferror(stdout) || fflush(stdout) != 0) return output_failed();
    return true;
}

/* --- Ctrl-C ---- */

static volatile sig_atomic_t interrupted;

static void on_interrupt(int sig)
{
    (void)sig;
    interrupted = 1;
}

void cli_catch_interrupt(void)
{
    struct sigaction before, a = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&a.sa_mask);
    if (sigaction(SIGINT, NULL, &before) == 0 && before.sa_handler == SIG_IGN) return; /* a job in the background */
    sigaction(SIGINT, &a, NULL);
}

bool cli_interrupted(void) { return interrupted; }

/* --- numbers ---- */

const char *cli_bytes(char *buf, size_t n, double bytes)
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    int u = 0;
    while (bytes >= 1024 && u < 4) {
        bytes /= 1024;
        u++;
    }
    if (bytes < 0)
        snprintf(buf, n, "unknown");
    else
        snprintf(buf, n, u ? "%.2f %s" : "%.0f %s", bytes, unit[u]);
    return buf;
}

/* --- progress ---- */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void cli_bar_init(cli_bar *b, const char *label, const char *unit, bool quiet)
{
    *b = (cli_bar){.label = label, .unit = unit, .on = !quiet && capable(2), .start = now()};
}

void cli_bar_update(cli_bar *b, int64_t done, int64_t total)
{
    enum { WIDTH = 24 };
    if (!b->on || total <= 0) return;
    double t = now();
    if (done < b->best) done = b->best;
    b->best = done;
    if (b->drawn && t - b->last < 0.1) return;
    if (!b->drawn && t - b->start < 0.3 && done < total) return; /* nothing to see for short work */
    char bar[WIDTH + 1];
    int full = (int)((double)done / (double)total * WIDTH);
    for (int i = 0; i < WIDTH; i++)
        bar[i] = i < full ? '#' : '.';
    bar[WIDTH] = 0;
    double rate = t > b->start ? (double)done / (t - b->start) : 0;
    fprintf(stderr, "\r\x1b[K%s [%s] %lld/%lld %s", b->label, bar, (long long)done, (long long)total, b->unit);
    if (rate > 0) fprintf(stderr, ", %.1f/s, %.0f s left", rate, (double)(total - done) / rate);
    fflush(stderr);
    b->drawn = true;
    b->last = t;
}

void cli_bar_clear(cli_bar *b)
{
    if (b->drawn) fputs("\r\x1b[K", stderr);
    b->drawn = false;
    b->on = false;
}
