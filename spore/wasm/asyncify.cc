#include "spore/wasm/asyncify.h"

#include <string_view>
#include <utility>

#include "spore/base/utf8.h"

extern "C" {

// rust/src/asyncify.rs has the other half of these.
struct SporeAsyncifySink {
  void* env;
  void (*wasm)(void* env, const uint8_t* data, size_t bytes);
  void (*error)(void* env, const char* text, size_t text_bytes);
};

uint8_t spore_reduce_for_asyncify(const uint8_t* data, size_t bytes, const uint32_t* functions, size_t count,
                                  const SporeAsyncifySink* sink);
uint8_t spore_splice_asyncified(const uint8_t* data, size_t bytes, const uint8_t* rewritten,
                                size_t rewritten_bytes, const uint32_t* functions, size_t count,
                                const SporeAsyncifySink* sink);

}  // extern "C"

namespace spore::wasm {
namespace {

enum AsyncifyStatus : uint8_t { kOk, kInvalid, kReservedName, kFunctions, kMisfit, kPanic };

// Takes the answer.  Called from Rust frames: nothing may be thrown, so running out of memory here ends the
// process (noexcept), as it does in Rust.
struct Answer {
  std::vector<uint8_t> wasm;
  std::string error;

  static Answer& of(void* env) noexcept { return *static_cast<Answer*>(env); }

  static void take_wasm(void* env, const uint8_t* data, size_t bytes) noexcept {
    of(env).wasm.assign(data, data + bytes);
  }
  static void take_error(void* env, const char* text, size_t text_bytes) noexcept {
    constexpr size_t kMessageBytesMax = 1000;
    of(env).error = printable({text, text_bytes}, kMessageBytesMax);  // a name of the module, perhaps
  }

  SporeAsyncifySink sink() { return {this, take_wasm, take_error}; }
};

Result<std::vector<uint8_t>> result_of(uint8_t status, Answer answer) {
  switch (status) {
    case kOk: return std::move(answer.wasm);
    case kInvalid: return Status::invalid_module("the module cannot be read: {}", answer.error);
    case kReservedName:
      return Status::invalid_module("the module exports '{}' itself, a name that asyncify needs",
                                    answer.error);
    case kFunctions: return Status::invalid_argument("the functions to be asyncified: {}", answer.error);
    case kMisfit:
      return Status::internal("what wasm-opt made of some functions does not fit the module: {}",
                              answer.error);
    default: return Status::internal("asyncifying some functions panicked; please report the module");
  }
}

}  // namespace

std::string asyncify_name(uint32_t function) { return fmt::format("f{}", function); }

Result<std::vector<uint8_t>> reduce_for_asyncify(std::span<const uint8_t> wasm,
                                                 std::span<const uint32_t> functions) {
  Answer answer;
  const SporeAsyncifySink sink = answer.sink();
  const uint8_t status =
      spore_reduce_for_asyncify(wasm.data(), wasm.size(), functions.data(), functions.size(), &sink);
  return result_of(status, std::move(answer));
}

Result<std::vector<uint8_t>> splice_asyncified(std::span<const uint8_t> wasm,
                                               std::span<const uint8_t> rewritten,
                                               std::span<const uint32_t> functions) {
  Answer answer;
  const SporeAsyncifySink sink = answer.sink();
  const uint8_t status = spore_splice_asyncified(wasm.data(), wasm.size(), rewritten.data(), rewritten.size(),
                                                 functions.data(), functions.size(), &sink);
  return result_of(status, std::move(answer));
}

}  // namespace spore::wasm
