#include "spore/udf/function.h"

#include <chrono>

#include "spore/base/elapsed.h"
#include "spore/base/utf8.h"
#include "spore/udf/memo.h"

namespace spore::udf {

using host::WitArg;
using host::WitValue;
using wasm::WitKind;

namespace {

Arity arity_of(const wasm::WitSignature& signature, bool variadic) {
  const size_t count = signature.params.size();
  Arity arity{.least = count, .most = count};
  if (variadic && count > 0) {
    arity.least--;
    arity.most = Arity::kAny;
  }
  while (arity.least > 0 && signature.params[arity.least - 1].type->kind == WitKind::kOption) arity.least--;
  return arity;
}

// Until something was measured.
double guessed_ns(CostClass cost) {
  switch (cost) {
    case CostClass::kConstant: return 100;
    case CostClass::kLogarithmic: return 300;
    case CostClass::kLinear: return 1'000;
    case CostClass::kQuadratic: return 30'000;
    case CostClass::kCubic: return 1'000'000;
    case CostClass::kExponential: return 100'000'000;
  }
  return 1'000;
}

// A value of its own of what somebody else holds.
WitValue value_of(const WitArg& arg) {
  if (arg.value != nullptr) return *arg.value;
  return {.bits = arg.bits, .text = std::string(arg.text)};
}

}  // namespace

std::string Arity::text() const {
  if (most == kAny) return fmt::format("{} or more", least);
  return least == most ? fmt::format("{}", least) : fmt::format("{} to {}", least, most);
}

double FunctionStatistics::mean_ns() const {
  const uint64_t timed = timed_calls.load(std::memory_order_relaxed);
  return timed == 0
             ? 0
             : static_cast<double>(timed_ns.load(std::memory_order_relaxed)) / static_cast<double>(timed);
}

void FunctionStatistics::write_json(JsonWriter& json) const {
  json.field("calls", calls.load()).field("errors", errors.load()).field("batches", batches.load());
  json.field("memo_hits", memo_hits.load()).field("timed_calls", timed_calls.load());
  json.field("mean_ns", mean_ns());
}

Function::Function(Parts parts)
    : definition_(std::move(parts.definition)),
      signature_(std::move(parts.signature)),
      arity_(arity_of(signature_, definition_.variadic)),
      source_(std::move(parts.source)),
      source_hash_(parts.source_hash),
      reads_document_(parts.reads_document),
      memo_(std::move(parts.memo)) {
  if (memo_ == nullptr) return;
  // By what it is called, of two with the same source.
  const std::string& by = definition_.export_name.empty() ? definition_.name : definition_.export_name;
  const std::string hash = source_hash_.hex();
  const std::string type = signature_.text();
  for (const std::string* part : {&definition_.domain, &hash, &definition_.language, &by, &type}) {
    Memo::append_part(*part, memo_key_);
  }
}

double Function::cost_ns() const {
  constexpr uint64_t kEnough = 4;
  if (statistics_.timed_calls.load(std::memory_order_relaxed) >= kEnough) return statistics_.mean_ns();
  return guessed_ns(definition_.cost);
}

Status Function::call(std::span<const WitArg> args, WitValue& result, const CallOptions& options) const {
  return begin(options.watch, Isolation::kCall)->call(args, result, options.document);
}

void Function::call_batch(const Rows& rows, std::vector<Result<WitValue>>& results,
                          const CallOptions& options) const {
  begin(options.watch)->call_batch(rows, results, options.document);
}

std::unique_ptr<Session> Function::begin(const Watch& watch, std::optional<Isolation> isolation) const {
  return make_session(watch, isolation.value_or(definition_.isolation));
}

Result<std::unique_ptr<Group>> Function::begin_group(const Watch& watch) const {
  if (definition_.kind != FunctionKind::kAggregate) {
    return Status::unsupported("'{}' is no aggregate", name());
  }
  return make_group(watch);
}

void Function::write_json(JsonWriter& json) const {
  definition_.write_json(json);
  json.field("type", signature_.text()).field("arity", arity_.text()).field("sha256", source_hash_.hex());
  json.field("source_bytes", source_->size()).field("reads_document", reads_document_);
  json.begin_object("statistics");
  statistics_.write_json(json);
  json.end_object();
}

// --- sessions -------------------------------------------------------------------------------------------

Session::Session(std::shared_ptr<const Function> function, bool numbers)
    : function_(std::move(function)),
      numbers_(numbers && function_->arity().least == function_->arity().most &&
               function_->memo_ == nullptr && !function_->definition().variadic) {}

Session::~Session() { flush(); }

void Session::flush() {
  FunctionStatistics& statistics = function_->statistics();
  if (calls_ > 0) statistics.calls.fetch_add(calls_, std::memory_order_relaxed);
  if (errors_ > 0) statistics.errors.fetch_add(errors_, std::memory_order_relaxed);
  calls_ = errors_ = 0;
}

// One call of kTimedEvery, and the first.
bool Session::call_numbers_timed(engine::RawValue* values, size_t count) {
  until_timed_ = kTimedEvery;
  const auto begin = std::chrono::steady_clock::now();
  const bool done = run_numbers(values, count);
  FunctionStatistics& statistics = function_->statistics();
  statistics.timed_ns.fetch_add(ns_since(begin), std::memory_order_relaxed);
  statistics.timed_calls.fetch_add(1, std::memory_order_relaxed);
  return done;
}

Result<std::span<const WitArg>> WholeArguments::of(const Function& function, std::span<const WitArg> args) {
  const Arity& arity = function.arity();
  if (!arity.takes(args.size())) [[unlikely]] {
    return Status::invalid_argument("{} takes {} argument{}, not {}: {}", function.name(), arity.text(),
                                    arity.least == 1 && arity.most == 1 ? "" : "s", args.size(),
                                    function.signature().text());
  }
  const size_t count = function.signature().params.size();
  const bool variadic = function.definition().variadic;
  if (args.size() == count && !variadic) return args;
  static const WitValue kNone;
  whole_.assign(args.begin(),
                args.begin() + static_cast<ptrdiff_t>(std::min(args.size(), count - (variadic ? 1 : 0))));
  while (whole_.size() < count - (variadic ? 1 : 0)) whole_.emplace_back(kNone);
  if (variadic) {
    further_.items.clear();
    for (size_t i = count - 1; i < args.size(); i++) further_.items.push_back(value_of(args[i]));
    whole_.emplace_back(further_);
  }
  return std::span<const WitArg>(whole_);
}

Status Session::call_one(std::span<const WitArg> args, WitValue& result, const Document* document) {
  const Function& function = *function_;
  // What was kept is of the arguments alone, and a document is one that nobody sees.
  if (function.memo_ == nullptr || document != nullptr) return run(args, result, document);
  key_ = function.memo_key_;
  Memo::append_args(function.signature(), args, key_);
  if (function.memo_->find(key_, result)) {
    function.statistics().memo_hits.fetch_add(1, std::memory_order_relaxed);
    return {};
  }
  SPORE_TRY(run(args, result, document));
  function.memo_->keep(key_, result);
  return {};
}

Status Session::call(std::span<const WitArg> args, WitValue& result, const Document* document) {
  const std::span<const WitArg> whole = SPORE_TRY(whole_.of(*function_, args));
  calls_++;
  Status status;
  if (--until_timed_ == 0) [[unlikely]] {
    until_timed_ = kTimedEvery;
    const auto begin = std::chrono::steady_clock::now();
    status = call_one(whole, result, document);
    FunctionStatistics& statistics = function_->statistics();
    statistics.timed_ns.fetch_add(ns_since(begin), std::memory_order_relaxed);
    statistics.timed_calls.fetch_add(1, std::memory_order_relaxed);
    flush();
  } else {
    status = call_one(whole, result, document);
  }
  if (!status.ok()) errors_++;
  return status;
}

void Session::call_batch(const Rows& rows, std::vector<Result<WitValue>>& results, const Document* document) {
  results.clear();
  results.reserve(rows.count);
  function_->statistics().batches.fetch_add(1, std::memory_order_relaxed);
  // Rows that have to be made whole, or are kept, go one by one.
  const bool whole = rows.count > 0 && rows.row(0).size() == function_->signature().params.size() &&
                     !function_->definition().variadic && function_->memo_ == nullptr;
  if (whole && rows.count > 1) {
    const Status status = run_batch(rows, results, document);
    if (status.ok() && results.size() == rows.count) {
      calls_ += rows.count;
      for (const Result<WitValue>& result : results) errors_ += result.ok() ? 0 : 1;
      return;
    }
    results.clear();  // so each is told by itself what is wrong with it
    if (status.code() == Code::kCancelled) {
      for (size_t i = 0; i < rows.count; i++) results.emplace_back(status.copy());
      return;
    }
  }
  for (size_t i = 0; i < rows.count; i++) {
    WitValue result;
    Status status = call(rows.row(i), result, document);
    if (status.ok()) {
      results.emplace_back(std::move(result));
    } else {
      results.emplace_back(std::move(status));
    }
  }
}

}  // namespace spore::udf
