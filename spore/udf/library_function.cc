#include "spore/udf/library_function.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "spore/base/utf8.h"
#include "spore/host/cabi.h"

namespace spore::udf {

using host::WitArg;
using host::WitFunction;
using host::WitValue;
using wasm::WitKind;

namespace {

constexpr std::array<std::string_view, 2> kDashes{"-", "_"};

// The first of some names that the module exports.
std::optional<std::string> exported(const std::vector<std::string>& exports,
                                    const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (std::ranges::find(exports, name) != exports.end()) return name;
  }
  return std::nullopt;
}

std::vector<std::string> spellings(const Definition& definition, std::string_view ending) {
  if (!definition.export_name.empty() && ending.empty()) return {definition.export_name};
  const std::string base = definition.export_name.empty() ? definition.name : definition.export_name;
  std::string dashed = base;
  if (definition.export_name.empty()) std::ranges::replace(dashed, '_', '-');
  if (ending.empty()) return {base, dashed};
  std::vector<std::string> names;
  for (const std::string& stem : {base, dashed}) {
    for (const std::string_view dash : kDashes) names.push_back(fmt::format("{}{}{}", stem, dash, ending));
  }
  return names;
}

Result<std::string> find_export(const Definition& definition, const std::vector<std::string>& exports,
                                std::string_view ending) {
  const std::vector<std::string> names = spellings(definition, ending);
  if (std::optional<std::string> found = exported(exports, names)) return std::move(*found);
  constexpr size_t kShown = 20;
  std::string there;
  for (size_t i = 0; i < exports.size() && i < kShown; i++) {
    there += fmt::format("{}{}", i == 0 ? "" : ", ", printable(exports[i]));
  }
  return Status::not_found("the module exports no '{}' (it has: {}{})", names.front(), there,
                           exports.size() > kShown ? ", ..." : "");
}

// list<tuple<the parameters>> -> list<the result>
wasm::WitSignature batch_signature(const wasm::WitSignature& one) {
  auto row = std::make_shared<wasm::WitType>(wasm::WitType{.kind = WitKind::kTuple});
  for (const wasm::WitParam& param : one.params) row->parts.push_back(param.type);
  auto rows = std::make_shared<wasm::WitType>(
      wasm::WitType{.kind = WitKind::kList, .name = {}, .parts = {std::move(row)}});
  auto results = std::make_shared<wasm::WitType>(
      wasm::WitType{.kind = WitKind::kList, .name = {}, .parts = {one.result}});
  if (one.result->kind == WitKind::kU8) *results = {.kind = WitKind::kBytes};
  return {.params = {{"rows", std::move(rows)}}, .result = std::move(results)};
}

// What all calls in an instance have in common: it is had for one, or for all until one fails.
class Leased {
 public:
  Leased(const std::shared_ptr<cell::PoolEntry>& entry, const Watch& watch) : entry_(*entry), watch_(watch) {}

  // Null, and `why`.
  const WitFunction* acquire(const LibraryExport& from, Status& why) {
    if (!lease_) {
      Result<cell::Lease> lease = entry_.acquire(&place_);
      if (!lease.ok()) [[unlikely]] {
        why = std::move(lease).status();
        return nullptr;
      }
      lease_.emplace(std::move(lease).value());
      if (watch_.wants_end != nullptr) (*lease_)->store().set_watch(watch_);
    }
    return from.in(*lease_, why);
  }
  bool has() const { return lease_.has_value(); }
  void release() { lease_.reset(); }
  void set_document(const Document* document) { place_.document = document; }

 private:
  cell::PoolEntry& entry_;
  const Watch watch_;
  DocumentPlace place_;  // does not move: instances point to it
  std::optional<cell::Lease> lease_;
};

}  // namespace

// --- sessions -------------------------------------------------------------------------------------------

class LibrarySession final : public Session {
 public:
  LibrarySession(std::shared_ptr<const Function> function, const LibraryFunction& library, const Watch& watch,
                 Isolation isolation)
      : Session(std::move(function),
                library.call_->abi()->numbers() && library.signature().result != nullptr),
        library_(library),
        per_call_(isolation == Isolation::kCall),
        leased_(library.module_->entry(), watch) {}

