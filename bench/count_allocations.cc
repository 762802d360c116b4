#include "bench/count_allocations.h"

#include <cerrno>
#include <cstddef>
#include <cstdlib>

// glibc's own, under the names that it keeps for those who take the place of malloc.
extern "C" {
void* __libc_malloc(size_t bytes);
void* __libc_calloc(size_t count, size_t bytes);
void* __libc_realloc(void* old, size_t bytes);
void* __libc_memalign(size_t alignment, size_t bytes);
}

namespace {

thread_local uint64_t allocations = 0;

}  // namespace

namespace spore::bench {

uint64_t allocations_of_this_thread() { return allocations; }

}  // namespace spore::bench

// What frees is glibc's: the memory is.
extern "C" {

void* malloc(size_t bytes) {
  allocations++;
  return __libc_malloc(bytes);
}

void* calloc(size_t count, size_t bytes) {
  allocations++;
  return __libc_calloc(count, bytes);
}

void* realloc(void* old, size_t bytes) {
  allocations++;
  return __libc_realloc(old, bytes);
}

void* memalign(size_t alignment, size_t bytes) {
  allocations++;
  return __libc_memalign(alignment, bytes);
}

void* aligned_alloc(size_t alignment, size_t bytes) { return memalign(alignment, bytes); }

int posix_memalign(void** result, size_t alignment, size_t bytes) {
  *result = memalign(alignment, bytes);
  return *result == nullptr ? ENOMEM : 0;
}
}
