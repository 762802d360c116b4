// A C++ library whose functions a host calls.  What they do: ../README.md.

#include <sys/stat.h>

#include <cstdint>
#include <cstdlib>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

#define EXPORT(name) extern "C" __attribute__((export_name(name)))

namespace {

std::vector<int64_t> squares() {
  std::vector<int64_t> result(64);
  for (size_t i = 0; i < result.size(); i++) result[i] = static_cast<int64_t>(i * i);
  return result;
}

// A global with a constructor: empty until `_initialize` has run.
const std::vector<int64_t> table = squares();

}  // namespace

EXPORT("add") int32_t add(int32_t a, int32_t b) {
  return static_cast<int32_t>(static_cast<uint32_t>(a) + static_cast<uint32_t>(b));
}

EXPORT("primes") int32_t primes(int32_t below) {
  std::vector<bool> composite(below < 2 ? 2 : static_cast<size_t>(below));
  int32_t count = 0;
  for (size_t i = 2; i < composite.size(); i++) {
    if (composite[i]) continue;
    count++;
    for (uint64_t j = uint64_t{i} * i; j < composite.size(); j += i) composite[static_cast<size_t>(j)] = true;
  }
  return count;
}

EXPORT("initialised") int64_t initialised() {
  return std::accumulate(table.begin(), table.end(), int64_t{0});
}

EXPORT("file_bytes") int64_t file_bytes() {
  struct stat status{};
  return ::stat("/data/input.txt", &status) == 0 ? int64_t{status.st_size} : -1;
}

// --- text ----------------------------------------------------------------------------------------------

struct Text {
  const char* text;
  size_t bytes;
  std::string owner;
};

EXPORT("cabi_realloc")
void* cabi_realloc(void* old, size_t /*old_bytes*/, size_t /*alignment*/, size_t bytes) {
  void* result = std::realloc(old, bytes);  // malloc's alignment is enough for anything that crosses
  if (result == nullptr) std::abort();
  return result;
}

// Takes over `name`, which the host had from cabi_realloc.
EXPORT("greet") Text* greet(char* name, size_t bytes) {
  auto* result = new Text{.text = nullptr, .bytes = 0, .owner = "Hello, "};
  result->owner.append(name, bytes).append("!");
  result->text = result->owner.data();
  result->bytes = result->owner.size();
  std::free(name);
  return result;
}

EXPORT("cabi_post_greet") void free_greeting(Text* greeting) { delete greeting; }