 private:
  bool run_numbers(engine::RawValue* values, size_t count) override {
    count = std::max<size_t>(count, 1);  // the result's place
    if (!per_call_ && kept_ != nullptr) [[likely]] {
      if (kept_->try_call_numbers(values, count)) [[likely]]
        return true;
      failure_ = kept_->store().take_failure();
      end();
      return false;
    }
    const WitFunction* function = leased_.acquire(*library_.call_, failure_);
    if (function == nullptr) [[unlikely]] {
      end();
      return false;
    }
    const bool done = function->try_call_numbers(values, count);
    if (!done) [[unlikely]]
      failure_ = function->store().take_failure();
    if (per_call_ || !done) {
      end();
    } else {
      kept_ = function;
    }
    return done;
  }

  Status run(std::span<const WitArg> args, WitValue& result, const Document* document) override {
    return run_export(*library_.call_, args, result, document);
  }
  Status run_batch(const Rows& rows, std::vector<Result<WitValue>>& results,
                   const Document* document) override {
    if (library_.batch_ == nullptr) return Status::unsupported("it has no export for batches");
    WitValue given;
    leased_.set_document(document);
    Status status;
    const WitFunction* function = leased_.acquire(*library_.batch_, status);
    if (function != nullptr) status = function->call_rows(rows.args, given);
    if (per_call_ || !status.ok()) end();
    leased_.set_document(nullptr);
    SPORE_TRY(std::move(status));
    if (library_.signature().result->kind == WitKind::kU8 && given.text.size() == rows.count) {
      for (const char byte : given.text) given.items.push_back({.bits = static_cast<uint8_t>(byte)});
    }
    if (given.items.size() != rows.count) {
      return Status::invalid_argument("{} results for {} rows", given.items.size(), rows.count);
    }
    for (WitValue& item : given.items) results.emplace_back(std::move(item));
    return {};
  }

  Status run_export(const LibraryExport& from, std::span<const WitArg> args, WitValue& result,
                    const Document* document) {
    leased_.set_document(document);
    Status status;
    const WitFunction* function = leased_.acquire(from, status);
    if (function != nullptr) status = function->call(args, result);
    if (per_call_ || !status.ok()) end();
    leased_.set_document(nullptr);
    return status;
  }
  void end() {
    kept_ = nullptr;
    leased_.release();
  }

  const LibraryFunction& library_;
  const bool per_call_;
  Leased leased_;
  const WitFunction* kept_ = nullptr;  // of the instance that the statement has
};

class LibraryGroup final : public Group {
 public:
  LibraryGroup(std::shared_ptr<const Function> function, const LibraryFunction& library, const Watch& watch)
      : function_(std::move(function)), library_(library), leased_(library.module_->entry(), watch) {}

  Status step(std::span<const WitArg> args) override {
    const std::span<const WitArg> whole = SPORE_TRY(whole_.of(library_, args));
    return run(*library_.call_, whole, result_);
  }
  Status finish(WitValue& result) override {
    Status status = run(*library_.finish_, {}, result);
    leased_.release();
    over_ = true;
    return status;
  }

 private:
  // After a failure what its state is worth nobody knows.
  Status run(const LibraryExport& from, std::span<const WitArg> args, WitValue& result) {
    if (over_) return Status::unavailable("{}: the group has ended", function_->name());
    function_->statistics().calls.fetch_add(1, std::memory_order_relaxed);
    Status status;
    const WitFunction* function = leased_.acquire(from, status);
    if (function != nullptr) status = function->call(args, result);
    if (status.ok()) return status;
    function_->statistics().errors.fetch_add(1, std::memory_order_relaxed);
    over_ = true;
    leased_.release();
    return status;
  }

  const std::shared_ptr<const Function> function_;
  const LibraryFunction& library_;
  Leased leased_;
  WholeArguments whole_;
  WitValue result_;
  bool over_ = false;
};

// --- making them ----------------------------------------------------------------------------------------

