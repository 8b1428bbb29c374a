/* SPDX-License-Identifier: MIT */
#include "base/file.h"

#include "base/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static zmlx_status fail_errno(zmlx_err *err, const char *doing, const char *path)
{
    int e = errno;
    char buf[128];
#ifdef __GLIBC__
    const char *text = strerror_r(e, buf, sizeof buf);
#else
    const char *text = strerror_r(e, buf, sizeof buf) == 0 ? buf : "unknown error";
#endif
    zmlx_status code = e == ENOENT || e == ENOTDIR ? ZMLX_E_NOT_FOUND : e == ENOMEM ? ZMLX_E_NOMEM : ZMLX_E_IO;
    return zx_fail(err, code, -1, "%s: cannot %s: %s", path, doing, text);
}

/* O_NONBLOCK: a FIFO must not hang us before fstat shows what it is. */
static zmlx_status open_regular(int *fd, size_t *size, const char *path, zmlx_err *err)
{
    do
        *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    while (*fd < 0 && errno == EINTR);
    if (*fd < 0) return fail_errno(err, "open", path);
    struct stat st;
    zmlx_status s = ZMLX_OK;
    if (fstat(*fd, &st) != 0)
        s = fail_errno(err, "stat", path);
    else if (!S_ISREG(st.st_mode))
        s = zx_fail(err, ZMLX_E_FORMAT, -1, "%s: not a regular file", path);
    else if ((uint64_t)st.st_size >= SIZE_MAX)
        s = zx_fail(err, ZMLX_E_LIMIT, -1, "%s: %lld bytes, more than can be addressed", path, (long long)st.st_size);
    if (s != ZMLX_OK)
        close(*fd);
    else
        *size = (size_t)st.st_size;
    return s;
}

zmlx_status zx_file_read(char **out, size_t *len, const char *path, size_t max, zmlx_err *err)
{
    *out = NULL;
    *len = 0;
    int fd;
    size_t size;
    ZX_TRY(open_regular(&fd, &size, path, err));
    zmlx_status s = ZMLX_OK;
    char *data = NULL;
    size_t got = 0;
    if (size > max)
        s = zx_fail(err, ZMLX_E_FORMAT, -1, "%s: %zu bytes, at most %zu are accepted", path, size, max);
    else if (!(data = zx_malloc(size + 1)))
        s = zx_fail(err, ZMLX_E_NOMEM, -1, "%s: no memory for %zu bytes", path, size);
    while (s == ZMLX_OK && got < size) {
        ssize_t n = read(fd, data + got, size - got);
        if (n > 0)
            got += (size_t)n;
        else if (n == 0)
            s = zx_fail(err, ZMLX_E_IO, -1, "%s: ended after %zu of %zu bytes", path, got, size);
        else if (errno != EINTR)
            s = fail_errno(err, "read", path);
    }
    close(fd);
    if (s != ZMLX_OK) {
        zx_free(data);
        return s;
    }
    data[size] = 0;
    *out = data;
    *len = size;
    return ZMLX_OK;
}

zmlx_status zx_map_open(zx_map *m, const char *path, zmlx_err *err)
{
    *m = (zx_map){0};
    int fd;
    size_t size;
    ZX_TRY(open_regular(&fd, &size, path, err));
    zmlx_status s = ZMLX_OK;
    if (size) {
        void *p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED) {
            s = fail_errno(err, "map", path);
        } else {
            *m = (zx_map){p, size};
            madvise(p, size,
                    MADV_HUGEPAGE); /* where the file system can, and pages are not cached yet: fewer TLB misses */
        }
    }
    close(fd);
    return s;
}

void zx_map_close(zx_map *m)
{
    /* munmap takes a pointer to non-const although it never writes */
    if (m->data) munmap((void *)(uintptr_t)m->data, m->size);
    *m = (zx_map){0};
}

void zx_map_populate(const zx_map *m, size_t offset, size_t n)
{
    const size_t page = 4096;
    if (!m->data || offset >= m->size) return;
    n = ZX_MIN(n, m->size - offset) + offset % page;
    uint8_t *at = (uint8_t *)(uintptr_t)m->data + offset / page * page;
#ifdef MADV_POPULATE_READ /* Linux 5.14 */
    if (madvise(at, n, MADV_POPULATE_READ) == 0) return;
#endif
    madvise(at, n, MADV_WILLNEED);
}

