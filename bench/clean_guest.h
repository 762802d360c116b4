#pragma once

// The guest of the clean-call benchmark.  Each of its functions tells whether the call before left a trace.

#include <cstdint>
#include <functional>
#include <string_view>
#include <utility>
#include <vector>

#include "bench/harness.h"

namespace spore::bench {

// Where a call writes.
enum class Layout : uint8_t {
  kLow,         // the lowest pages of memory: what can be kept resident by a number of bytes
  kStackFirst,  // as Rust lays it out: stack below 1 MiB, data at 1 MiB, heap above; 64 pages lie scattered
};
std::string_view layout_name(Layout layout);

constexpr uint32_t kGuestWasmPages = 40;
constexpr int32_t kGuestStackPointer = 1 << 20;

// A module with the memory "memory", the globals "sp" and "calls" and the functions
//   write3, write64     write into 3 or 64 pages
//   grow                grows memory by a page of 64 KiB and writes into all of it
//   fill (0x01, bytes)  fills memory from 0
// The first three are (arg: i32) -> i32 and answer `arg`, unless a byte or a global is not as at the start: a
// call writes one of two words of each page, by the lowest bit of `arg`, and reads the other.  It writes
// first: a page that is read before would cost those who drop pages a second fault.
std::vector<uint8_t> clean_guest(Layout layout, uint32_t wasm_pages = kGuestWasmPages);

// Makes `call(arg)` n times and fails if an answer was wrong.
template <typename Call>
std::function<void(uint64_t)> repeat_clean(Call call) {
  return [call = std::move(call)](uint64_t n) {
    for (uint64_t i = 0; i < n; i++) {
      const auto arg = static_cast<int32_t>(i);
      if (call(arg) != arg) fail("an instance was not clean");
    }
  };
}

}  // namespace spore::bench