namespace {

constexpr uint32_t kAlign = 8;
constexpr uint32_t kBytes = 8;  // which nobody gives back: the canonical ABI has no call for that

bool allocates(const runtime::Module& module) {
  return module.prepared() != nullptr && module.prepared()->reset() == wasm::ResetMode::kInPlace &&
         std::ranges::any_of(module.facts().exports,
                             [](const auto& exported) { return exported.name == host::cabi::kRealloc; });
}

Status allocate_once(host::Instance& instance) {
  const auto realloc =
      SPORE_TRY(instance.function<uint32_t(uint32_t, uint32_t, uint32_t, uint32_t)>(host::cabi::kRealloc));
  return realloc(0, 0, kAlign, kBytes).status().copy();
}

}  // namespace

Result<std::shared_ptr<const LoadedModule>> LoadedModule::create(
    runtime::Runtime& runtime, std::shared_ptr<const runtime::Module> module, const std::string& domain) {
  std::shared_ptr<LoadedModule> loaded(new LoadedModule(runtime, std::move(module)));
  if (allocates(loaded->module())) {
    program::LibraryOptions options{.init = "", .prepare = &allocate_once, .domain = domain};
    options.deadline_ms = loaded->module().limits().deadline_ms;
    auto library = runtime.freeze_library(loaded->module(), options);
    // If its allocator fails, or its state cannot be held, it begins as it is, and its calls say what is
    // wrong.
    if (library.ok()) {
      loaded->library_ = std::move(library).value();
      loaded->entry_ = loaded->library_->pool_entry();
      return std::shared_ptr<const LoadedModule>(std::move(loaded));
    }
  }
  loaded->entry_ = SPORE_TRY(runtime.pool_entry(loaded->module(), domain));
  return std::shared_ptr<const LoadedModule>(std::move(loaded));
}

Result<std::shared_ptr<const Function>> LibraryFunction::create(Parts parts,
                                                                std::shared_ptr<const LoadedModule> module,
                                                                const std::vector<std::string>& exports) {
  std::shared_ptr<LibraryFunction> function(new LibraryFunction(std::move(parts), std::move(module)));
  SPORE_TRY(function->find_exports(exports));
  return std::shared_ptr<const Function>(std::move(function));
}

Status LibraryFunction::find_exports(const std::vector<std::string>& exports) {
  const bool aggregate = definition().kind == FunctionKind::kAggregate;
  const auto make = [&](std::string_view ending,
                        const wasm::WitSignature& signature) -> Result<std::unique_ptr<LibraryExport>> {
    std::string name = SPORE_TRY(find_export(definition(), exports, ending));
    auto abi = SPORE_TRY(host::WitAbi::create(signature));
    return std::make_unique<LibraryExport>(module_->entry(), std::move(name), std::move(abi));
  };
  if (aggregate) {
    call_ = SPORE_TRY(make("step", {.params = signature().params, .result = nullptr}));
    finish_ = SPORE_TRY(make("finish", {.params = {}, .result = signature().result}));
  } else {
    call_ = SPORE_TRY(make("", signature()));
  }
  const bool may_batch = !aggregate && signature().result != nullptr && !signature().params.empty();
  if (may_batch && exported(exports, spellings(definition(), "batch"))) {
    batch_ = SPORE_TRY(make("batch", batch_signature(signature())));
  }
  const cell::Lease lease = SPORE_TRY(module_->entry()->acquire());
  for (const LibraryExport* each : {call_.get(), finish_.get(), batch_.get()}) {
    Status why;
    if (each != nullptr && each->in(lease, why) == nullptr) return why;
  }
  return {};
}

std::unique_ptr<Session> LibraryFunction::make_session(const Watch& watch, Isolation isolation) const {
  return std::make_unique<LibrarySession>(shared_from_this(), *this, watch, isolation);
}

Result<std::unique_ptr<Group>> LibraryFunction::make_group(const Watch& watch) const {
  return std::unique_ptr<Group>(std::make_unique<LibraryGroup>(shared_from_this(), *this, watch));
}

}  // namespace spore::udf
