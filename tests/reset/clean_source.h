#pragma once

// One module of the test, loaded, and its instances: new ones, and clean ones out of the pool.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "spore/cell/pool.h"
#include "spore/runtime/runtime.h"
#include "tests/differential/guest.h"
#include "tests/differential/state.h"

namespace spore::reset_test {

class CleanSource {
 public:
  // `runtime` outlives it, and provides what guests import.  One at a time.
  static Result<CleanSource> create(runtime::Runtime& runtime, const differential::Guest& guest);
  CleanSource(CleanSource&&) = default;
  ~CleanSource();

  bool in_place() const { return module_->prepared()->reset() == wasm::ResetMode::kInPlace; }
  size_t memories() const { return module_->prepared()->memories.size(); }
  const std::vector<engine::CompiledCode::Export>& functions() const { return functions_; }
  const differential::StateReader& reader() const { return reader_; }

  // Brand-new: no pool, no image.
  Result<host::Instance> fresh() const { return runtime_->instantiate(*module_); }

  // Until release().
  Status acquire();
  host::Instance& held() { return **held_; }
  void release() { held_.reset(); }

  // Functions of this type can be called without an instance at hand, each call in a clean one.
  using Quick = int32_t(int32_t, int32_t);
  static bool is_quick(const engine::FuncType& type);
  Result<int32_t> call_quickly(const std::string& function, int32_t first, int32_t second);

  // Of the pool, this module's among them.
  cell::PoolCounts counts() const { return runtime_->pool().statistics().counts; }
  void clean_up() { runtime_->pool().clean_up(); }

 private:
  CleanSource(runtime::Runtime& runtime, const differential::Guest& guest,
              std::shared_ptr<const runtime::Module> module);

  runtime::Runtime* runtime_;
  std::shared_ptr<const runtime::Module> module_;
  std::vector<engine::CompiledCode::Export> functions_;
  differential::StateReader reader_;
  std::optional<cell::Lease> held_;
  std::map<std::string, cell::CleanFunction<Quick>> quick_;
};

}  // namespace spore::reset_test
