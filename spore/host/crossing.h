#pragma once

// How text crosses into and out of a guest: the canonical ABI of the Component Model, on core modules.
//
//   in:   cabi_realloc(0, 0, 1, length) -> address; the bytes are copied there; the function is given
//         (address, length) and owns them from then on
//   out:  the function gives the address of two i32, (address, length); the bytes are copied out, then
//         cabi_post_<name>(that address) is called, if the guest has it, to free them

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "spore/base/scratch.h"
#include "spore/base/status.h"
#include "spore/engine/store.h"

namespace spore::host {

// Text that a guest gave, in memory that this thread keeps and uses again: a call that gives one asks the
// heap for nothing.
class ScratchText {
 public:
  ScratchText() = default;
  explicit ScratchText(std::string_view text);
  std::string_view view() const { return {reinterpret_cast<const char*>(buffer_.data()), buffer_.size()}; }

 private:
  ScratchBuffer buffer_;
};

// One guest function with what it takes to pass text to and from it.
class Crossing {
 public:
  // kNotFound: no such function; kInvalidArgument: it has another type than `core`, both are named, or
  // text crosses and the guest lacks cabi_realloc or a memory.
  static Result<Crossing> create(engine::Store& store, const engine::InstanceHandle& instance,
                                 std::string_view name, const engine::FuncType& core, bool text_in,
                                 bool text_out);

  engine::Store& store() const { return *store_; }
  Status call(engine::RawValue* values, size_t count) const {
    return function_.call_unchecked(values, count);
  }
  // See engine::Store::try_call.
  bool try_call(engine::RawValue* values, size_t count) const {
    return function_.try_call_unchecked(values, count);
  }
  // Copies `text` in; its address and length become values[0] and values[1].
  Status lower(std::string_view text, engine::RawValue* values) const;
  // Copies the text out that `result` points to, as a std::string or a ScratchText, and has the guest free
  // it.
  template <typename Text>
  Result<Text> lift(const engine::RawValue& result) const {
    Text text(SPORE_TRY(find_text(result)));
    SPORE_TRY(free_text(result));
    return text;
  }

 private:
  Crossing(engine::Store& store, const engine::InstanceHandle& instance, const engine::RawFunction& function)
      : store_(&store), instance_(instance), function_(function) {}

  // In the guest's memory still.
  Result<std::string_view> find_text(const engine::RawValue& result) const;
  Status free_text(const engine::RawValue& result) const;

  engine::Store* store_;
  engine::InstanceHandle instance_;
  engine::RawFunction function_;
  std::optional<engine::RawFunction> realloc_;
  std::optional<engine::RawFunction> post_return_;
};

}  // namespace spore::host
