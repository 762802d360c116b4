// A guest that gives any address, over memory that holds anything: a value of the type comes out of it, or an
// error, and never bytes that are not the guest's.  What came out is given back to a guest whose allocator
// answers with any addresses, and told as JSON and read again.

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "spore/engine/binding.h"
#include "spore/engine/engine.h"
#include "spore/engine/ticker.h"
#include "spore/host/canonical.h"
#include "spore/host/instance.h"

namespace {

using spore::host::Instance;
using spore::host::WitAbi;
using spore::host::WitFunction;
using spore::host::WitValue;

constexpr std::array<std::string_view, 12> kTypes{
    "string",
    "list<u8>",
    "list<s16>",
    "list<string>",
    "option<f64>",
    "result<s64, string>",
    "result<list<char>>",
    "tuple<u8, string, f32, bool>",
    "list<option<tuple<char, list<u16>>>>",
    "tuple<option<option<bool>>, result>",
    "option<list<list<tuple<s8, u64>>>>",
    "list<tuple<f32, f64, u32>>",
};

// `allocate` gives the words at 0, one after the other.
constexpr std::string_view kGuest = R"((module
  (memory (export "memory") 1 2)
  (global $next (mut i32) (i32.const 0))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.load (i32.and (global.get $next) (i32.const 63))))
    (global.set $next (i32.add (global.get $next) (i32.const 4)))
    (local.get $at))
  (func (export "give") (param i32) (result i32) (local.get 0))
  (func (export "take2") (param i32 i32))
  (func (export "take1") (param i32))))";

struct Guest {
  Guest() {
    spore::engine::EngineOptions options;
    options.tier = spore::engine::Tier::kBaseline;
    auto engine = spore::engine::Engine::create(options, std::make_shared<spore::engine::Ticker>()).value();
    const auto wasm = spore::engine::text_to_wasm(kGuest).value();
    auto code = engine->compile(wasm).value();
    auto binding =
        spore::engine::Binding::create(std::move(code), std::make_shared<spore::engine::HostFunctions>())
            .value();
    spore::engine::Limits limits;
    limits.copy_bytes_max = 1 << 20;
    instance = std::make_unique<Instance>(Instance::create(binding, limits).value());
    for (const std::string_view type : kTypes) {
      const auto parse = [](const std::string& text) {
        return WitAbi::create(spore::wasm::parse_wit_function(text, "f").value().signature).value();
      };
      gives.push_back(parse("func(at: u32) -> " + std::string(type)));
      takes.push_back(parse("func(v: " + std::string(type) + ")"));
    }
  }
  std::unique_ptr<Instance> instance;
  std::vector<std::shared_ptr<const WitAbi>> gives;
  std::vector<std::shared_ptr<const WitAbi>> takes;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Guest guest;
  constexpr size_t kHead = 5;
  constexpr size_t kMemory = 65536;
  if (size < kHead) return 0;
  const size_t which = data[0] % kTypes.size();
  uint32_t address = 0;
  std::memcpy(&address, data + 1, sizeof address);
  Instance& instance = *guest.instance;
  std::vector<std::byte> memory(kMemory);
  if (size > kHead) std::memcpy(memory.data(), data + kHead, std::min(size - kHead, kMemory));
  SPORE_ASSERT(instance.write_bytes({0}, memory).ok(), "its memory is one page");

  const auto give =
      WitFunction::create(instance.store(), instance.handle(), "give", guest.gives[which]).value();
  WitValue value;
  const auto at = spore::host::WitArg::number(address);
  if (!give.call({&at, 1}, value).ok()) return 0;
  const spore::wasm::WitType& type = *guest.gives[which]->signature().result;
  SPORE_ASSERT(spore::host::check_value(type, value).ok(), "a value that is none of its type came out");
  const std::string json = spore::host::to_json(type, value);
  const auto again = spore::host::from_json(type, json);
  SPORE_ASSERT(again.ok() && spore::host::to_json(type, again.value()) == json, "JSON that is not read back");

  const std::string_view name = guest.takes[which]->core_type().params.size() == 2 ? "take2" : "take1";
  auto take = WitFunction::create(instance.store(), instance.handle(), name, guest.takes[which]);
  if (!take.ok()) return 0;  // of more core values than the guest has a function for
  WitValue nothing;
  const spore::host::WitArg arg(value);
  static_cast<void>(take->call({&arg, 1}, nothing));
  return 0;
}
