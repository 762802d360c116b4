// A C library whose functions a host calls.  What they do: ../README.md.

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define EXPORT(name) __attribute__((export_name(name)))

static int32_t* table = NULL;
static size_t table_size = 0;

__attribute__((constructor)) static void fill_table(void) {
  table_size = 64;
  table = malloc(table_size * sizeof *table);
  for (size_t i = 0; i < table_size; i++) table[i] = (int32_t)(i * i);
}

EXPORT("add") int32_t add(int32_t a, int32_t b) { return (int32_t)((uint32_t)a + (uint32_t)b); }

EXPORT("primes") int32_t primes(int32_t below) {
  if (below < 2) return 0;
  char* composite = calloc((size_t)below, 1);
  int32_t count = 0;
  for (int32_t i = 2; i < below; i++) {
    if (composite[i]) continue;
    count++;
    for (int64_t j = (int64_t)i * i; j < below; j += i) composite[j] = 1;
  }
  free(composite);
  return count;
}

EXPORT("initialised") int64_t initialised(void) {
  int64_t sum = 0;
  for (size_t i = 0; i < table_size; i++) sum += table[i];
  return sum;
}

EXPORT("file_bytes") int64_t file_bytes(void) {
  struct stat status;
  return stat("/data/input.txt", &status) == 0 ? (int64_t)status.st_size : -1;
}

// --- text ----------------------------------------------------------------------------------------------

typedef struct {
  char* text;
  size_t bytes;
} Text;

EXPORT("cabi_realloc") void* cabi_realloc(void* old, size_t old_bytes, size_t alignment, size_t bytes) {
  (void)old_bytes;
  (void)alignment;  // malloc's is enough for anything that crosses
  void* result = realloc(old, bytes);
  if (result == NULL) abort();
  return result;
}

// Takes over `name`, which the host had from cabi_realloc.
EXPORT("greet") Text* greet(char* name, size_t bytes) {
  static const char kHello[] = "Hello, ";
  const size_t hello_bytes = sizeof kHello - 1;
  Text* result = malloc(sizeof *result);
  result->bytes = hello_bytes + bytes + 1;
  result->text = malloc(result->bytes);
  memcpy(result->text, kHello, hello_bytes);
  if (bytes > 0) memcpy(result->text + hello_bytes, name, bytes);
  result->text[result->bytes - 1] = '!';
  free(name);
  return result;
}

EXPORT("cabi_post_greet") void free_greeting(Text* greeting) {
  free(greeting->text);
  free(greeting);
}
