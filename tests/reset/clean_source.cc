#include "tests/reset/clean_source.h"

#include <utility>

#include "tests/differential/calls.h"
#include "tests/differential/world.h"

namespace spore::reset_test {

using differential::Generator;
using differential::Guest;

namespace {

constexpr std::string_view kName = "guest";

}  // namespace

Result<CleanSource> CleanSource::create(runtime::Runtime& runtime, const Guest& guest) {
  runtime::ModuleOptions options;
  if (guest.generator == Generator::kWasi) options.wasi = differential::wasi_config();
  return CleanSource(runtime, guest, SPORE_TRY(runtime.load_module(kName, guest.wasm, options)));
}

CleanSource::CleanSource(runtime::Runtime& runtime, const Guest& guest,
                         std::shared_ptr<const runtime::Module> module)
    : runtime_(&runtime),
      module_(std::move(module)),
      functions_(differential::functions_of(*module_->code())),
      reader_({module_, module_->prepared()}, guest.counter_global) {}

CleanSource::~CleanSource() {
  if (module_ == nullptr) return;  // moved from
  held_.reset();
  quick_.clear();
  SPORE_ASSERT(runtime_->unload_module(kName).ok(), "the module is gone");
}

Status CleanSource::acquire() {
  held_.emplace(SPORE_TRY(runtime_->acquire(*module_)));
  return {};
}

bool CleanSource::is_quick(const engine::FuncType& type) {
  using engine::ValType;
  return type == engine::FuncType{{ValType::kI32, ValType::kI32}, {ValType::kI32}};
}

Result<int32_t> CleanSource::call_quickly(const std::string& function, int32_t first, int32_t second) {
  auto found = quick_.find(function);
  if (found == quick_.end()) {
    auto made = SPORE_TRY(runtime_->clean_function<Quick>(*module_, function));
    found = quick_.emplace(function, std::move(made)).first;
  }
  return found->second(first, second);
}

}  // namespace spore::reset_test