static bool write_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t k = write(fd, p, n);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return false;
        p += k;
        n -= (size_t)k;
    }
    return true;
}

static void sync_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash ? zx_strndup(path, slash == path ? 1 : (size_t)(slash - path)) : zx_strdup(".");
    int fd = dir ? open(dir, O_RDONLY | O_CLOEXEC | O_DIRECTORY) : -1;
    if (fd >= 0) {
        fsync(fd); /* the rename has happened; some file systems cannot sync folders */
        close(fd);
    }
    zx_free(dir);
}

zmlx_status zx_file_write_atomic(const char *path, const void *data, size_t n, zmlx_err *err)
{
    static _Atomic unsigned serial;
    size_t cap = strlen(path) + 48;
    char *tmp = zx_malloc(cap);
    if (!tmp) return zx_fail(err, ZMLX_E_NOMEM, -1, "%s: no memory for a name", path);
    int fd = -1;
    for (int attempt = 0; fd < 0 && attempt < 100; attempt++) {
        snprintf(tmp, cap, "%s.tmp.%ld.%u", path, (long)getpid(), atomic_fetch_add(&serial, 1));
        fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 && errno != EEXIST && errno != EINTR) break;
    }
    zmlx_status s = ZMLX_OK;
    if (fd < 0) {
        s = fail_errno(err, "create", tmp);
    } else {
        struct stat st;
        if (stat(path, &st) == 0 && S_ISREG(st.st_mode)) (void)!fchmod(fd, st.st_mode & 0777); /* best effort */
        if (!write_all(fd, data, n)) s = fail_errno(err, "write", tmp);
        if (s == ZMLX_OK && fsync(fd) != 0) s = fail_errno(err, "write", tmp);
        if (close(fd) != 0 && s == ZMLX_OK && errno != EINTR) s = fail_errno(err, "write", tmp);
        if (s == ZMLX_OK && rename(tmp, path) != 0) s = fail_errno(err, "replace", path);
        if (s != ZMLX_OK)
            unlink(tmp);
        else
            sync_folder_of(path);
    }
    zx_free(tmp);
    return s;
}

bool zx_file_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

bool zx_dir_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

zmlx_status zx_mkdirs(const char *path, zmlx_err *err)
{
    char *copy = zx_strdup(path);
    if (!copy) return zx_fail(err, ZMLX_E_NOMEM, -1, "%s: no memory for a name", path);
    zmlx_status s = ZMLX_OK;
    for (char *p = copy + 1; s == ZMLX_OK && *copy; p++) {
        if (*p != '/' && *p) continue;
        char end = *p;
        *p = 0;
        if (mkdir(copy, 0777) != 0 && !zx_dir_exists(copy)) s = fail_errno(err, "create folder", copy);
        *p = end;
        if (!end) break;
    }
    zx_free(copy);
    return s;
}

char *zx_path_join(const char *dir, const char *name)
{
    size_t n = strlen(dir), m = strlen(name);
    bool slash = n && dir[n - 1] != '/';
    char *out = zx_malloc(n + slash + m + 1);
    if (!out) return NULL;
    memcpy(out, dir, n);
    if (slash) out[n] = '/';
    memcpy(out + n + slash, name, m + 1);
    return out;
}

double zx_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int64_t zx_peak_rss(void)
{
    long long kib = -1;
    FILE *f = fopen("/proc/self/status", "re");
    if (f) {
        char line[256];
        while (kib < 0 && fgets(line, sizeof line, f))
            sscanf(line, "VmHWM: %lld kB", &kib);
        fclose(f);
    }
#ifdef __linux__ /* elsewhere ru_maxrss has other units */
    struct rusage u;
    if (kib < 0 && getrusage(RUSAGE_SELF, &u) == 0) kib = u.ru_maxrss;
#endif
    return kib < 0 ? -1 : kib * 1024;
}
