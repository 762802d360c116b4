#pragma once

// A guest's function by its WIT signature: the canonical ABI of the Component Model, on core modules, whole.
// Guests whose bindings a generator made work unchanged.  (Crossing is the same for text alone.)

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "spore/base/status.h"
#include "spore/engine/store.h"
#include "spore/engine/types.h"
#include "spore/host/wit_value.h"
#include "spore/wasm/wit.h"

namespace spore::host {

// How a type lies in memory and travels as core values.
struct WitLayout {
  const wasm::WitType* type = nullptr;
  uint32_t size = 0;
  uint32_t align = 1;
  uint32_t payload = 0;               // where what is in an option or a result begins
  uint64_t values = 1;                // WitValues that one takes, without those in its lists
  std::vector<uint32_t> offsets;      // of a tuple's or a record's parts
  std::vector<engine::ValType> flat;  // as core values, if there are not too many
  std::vector<WitLayout> parts;       // as in the type; a null one has no type
};

// A signature, with all that is known of it before there is an instance.  Immutable, shared.
class WitAbi {
 public:
  // kUnsupported: a type that has no size.
  static Result<std::shared_ptr<const WitAbi>> create(wasm::WitSignature signature);

  const wasm::WitSignature& signature() const { return signature_; }
  // The core function that carries it.
  const engine::FuncType& core_type() const { return core_; }
  // All that it takes and gives are numbers: WitFunction::try_call_numbers.
  bool numbers() const { return numbers_; }

 private:
  friend class WitFunction;
  WitAbi() = default;

  wasm::WitSignature signature_;
  std::vector<WitLayout> params_;
  std::optional<WitLayout> result_;
  engine::FuncType core_;
  bool numbers_ = false;
  bool memory_in_ = false;         // arguments need memory of the guest
  bool params_in_memory_ = false;  // too many of them: their address is what crosses
  bool result_in_memory_ = false;
  std::vector<uint32_t> param_offsets_;  // then
  uint32_t params_size_ = 0;
  uint32_t params_align_ = 1;
};

// Must not outlive its instance; bound to the same thread.
class WitFunction {
 public:
  // kNotFound: no such export; kInvalidArgument: it has another type, both are named, or the guest lacks
  // cabi_realloc or a memory that the signature needs.
  static Result<WitFunction> create(engine::Store& store, const engine::InstanceHandle& instance,
                                    std::string_view name, std::shared_ptr<const WitAbi> abi);

  const WitAbi& abi() const { return *abi_; }
  engine::Store& store() const { return *store_; }

  // `result` is written over; what it holds of memory is used again.  kInvalidArgument: not as many
  // arguments, or one that is not of its type; kLimitExceeded: copy_bytes_max, for which each value in a list
  // counts sizeof(WitValue) as well; how the call failed, or kTrap if what it gave is none of its type.
  Status call(std::span<const WitArg> args, WitValue& result) const;

  // The same for a function whose one parameter is a list of tuples, each of them as long as the others:
  // their parts, one after the other.
  Status call_rows(std::span<const WitArg> parts, WitValue& result) const;

  // For functions of numbers alone, by those who count nanoseconds: core values in, the result in values[0],
  // as the guest left it, which lift_number() makes one of its type.  False: store().take_failure() says why.
  bool try_call_numbers(engine::RawValue* values, size_t count) const {
    return function_.try_call_unchecked(values, count);
  }
  // As a core value; of the kind's own range, whatever is above it in `bits`.
  static engine::RawValue lower_number(wasm::WitKind kind, uint64_t bits);
  // The bits as WitValue has them.  kTrap: a character or a case that there is not (`type`: of an enum).
  static Result<uint64_t> lift_number(const wasm::WitType& type, const engine::RawValue& value);

 private:
  WitFunction(engine::Store& store, const engine::InstanceHandle& instance,
              const engine::RawFunction& function, std::shared_ptr<const WitAbi> abi)
      : store_(&store), instance_(instance), function_(function), abi_(std::move(abi)) {}

  class Lowering;
  class Lifting;
  Status call_lowered(engine::RawValue* values, WitValue& result) const;

  engine::Store* store_;
  engine::InstanceHandle instance_;
  engine::RawFunction function_;
  std::optional<engine::RawFunction> realloc_;
  std::optional<engine::RawFunction> post_return_;
  std::shared_ptr<const WitAbi> abi_;
};

}  // namespace spore::host
