/*
 * Hashes on request with the reference implementation of Argon2. Each line of standard input,
 *     MEMORY_KIB PASSES FIRST COUNT WIPE
 * is answered with a line: the CPU seconds that this thread took for passwords FIRST to FIRST + COUNT - 1, and the XOR of
 * their tags in hexadecimal. With WIPE = 0 the library does not overwrite its memory after a hash; by default it does.
 *
 * The memory is kept from hash to hash, and stands on huge pages where the system has them. Passwords and salt are those
 * of input.rs.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "argon2.h"

#if defined(WANT_AVX512) && !defined(__AVX512F__)
#error "opt.c would not take its AVX-512 branch"
#endif

enum { PASSWORD = 33, SALT = 32, TAG = 32 };
static const size_t huge_page = (size_t)2 << 20;

static uint8_t *kept;
static size_t kept_bytes;

/* The memory that is kept; another if it is too small. The library checks the pointer, not the status. */
static int allocate(uint8_t **memory, size_t bytes) {
    if (bytes > kept_bytes) {
        size_t length = (bytes + huge_page - 1) / huge_page * huge_page + huge_page;
        uint8_t *map = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (map == MAP_FAILED) {
            *memory = NULL;
            return ARGON2_MEMORY_ALLOCATION_ERROR;
        }
        /* Without huge pages it is slower, and that is all. */
        madvise(map, length, MADV_HUGEPAGE);
        kept = map + (huge_page - (uintptr_t)map % huge_page) % huge_page;
        kept_bytes = length - huge_page;
    }
    *memory = kept;
    return ARGON2_OK;
}

static void keep(uint8_t *memory, size_t bytes) {
    (void)memory;
    (void)bytes;
}

static double cpu_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int hash(uint32_t memory_kib, uint32_t passes, uint64_t number, uint8_t tag[TAG]) {
    uint8_t password[PASSWORD], salt[SALT];
    memset(password, 'p', sizeof password);
    memcpy(password, &number, sizeof number);
    memset(salt, 's', sizeof salt);
    argon2_context context = {
        .out = tag, .outlen = TAG,
        .pwd = password, .pwdlen = sizeof password,
        .salt = salt, .saltlen = sizeof salt,
        .t_cost = passes, .m_cost = memory_kib, .lanes = 1, .threads = 1,
        .version = ARGON2_VERSION_13,
        .allocate_cbk = allocate, .free_cbk = keep,
        .flags = ARGON2_DEFAULT_FLAGS,
    };
    return argon2_ctx(&context, Argon2_id);
}

int main(void) {
    uint32_t memory_kib, passes, count;
    uint64_t first;
    int wipe;
    while (scanf("%" SCNu32 " %" SCNu32 " %" SCNu64 " %" SCNu32 " %d", &memory_kib, &passes, &first, &count, &wipe) == 5) {
        uint8_t all[TAG] = {0};
        FLAG_clear_internal_memory = wipe;
        double began = cpu_seconds();
        for (uint32_t i = 0; i < count; i++) {
            uint8_t tag[TAG];
            int status = hash(memory_kib, passes, first + i, tag);
            if (status != ARGON2_OK) {
                fprintf(stderr, "argon2_ctx: %s\n", argon2_error_message(status));
                return 1;
            }
            for (size_t k = 0; k < TAG; k++) all[k] ^= tag[k];
        }
        printf("%.9f ", cpu_seconds() - began);
        for (size_t k = 0; k < TAG; k++) printf("%02x", all[k]);
        printf("\n");
        fflush(stdout);
    }
    return 0;
}
