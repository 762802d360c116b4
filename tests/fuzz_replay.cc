// A main for fuzzers where libFuzzer is not: runs every file of a folder through the target once.

#include <cstdint>
#include <cstdio>
#include <filesystem>

#include "spore/base/fd.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) {
    const auto bytes = spore::read_file(entry.path(), size_t{64} << 20).value();
    std::printf("%s, %zu bytes\n", entry.path().c_str(), bytes.size());
    std::fflush(stdout);  // the last name printed is the one that failed
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
    count++;
  }
  std::printf("%zu inputs\n", count);
  return count == 0 ? 1 : 0;  // an empty corpus tests nothing
}
