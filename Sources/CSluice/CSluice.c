#define _GNU_SOURCE
#include "CSluice.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static uint32_t crc_table[8][256];
static pthread_once_t crc_once = PTHREAD_ONCE_INIT;

static void crc_make_table(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ ((crc & 1) ? 0x82f63b78u : 0);
        }
        crc_table[0][i] = crc;
    }
    for (uint32_t i = 0; i < 256; i++) {
        for (int slice = 1; slice < 8; slice++) {
            uint32_t before = crc_table[slice - 1][i];
            crc_table[slice][i] = (before >> 8) ^ crc_table[0][before & 0xff];
        }
    }
}

uint32_t sluice_crc32c_table(uint32_t crc, const void *bytes, size_t count) {
    pthread_once(&crc_once, crc_make_table);
    const uint8_t *at = bytes;
    crc = ~crc;
    while (count >= 8) {
        uint32_t low = ((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16
                        | (uint32_t)at[3] << 24) ^ crc;
        crc = crc_table[7][low & 0xff] ^ crc_table[6][(low >> 8) & 0xff]
            ^ crc_table[5][(low >> 16) & 0xff] ^ crc_table[4][low >> 24]
            ^ crc_table[3][at[4]] ^ crc_table[2][at[5]]
            ^ crc_table[1][at[6]] ^ crc_table[0][at[7]];
        at += 8;
        count -= 8;
    }
    while (count-- > 0) {
        crc = (crc >> 8) ^ crc_table[0][(crc ^ *at++) & 0xff];
    }
    return ~crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2")))
static uint32_t crc_hardware(uint32_t crc, const uint8_t *at, size_t count) {
    uint64_t state = ~crc;
    while (count >= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        state = __builtin_ia32_crc32di(state, word);
        at += 8;
        count -= 8;
    }
    uint32_t narrow = (uint32_t)state;
    while (count-- > 0) {
        narrow = __builtin_ia32_crc32qi(narrow, *at++);
    }
    return ~narrow;
}
#endif

uint32_t sluice_crc32c(uint32_t crc, const void *bytes, size_t count) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2")) {
        return crc_hardware(crc, bytes, count);
    }
#endif
    return sluice_crc32c_table(crc, bytes, count);
}

int sluice_futex_wait(uint32_t *word, uint32_t expected, int64_t timeout_ns) {
    struct timespec limit;
    struct timespec *pointer = NULL;
    if (timeout_ns >= 0) {
        limit.tv_sec = timeout_ns / 1000000000;
        limit.tv_nsec = timeout_ns % 1000000000;
        pointer = &limit;
    }
    if (syscall(SYS_futex, word, FUTEX_WAIT, expected, pointer, NULL, 0) == 0) {
        return 0;
    }
    return errno == EAGAIN ? 0 : errno;
}

int sluice_futex_wake(uint32_t *word, int count) {
    return (int)syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
}

uint32_t sluice_load32(const uint32_t *word) {
    return atomic_load_explicit((const _Atomic uint32_t *)word, memory_order_seq_cst);
}

void sluice_store32(uint32_t *word, uint32_t value) {
    atomic_store_explicit((_Atomic uint32_t *)word, value, memory_order_release);
}

uint32_t sluice_add32(uint32_t *word, uint32_t value) {
    return atomic_fetch_add_explicit((_Atomic uint32_t *)word, value, memory_order_seq_cst);
}

uint64_t sluice_load64(const uint64_t *word) {
    return atomic_load_explicit((const _Atomic uint64_t *)word, memory_order_acquire);
}

void sluice_store64(uint64_t *word, uint64_t value) {
    atomic_store_explicit((_Atomic uint64_t *)word, value, memory_order_release);
}

uint64_t sluice_add64(uint64_t *word, uint64_t value) {
    return atomic_fetch_add_explicit((_Atomic uint64_t *)word, value, memory_order_seq_cst);
}

int sluice_allocate(int descriptor, int64_t position, int64_t count) {
    int result;
    do {
        result = fallocate(descriptor, FALLOC_FL_KEEP_SIZE, position, count);
    } while (result != 0 && errno == EINTR);
    return result == 0 ? 0 : errno;
}

int sluice_rename(const char *from, const char *to, int replacing) {
    if (replacing) {
        return rename(from, to) == 0 ? 0 : errno;
    }
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) {
        return 0;
    }
    if (errno != EINVAL && errno != ENOSYS) {
        return errno;
    }
    /* A file system without RENAME_NOREPLACE: a link refuses an existing name as well; of a
       directory, a rename refuses a target that is not empty. */
    if (link(from, to) == 0) {
        return unlink(from) == 0 ? 0 : errno;
    }
    if (errno != EPERM) {
        return errno;
    }
    return rename(from, to) == 0 ? 0 : (errno == ENOTEMPTY ? EEXIST : errno);
}

int sluice_random(void *bytes, size_t count) {
    uint8_t *at = bytes;
    while (count > 0) {
        ssize_t got = getrandom(at, count, 0);
        if (got < 0) {
            if (errno == EINTR) {
                continue;
            }
            return errno;
        }
        at += got;
        count -= (size_t)got;
    }
    return 0;
}

void sluice_name_thread(const char *name) {
    char kept[16];
    snprintf(kept, sizeof kept, "%s", name);
    pthread_setname_np(pthread_self(), kept);
}
