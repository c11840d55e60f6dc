/* The few operations that Swift cannot spell: CRC32C instructions, futexes on shared memory,
   atomic words in mapped files, gathering of thread start-up. Everything is plain C11. */
#ifndef SLUICE_CSLUICE_H
#define SLUICE_CSLUICE_H

#include <stddef.h>
#include <stdint.h>

#include "process.h"
#include "terminal.h"

/* CRC32C (Castagnoli, reflected, as in RFC 3720), continuing from `crc`; start with 0.
   Uses SSE4.2 where the processor has it, a table elsewhere. */
uint32_t sluice_crc32c(uint32_t crc, const void *bytes, size_t count);

/* The portable path of `sluice_crc32c`, so that a test can compare the two. */
uint32_t sluice_crc32c_table(uint32_t crc, const void *bytes, size_t count);

/* Blocks while `*word == expected`, at most `timeout_ns` (negative: no limit). Works across
   processes when the word is in a shared mapping. Returns 0 when woken or when the word already
   differed, else an errno (ETIMEDOUT, EINTR). */
int sluice_futex_wait(uint32_t *word, uint32_t expected, int64_t timeout_ns);

/* Wakes at most `count` threads blocked on `word`, in any process. */
int sluice_futex_wake(uint32_t *word, int count);

/* Atomic words; loads acquire, stores release, additions are sequentially consistent. */
uint32_t sluice_load32(const uint32_t *word);
void sluice_store32(uint32_t *word, uint32_t value);
uint32_t sluice_add32(uint32_t *word, uint32_t value);
uint64_t sluice_load64(const uint64_t *word);
void sluice_store64(uint64_t *word, uint64_t value);
uint64_t sluice_add64(uint64_t *word, uint64_t value);

/* Reserves disk blocks for [position, position + count) without changing the file's size.
   Returns 0 or an errno. */
int sluice_allocate(int descriptor, int64_t position, int64_t count);

/* Renames; with `replacing` zero it fails with EEXIST when the target exists. 0 or an errno. */
int sluice_rename(const char *from, const char *to, int replacing);

/* Fills `bytes` from the kernel's random generator. 0 or an errno. */
int sluice_random(void *bytes, size_t count);

/* Names the calling thread (at most 15 bytes are kept). */
void sluice_name_thread(const char *name);

#endif
