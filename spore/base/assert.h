#pragma once

// SPORE_ASSERT(condition, message): a bug of ours ends the process, in release builds too, since
// isolation that fails must not go on.  Never for what a guest, a file or a caller can bring about.

#include <string_view>

namespace spore::internal {
[[noreturn]] void assert_failed(const char* file, int line, const char* condition, std::string_view message);
}  // namespace spore::internal

#define SPORE_ASSERT(condition, message)                                           \
  do {                                                                             \
    if (!(condition)) [[unlikely]]                                                 \
      ::spore::internal::assert_failed(__FILE__, __LINE__, #condition, (message)); \
  } while (false)
