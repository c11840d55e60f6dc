// A disk that fails: preloaded into `sluice`, it makes the n-th call on files below a directory return an error.
//
// FAULT_UNDER   only files whose path begins so
// FAULT_CALLS   "write" (pwrite), "sync" (fdatasync, fsync) or "space" (fallocate, ftruncate), comma-separated
// FAULT_AT      which of these calls fails first, counted from 1
// FAULT_TIMES   how many fail in a row (default 1; 0 = all from there on)
// FAULT_CODE    the error number (default EIO)
// FAULT_MARK    a file that is made when a call has failed
//
// A failed pwrite writes half of its bytes first, as a torn write does. Built by the tests.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_long count;

static const char *setting(const char *name, const char *otherwise) {
    const char *value = getenv(name);
    return value && *value ? value : otherwise;
}

// Whether this call is to fail; sets errno.
static int fails(int descriptor, const char *kind) {
    const char *under = getenv("FAULT_UNDER");
    if (!under || !strstr(setting("FAULT_CALLS", ""), kind)) return 0;
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    if (strncmp(path, under, strlen(under)) != 0) return 0;
    long number = atomic_fetch_add(&count, 1) + 1;
    long first = atol(setting("FAULT_AT", "0")), times = atol(setting("FAULT_TIMES", "1"));
    if (first == 0 || number < first || (times != 0 && number >= first + times)) return 0;
    int mark = open(setting("FAULT_MARK", "/dev/null"), O_CREAT | O_WRONLY, 0600);
    if (mark >= 0) close(mark);
    errno = atoi(setting("FAULT_CODE", "5"));
    return 1;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pwrite(int descriptor, const void *bytes, size_t size, off_t position) {
    if (fails(descriptor, "write")) {
        int code = errno;
        if (size > 1) NEXT(pwrite)(descriptor, bytes, size / 2, position);
        errno = code;
        return -1;
    }
    return NEXT(pwrite)(descriptor, bytes, size, position);
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t size, off64_t position) {
    return pwrite(descriptor, bytes, size, position);
}

int fdatasync(int descriptor) {
    return fails(descriptor, "sync") ? -1 : NEXT(fdatasync)(descriptor);
}

int fsync(int descriptor) {
    return fails(descriptor, "sync") ? -1 : NEXT(fsync)(descriptor);
}

int fallocate(int descriptor, int mode, off_t position, off_t size) {
    return fails(descriptor, "space") ? -1 : NEXT(fallocate)(descriptor, mode, position, size);
}

int ftruncate(int descriptor, off_t size) {
    return fails(descriptor, "space") ? -1 : NEXT(ftruncate)(descriptor, size);
}
